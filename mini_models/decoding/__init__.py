"""Decoding: from the probabilities of each next token to a text."""

from mini_models.decoding.loop import Reader, generate
