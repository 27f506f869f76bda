"""Task: a recipe made ready, of whatever kind its model is; what a run needs to follow it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn


@dataclass(frozen=True)
class Task:
    """A fresh model, what it learns from, and how it is judged."""

    model: nn.Module  # with its `config`
    batches: Any  # `batches[step]` is the batch of a step, for `train`
    loss: Callable  # (model, batch) -> the scalar to make small
    measure: Callable  # (model) -> {"held_out": float, ...}, figures for the card
    unit: str  # of held_out, as the card says it
    data_sha256: str  # of all that it learns from and is measured on
    tokenizer: Any = None  # of the model's texts, if it has any
    held_out: Any = None  # batches to measure on, where `measure` needs no more than them
    row: int = 1  # what a row of a batch holds, to count the speed in
    item: str = "tokens"
    settle: Callable = lambda model: model  # the trained model -> the one to keep
    watch: Callable | None = None  # (model, step) -> a warning to show and to record, or None
