"""Tests of mini_models.recipes.shapes: a game on scenes of training alone."""

from dataclasses import replace

import pytest

from mini_models.data.shapes import parse, scenes
from mini_models.recipes.shapes import RECIPES
from mini_models.text_to_image_gan import TextToImageConfig

SMALL = TextToImageConfig(latent=8, d_model=16, width=8, eye=8, features=32, average=0.9)


# properties


def test_the_recipe_learns_from_scenes_of_training_alone():
    task = RECIPES["gan-shapes"].prepare()
    for row in task.batches[12000][1][:20]:
        assert parse(task.tokenizer.decode(row)) in scenes("train")
    assert task.model.config.vocab_size == task.tokenizer.vocab_size
    kept = task.settle(task.model)
    assert sum(p.numel() for p in kept.parameters()) < 1_000_000


# refuses


def test_a_text_to_train_on_is_refused():
    with pytest.raises(ValueError, match="learns from pictures, not from a text: leave out --text"):
        RECIPES["gan-shapes"].prepare("a text")


# learns


def test_other_sizes_may_be_trained():
    assert replace(RECIPES["gan-shapes"], model=SMALL).prepare().model.config == SMALL
