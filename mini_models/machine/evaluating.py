"""Modes: a model that is asked in the middle of its training goes on as if nothing had been."""

import contextlib

from torch import nn


@contextlib.contextmanager
def evaluating(*models: nn.Module):
    """Within, the models are in evaluation mode; behind it, each of their parts is as it was."""
    before = [(part, part.training) for model in models for part in model.modules()]
    try:
        for model in models:
            model.eval()
        yield
    finally:
        for part, training in before:
            part.training = training
