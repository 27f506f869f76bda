"""Task: a recipe made ready, of whatever kind its model is; what a run needs to follow it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from mini_models.train import TrainConfig


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


@dataclass(frozen=True)
class Recipe:
    """How one model is made, of whatever kind."""

    about: str
    task: (
        Callable  # (recipe, seed) -> a Task; where reads_text is set, (recipe, seed, text or None)
    )
    model: Any  # the model's config, but for what follows from the data
    train: TrainConfig
    batch_size: int  # rows a step
    reads_text: bool = False  # whether it can learn from another text than its own
    lines: bool = False  # each line is a text of its own, and the model begins and ends with "\n"

    def prepare(self, text: str | None = None, seed: int = 0) -> Task:
        """A fresh model, what it learns from and what it is measured on.

        Args:
            text: to learn from instead, if the recipe reads texts.
            seed: of the model's first weights and of the order of the batches.
        Raises: ValueError if there is a text that the recipe does not read, or cannot use.
        """
        if text is not None and not self.reads_text:
            raise ValueError("this recipe learns from pictures, not from a text: leave out --text")
        torch.manual_seed(seed)
        return self.task(self, seed, text) if self.reads_text else self.task(self, seed)
