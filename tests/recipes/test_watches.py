"""Tests of mini_models.recipes.watches: what goes wrong while training is noticed, and no more."""

from dataclasses import replace

import torch

from mini_models.data import RowBatches, fashion_mnist
from mini_models.data.shapes import captioned
from mini_models.dvae import DVAE, DVAEConfig
from mini_models.gan import GAN, GANConfig, gan_loss
from mini_models.recipes.watches import WON, CodebookWatch, GameWatch, ShapesWatch
from mini_models.text_to_image_gan import TextToImageConfig, TextToImageGAN
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


READING = TextToImageConfig(latent=8, d_model=16, width=8, eye=8, features=32, average=0.9)


class Fixed:
    """What CodebookWatch asks of a model: its words are those it was given."""

    def __init__(self, ids):
        self.ids, self.config = ids, DVAEConfig(codes=16)

    def parameters(self):
        return iter([torch.zeros(1)])

    def encode(self, images):
        return self.ids


# properties


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


def test_a_game_that_is_over_is_noticed():
    torch.manual_seed(0)
    gan, watch = TextToImageGAN(READING), ShapesWatch(captioned("train", 100)[0], stretch=5)
    said = []
    for step, told in enumerate([0.8] * 5 + [WON + 0.01] * 5, 1):
        gan.told = torch.tensor(told)
        said.append(watch(gan, step))
    assert said[:9] == [None] * 9 and "tells nearly all images right" in said[9]


def test_drawings_that_are_all_alike_are_noticed():
    torch.manual_seed(0)
    gan, watch = TextToImageGAN(READING), ShapesWatch(captioned("train", 100)[0], stretch=1)
    gan.told = torch.tensor(0.8)
    with torch.no_grad():
        for artist in (gan.generator, gan.average.module):
            artist.paint.layers[-1].weight *= 1000  # so that new networks vary enough
    assert watch(gan, 1) is None and watch(gan, 2) is None
    with torch.no_grad():
        gan.generator.paint.spread.weight.zero_()
    assert watch(gan, 3) is None and "nearly all alike" in watch(gan, 4)


def test_a_codebook_that_collapsed_is_noticed():
    images = captioned("train", 30)[0]
    flat, watch = DVAE(DVAEConfig(codes=16, width=8)), CodebookWatch(images, every=5)
    torch.nn.init.zeros_(flat.choose.weight)
    said = [watch(flat, step) for step in range(1, 11)]
    assert said[:9] == [None] * 9 and "16 words have a perplexity of 1.0" in said[9]


# notices


def test_a_collapsed_codebook_is_said_at_the_second_look_and_once():
    watch, mute = CodebookWatch(torch.zeros(1), every=10), Fixed(torch.full((4, 8, 8), 3))
    assert [watch(mute, step) for step in (1, 9, 10, 11)] == [None] * 4
    said = watch(mute, 20)
    assert "its 16 words have a perplexity of 1.0; begin anew" in said
    assert said.endswith("from the words of k-means (DVAE.begin), or with a larger kl_weight")
    assert watch(mute, 30) is None


def test_a_codebook_that_recovers_is_not_said_to_have_collapsed():
    watch, mute = CodebookWatch(torch.zeros(1), every=10), Fixed(torch.full((4, 8, 8), 3))
    speaks = Fixed(torch.arange(256).view(4, 8, 8) % 16)
    looks = [mute, speaks, mute, speaks]
    assert [watch(model, 10 * i) for i, model in enumerate(looks, 1)] == [None] * 4
