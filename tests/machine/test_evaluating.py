"""Tests of mini_models.machine.evaluating: a model that was asked goes on as it was."""

import pytest
import torch
from torch import nn

from mini_models.machine.evaluating import evaluating


def with_dropout():
    return nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5))


# agrees with eval()


def test_within_a_model_computes_what_it_does_in_evaluation_mode():
    model, x = with_dropout(), torch.ones(8, 4)
    with evaluating(model):
        found = model(x)
    assert torch.equal(found, model.eval()(x))


# properties


def test_each_part_comes_back_to_the_mode_that_it_was_in():
    model, other = with_dropout(), with_dropout().eval()
    model[0].eval()  # frozen, within a model that learns
    with evaluating(model, other):
        assert not any(part.training for m in (model, other) for part in m.modules())
    assert [part.training for part in model.modules()] == [True, False, True]
    assert not any(part.training for part in other.modules())


def test_modes_come_back_after_an_error_too():
    model = with_dropout()
    with pytest.raises(KeyboardInterrupt), evaluating(model):
        raise KeyboardInterrupt
    assert all(part.training for part in model.modules())


def test_one_question_within_another_changes_nothing():
    model = with_dropout()
    with evaluating(model):
        with evaluating(model):
            pass
        assert not model.training
    assert model.training
