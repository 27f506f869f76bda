"""Grammar: which scenes there are, how a caption says each, and which are kept from training."""

import hashlib
from dataclasses import dataclass
from functools import cache

from mini_models.corpora import LANGUAGES
from mini_models.data.shapes.drawing import COLOURS, SHAPES, SIZES

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
IN_CHINESE = {
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
    if language not in LANGUAGES:
        raise ValueError(f"{language!r} is not a language of the captions: choose en or zh")
    things, relation = scene.things, scene.relation
    if turned and relation:
        things, relation = things[::-1], TURNED[relation]
    if language == "en":
        return f" {relation} ".join(f"a {t.size} {t.colour} {t.shape}" for t in things)
    zh = IN_CHINESE
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
        for language in LANGUAGES
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
