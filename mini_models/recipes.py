"""Recipes: named training runs; `zoo` has what some of them made.

`python -m mini_models train NAME` follows one of them. Whatever it makes, a recipe says what it is
`about` and how to `train`, in batches of `batch_size` rows;
its `prepare(text, seed)` gives a `Task`.
"""

from mini_models import (
    bert_recipes,
    clip_recipes,
    dalle_recipes,
    image_recipes,
    shapes_recipes,
    text_recipes,
)

RECIPES = {
    **text_recipes.RECIPES,
    **bert_recipes.RECIPES,
    **image_recipes.RECIPES,
    **shapes_recipes.RECIPES,
    **dalle_recipes.RECIPES,
    **clip_recipes.RECIPES,
}


def get(name: str):
    """The recipe of that name. Raises ValueError if there is none."""
    if name not in RECIPES:
        raise ValueError(f"there is no recipe {name!r}: choose one of {', '.join(RECIPES)}")
    return RECIPES[name]
