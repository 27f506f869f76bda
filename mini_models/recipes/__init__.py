"""Recipes: named training runs; `zoo` has what some of them made.

`python -m mini_models train NAME` follows one of them.
"""

from mini_models.recipes import bert, clip, dalle, dvae, fashion, gpt, shapes
from mini_models.recipes.task import Recipe

RECIPES = {
    **gpt.RECIPES,
    **bert.RECIPES,
    **fashion.RECIPES,
    **shapes.RECIPES,
    **dvae.RECIPES,
    **dalle.RECIPES,
    **clip.RECIPES,
}


def get(name: str) -> Recipe:
    """The recipe of that name. Raises ValueError if there is none."""
    if name not in RECIPES:
        raise ValueError(f"there is no recipe {name!r}: choose one of {', '.join(RECIPES)}")
    return RECIPES[name]
