"""Tests of mini_models.recipes.task: a recipe prepares what its task function is asked for."""

from dataclasses import FrozenInstanceError, fields, replace

import pytest
import torch
from torch import nn

from mini_models.recipes.task import Recipe, Task
from mini_models.train import TrainConfig


def line_task(recipe, seed, text=None):
    """A straight line that learns nothing; its unit says what it was asked for."""
    unit = f"seed {seed}, {text}"
    return Task(nn.Linear(recipe.model, 1), [], None, lambda model: {"held_out": 1.0}, unit, "0")


DRAWS = Recipe("draws a line", line_task, 3, TrainConfig(steps=2), batch_size=4)
READS = replace(DRAWS, reads_text=True)

# agrees with torch


def test_the_first_weights_are_those_that_torch_draws_from_the_seed():
    for seed in (0, 7):
        torch.manual_seed(seed)
        expected = nn.Linear(3, 1).weight
        torch.manual_seed(99)
        assert torch.equal(DRAWS.prepare(seed=seed).model.weight, expected)


# properties


def test_a_text_is_handed_to_recipes_that_read_one():
    assert DRAWS.prepare(seed=2).unit == "seed 2, None"
    assert READS.prepare().unit == "seed 0, None"
    assert READS.prepare("a text", seed=5).unit == "seed 5, a text"


def test_what_is_not_said_of_a_task_is_the_plainest():
    task = DRAWS.prepare()
    assert task.settle(task.model) is task.model and task.watch is None
    assert (task.tokenizer, task.held_out, task.row, task.item) == (None, None, 1, "tokens")


def test_a_recipe_cannot_be_changed_by_mistake_but_copied_with_changes():
    with pytest.raises(FrozenInstanceError):
        DRAWS.batch_size = 5
    other = replace(DRAWS, model=5)
    assert other.prepare().model.in_features == 5 and DRAWS.prepare().model.in_features == 3
    assert {f.name for f in fields(Recipe)} >= {"about", "task", "model", "train", "batch_size"}


# refuses


def test_a_text_for_a_recipe_that_reads_none_is_refused():
    said = "learns from pictures, not from a text: leave out --text"
    for text in ("a text", ""):
        with pytest.raises(ValueError, match=said):
            DRAWS.prepare(text)
