"""Drawing: from a scene to pixels, by the distance of each place from the edge of a shape.

A signed distance is negative inside a shape, so half a pixel less than it is the share of the pixel
that the shape covers, between 0 and 1: edges are smooth, and no pixel is cut.

Shapes   N images, each [3, 32, 32], red, green and blue from 0 to 1
"""

import math

import torch
from torch import Tensor

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
MARGIN, GAP = 0.5, 2.5  # pixels from the edge, and between two objects
SLANT = 0.5  # at most this many pixels across for each pixel along the relation's axis
SHAPES = ("circle", "square", "triangle", "ring", "cross", "heart")


def distance(shape: str, x: Tensor, y: Tensor, r: Tensor) -> Tensor:
    """Pixels from the outline of a shape, negative inside it.

    Args:
        shape: one of SHAPES.
        x, y: places seen from its centre, in pixels; y points down.
        r: half its width and half its height, in pixels.
    """
    a, b = x.abs(), y.abs()
    if shape == "circle":
        return (x * x + y * y).sqrt() - r
    if shape == "square":
        return torch.maximum(a, b) - r
    if shape == "triangle":  # from (0, -r) down to (±r, r)
        return torch.maximum(y - r, (2 * a - y - r) / math.sqrt(5))
    if shape == "ring":  # a quarter of the width thick
        return ((x * x + y * y).sqrt() - 0.75 * r).abs() - 0.25 * r
    if shape == "cross":  # two bars, a third of the width thick
        lying, standing = torch.maximum(a - r, b - r / 3), torch.maximum(a - r / 3, b - r)
        return torch.minimum(lying, standing)
    if shape == "heart":  # two discs side by side, and their tangents down to (0, r)
        discs = ((a - r / 2) ** 2 + (y + r / 2) ** 2).sqrt() - r / 2
        tip = torch.maximum((4 * a + 3 * y - 3 * r) / 5, (a - 3 * y - 1.5 * r) / math.sqrt(10))
        return torch.minimum(discs, tip)
    raise ValueError(f"{shape!r} is not a shape: choose one of {', '.join(SHAPES)}")


def coverage(shape: str, x: Tensor, y: Tensor, r: Tensor) -> Tensor:
    """The share of the pixel around each place that a shape covers, from 0 to 1; as `distance`."""
    return (0.5 - distance(shape, x, y, r)).clamp(0, 1)


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
