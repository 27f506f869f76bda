"""Tests of mini_models.recipes: one list of all that can be trained."""

import pytest

from mini_models import recipes
from mini_models.recipes import bert, clip, dalle, dvae, fashion, gpt, shapes

KINDS = (bert, gpt, fashion, shapes, dvae, dalle, clip)


# properties


def test_every_recipe_of_every_kind_is_found_by_its_name():
    for kind in KINDS:
        for name, recipe in kind.RECIPES.items():
            assert recipes.get(name) is recipe
            assert recipe.about and recipe.batch_size > 0 and recipe.train.steps > 0
    assert len(recipes.RECIPES) == sum(len(kind.RECIPES) for kind in KINDS)


def test_an_unknown_recipe_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="'gpt-5': choose one of gpt-shakespeare, "):
        recipes.get("gpt-5")
