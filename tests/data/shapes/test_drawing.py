"""Tests of mini_models.data.shapes.drawing: a picture shows its scene, and nothing else."""

import math

import numpy as np
import pytest
import torch
from matplotlib.path import Path
from scipy import ndimage
from torch.testing import assert_close

from mini_models.data.shapes import (
    BACKGROUND,
    COLOURS,
    SHAPES,
    SIZES,
    SPLITS,
    Scene,
    Thing,
    coverage,
    distance,
    draw,
    scenes,
)

EVERYTHING = [scene for split in SPLITS for scene in scenes(split)]

RED, BLUE = Thing("small", "red", "circle"), Thing("large", "blue", "square")


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


ROUND = np.linspace(0, 2 * np.pi, 721)
DISC = np.stack([np.cos(ROUND), np.sin(ROUND)], 1)
ARC = np.linspace(np.pi, 2 * np.pi + math.atan2(0.6, 0.8), 400)  # from the notch's side to the tip
LOBE = 0.5 * np.stack([1 + np.cos(ARC), np.sin(ARC) - 1], 1)
THIRD = 1 / 3
OUTLINE = {  # corners of polygons, for half a width of 1, and y down; of a ring two of them
    "circle": [DISC],
    "square": [[(-1, -1), (1, -1), (1, 1), (-1, 1)]],
    "triangle": [[(0, -1), (1, 1), (-1, 1)]],
    "ring": [DISC, 0.5 * DISC],
    "cross": [
        [(-1, -THIRD), (-THIRD, -THIRD), (-THIRD, -1), (THIRD, -1), (THIRD, -THIRD), (1, -THIRD)]
        + [(1, THIRD), (THIRD, THIRD), (THIRD, 1), (-THIRD, 1), (-THIRD, THIRD), (-1, THIRD)]
    ],
    "heart": [np.concatenate([LOBE, [(0, 1)], LOBE[::-1] * (-1, 1)])],
}


def squares_in(image):
    """x, y and half the width of each square of a picture, the first in its relation first: a pixel
    that an edge crosses differs from the background by the part of it that is covered."""
    away = (image - torch.tensor(BACKGROUND)[:, None, None]).abs().sum(0).numpy()
    labels, n = ndimage.label(away > 1e-3, np.ones((3, 3)))
    found = []
    for label in range(1, n + 1):
        cover, sides = np.where(labels == label, away, 0), []
        for axis in (0, 1):
            across = cover.max(axis) / cover.max()
            full = np.flatnonzero(across > 0.999)
            low, high = full[0] - across[full[0] - 1], full[-1] + 1 + across[full[-1] + 1]
            sides.append(((low + high) / 2, (high - low) / 2))
        (x, width), (y, height) = sides
        assert width == pytest.approx(height, abs=0.01)
        found.append((x, y, width))
    return sorted(found)


# agrees with an independent implementation


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("r", [4.0, 6.9])
def test_a_pixel_is_covered_by_the_share_of_its_points_that_lie_in_the_outline(shape, r):
    fine, x0, y0 = 16, 0.3, -0.2
    pixels = torch.arange(-9, 10.0)
    points = (np.arange(19 * fine) + 0.5) / fine - 9.5
    grid = np.stack(np.meshgrid(points, points), -1).reshape(-1, 2) - (x0, y0)
    inside = [Path(np.asarray(o) * r).contains_points(grid) for o in OUTLINE[shape]]
    share = (inside[0] & ~inside[1] if len(inside) == 2 else inside[0]).reshape(19, fine, 19, fine)
    ours = coverage(shape, pixels - x0, pixels[:, None] - y0, torch.tensor(r)).numpy()
    error = np.abs(ours - share.mean(axis=(1, 3)))
    assert error.max() < 0.26 and error.mean() < 0.009, (error.max(), error.mean())
    assert ours.sum() == pytest.approx(share.sum() / fine**2, rel=0.03)


# properties


def test_pictures_depend_on_the_seed_alone():
    some = EVERYTHING[::40]
    threads = torch.get_num_threads()
    torch.manual_seed(0)
    state = torch.get_rng_state()
    drawn = []
    for n in (1, 2):
        torch.set_num_threads(n)
        drawn.append(draw(some, rng(3)))
    torch.set_num_threads(threads)
    images = drawn[0]
    assert images.shape == (len(some), 3, 32, 32) and images.dtype == torch.float32
    assert images.min() >= 0 and images.max() <= 1
    assert torch.equal(*drawn)
    assert torch.equal(state, torch.get_rng_state())
    assert not torch.equal(images, draw(some, rng(4)))
    assert draw([], rng()).shape == (0, 3, 32, 32)


def test_objects_lie_inside_apart_and_as_their_relation_says():
    two = [
        s for s in EVERYTHING if len(s.things) == 2 and {t.shape for t in s.things} == {"square"}
    ]
    two = two * 7
    places = [squares_in(image) for image in draw(two, rng())]
    for scene, squares in zip(two, places):  # the upper one before the lower
        squares.sort(key=lambda square: square[scene.relation == "above"])
    x, y, r = torch.tensor(places).permute(2, 0, 1)  # [N, 2] each
    assert len(two) > 3500
    assert ((x - r >= 0.4) & (x + r <= 31.6) & (y - r >= 0.4) & (y + r <= 31.6)).all()
    right, down = x[:, 1] - x[:, 0], y[:, 1] - y[:, 0]
    upright = torch.tensor([scene.relation == "above" for scene in two])
    along, across = torch.where(upright, down, right), torch.where(upright, right, down).abs()
    assert (along - r.sum(1) > 2.4).all() and (across <= 0.51 * along).all()
    assert across.max() > 10 and across.min() < 0.1  # and yet they lie freely
    for i, scene in enumerate(two):
        for k, thing in enumerate(scene.things):
            low, high = SIZES[thing.size]
            assert low - 0.01 <= r[i, k] <= high + 0.01


def test_a_picture_has_as_many_separate_things_as_its_scene():
    some = EVERYTHING[::15]
    differs = (draw(some, rng(2)) - torch.tensor(BACKGROUND)[:, None, None]).abs().amax(1) > 1e-3
    for scene, mask in zip(some, differs.numpy()):
        labels, n = ndimage.label(mask, np.ones((3, 3)))
        assert n == len(scene.things)
        if n == 2:  # at least a whole pixel of background between them
            assert not (ndimage.binary_dilation(labels == 1, np.ones((3, 3))) & (labels == 2)).any()


@pytest.mark.parametrize("colour", COLOURS)
def test_the_middle_of_an_object_has_its_colour(colour):
    some = [Scene(Thing(size, colour, "square")) for size in SIZES for _ in range(20)]
    images = draw(some, rng(1))
    x, y, _ = torch.tensor([squares_in(image)[0] for image in images]).T
    middle = images[torch.arange(40), :, y.long(), x.long()]
    assert_close(middle, torch.tensor(COLOURS[colour]).expand(40, 3))


def test_places_and_sizes_of_a_single_object_are_uniform():
    some = [Scene(Thing("small", "red", "square"))] * 4000
    x, y, r = torch.tensor([squares_in(image)[0] for image in draw(some, rng())]).float().T
    for u in ((x - r - 0.5) / (31 - 2 * r), (y - r - 0.5) / (31 - 2 * r), (r - 4) / 0.8):
        assert_close(u.sort().values, torch.linspace(0, 1, 4000), atol=0.04, rtol=0)
    assert torch.corrcoef(torch.stack([x, y, r])).triu(1).abs().max() < 0.06


# refuses


def test_a_shape_that_is_none_is_refused():
    for ask in (distance, coverage):
        with pytest.raises(ValueError, match="'star' is not a shape: choose one of circle, square"):
            ask("star", torch.zeros(1), torch.zeros(1), torch.ones(1))


# learns


def test_a_straight_line_learns_the_colour_from_the_mean_of_the_pixels():
    one = [s for s in scenes("train") if len(s.things) == 1]
    colours = list(COLOURS)

    def batch(seed):
        chosen = [one[i] for i in torch.randint(len(one), (256,), generator=rng(seed))]
        labels = torch.tensor([colours.index(s.first.colour) for s in chosen])
        return 20 * (draw(chosen, rng(seed)).mean((2, 3)) - 0.96), labels

    torch.manual_seed(0)
    line = torch.nn.Linear(3, 8)
    optimizer = torch.optim.Adam(line.parameters(), 0.3)
    for step in range(150):
        x, y = batch(step)
        loss = torch.nn.functional.cross_entropy(line(x), y)
        optimizer.zero_grad(), loss.backward(), optimizer.step()
    x, y = batch(1000)
    assert (line(x).argmax(1) == y).float().mean() > 0.95
