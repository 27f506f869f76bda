"""Tests of mini_models.image_recipes: what they make, and that a game gone wrong is noticed."""

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


@pytest.fixture(scope="module")
def drawn():
    """2,000 drawings of the shipped GAN, the ones that its card was measured on."""
    gan, _ = zoo.load("gan-fashion")
    return gan.draw(gan.latents(2000, torch.Generator().manual_seed(0)))


# agrees with an independent implementation


def test_the_shipped_classifier_is_as_often_right_as_its_card_says():
    classifier, _ = zoo.load("classifier-fashion")
    card, (images, labels) = zoo.card("classifier-fashion"), fashion_mnist("held_out")
    with torch.no_grad():
        right = sum(int(classifier(x[None]).argmax() == y) for x, y in zip(images, labels)) / 2000
    assert right == pytest.approx(card["accuracy"], abs=0.002) and right > 0.89
    assert card["held_out"] == pytest.approx(1 - card["accuracy"], abs=1e-4)


def test_the_shipped_gan_draws_as_well_as_its_card_says(drawn):
    card, (classifier, _) = zoo.card("gan-fashion"), zoo.load("classifier-fashion")
    seen = features(classifier, HELD_OUT)
    found = frechet_distance(features(classifier, drawn), seen)
    assert found == pytest.approx(card["held_out"], rel=0.02)
    assert card["low"] < card["held_out"] < card["high"]
    noise = features(classifier, torch.rand(2000, 1, 28, 28))
    floor = frechet_distance(features(classifier, TRAIN[:2000]), seen)
    assert floor == pytest.approx(card["floor"], rel=0.02)
    assert floor < found < frechet_distance(noise, seen) / 10


@pytest.mark.parametrize("name", RECIPES)
def test_a_shipped_model_is_the_one_that_its_recipe_makes(name):
    (model, tokenizer), card, recipe = zoo.load(name), zoo.card(name), RECIPES[name]
    assert card["recipe"] == name and card["steps"] == recipe.train.steps and tokenizer is None
    task = recipe.prepare()
    assert card["unit"] == task.unit and card["data_sha256"] == task.data_sha256
    made = task.settle(task.model)
    assert card["parameters"] == sum(p.numel() for p in made.parameters())
    assert model.config == made.config
    assert "warnings" not in card


# property


def test_the_shipped_gan_draws_all_kinds_of_clothes_and_copies_none(drawn):
    classifier, _ = zoo.load("classifier-fashion")
    with torch.no_grad():
        kinds = classifier(drawn).argmax(dim=1).bincount(minlength=10)
    assert kinds.min() > 60  # of 200, were all equally many
    card = zoo.card("gan-fashion")
    assert 0.45 < card["nearer_to_training"] < 0.55  # 1 would be copies
    assert card["precision"] > 0.6 and card["recall"] > 0.6


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


def test_a_healthy_game_raises_no_alarm():
    assert warnings_of(SMALL) == []


def test_a_discriminator_that_wins_because_the_generator_stands_still_is_noticed():
    said = warnings_of(SMALL, prepare=lambda gan: gan.generator.requires_grad_(False))
    assert said and said[0][0] <= 100
    assert "the discriminator tells nearly all images right" in said[0][1]
    assert len({text for _, text in said}) == 1  # so that it is recorded once


def test_a_discriminator_that_wins_since_the_minimax_loss_leaves_no_gradient_is_noticed():
    game = replace(SMALL, loss="minimax", cure="none")
    said = warnings_of(game, replace(QUICK, steps=300, lr=0.05, precision="fp32"))
    assert "the discriminator tells nearly all images right" in said[-1][1]


def test_drawings_that_are_all_alike_are_noticed_when_they_stay_so():
    def only_one_drawing(gan):
        with torch.no_grad():
            gan.generator.spread.weight.zero_()  # what it draws does not depend on the latents
        gan.generator.spread.weight.requires_grad_(False)

    said = warnings_of(replace(SMALL, strength=100.0), prepare=only_one_drawing)
    assert said[0][0] == 100 and "the drawings are nearly all alike" in said[0][1]


def test_watching_changes_nothing_in_the_run():
    def trained(watch):
        torch.manual_seed(0)
        gan = GAN(SMALL)
        batches, config = RowBatches([TRAIN], 16), replace(QUICK, steps=20)
        train(gan, batches, gan_loss, config, on_step=lambda step, loss: watch(gan, step) and False)
        return gan.state_dict()

    watched, alone = trained(GameWatch(HELD_OUT, stretch=5)), trained(lambda gan, step: None)
    assert all(torch.equal(watched[name], alone[name]) for name in alone)


# refuses


@pytest.mark.parametrize("name", RECIPES)
def test_a_text_is_refused(name):
    with pytest.raises(ValueError, match="learns from pictures, not from a text"):
        RECIPES[name].prepare("To be, or not to be")


def test_a_game_that_runs_away_is_refused_with_what_to_do():
    game = replace(SMALL, loss="wasserstein", cure="none")
    with pytest.raises(ValueError, match="the loss of step .* is (nan|-?inf).*for a GAN, a cure"):
        warnings_of(game, replace(QUICK, lr=1e30, precision="fp32"))


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
