"""Oracle: what a picture of `shapes` shows, read by geometry and colour, without a network.

Where a pixel differs from the background, something lies. Each connected something is compared
with every drawing of one object that the reader knows, of six shapes, many sizes and many places,
in the nearest colour. It is what the best of them is, if the two overlap well. A picture in doubt
is not read at all: None.

Shapes   N images, M objects found in them, W side of the window around each, K templates
"""

import math
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor

from mini_models.data.shapes.drawing import BACKGROUND, COLOURS, SHAPES, SIDE, SIZES, coverage
from mini_models.data.shapes.grammar import Scene, Thing, parse

SOFT = 0.5  # pixels by which pictures and templates are both blurred, against noise
BLURS = (0.0, 0.7)  # and some templates by more, so that a soft picture is read too
COVERED = 0.4  # share of a colour from which on something lies in a pixel
LEAST_AREA = 10  # pixels; less is noise
LEAST_OVERLAP = 0.92  # least overlap with the best template
CLEARER = 0.008  # by so much it must be better than the best of any other shape
ANGLE = 9  # degrees from the direction of the nearest colour; any two are at least 22 apart
LEAST_STRENGTH = 0.85  # least share of that colour
SLACK = 0.45  # pixels by which a half width may lie outside of SIZES
SLANTED = 0.7  # pixels across for each along a relation's axis, from which on it is in doubt
REACH = 9  # pixels from the middle of a window to its edge, so W = 19
ATTRIBUTES = ("count", "colour", "shape", "size", "relation")


def scenes_in(images: Tensor) -> list[Scene | None]:
    """The scene in each picture, or None where there is a doubt.

    In doubt is a picture with no object or more than two; one of them in none of the eight colours,
    of none of the six shapes, or of neither size; or two that lie neither beside nor above each
    other.

    Args:
        images: float [N, 3, 32, 32] from 0 to 1.
    Raises: ValueError for another shape, or numbers outside 0 and 1.
    """
    if images.ndim != 4 or images.shape[1:] != (3, SIDE, SIDE):
        raise ValueError(f"the images have shape {list(images.shape)}: give [N, 3, {SIDE}, {SIDE}]")
    if len(images) and (images.min() < -1e-3 or images.max() > 1.001):
        raise ValueError(
            f"the images run from {images.min():.2f} to {images.max():.2f}: bring them to 0 to 1, "
            "by (x + 1) / 2 from -1 to 1, or by clamp where they only overshoot"
        )
    images, step = images.detach().float().cpu(), 1000  # some 100 MB at a time
    parts = (images[i : i + step] for i in range(0, len(images), step))
    return [scene for part in parts for scene in _read(part)]


def exact_match(images: Tensor, captions) -> Tensor:
    """Whether each picture is read as the scene that its caption says; bool [N]."""
    wanted = _wanted(images, captions)
    return torch.tensor([a == b for a, b in zip(scenes_in(images), wanted)], dtype=torch.bool)


def by_attribute(images: Tensor, captions) -> dict[str, Tensor]:
    """What is right about each picture.

    The objects read are matched to those of the caption so that most agrees. An attribute is right
    if it is so for all objects; where their number is wrong, or nothing was read, none is.

    Returns: for "count", "colour", "shape" and "size" bool [N], and for "relation" bool
        [captions with two objects]: it is right if the matched objects lie as the caption says.
    """
    wanted = _wanted(images, captions)
    rows = [_agreement(a, b) for a, b in zip(scenes_in(images), wanted)]
    two = [row for row, scene in zip(rows, wanted) if scene.second is not None]
    return {
        name: torch.tensor([row[name] for row in (two if name == "relation" else rows)]).bool()
        for name in ATTRIBUTES
    }


def _wanted(images, captions) -> list[Scene]:
    if len(images) != len(captions):
        raise ValueError(f"{len(images)} images and {len(captions)} captions: give one for each")
    return [parse(text) for text in captions]


def _agreement(seen: Scene | None, wanted: Scene) -> dict[str, bool]:
    if seen is None or len(seen.things) != len(wanted.things):
        return dict.fromkeys(ATTRIBUTES, False)
    rows = []
    for order in (1, -1):  # the first to the first, or to the second
        pairs = list(zip(seen.things, wanted.things[::order]))
        row = {"count": True, "relation": order == 1 and seen.relation == wanted.relation}
        for name in ("colour", "shape", "size"):
            row[name] = all(getattr(a, name) == getattr(b, name) for a, b in pairs)
        rows.append(row)
    return max(rows, key=lambda row: sum(row.values()))


def _read(images: Tensor) -> list[Scene | None]:
    """The same for a part of the images."""
    D = _soften(images - torch.tensor(BACKGROUND)[:, None, None])  # [N, 3, 32, 32]
    strengths = _palette().norm(dim=1)  # [8]
    directions = _palette() / strengths[:, None]
    along, colour = torch.einsum("nchw,kc->nkhw", D, directions).max(dim=1)  # the nearest colour
    mask = along / strengths[colour] > COVERED  # [N, 32, 32]
    labels, rows, names, centres = _objects(mask.numpy())
    things = [[] for _ in images]
    if len(rows):
        background = ~_grown(mask, 2)  # [N, 32, 32]
        noise = (D.square().sum(1) * background).sum((1, 2)) / background.sum((1, 2)).clamp(min=1)
        own = labels[rows] == names[:, None, None]  # [M, 32, 32]
        free = ~_grown((labels[rows] > 0) & ~own, 1)  # where the other object does not reach
        found = _things(D[rows] * free[:, None], free, own, centres, noise[rows])
        for row, thing in zip(rows.tolist(), found):
            things[row].append(thing)
    return [_scene(those) for those in things]


def _objects(mask: np.ndarray) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The connected parts of each image that has one or two of them.

    Returns: labels [N, 32, 32], 0 where no object is, and for each object the row of its image,
        its label, each [M], and the pixel [M, 2] in the middle of its box, y and x.
    """
    within = np.zeros((3, 3, 3), dtype=int)
    within[1] = 1  # eight neighbours, and none in another image
    labels, n = ndimage.label(mask, within)
    area = np.bincount(labels.ravel(), minlength=n + 1)
    area[0] = 0
    labels[area[labels] < LEAST_AREA] = 0
    boxes = ndimage.find_objects(labels)
    found = [(box[0].start, name, box[1], box[2]) for name, box in enumerate(boxes, 1) if box]
    number = np.bincount([row for row, *_ in found], minlength=len(mask))
    found = [f for f in found if number[f[0]] <= 2]
    rows, names = (torch.tensor([f[i] for f in found], dtype=torch.long) for i in (0, 1))
    middle = [[(side.start + side.stop - 1) // 2 for side in f[2:]] for f in found]
    return torch.from_numpy(labels), rows, names, torch.tensor(middle).view(-1, 2)


def _things(D, free, own, centres, noise):
    """Each object as (thing, x, y), or None in doubt.

    Args:
        D: differences from the background, without the other object, [M, 3, 32, 32].
        free, own: where the other object does not reach, where this one lies, [M, 32, 32].
        centres: [M, 2].
        noise: energy of the noise in a pixel, [M].
    """
    templates, shapes, radii, shifts = _templates()
    D, free, own = (_window(t.float(), centres) for t in (D, free[:, None], own[:, None]))
    directions = F.normalize(_palette(), dim=1)  # [8, 3]
    colour = _palette()[((D * own).sum(2) @ directions.T).argmax(1)]  # the nearest, [M, 3]
    # in units of that colour: overlap is what both share over what either has
    unit = colour.square().sum(1)  # [M]
    energy = D.square().sum((1, 2)) / unit
    energy = torch.maximum(energy - noise * free.sum((1, 2)) / unit, energy / 2)  # half is no noise
    share = torch.einsum("mcp,mc->mp", D, colour) / unit[:, None]  # of the colour, in each pixel
    theirs = templates.square().sum(1)  # [K]
    both = share @ templates.T  # [M, K]
    overlap = both / (energy[:, None] + theirs - both)
    k = overlap.argmax(1)  # [M]
    first, second = overlap.view(len(k), len(SHAPES), -1).amax(2).topk(2, dim=1).values.T
    strength = both.gather(1, k[:, None])[:, 0] / theirs[k]
    seen = torch.einsum("mcp,mp->mc", D, templates[k])  # the colour that lies under the template
    cosine, name = (F.normalize(seen, dim=1) @ directions.T).max(1)
    sure = (first >= LEAST_OVERLAP) & (first - second >= CLEARER) & (strength >= LEAST_STRENGTH)
    sure &= cosine >= math.cos(math.radians(ANGLE))
    places = centres + 0.5 + shifts[k]  # [M, 2], y and x
    found = []
    rows = zip(*(t.tolist() for t in (sure, name, shapes[k], radii[k], places)))
    for ok, i, shape, r, (y, x) in rows:
        size = [s for s, (low, high) in SIZES.items() if low - SLACK <= r <= high + SLACK]
        thing = Thing(size[0], list(COLOURS)[i], SHAPES[shape]) if ok and size else None
        found.append(thing and (thing, x, y))
    return found


def _scene(found) -> Scene | None:
    """One or two objects as a scene; None if there is none, or a doubt about one of them."""
    if not found or None in found:
        return None
    if len(found) == 1:
        return Scene(found[0][0])
    (a, ax, ay), (b, bx, by) = found
    right, down = bx - ax, by - ay  # from the first to the second
    if min(abs(right), abs(down)) > SLANTED * max(abs(right), abs(down)):
        return None
    if abs(right) > abs(down):
        return Scene(a, "left of" if right > 0 else "right of", b)
    return Scene(a, "above" if down > 0 else "below", b)


@cache
def _palette() -> Tensor:
    """What each colour adds to the background, [8, 3]."""
    return torch.tensor(list(COLOURS.values())) - torch.tensor(BACKGROUND)


@cache
def _templates() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Every drawing of one object: pixels [K, W * W], shape [K], half width [K], shift [K, 2]."""
    pixels, steps = torch.arange(-REACH, REACH + 1.0), torch.arange(-1, 1.1, 0.5)
    grid = torch.meshgrid(torch.arange(3.5, 7.6, 0.25), steps, steps, indexing="ij")
    r, down, right = (t.reshape(-1, 1, 1) for t in grid)  # [G, 1, 1]
    drawn = [coverage(shape, pixels - right, pixels[:, None] - down, r) for shape in SHAPES]
    drawn = torch.stack([_soften(torch.stack(drawn), math.hypot(SOFT, b)) for b in BLURS], 1)
    shapes = torch.arange(len(SHAPES)).repeat_interleave(len(BLURS) * len(r))
    times = len(SHAPES) * len(BLURS)
    shifts = torch.stack([down, right], 1).view(-1, 2).repeat(times, 1)
    return drawn.view(len(shapes), -1), shapes, r.flatten().repeat(times), shifts


def _soften(x: Tensor, by: float = SOFT) -> Tensor:
    """Blur the last two dimensions by a Gaussian of `by` pixels; nothing comes from outside."""
    blurred = ndimage.gaussian_filter(x.numpy(), by, mode="constant", truncate=8, axes=(-2, -1))
    return torch.from_numpy(blurred)


def _grown(mask: Tensor, by: int) -> Tensor:
    """A mask [N, 32, 32] and all pixels up to `by` from it, also diagonally."""
    return torch.from_numpy(ndimage.maximum_filter(mask.numpy(), 2 * by + 1, axes=(-2, -1)))


def _window(x: Tensor, centres: Tensor) -> Tensor:
    """The W x W pixels around a centre of each of x [M, C, 32, 32], as [M, C, W * W]."""
    padded, w = F.pad(x, (REACH,) * 4), torch.arange(2 * REACH + 1)
    y, x = (centres[:, i, None] + w for i in (0, 1))  # [M, W]
    rows = torch.arange(len(padded))[:, None, None]
    return padded.movedim(1, -1)[rows, y[:, :, None], x[:, None, :]].movedim(-1, 1).flatten(2)
