"""Tests of mini_models.recipes.clip: the pairs are of training alone, and the models small."""

import pytest

from mini_models.recipes.clip import RECIPES

# properties


def test_the_recipes_learn_from_training_alone_and_fit_in_the_book():
    for name in ("clip-shapes", "clip-emoji"):
        task = RECIPES[name].prepare()
        assert sum(p.numel() for p in task.model.parameters()) < 400_000
        assert task.tokenizer.vocab_size == task.model.config.vocab_size
        assert task.loss(task.model, task.batches[0]).item() > 3  # a guess is log 128, 4.9


# refuses


@pytest.mark.parametrize("name", RECIPES)
def test_a_text_to_train_on_is_refused(name):
    with pytest.raises(ValueError, match="learns from pictures, not from a text: leave out --text"):
        RECIPES[name].prepare("a text")
