"""Image recipes: named training runs of models that see or draw pictures."""

RECIPES = {}
