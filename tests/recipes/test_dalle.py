"""Tests of mini_models.dalle_recipes: what they make, and what the shipped models can do."""

import math

import pytest
import torch

from mini_models import zoo
from mini_models.data.emoji import EmojiBatches, emoji_split
from mini_models.data.shapes import captioned, oracle, parse, scenes
from mini_models.dvae import DVAE, DVAEConfig
from mini_models.recipes.dalle import RECIPES
from mini_models.recipes.dvae import WithStep
from mini_models.recipes.judges import (
    codebook_use,
    illustrated,
    image_nats,
    nearest_in_training,
    prompts,
    through,
)
from mini_models.recipes.watches import CodebookWatch


@pytest.fixture(scope="module")
def artist():
    return zoo.load("dalle-emoji")[0]


# agrees with an independent implementation


def test_the_loss_of_image_tokens_is_that_of_one_picture_at_a_time(artist, monkeypatch):
    few = emoji_split("drawings").only(range(3))
    monkeypatch.setattr("mini_models.dalle_recipes.emoji_split", lambda split: few)
    tokenizer = zoo.load("dalle-emoji")[1]
    nats = []
    for image, one in zip(few.floats(), few.emoji):
        for name in (one.en.lower(), one.zh):
            ids = tokenizer.encode_batch([name], artist.config.text_length)
            words = artist.dvae.encode(image[None]).flatten(1)
            stream = artist.decoder.stream(ids, words)
            with torch.no_grad():
                odds = artist.decoder(stream[:, :-1]).log_softmax(dim=-1)[0]
            taken = odds.gather(1, stream[0, 1:, None])[artist.config.text_length :]
            nats.append(-float(taken.mean()))
    assert image_nats(artist, "drawings") == pytest.approx(sum(nats) / 6, abs=1e-4)


def test_the_nearest_picture_is_that_of_a_slow_search():
    known = emoji_split("train").floats()
    asked = emoji_split("concepts").floats()[:2]
    best = []
    for image in asked:
        tries = []
        for move in [(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1)]:
            tries.append((known - image.roll(move, (1, 2))).square().sum(dim=(1, 2, 3)))
        best.append(int(torch.stack(tries).amin(dim=0).argmin()))
    assert torch.equal(nearest_in_training(asked)[0], known[best])


# properties


def test_a_moved_copy_of_a_training_picture_is_found():
    known = emoji_split("train")
    copies = torch.stack([known.floats()[700], known.floats()[40].roll(1, 1)])
    pictures, named = nearest_in_training(copies)
    assert torch.equal(pictures, known.floats()[[700, 40]])
    assert named == [known.emoji[700], known.emoji[40]]


def test_a_dvae_learns_from_pictures_of_training_and_is_told_the_step():
    images, step = WithStep(EmojiBatches(4))[37]
    assert images.shape == (4, 3, 32, 32) and step.tolist() == [37.0] * 4


def test_recipes_of_shapes_learn_from_scenes_of_training_alone():
    task = RECIPES["dalle-shapes"].prepare()
    assert {parse(task.tokenizer.decode(row)) for row in task.batches[900][1]} <= set(
        scenes("train")
    )
    shipped = zoo.load("dvae-shapes")[0].state_dict()
    assert all(torch.equal(v, shipped[k]) for k, v in task.model.dvae.state_dict().items())
    assert not any(p.requires_grad for p in task.model.dvae.parameters())


@pytest.mark.parametrize("name", ["dvae-shapes", "dvae-emoji", "dalle-shapes", "dalle-emoji"])
def test_what_is_shipped_is_small_and_was_made_in_half_an_hour(name):
    card = zoo.card(name)
    assert card["parameters"] <= 5_000_000
    # they were trained on one core, beside other work: half an hour of two cores at most
    assert card.get("cpu_seconds", card["seconds"]) <= 2 * 1800
    assert card["steps"] == RECIPES[name].train.steps and "warnings" not in card
    assert zoo.load(name)[0].config == RECIPES[name].prepare().model.config


def test_a_codebook_that_collapsed_is_noticed_and_the_shipped_one_is_not():
    images = captioned("train", 30)[0]
    flat, watch = DVAE(DVAEConfig(codes=16, width=8)), CodebookWatch(images, every=5)
    torch.nn.init.zeros_(flat.choose.weight)
    said = [watch(flat, step) for step in range(1, 11)]
    assert said[:9] == [None] * 9 and "16 words have a perplexity of 1.0" in said[9]
    watch, good = CodebookWatch(images, every=5), zoo.load("dvae-shapes")[0]
    assert [watch(good, step) for step in range(1, 16)] == [None] * 15


# refuses


def test_a_text_to_train_on_is_refused():
    with pytest.raises(ValueError, match="learns from pictures, not from a text"):
        RECIPES["dalle-emoji"].prepare("some text")


# what the shipped models can do


def test_the_oracle_reads_what_the_shipped_dvae_paints():
    model = zoo.load("dvae-shapes")[0]
    for split in ("train", "seen", "held_out"):
        images, captions = captioned(split, 400, seed=11)
        read = oracle.exact_match(through(model, images)[0], captions).float().mean()
        assert read >= 0.97, f"{split}: {read:.3f}"  # the card has more pictures, and 0.98
    assert codebook_use(model, images)["words_used"] > 500


def test_the_shipped_dalle_draws_what_captions_say():
    painter = zoo.load("dalle-shapes")[0]
    for split, least in (("seen", 0.92), ("held_out", 0.78)):  # 200 captions: a band around
        said = prompts(split, 200)  # what the card says of 1,000
        assert oracle.exact_match(illustrated(painter, said), said).float().mean() > least
    card = zoo.card("dalle-shapes")
    assert card["exact_seen"] >= 0.95 and card["exact_held_out"] >= 0.80


def test_the_shipped_emoji_model_has_read_its_captions_in_both_languages(artist):
    tokenizer, pictures = zoo.load("dalle-emoji")[1], emoji_split("drawings").only(range(60))
    images = pictures.floats()
    for language in ("en", "zh"):
        said = [getattr(e, language).lower() for e in pictures.emoji]
        ids = tokenizer.encode_batch(said, artist.config.text_length)
        with torch.no_grad():
            right = float(artist(images, ids)[1])
            wrong = float(artist(images, ids.roll(7, 0))[1])
        assert right < wrong - 0.1, (language, right, wrong)
    assert right < math.log(artist.config.image_vocab_size)
