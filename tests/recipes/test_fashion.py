"""Tests of mini_models.recipes.fashion: tasks repeat, on pictures of training alone, and teach."""

from dataclasses import replace

import pytest
import torch

from mini_models import zoo
from mini_models.data import RowBatches, fashion_mnist
from mini_models.fidelity import features, frechet_distance
from mini_models.gan import GAN, GANConfig, gan_loss
from mini_models.recipes.fashion import RECIPES
from mini_models.recipes.watches import GameWatch
from mini_models.train import TrainConfig, train

SMALL = GANConfig(latent=16, width=8)
QUICK = TrainConfig(steps=200, lr=2e-3, betas=(0.0, 0.99), weight_decay=0, clip=1000.0)
TRAIN, HELD_OUT = fashion_mnist("train")[0], fashion_mnist("held_out")[0]


def warnings_of(gan, config=QUICK, stretch=50, prepare=None):
    """What the watch says, step by step, while a GAN trains: a list of (step, text)."""
    torch.manual_seed(0)
    gan, watch, said = GAN(gan), GameWatch(HELD_OUT, stretch), []
    if prepare is not None:
        prepare(gan)

    def on_step(step, loss):
        if found := watch(gan, step):
            said.append((step, found))

    train(gan, RowBatches([TRAIN], 16), gan_loss, config, on_step=on_step)
    return said


# properties


def test_the_same_seed_makes_the_same_task_and_another_seed_another():
    for recipe in RECIPES.values():
        a, b, c = recipe.prepare(), recipe.prepare(), recipe.prepare(seed=1)
        first = [next(task.model.parameters()) for task in (a, b, c)]
        assert torch.equal(first[0], first[1]) and not torch.equal(first[0], first[2])
        assert torch.equal(a.batches[5][0], b.batches[5][0])
        assert not torch.equal(a.batches[5][0], c.batches[5][0])
        assert len(a.batches[0][0]) == recipe.batch_size


def test_no_held_out_picture_is_trained_on():
    held_out = {image.numpy().tobytes() for image in HELD_OUT}
    for recipe in RECIPES.values():
        [images, *_] = recipe.prepare().batches.tensors
        assert len(images) == 8000
        assert held_out.isdisjoint(image.numpy().tobytes() for image in images)


# refuses


@pytest.mark.parametrize("name", RECIPES)
def test_a_text_is_refused(name):
    with pytest.raises(ValueError, match="learns from pictures, not from a text"):
        RECIPES[name].prepare("To be, or not to be")


# learns


def test_a_few_seconds_of_the_recipe_bring_the_drawings_nearer_to_real_images():
    recipe = RECIPES["gan-fashion"]
    small = replace(recipe.model, width=16, average=0.0)  # an average would begin too late
    task = replace(recipe, model=small).prepare()
    classifier, _ = zoo.load("classifier-fashion")
    seen, latents = features(classifier, HELD_OUT), task.model.latents(2000)

    def distance():
        return frechet_distance(features(classifier, task.model.draw(latents)), seen)

    before = distance()
    train(task.model, task.batches, task.loss, replace(recipe.train, steps=200))
    assert distance() < 0.6 * before
