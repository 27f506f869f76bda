"""Tests of mini_models.recipes.clip: the pairs are of training alone, and the models small."""

from mini_models.recipes.clip import RECIPES

# properties


def test_the_recipes_learn_from_training_alone_and_fit_in_the_book():
    for name in ("clip-shapes", "clip-emoji"):
        task = RECIPES[name].prepare()
        assert sum(p.numel() for p in task.model.parameters()) < 400_000
        assert task.tokenizer.vocab_size == task.model.config.vocab_size
        assert task.loss(task.model, task.batches[0]).item() > 3  # a guess is log 128, 4.9
