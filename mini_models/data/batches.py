"""Batches: rows of tensors in an order that is drawn, and the same whenever it is drawn again.

`batches[step]` is a pure function of the step, so a training that was stopped goes on exactly.

Shapes   B batch, T context length, N rows
"""

import torch
from torch import Tensor

IGNORED = -100  # a target that no loss counts


def draws(seed: int, step: int) -> torch.Generator:
    """The random numbers of one step of a run."""
    return torch.Generator().manual_seed(seed_of(seed, step))


def seed_of(seed: int, step: int) -> int:
    """One number for a run's seed and a step, so that no two steps of two runs draw the same."""
    return seed * 1_000_003 + step


class Epochs:
    """The numbers 0 … n - 1 in a new order every epoch, so many at a step.

    Args:
        n: how many there are.
        batch_size: B, numbers a step.
        seed: of the orders.
    Raises: ValueError if there is none.
    """

    def __init__(self, n: int, batch_size: int, seed: int = 0):
        if n < 1:
            raise ValueError("there is no row to draw from: give at least one")
        self.n, self.batch_size, self.seed = n, batch_size, seed
        self._latest = {}  # epoch -> its order; a step may end one epoch and begin the next

    def order(self, epoch: int):
        """The order of an epoch, drawn once."""
        if epoch not in self._latest:
            near = {e: order for e, order in self._latest.items() if abs(e - epoch) == 1}
            self._latest = near | {epoch: self.drawn(epoch)}
        return self._latest[epoch]

    def drawn(self, epoch: int) -> Tensor:
        """The order of an epoch, drawn anew: int64 [n]."""
        return torch.randperm(self.n, generator=draws(self.seed, epoch))

    def __getitem__(self, step: int) -> list[int]:
        """The numbers of one step, B of them."""
        rows = range(step * self.batch_size, (step + 1) * self.batch_size)
        return [int(self.order(r // self.n)[r % self.n]) for r in rows]


class TextBatches(Epochs):
    """Random stretches of one long text.

    Every epoch cuts the text into windows, from a new starting point, and takes each of them once.

    Args:
        ids: the text's token ids, a list or int64 [N].
        context_length: T, tokens of input in each row.
        batch_size: B, rows in a batch.
        seed: of the order.
    Raises: ValueError if the text has no more than T tokens.
    """

    def __init__(self, ids, context_length: int, batch_size: int, seed: int = 0):
        self.ids, self.context_length = torch.as_tensor(ids), context_length
        _check_length(self.ids, context_length)
        super().__init__(max((len(self.ids) - 1) // context_length - 1, 1), batch_size, seed)

    def drawn(self, epoch: int) -> Tensor:
        """Where the windows of an epoch start, in the order in which they are taken."""
        draw = draws(self.seed, epoch)
        room = len(self.ids) - self.n * self.context_length  # first starts that fit
        first = int(torch.randint(min(room, self.context_length), (1,), generator=draw))
        return torch.randperm(self.n, generator=draw) * self.context_length + first

    def __getitem__(self, step: int) -> tuple[Tensor, Tensor]:
        """The inputs and targets of one step, each int64 [B, T]."""
        starts = super().__getitem__(step)
        rows = torch.stack([self.ids[s : s + self.context_length + 1] for s in starts])
        return rows[:, :-1], rows[:, 1:]


class RowBatches:
    """Rows of tensors that belong together, such as images and their classes.

    Every epoch takes each row once.

    Args:
        tensors: one or more, each [N, ...].
        batch_size: B, rows in a batch.
        seed: of the order.
    """

    def __init__(self, tensors, batch_size: int, seed: int = 0):
        self.tensors = tuple(tensors)
        self.rows = Epochs(len(self.tensors[0]), batch_size, seed)

    def __getitem__(self, step: int) -> tuple[Tensor, ...]:
        """The rows of one step, [B, ...] of each tensor."""
        return tuple(t[self.rows[step]] for t in self.tensors)


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
