"""Data: the texts and pictures that the book is trained on, their splits, and batches of them.

Shapes   B batch, T context length
Source   mini_models/corpora/README.md: where each text comes from, and its licence
"""

import lzma
import random
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from mini_models.documents import documents, split_documents  # noqa: F401 (all data is found here)
from mini_models.emoji import emoji, emoji_split  # noqa: F401 (all data is found here)
from mini_models.fashion import fashion_mnist  # noqa: F401 (all data is found here)
from mini_models.masking import IGNORED
from mini_models.shapes_data import ShapesBatches, shapes  # noqa: F401 (all data is found here)

CORPORA = Path(__file__).parent / "corpora"


@cache
def shakespeare() -> str:
    """Nine plays, speaker's name before each speech: 1,165,338 characters, 65 different ones."""
    return _read("shakespeare.txt.xz")


@cache
def other_plays() -> str:
    """25 more plays by Shakespeare in the same layout, for training only: 2,989,446 characters."""
    return _read("shakespeare_more.txt.xz")


@dataclass(frozen=True)
class Poem:
    """A Tang quatrain: four lines of five or seven characters each."""

    form: str  # 五绝: lines of five characters, 七绝: of seven
    title: str
    author: str
    text: str  # with punctuation, on one line

    @property
    def lines(self) -> list[str]:
        """The four lines, without punctuation."""
        return re.findall(r"[^，。？！；：、\s]+", self.text)


@cache
def tang_quatrains() -> tuple[Poem, ...]:
    """13,884 quatrains of the Complete Tang Poems, in simplified characters."""
    rows = _read("tang_quatrains.tsv.xz").splitlines()
    return tuple(Poem(*row.split("\t")) for row in rows)


def _read(name: str) -> str:
    return lzma.decompress((CORPORA / name).read_bytes()).decode()


def split(text, held_out: float = 0.1):
    """Cut what is only for measuring from what is trained on; the same cut every time.

    Args:
        text: a str, whose last part is held out, so that no sentence is on both sides; or a
            sequence of `Poem`, shuffled first. A training poem that shares a line with a held-out
            one is left out: the collection holds variants of the same poem.
        held_out: the share to hold out, between 0 and 1.
    Returns: (train, held_out), two strings or two lists.
    Raises: ValueError if the share is not between 0 and 1.
    """
    if not 0 < held_out < 1:
        raise ValueError(f"held_out is {held_out}: give a share between 0 and 1, such as 0.1")
    n = int(len(text) * held_out)
    if isinstance(text, str):
        return text[: len(text) - n], text[len(text) - n :]
    poems = list(text)
    random.Random(0).shuffle(poems)
    held = {line for poem in poems[:n] for line in poem.lines}
    return [p for p in poems[n:] if held.isdisjoint(p.lines)], poems[:n]


class TextBatches:
    """Random stretches of one long text; `batches[step]` is always the same for the same step.

    Every epoch cuts the text into windows, from a new starting point, and takes each of them once.

    Args:
        ids: the text's token ids, a list or int64 [N].
        context_length: T, tokens of input in each row.
        batch_size: B, rows in a batch.
        seed: of the order.
    Raises: ValueError if the text has no more than T tokens.
    """

    def __init__(self, ids, context_length: int, batch_size: int, seed: int = 0):
        self.ids = torch.as_tensor(ids)
        _check_length(self.ids, context_length)
        self.context_length, self.batch_size, self.seed = context_length, batch_size, seed
        self.n_windows = max((len(self.ids) - 1) // context_length - 1, 1)
        self._starts = cache(self._starts_of_epoch)

    def _starts_of_epoch(self, epoch: int) -> Tensor:
        draw = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
        room = len(self.ids) - self.n_windows * self.context_length  # first starts that fit
        first = int(torch.randint(min(room, self.context_length), (1,), generator=draw))
        return torch.randperm(self.n_windows, generator=draw) * self.context_length + first

    def __getitem__(self, step: int) -> tuple[Tensor, Tensor]:
        """The inputs and targets of one step, each int64 [B, T]."""
        rows = range(step * self.batch_size, (step + 1) * self.batch_size)
        starts = [int(self._starts(r // self.n_windows)[r % self.n_windows]) for r in rows]
        rows = torch.stack([self.ids[s : s + self.context_length + 1] for s in starts])
        return rows[:, :-1], rows[:, 1:]


class RowBatches:
    """Rows of tensors that belong together, such as images and their classes.

    `batches[step]` is a pure function of the step, as in `TextBatches`; every epoch takes each row
    once.

    Args:
        tensors: one or more, each [N, ...].
        batch_size: B, rows in a batch.
        seed: of the order.
    """

    def __init__(self, tensors, batch_size: int, seed: int = 0):
        self.tensors, self.batch_size, self.seed = tuple(tensors), batch_size, seed
        self._order = cache(self._order_of_epoch)

    def _order_of_epoch(self, epoch: int) -> Tensor:
        draw = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
        return torch.randperm(len(self.tensors[0]), generator=draw)

    def __getitem__(self, step: int) -> tuple[Tensor, ...]:
        """The rows of one step, [B, ...] of each tensor."""
        n = len(self.tensors[0])
        rows = range(step * self.batch_size, (step + 1) * self.batch_size)
        rows = torch.tensor([int(self._order(r // n)[r % n]) for r in rows])
        return tuple(t[rows] for t in self.tensors)


class SequenceBatches(RowBatches):
    """Whole short sequences, such as poems, each a row of its own; every epoch takes each once.

    A step gives inputs and targets, each int64 [B, T]. A row of n tokens gives n - 1 inputs;
    behind them the inputs are 0 and the targets -100, up to the longest sequence.
    """

    def __init__(self, sequences, batch_size: int, seed: int = 0):
        super().__init__(pad(sequences), batch_size, seed)  # [N, T] each


def pad(sequences) -> tuple[Tensor, Tensor]:
    """Sequences of ids as inputs and targets [N, T], padded with 0 and -100 behind their end.

    Raises: ValueError if there are none, or one has fewer than two tokens.
    """
    shortest = min(map(len, sequences), default=0)
    if shortest < 2:
        raise ValueError(
            f"{len(sequences)} sequences, the shortest of {shortest} tokens: "
            "give at least one, each of two tokens or more"
        )
    T = max(map(len, sequences)) - 1
    inputs = torch.zeros(len(sequences), T, dtype=torch.long)
    targets = torch.full((len(sequences), T), IGNORED)
    for row, ids in enumerate(sequences):
        inputs[row, : len(ids) - 1] = torch.as_tensor(ids[:-1])
        targets[row, : len(ids) - 1] = torch.as_tensor(ids[1:])
    return inputs, targets


def windows(ids, context_length: int, batch_size: int = 64) -> list[tuple[Tensor, Tensor]]:
    """A text as batches of windows that do not overlap, for measuring: every token counts once.

    Returns: a list of (inputs, targets), each int64 [up to B, T], and last the shorter rest. The
        first token of the text is only an input.
    Raises: ValueError if there are fewer than two tokens.
    """
    ids = torch.as_tensor(ids)
    _check_length(ids, 1)
    T = context_length
    n = (len(ids) - 1) // T
    inputs, targets = ids[: n * T].view(n, T), ids[1 : n * T + 1].view(n, T)
    batches = list(zip(inputs.split(batch_size), targets.split(batch_size))) if n else []
    rest = ids[n * T :]
    return batches + ([(rest[None, :-1], rest[None, 1:])] if len(rest) > 1 else [])


def _check_length(ids: Tensor, context_length: int) -> None:
    if len(ids) <= context_length:
        raise ValueError(
            f"the text has {len(ids)} tokens: a context of {context_length} "
            f"needs at least {context_length + 1}"
        )
