"""Tests of mini_models.clip_recipes: the pairs to train on, the galleries, what was trained."""

import random
from dataclasses import replace

import pytest
import torch

from mini_models import zoo
from mini_models.clip import CLIPConfig
from mini_models.data.emoji import LabelledEmoji, emoji_split
from mini_models.data.shapes import Scene, Thing, parse, scenes
from mini_models.data.shapes.batches import NearPairs, altered, caption_tokenizer, english_tokenizer
from mini_models.recipes.clip import RECIPES
from mini_models.recipes.judges import emoji_gallery, shapes_gallery, told_apart

SMALL = CLIPConfig(width=4, d_model=16, n_heads=2, n_layers=1, d_joint=8)


class Knower:
    """Stands for a model that knows every scene: a vector with one 1 for what is shown or said."""

    def __init__(self, gallery, wrong=()):
        self.gallery, self.wrong = gallery, wrong

    def vectors(self, images=None, ids=None):
        n = len(self.gallery.texts["en"])
        if ids is None:
            return torch.eye(n)[self.gallery.shown]
        where = torch.arange(n)
        for i in self.wrong:
            where[i] = (i + 1) % n
        return torch.eye(n)[where]


def differences(one: Scene, other: Scene) -> int:
    """Sizes, colours, shapes and relations in which two scenes of as many objects differ."""
    options = []
    for things, relation in (
        (other.things, other.relation),
        (other.things[::-1], {"left of": "right of", "above": "below"}.get(other.relation)),
    ):
        count = sum(
            getattr(a, word) != getattr(b, word)
            for a, b in zip(one.things, things, strict=True)
            for word in ("size", "colour", "shape")
        )
        options.append(count + (relation != one.relation))
    return min(options) if one.second else min(options[:1])


# agrees with an independent implementation


@pytest.mark.parametrize("name", ["clip-shapes", "clip-emoji"])
def test_the_shipped_models_find_as_much_as_their_cards_say(name):
    model, tokenizer = zoo.load(name)
    card = zoo.card(name)
    galleries = {
        "clip-shapes": ("held_out", shapes_gallery),
        "clip-emoji": ("drawings", emoji_gallery),
    }
    split, gallery = galleries[name]
    found = gallery(split).recalls(model)
    for key, value in found.items():
        assert value == pytest.approx(card[f"{split}_{key}"], abs=0.02), key
    missed = 1 - (found["en_r1"] + found["zh_r1"]) / 2
    assert missed == pytest.approx(card["held_out"], abs=0.02)
    assert tokenizer.vocab_size == model.config.vocab_size
    assert "warnings" not in card and card["parameters"] < 400_000


def test_one_who_knows_all_finds_all():
    for gallery in (shapes_gallery("seen", 30), emoji_gallery("concepts")):
        assert set(gallery.recalls(Knower(gallery)).values()) == {1.0}
    found = (gallery := shapes_gallery("seen", 30)).recalls(Knower(gallery, wrong=range(6)))
    assert found["en_r1"] == pytest.approx(0.8) and found["en_r5"] == pytest.approx(0.8)
    assert found["en_zh_r1"] == pytest.approx(28 / 30)  # two captions claim the seventh picture


def test_chance_is_one_among_all_but_for_things_drawn_twice():
    assert shapes_gallery("seen", 40).chance(1) == pytest.approx(1 / 40)
    drawings, concepts = emoji_gallery("drawings"), emoji_gallery("concepts")
    assert drawings.chance(5) == pytest.approx(5 / len(drawings.images))
    assert concepts.chance(1) == pytest.approx(1 / len(concepts.texts["en"]))


# properties


def test_half_of_the_pairs_are_nearly_the_other_half():
    images, ids, labels = NearPairs(32)[7]
    assert images.shape == (32, 3, 32, 32) and ids.shape == (32, 19) and labels.shape == (32,)
    said = [parse(caption_tokenizer().decode(row)) for row in ids]
    assert set(said) <= set(scenes("train"))
    for one, other in zip(said[:16], said[16:]):
        assert differences(one, other) == 1
    for label, scene in zip(labels.tolist(), said):
        assert scenes("train")[label] == scene


def test_batches_repeat_and_speak_both_languages():
    for pairs in (NearPairs(16), NearPairs(16, near=False), LabelledEmoji(16)):
        for one, same in zip(pairs[3], pairs[3]):
            assert torch.equal(one, same)
        assert not torch.equal(pairs[3][1], pairs[4][1])
    ids = NearPairs(64)[0][1]
    words = {word for row in ids for word in caption_tokenizer().decode(row)}
    assert {"红", "a"} <= words
    assert not torch.equal(NearPairs(16, seed=1)[0][1], NearPairs(16)[0][1])


def test_the_labels_of_emoji_are_those_of_their_concepts():
    pairs, train = LabelledEmoji(64, seed=3), emoji_split("train")
    names = {}
    for step in range(3):
        rows = pairs.pairs._rows[step][0]
        for row, label in zip(rows.tolist(), pairs[step][2].tolist()):
            assert names.setdefault(label, train.emoji[row]) == train.emoji[row]
    assert len(set(names.values())) == len(names)


def test_an_altered_scene_differs_in_one_thing():
    draws = random.Random(0)
    for scene in random.Random(1).sample(scenes("held_out"), 40) + scenes("held_out")[:16]:
        assert differences(scene, altered(scene, draws)) == 1


def test_galleries_show_nothing_of_training():
    for split in ("seen", "held_out"):
        said = {parse(text) for text in shapes_gallery(split).texts["zh"]}
        assert said <= set(scenes(split)) and len(said) == 500
    train = {e.char for e in emoji_split("train").emoji}
    assert len(train & {e.char for e in emoji_split("concepts").emoji}) == 0


def test_the_recipes_learn_from_training_alone_and_fit_in_the_book():
    for name in ("clip-shapes", "clip-emoji"):
        task = RECIPES[name].prepare()
        assert sum(p.numel() for p in task.model.parameters()) < 400_000
        assert task.tokenizer.vocab_size == task.model.config.vocab_size
        assert task.loss(task.model, task.batches[0]).item() > 3  # a guess is log 128, 4.9


# refuses


def test_an_odd_batch_and_a_text_to_train_on_are_refused():
    with pytest.raises(ValueError, match="a batch of 9 has no halves: give an even number"):
        NearPairs(9)
    with pytest.raises(ValueError, match="learns from pictures, not from a text: leave out --text"):
        RECIPES["clip-shapes"].prepare("a text")


# learns


def test_the_shipped_model_tells_scenes_apart_that_differ_in_one_thing():
    model, tokenizer = zoo.load("clip-shapes")
    assert told_apart(model, "held_out", 200) > 0.95
    assert tokenizer.words == caption_tokenizer().words and len(english_tokenizer().words) < 30
    blank = replace(RECIPES["clip-shapes"], model=SMALL).prepare().model
    assert abs(told_apart(blank.eval(), "held_out", 200) - 0.5) < 0.15


def test_a_thing_alone_is_never_altered_into_two():
    alone = Scene(Thing("small", "red", "ring"))
    assert all(altered(alone, random.Random(i)).second is None for i in range(20))
