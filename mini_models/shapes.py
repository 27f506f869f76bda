"""Shapes: drawn pictures of one or two objects, each with a caption in English and in Chinese.

They are the measuring stick of the chapters on images. A scene says exactly what is to be seen;
`caption` writes it as a sentence, `parse` reads the sentence, `draw` draws the scene, and
`oracle.read` reads the drawing, by geometry and colour and without a network.

Shapes   N images, each [3, 32, 32], red, green and blue from 0 to 1
Derived  notebooks/13_text_to_image_gan.ipynb
"""

import hashlib
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from mini_models.outlines import SHAPES, coverage

SIDE = 32  # pixels
BACKGROUND = (0.96, 0.96, 0.96)
COLOURS = {  # seen from the background, each lies in a direction of its own
    "red": (0.90, 0.10, 0.10),
    "orange": (0.98, 0.56, 0.02),
    "yellow": (0.98, 0.94, 0.06),
    "green": (0.10, 0.65, 0.15),
    "cyan": (0.10, 0.85, 0.90),
    "blue": (0.10, 0.30, 0.90),
    "purple": (0.52, 0.10, 0.72),
    "pink": (1.00, 0.42, 0.74),
}
SIZES = {"small": (4.0, 4.8), "large": (6.0, 6.9)}  # half the width, in pixels, from and to
RELATIONS = ("left of", "above")  # how a scene is stored
TURNED = {"left of": "right of", "above": "below"}  # the same, said of the other object
HELD_OUT_PAIRS = (  # these colours and shapes never meet in training
    ("red", "ring"),
    ("orange", "cross"),
    ("yellow", "heart"),
    ("green", "triangle"),
    ("cyan", "square"),
    ("blue", "circle"),
    ("purple", "ring"),
    ("pink", "cross"),
)
SPLITS = ("train", "seen", "held_out")
MARGIN, GAP = 0.5, 2.5  # pixels from the edge, and between two objects
SLANT = 0.5  # at most this many pixels across for each pixel along the relation's axis
CHINESE = {
    **{"small": "小", "large": "大"},
    **{"red": "红色", "orange": "橙色", "yellow": "黄色", "green": "绿色"},
    **{"cyan": "青色", "blue": "蓝色", "purple": "紫色", "pink": "粉色"},
    **{"circle": "圆形", "square": "方形", "triangle": "三角形"},
    **{"ring": "圆环", "cross": "十字", "heart": "心形"},
    **{"left of": "左边", "right of": "右边", "above": "上方", "below": "下方"},
}


@dataclass(frozen=True)
class Thing:
    """One object: a small red circle. Raises ValueError for a word that the grammar lacks."""

    size: str
    colour: str
    shape: str

    def __post_init__(self):
        for kind, known in (("size", SIZES), ("colour", COLOURS), ("shape", SHAPES)):
            if getattr(self, kind) not in known:
                raise ValueError(
                    f"{getattr(self, kind)!r} is not a {kind}: choose one of {', '.join(known)}"
                )


@dataclass(frozen=True)
class Scene:
    """One object, or two and how they lie; equal scenes are those that look the same.

    "A right of B" is stored as B left of A, and "A below B" as B above A.
    Raises: ValueError for an unknown relation, or one that lacks an object or is lacking itself.
    """

    first: Thing
    relation: str | None = None
    second: Thing | None = None

    def __post_init__(self):
        if (self.relation is None) != (self.second is None):
            raise ValueError(
                f"the relation is {self.relation!r} and the second object {self.second}: "
                "give both or neither"
            )
        for stored, said in TURNED.items():
            if self.relation == said:
                first, second = self.second, self.first
                for name, value in (("first", first), ("relation", stored), ("second", second)):
                    object.__setattr__(self, name, value)
        if self.relation not in (None, *RELATIONS):
            known = ", ".join((*RELATIONS, *TURNED.values()))
            raise ValueError(f"{self.relation!r} is not a relation: choose one of {known}")

    @property
    def things(self) -> tuple[Thing, ...]:
        return (self.first,) if self.second is None else (self.first, self.second)


def caption(scene: Scene, language: str = "en", turned: bool = False) -> str:
    """The sentence of a scene, such as "a large blue square left of a small red circle".

    Args:
        language: "en" or "zh".
        turned: start from the other object, "a small red circle right of a large blue square".
    """
    if language not in ("en", "zh"):
        raise ValueError(f"{language!r} is not a language of the captions: choose en or zh")
    things, relation = scene.things, scene.relation
    if turned and relation:
        things, relation = things[::-1], TURNED[relation]
    if language == "en":
        return f" {relation} ".join(f"a {t.size} {t.colour} {t.shape}" for t in things)
    zh = CHINESE
    said = "在".join(f"一个{zh[t.colour]}{zh[t.size]}{zh[t.shape]}" for t in things)
    return said + zh[relation] if relation else said


def parse(text: str) -> Scene:
    """The scene that a caption in either language says.

    Raises: ValueError if the text is no caption, with one as an example.
    """
    try:
        return _scene_of()[" ".join(text.lower().split())]
    except KeyError:
        raise ValueError(
            f"{text!r} is no caption: say it as 'a small red circle' or 'a small red circle left "
            "of a large blue square', or as '一个红色小圆形在一个蓝色大方形左边', with sizes "
            f"{', '.join(SIZES)}, colours {', '.join(COLOURS)}, shapes {', '.join(SHAPES)} "
            f"and relations {', '.join((*RELATIONS, *TURNED.values()))}"
        ) from None


@cache
def _scene_of() -> dict[str, Scene]:
    """Every caption, in both languages and from both objects, with its scene."""
    everything = [scene for split in SPLITS for scene in scenes(split)]
    return {
        caption(scene, language, turned): scene
        for scene in everything
        for language in ("en", "zh")
        for turned in (False, True)
    }


def scenes(split: str) -> list[Scene]:
    """All scenes of a split, always in the same order.

    "train" and "seen" hold only colours and shapes that may meet; "seen" holds those scenes, about
    a tenth, that training never shows. "held_out" holds every scene with a pair of HELD_OUT_PAIRS.
    Raises: ValueError for another name.
    """
    if split not in SPLITS:
        raise ValueError(f"{split!r} is not a split: choose one of {', '.join(SPLITS)}")
    return list(_scenes()[split])


@cache
def _scenes() -> dict[str, tuple[Scene, ...]]:
    things = [Thing(s, c, f) for s in SIZES for c in COLOURS for f in SHAPES]
    everything = [Scene(t) for t in things]
    everything += [Scene(a, r, b) for a in things for r in RELATIONS for b in things]
    found = {split: [] for split in SPLITS}
    for scene in everything:
        if any((t.colour, t.shape) in HELD_OUT_PAIRS for t in scene.things):
            found["held_out"].append(scene)
        else:
            digest = hashlib.sha256(caption(scene).encode()).digest()  # of the scene alone
            found["seen" if digest[0] < 26 else "train"].append(scene)  # 26 of 256
    return {split: tuple(those) for split, those in found.items()}


def draw(scenes, generator: torch.Generator) -> Tensor:
    """Pictures of scenes, each at places and of sizes drawn at random; float32 [N, 3, 32, 32].

    Objects lie inside the picture and at least 2 pixels apart, and the distance along the axis
    of their relation is at least twice that across it.
    """
    scenes = list(scenes)
    xs, ys, rs = _places(scenes, torch.rand(len(scenes), 6, generator=generator))
    background, pixels = torch.tensor(BACKGROUND), torch.arange(SIDE) + 0.5
    cover = torch.zeros(len(scenes), 2, SIDE, SIDE)
    paint = torch.zeros(len(scenes), 2, 3)  # what each object adds to the background
    places = {shape: [] for shape in SHAPES}  # the objects of one shape are drawn together
    for row, scene in enumerate(scenes):
        for place, thing in enumerate(scene.things):
            places[thing.shape].append((row, place, COLOURS[thing.colour]))
    for shape, found in places.items():
        if found:
            row, place, colour = map(list, zip(*found))
            x = pixels - xs[row, place, None]  # [n, 32]
            y = pixels - ys[row, place, None]
            r = rs[row, place, None, None]
            cover[row, place] = coverage(shape, x[:, None, :], y[:, :, None], r)  # [n, 32, 32]
            paint[row, place] = torch.tensor(colour) - background
    # no two objects share a pixel, so their sum is exact
    return torch.einsum("nphw,npc->nchw", cover, paint) + background[:, None, None]


def _places(scenes, u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Centres and half widths, each [N, 2], from numbers u [N, 6] between 0 and 1."""
    two = torch.tensor([scene.second is not None for scene in scenes]).bool().view(-1, 1)
    upright = torch.tensor([scene.relation == "above" for scene in scenes]).bool().view(-1, 1)
    bounds = [[SIZES[t.size] for t in (s.first, s.second or s.first)] for s in scenes]
    low, high = torch.tensor(bounds).reshape(len(scenes), 2, 2).unbind(-1)
    r = low + (high - low) * u[:, :2]  # [N, 2]
    low, high = r + MARGIN, SIDE - r - MARGIN  # where a centre may lie
    alone = low[:, :1] + (high - low)[:, :1] * u[:, 2:4]  # x and y of a single object
    # along the axis of the relation: share out what room the two leave
    apart = r.sum(1) + GAP
    room = high[:, 1] - low[:, 0] - apart
    first, second = u[:, 2:4].sort(dim=1).values.T * room + low[:, 0]
    along = torch.stack([first, second + apart], 1)  # [N, 2]
    # across it: the first anywhere, the second not too far from that
    first = low[:, 0] + (high - low)[:, 0] * u[:, 4]
    reach = SLANT * (along[:, 1] - along[:, 0])
    least, most = torch.maximum(first - reach, low[:, 1]), torch.minimum(first + reach, high[:, 1])
    across = torch.stack([first, least + (most - least) * u[:, 5]], 1)  # [N, 2]
    x = torch.where(two, torch.where(upright, across, along), alone[:, :1])
    y = torch.where(two, torch.where(upright, along, across), alone[:, 1:])
    return x, y, r
