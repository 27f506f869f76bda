"""Tests of mini_models.recipes: one list of all that can be trained."""

import pytest

from mini_models import (
    bert_recipes,
    clip_recipes,
    dalle_recipes,
    image_recipes,
    recipes,
    shapes_recipes,
    text_recipes,
)

KINDS = (
    bert_recipes,
    text_recipes,
    image_recipes,
    shapes_recipes,
    dalle_recipes,
    clip_recipes,
)


def test_every_recipe_of_every_kind_is_found_by_its_name():
    for kind in KINDS:
        for name, recipe in kind.RECIPES.items():
            assert recipes.get(name) is recipe
            assert recipe.about and recipe.batch_size > 0 and recipe.train.steps > 0
    assert len(recipes.RECIPES) == sum(len(kind.RECIPES) for kind in KINDS)


def test_an_unknown_recipe_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="'gpt-5': choose one of gpt-shakespeare, "):
        recipes.get("gpt-5")
