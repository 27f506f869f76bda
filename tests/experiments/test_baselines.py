"""Tests of mini_models.experiments.baselines: names count whole, and lines learn from words."""

import random

import pytest

from mini_models.data.labelled import Labelled, Tagged
from mini_models.data.person_names import gold, silver
from mini_models.experiments.baselines import entity_scores, linear_tags, linear_text, word_features
from mini_models.experiments.finetuning import CLASSES, TAGS


def tagged(*tags):
    return Tagged(("x",) * len(tags), tags)


# agrees with an independent implementation


def test_whole_names_are_counted_as_by_hand():
    truth = [tagged("B-PER", "I-PER", "O", "B-PER"), tagged("O", "B-PER", "B-PER")]
    given = [("B-PER", "I-PER", "O", "O"), ("B-PER", "I-PER", "B-PER")]
    # right 4: (0-2) (3-4) | (1-2) (2-3); found 3: (0-2) | (0-2) (2-3); both 2
    assert entity_scores(truth, given) == pytest.approx(
        {"precision": 2 / 3, "recall": 2 / 4, "f1": 2 * 2 / (3 + 4)}
    )


def test_whole_names_are_counted_as_in_loops_on_random_tags():
    draw = random.Random(0)
    for _ in range(50):
        truth = [tagged(*draw.choices(TAGS, k=6)) for _ in range(4)]
        given = [tuple(draw.choices(TAGS, k=6)) for _ in truth]
        names = [(s.entities, tagged(*tags).entities) for s, tags in zip(truth, given)]
        both = sum(len(a & b) for a, b in names)
        right, found = (sum(len(pair[i]) for pair in names) for i in (0, 1))
        scores = entity_scores(truth, given)
        assert scores["precision"] == pytest.approx(both / found if found else 0)
        assert scores["recall"] == pytest.approx(both / right if right else 0)
        assert scores["f1"] == pytest.approx(2 * both / (right + found) if right + found else 0)


# properties


def test_without_a_name_on_either_side_nothing_is_found():
    assert entity_scores([tagged("O", "O")], [("O", "O")]) == {"f1": 0, "precision": 0, "recall": 0}


def test_without_capitals_the_features_do_not_depend_on_them():
    words = ["Sweet", "Romeo", "'s", "MAN"]
    small = [word.lower() for word in words]
    assert word_features(words, cased=False) == word_features(small, cased=False)
    assert word_features(words, cased=True) != word_features(small, cased=True)
    assert word_features(words, True)[1]["before"] == "sweet"
    assert [f["first"] for f in word_features(words, True)] == [True, False, False, False]


# learns


def test_a_linear_model_of_words_or_characters_tells_classes_apart():
    train = [Labelled("a fine film", "good"), Labelled("a dull film", "bad")] * 3
    held_out = [Labelled("so fine", "good"), Labelled("so dull", "bad")]
    assert linear_text(train, held_out) == {"accuracy": 1.0}
    assert linear_text(train, held_out, "char") == {"accuracy": 1.0}
    assert set(CLASSES) == {"good", "bad"}


def test_a_linear_model_of_words_needs_capitals_to_find_names():
    few, held_out = silver("train")[:1500], gold()
    cased, lower = (linear_tags(few, held_out, cased)["f1"] for cased in (True, False))
    assert cased > 0.7 and lower < cased - 0.1
