"""Rules: from a model's logits to the probabilities that the next token is drawn from.

Shapes   B batch, T tokens so far, V vocabulary size
Source   Keskar et al. 2019, arXiv:1909.05858, section 4.1 (repetition penalty); Fan et al. 2018,
         arXiv:1805.04833, section 5.4 (top-k); Holtzman et al. 2020, arXiv:1904.09751, section 3.1
         (nucleus); Hinton et al. 2015, arXiv:1503.02531, eq. 1 (temperature)
Derived  notebooks/09_decoding.ipynb
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Rules:
    """How the next token is chosen; what `decoding.generate` says of its arguments holds here."""

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    repetition_penalty: float = 1.0
    legal: Callable | None = None
    stop: int | None = None
    start: int = 0  # where the prompt ends: a stop token before that does not stop

    @property
    def blind(self) -> bool:
        """Whether the ids so far play no part in the choice."""
        return self.repetition_penalty == 1 and self.legal is None and self.stop is None

    def scores(self, logits: Tensor, text: Tensor) -> Tensor:
        """The logits [B, V] after the ids so far [B, T], as the rules that look at them leave them.

        A row that has stopped can only stop again.
        """
        if self.repetition_penalty != 1:
            logits = penalise(logits, text, self.repetition_penalty)
        return self._restrict(logits, text)

    def log_probabilities(self, logits: Tensor, text: Tensor) -> Tensor:
        """ln p of each next token [B, V]; -inf for those that may not come, and 0 for a stop again.

        What is left is not normalised anew: among legal texts the most probable stays so.
        """
        if self.repetition_penalty != 1:
            logits = penalise(logits, text, self.repetition_penalty)
        return self._restrict(logits.float().log_softmax(dim=-1), text)

    def _restrict(self, values: Tensor, text: Tensor) -> Tensor:
        done = self.finished(text)
        if self.legal is not None:
            values = keep_legal(values, text, self.legal, done)
        if done is not None:
            values = values.masked_fill(done[:, None], -torch.inf)
            values[:, self.stop] = values[:, self.stop].masked_fill(done, 0.0)
        return values

    def finished(self, text: Tensor) -> Tensor | None:
        """Which rows of the ids so far [B, T] have stopped: bool [B], or None if none ever does."""
        return None if self.stop is None else (text[:, self.start :] == self.stop).any(dim=1)

    def all_finished(self, text: Tensor) -> bool:
        """Whether there is nothing left to write."""
        return self.stop is not None and bool(self.finished(text).all())

    def probabilities(self, scores: Tensor) -> Tensor:
        """What `scores` left [..., V], as the distribution that is drawn from [..., V].

        With temperature 0 it is certain of the highest score.
        """
        if self.temperature == 0:
            best = scores.argmax(dim=-1, keepdim=True)
            return torch.zeros_like(scores).scatter_(-1, best, 1.0)
        scores = scores.float() / self.temperature
        if self.top_k is not None:
            scores = keep_top_k(scores, self.top_k)
        if self.top_p is not None:
            scores = keep_nucleus(scores, self.top_p)
        return scores.softmax(dim=-1)

    def choose(self, logits: Tensor, text: Tensor, generator=None) -> Tensor:
        """One token id for each row of logits [B, V] after the ids so far [B, T]; int64 [B]."""
        scores = self.scores(logits, text)
        if self.temperature == 0:
            return scores.argmax(dim=-1)
        return self.probabilities(scores).multinomial(1, generator=generator)[:, 0]


def penalise(logits: Tensor, text: Tensor, penalty: float) -> Tensor:
    """Make what stands in the text [B, T] less likely: [B, V] to [B, V].

    A positive logit is divided by the penalty, a negative one multiplied by it.
    """
    found = logits.gather(-1, text)
    found = torch.where(found > 0, found / penalty, found * penalty)
    return logits.scatter(-1, text, found)


def keep_legal(logits: Tensor, text: Tensor, legal: Callable, done: Tensor | None = None) -> Tensor:
    """-inf for all tokens that may not come next; [B, V] to [B, V].

    Args:
        text: the ids so far, [B, T].
        legal: from the ids of one row, a list, to those that may come next: a list, set or
            tensor of ids, or None if all may.
        done: bool [B], rows that are not asked about, or None.
    Raises: ValueError if nothing may come next, or an id is not in the vocabulary.
    """
    V, drop = logits.shape[-1], torch.zeros_like(logits, dtype=torch.bool)
    for row, ids in enumerate(text.tolist()):
        allowed = None if done is not None and done[row] else legal(ids)
        if allowed is None:
            continue
        allowed = allowed if isinstance(allowed, Tensor) else torch.tensor(list(allowed))
        if allowed.numel() == 0:
            raise ValueError(
                f"no token is legal after {len(ids)} tokens that end in {ids[-3:]}: "
                "let `legal` allow at least one, or end the text with a stop token"
            )
        if allowed.dtype == torch.bool or not 0 <= int(allowed.min()) <= int(allowed.max()) < V:
            raise ValueError(
                f"`legal` gave {allowed.dtype} from {allowed.min()} to {allowed.max()}: "
                f"give token ids from 0 to {V - 1}"
            )
        drop[row] = True
        drop[row, allowed.to(drop.device)] = False
    return logits.masked_fill(drop, -torch.inf)


def keep_top_k(logits: Tensor, top_k: int) -> Tensor:
    """-inf for all but the k most probable tokens, and those as probable as the last; [..., V]."""
    kth = logits.topk(min(top_k, logits.shape[-1]), dim=-1).values[..., -1:]
    return logits.masked_fill(logits < kth, -torch.inf)


def keep_nucleus(logits: Tensor, top_p: float) -> Tensor:
    """-inf for all but the fewest tokens whose probabilities reach top_p; [..., V]."""
    ordered, order = logits.softmax(dim=-1).sort(dim=-1, descending=True)
    before = ordered.cumsum(dim=-1) - ordered  # probability of the tokens ranked higher
    drop = torch.empty_like(before, dtype=torch.bool).scatter_(-1, order, before >= top_p)
    return logits.masked_fill(drop, -torch.inf)


def slots(places, start: int = 0) -> Callable:
    """A `legal` function for a text of fixed form: token start + i must be one of places[i].

    Args:
        places: for each place the ids that may stand there; None: all. Behind the last, all may.
        start: tokens of the prompt, which is not part of the form.
    """
    places = [None if ids is None else torch.as_tensor(list(ids)) for ids in places]

    def legal(ids: list[int]):
        place = len(ids) - start
        return places[place] if 0 <= place < len(places) else None

    return legal
