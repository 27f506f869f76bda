"""Tests of mini_models.data.shapes.grammar: a scene and its captions say the same."""

import hashlib
from collections import Counter

import pytest

from mini_models.data.shapes import (
    COLOURS,
    HELD_OUT_PAIRS,
    RELATIONS,
    SHAPES,
    SIZES,
    SPLITS,
    Scene,
    Thing,
    caption,
    parse,
    scenes,
)
from mini_models.data.shapes.batches import caption_tokenizer
from mini_models.data.shapes.grammar import IN_CHINESE, TURNED

EVERYTHING = [scene for split in SPLITS for scene in scenes(split)]
SPOKEN = [(language, turned) for language in ("en", "zh") for turned in (False, True)]
RED, BLUE = Thing("small", "red", "circle"), Thing("large", "blue", "square")


def words_of(text):
    return text.split() if text.isascii() else list(text)


def every(scene):
    return {caption(scene, language, turned) for language, turned in SPOKEN}


# agrees with an independent implementation


def test_every_caption_is_read_back_in_both_languages_and_from_both_objects():
    for scene in EVERYTHING:
        assert all(parse(text) == scene for text in every(scene))


def test_the_captions_are_those_that_a_person_would_write():
    scene = Scene(BLUE, "left of", RED)
    assert caption(Scene(RED)) == "a small red circle"
    assert caption(scene) == "a large blue square left of a small red circle"
    assert caption(scene, turned=True) == "a small red circle right of a large blue square"
    assert caption(scene, "zh") == "一个蓝色大方形在一个红色小圆形左边"
    assert caption(scene, "zh", turned=True) == "一个红色小圆形在一个蓝色大方形右边"
    assert parse("A small red circle  BELOW a large blue square") == Scene(BLUE, "above", RED)


# properties


@pytest.mark.parametrize("stored, said", TURNED.items())
def test_scenes_that_look_the_same_are_equal(stored, said):
    one, other = Scene(RED, said, BLUE), Scene(BLUE, stored, RED)
    assert one == other and hash(one) == hash(other) and one.relation == stored
    assert one != Scene(RED, stored, BLUE)
    assert caption(one, turned=True) == f"a small red circle {said} a large blue square"


def test_there_are_as_many_scenes_as_the_grammar_has():
    things = len(SIZES) * len(COLOURS) * len(SHAPES)
    assert len(EVERYTHING) == len(set(EVERYTHING)) == things + len(RELATIONS) * things**2
    assert len(set().union(*map(every, EVERYTHING))) == 2 * things + 4 * len(RELATIONS) * things**2


def test_no_caption_is_in_two_splits_and_every_word_is_in_training():
    texts = {split: set().union(*map(every, scenes(split))) for split in SPLITS}
    train, seen, held_out = texts.values()
    assert not train & seen and not train & held_out and not seen & held_out
    words = {w for text in train for w in words_of(text)}
    assert {w for text in seen | held_out for w in words_of(text)} <= words
    assert words == set(caption_tokenizer().words)
    assert all(set(zh) <= words for zh in IN_CHINESE.values())


def test_what_is_held_out_is_one_shape_of_each_colour_and_every_scene_with_it():
    assert sorted(c for c, _ in HELD_OUT_PAIRS) == sorted(COLOURS)
    assert set(Counter(s for _, s in HELD_OUT_PAIRS).values()) == {1, 2}
    assert {s for _, s in HELD_OUT_PAIRS} == set(SHAPES)
    for split in SPLITS:
        for scene in scenes(split):
            held = [(t.colour, t.shape) in HELD_OUT_PAIRS for t in scene.things]
            assert any(held) == (split == "held_out")
    trained = {(t.colour, t.shape) for scene in scenes("train") for t in scene.things}
    assert len(trained) == 48 - 8  # all others


def test_a_tenth_of_the_scenes_that_could_be_trained_on_is_not():
    for n in (1, 2):
        train, seen = (
            sum(len(s.things) == n for s in scenes(split)) for split in ("train", "seen")
        )
        assert 0.08 < seen / (train + seen) < 0.12


def test_the_splits_are_those_on_which_the_models_of_the_book_were_trained():
    text = "\n".join(caption(scene) for split in SPLITS for scene in scenes(split))
    assert hashlib.sha256(text.encode()).hexdigest().startswith("2c2c6bf96e839493")


# refuses


@pytest.mark.parametrize(
    "thing, said",
    [
        (("tiny", "red", "circle"), "'tiny' is not a size: choose one of small, large"),
        (("small", "brown", "circle"), "'brown' is not a colour: choose one of red, orange"),
        (("small", "red", "star"), "'star' is not a shape: choose one of circle, square"),
    ],
)
def test_a_thing_that_the_grammar_lacks_is_refused(thing, said):
    with pytest.raises(ValueError, match=said):
        Thing(*thing)


def test_half_a_scene_and_an_unknown_relation_are_refused():
    with pytest.raises(ValueError, match="the relation is 'left of' and the second object None"):
        Scene(RED, "left of")
    with pytest.raises(ValueError, match="the relation is None .* give both or neither"):
        Scene(RED, None, BLUE)
    with pytest.raises(ValueError, match="'near' is not a relation: choose one of left of, above"):
        Scene(RED, "near", BLUE)


@pytest.mark.parametrize(
    "text",
    ["", "a cat", "small red circle", "a red small circle", "a small red circle left of", "一只猫"]
    + ["a small red circle and a large blue square", "一个红色小圆形在一个蓝色大方形"],
)
def test_a_text_that_is_no_caption_is_refused(text):
    with pytest.raises(ValueError, match=f"'{text}' is no caption: say it as 'a small red circle'"):
        parse(text)


def test_other_splits_and_languages_are_refused():
    with pytest.raises(ValueError, match="'test' is not a split: choose one of train, seen, held"):
        scenes("test")
    with pytest.raises(ValueError, match="'fr' is not a language of the captions: choose en or zh"):
        caption(Scene(RED), "fr")
