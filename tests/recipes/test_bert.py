"""Tests of mini_models.recipes.bert: what is learned from, and what is held out."""

from dataclasses import replace
from functools import partial

import pytest
import torch

from mini_models.bert import BERTConfig
from mini_models.data import IGNORED, split, tang_quatrains
from mini_models.recipes.bert import RECIPES, rows_of_lines
from mini_models.tokenizers import SPECIAL
from mini_models.train import train

PROSE = "\n\n".join(
    f"The {a}{b} sailed at dawn. Nobody saw {b}{a} leave. It carried {b}{a} and salt."
    for a in "abcdefgh" for b in "aeiou"
)  # fmt: skip
VERSES = "\n".join(f"床前明月光，疑是地上霜，第{i}首。" for i in range(40))
TEXTS = {"bert-english": PROSE, "bert-tang": VERSES}


def tiny(name: str):
    """A recipe at a size that is ready in no time."""
    recipe = RECIPES[name]
    model = replace(recipe.model, n_layers=1, n_heads=2, d_model=16)
    return replace(recipe, model=model, batch_size=8)


@pytest.fixture(scope="module")
def tang():
    return RECIPES["bert-tang"].prepare()


# properties


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_follows_a_text_of_ones_own(name):
    task = tiny(name).prepare(TEXTS[name])
    inputs, segments, attend, elsewhere, targets = task.batches[0]
    assert len(inputs) == 8 and inputs.shape == segments.shape == attend.shape == targets.shape
    assert inputs.max() < task.tokenizer.vocab_size == task.model.config.vocab_size
    assert task.tokenizer.tokens[:5] == SPECIAL
    assert (elsewhere == IGNORED).all() == (name == "bert-tang")
    assert set(task.measure(task.model)) >= {"held_out", "accuracy", "top5"}


def test_what_is_measured_on_is_hidden_behind_the_mask_alone(tang):
    (mask,) = tang.tokenizer.encode("[MASK]")
    for inputs, *_, targets in tang.held_out:
        assert (inputs[targets != IGNORED] == mask).all()
    tokens = tang.tokenizer.tokens
    hidden = torch.cat([targets[targets != IGNORED] for *_, targets in tang.held_out])
    assert all(tokens[i].isalnum() for i in hidden.unique().tolist())  # no punctuation


def test_no_line_of_a_held_out_poem_is_learned(tang):
    train_poems, held_out = split(tang_quatrains())
    seen = {line for poem in train_poems for line in poem.lines}
    assert not any(line in seen for poem in held_out for line in poem.lines)
    assert len(tang.batches.batches.tensors[0]) == len(train_poems)
    assert sum(len(batch[0]) for batch in tang.held_out) == len(held_out)


def test_another_seed_hides_other_tokens_and_the_same_seed_the_same():
    first, again, other = (tiny("bert-tang").prepare(VERSES, seed) for seed in (0, 0, 1))
    assert all(map(torch.equal, first.batches[3], again.batches[3]))
    assert not torch.equal(first.batches[3][0], other.batches[3][0])
    assert all(map(torch.equal, first.held_out[0], other.held_out[0]))


def test_from_left_to_right_the_same_tokens_are_hidden_and_none_sees_what_follows():
    recipe = tiny("bert-tang")
    both = recipe.prepare(VERSES)
    left = replace(recipe, task=partial(recipe.task, left_to_right=True)).prepare(VERSES)
    for a, b in ((both.batches[0], left.batches[0]), (both.held_out[0], left.held_out[0])):
        assert torch.equal(a[0], b[0]) and torch.equal(a[-1], b[-1])
        assert b[2].ndim == 3 and not b[2].triu(1).any()


# refuses


def test_a_line_that_does_not_fit_is_named_by_its_row(tang):
    with pytest.raises(ValueError, match="row 2: '月月.* has 42 tokens .* but the context 34"):
        rows_of_lines(["明月", "月" * 40], tang.tokenizer, 34)


def test_documents_that_all_say_the_same_leave_nothing_to_learn():
    with pytest.raises(ValueError, match="of 27 documents nothing is left to learn from, since"):
        RECIPES["bert-english"].prepare("One ship. One sea.\n\n" * 30)


# learns


def test_a_tiny_recipe_learns_what_always_stands_there():
    recipe = tiny("bert-tang")
    model = replace(recipe.model, d_model=32)
    task = replace(recipe, model=model).prepare(VERSES)
    assert isinstance(task.model.config, BERTConfig)
    before = task.measure(task.model)["accuracy"]
    train(task.model, task.batches, task.loss, replace(recipe.train, steps=150, warmup=10))
    assert before < 0.3 < 0.7 < task.measure(task.model)["accuracy"]
