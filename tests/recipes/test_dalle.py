"""Tests of mini_models.recipes.dalle: a decoder in the words of a shipped dVAE."""

import pytest
import torch

from mini_models import zoo
from mini_models.data.shapes import parse, scenes
from mini_models.recipes.dalle import RECIPES

# properties


def test_recipes_of_shapes_learn_from_scenes_of_training_alone():
    task = RECIPES["dalle-shapes"].prepare()
    assert {parse(task.tokenizer.decode(row)) for row in task.batches[900][1]} <= set(
        scenes("train")
    )
    shipped = zoo.load("dvae-shapes")[0].state_dict()
    assert all(torch.equal(v, shipped[k]) for k, v in task.model.dvae.state_dict().items())
    assert not any(p.requires_grad for p in task.model.dvae.parameters())


# refuses


def test_a_text_to_train_on_is_refused():
    with pytest.raises(ValueError, match="learns from pictures, not from a text"):
        RECIPES["dalle-emoji"].prepare("some text")
