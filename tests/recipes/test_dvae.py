"""Tests of mini_models.recipes.dvae: words begin as k-means, and batches know their step."""

from dataclasses import replace

from torch.testing import assert_close

from mini_models.data.emoji import EmojiBatches
from mini_models.data.shapes.batches import ShapesBatches
from mini_models.dvae import DVAEConfig
from mini_models.recipes.dvae import RECIPES, WithStep, dvae_shapes_task

# properties


def test_a_dvae_learns_from_pictures_of_training_and_is_told_the_step():
    images, step = WithStep(EmojiBatches(4))[37]
    assert images.shape == (4, 3, 32, 32) and step.tolist() == [37.0] * 4


def test_pictures_carry_the_number_of_their_step():
    batches = WithStep(ShapesBatches(4, seed=2))
    images, step = batches[17]
    assert_close(images, ShapesBatches(4, seed=2)[17][0])
    assert step.tolist() == [17.0] * 4


# learns


def test_the_recipe_prepares_a_model_whose_words_are_k_means():
    small = replace(RECIPES["dvae-shapes"], model=DVAEConfig(codes=5, width=4, n_layers=1))
    task = dvae_shapes_task(small, seed=0)
    words = task.model.codebook.weight
    assert words.min() > -0.01 and words.max() < 1.01 and task.watch is not None
    images, step = task.batches[5]
    assert images.shape == (32, 3, 32, 32) and step[0] == 5
