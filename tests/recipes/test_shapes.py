"""Tests of mini_models.shapes_recipes: what they make, and that a game gone wrong is noticed."""

from dataclasses import replace

import pytest
import torch

from mini_models import zoo
from mini_models.data.shapes import HELD_OUT_PAIRS, caption, captioned, draw, oracle, parse, scenes
from mini_models.recipes.judges import exact_by_split, illustrated, prompts
from mini_models.recipes.shapes import RECIPES
from mini_models.recipes.watches import WON, ShapesWatch
from mini_models.text_to_image_gan import TextToImageConfig, TextToImageGAN

SMALL = TextToImageConfig(latent=8, d_model=16, width=8, eye=8, features=32, average=0.9)


class Copyist:
    """Draws every caption as it should be."""

    def __init__(self, wrong=()):
        self.wrong = wrong

    def draw(self, ids, generator):
        from mini_models.data.shapes.batches import english_tokenizer

        asked = [parse(english_tokenizer().decode(row)) for row in ids]
        return draw([scenes("train")[0] if i in self.wrong else s for i, s in enumerate(asked)],
                    generator)  # fmt: skip


# agrees with an independent implementation


def test_the_shipped_generator_draws_as_well_as_its_card_says():
    painter, _ = zoo.load("gan-shapes")
    card, found = zoo.card("gan-shapes"), exact_by_split(painter)
    for name in ("exact_train", "exact_seen", "exact_held_out"):
        assert found[name] == pytest.approx(card[name], abs=0.01), name
    assert card["held_out"] == pytest.approx(1 - card["exact_held_out"], abs=1e-4)
    assert card["exact_seen"] > 0.3 and "warnings" not in card


def test_one_who_draws_all_captions_right_makes_no_mistake():
    assert exact_by_split(Copyist()) == {
        "held_out": 0.0, "exact_train": 1.0, "exact_seen": 1.0, "exact_held_out": 1.0,
    }  # fmt: skip
    assert exact_by_split(Copyist(range(100)))["held_out"] == pytest.approx(0.1)


# properties


def test_prompts_are_of_their_split_and_always_the_same():
    for split in ("train", "seen", "held_out"):
        said = prompts(split, 100)
        assert said == prompts(split, 100) and {parse(t) for t in said} <= set(scenes(split))
    pairs = [{(t.colour, t.shape) for t in parse(text).things} for text in prompts("held_out", 50)]
    assert all(p & set(HELD_OUT_PAIRS) for p in pairs)


def test_the_recipe_learns_from_scenes_of_training_alone():
    task = RECIPES["gan-shapes"].prepare()
    for row in task.batches[12000][1][:20]:
        assert parse(task.tokenizer.decode(row)) in scenes("train")
    assert task.model.config.vocab_size == task.tokenizer.vocab_size
    kept = task.settle(task.model)
    assert sum(p.numel() for p in kept.parameters()) < 1_000_000


def test_a_game_that_is_over_is_noticed():
    torch.manual_seed(0)
    gan, watch = TextToImageGAN(SMALL), ShapesWatch(captioned("train", 100)[0], stretch=5)
    said = []
    for step, told in enumerate([0.8] * 5 + [WON + 0.01] * 5, 1):
        gan.told = torch.tensor(told)
        said.append(watch(gan, step))
    assert said[:9] == [None] * 9 and "tells nearly all images right" in said[9]


def test_drawings_that_are_all_alike_are_noticed():
    torch.manual_seed(0)
    gan, watch = TextToImageGAN(SMALL), ShapesWatch(captioned("train", 100)[0], stretch=1)
    gan.told = torch.tensor(0.8)
    with torch.no_grad():
        for artist in (gan.generator, gan.average.module):
            artist.paint.layers[-1].weight *= 1000  # so that new networks vary enough
    assert watch(gan, 1) is None and watch(gan, 2) is None
    with torch.no_grad():
        gan.generator.paint.spread.weight.zero_()
    assert watch(gan, 3) is None and "nearly all alike" in watch(gan, 4)


# refuses


def test_a_text_to_train_on_is_refused():
    with pytest.raises(ValueError, match="learns from pictures, not from a text: leave out --text"):
        RECIPES["gan-shapes"].prepare("a text")


# learns


def test_the_shipped_generator_draws_colours_and_shapes_that_never_met():
    painter, _ = zoo.load("gan-shapes")
    said = [caption(s) for s in scenes("held_out") if s.second is None] * 5
    right = oracle.exact_match(illustrated(painter, said), said).float().mean()
    assert right > 0.3
    shuffled = said[1:] + said[:1]
    assert oracle.exact_match(illustrated(painter, said), shuffled).float().mean() < 0.1


def test_other_sizes_may_be_trained():
    assert replace(RECIPES["gan-shapes"], model=SMALL).prepare().model.config == SMALL
