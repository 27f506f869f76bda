"""Tests of mini_models.oracle: it reads what was drawn, and nothing else."""

import random

import pytest
import torch

from mini_models import oracle
from mini_models.data import shapes
from mini_models.shapes import SPLITS, draw, scenes


@pytest.mark.parametrize("split", SPLITS)
def test_what_is_drawn_is_read(split):
    some = random.Random(0).choices(scenes(split), k=500)
    assert oracle.read(draw(some, torch.Generator().manual_seed(1))) == some


def test_pictures_of_a_split_show_their_captions():
    images, captions = shapes("train", 200, language="both")
    assert oracle.exact(images, captions).all()
    assert all(right.all() for right in oracle.by_attribute(images, captions).values())


@pytest.mark.parametrize("images", [torch.rand(50, 3, 32, 32), torch.full((5, 3, 32, 32), 0.96)])
def test_noise_and_nothing_are_not_read(images):
    assert oracle.read(images) == [None] * len(images)


def test_numbers_outside_0_and_1_are_refused():
    with pytest.raises(ValueError, match="run from -1.00 to 1.00: bring them to 0 to 1"):
        oracle.read(torch.linspace(-1, 1, 3072).view(1, 3, 32, 32))
