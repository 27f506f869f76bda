"""Masking: hide some tokens of a text, so that a model can learn to restore them.

Shapes   B batch, T positions
Source   Devlin et al. 2019, arXiv:1810.04805, section 3.1, task 1, and appendix A.1
Derived  notebooks/06_bert.ipynb
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from mini_models.attention import causal_mask
from mini_models.data.batches import IGNORED, draws
from mini_models.tokenizers.wordpiece import MASK, SPECIAL


@dataclass(frozen=True)
class Masking:
    """How much is hidden and how; the defaults are BERT's."""

    rate: float = 0.15  # share of the tokens that must be predicted
    masked: float = 0.8  # share of these that become [MASK]
    random: float = 0.1  # share of these that become any token; the others stay as they are

    def __post_init__(self):
        parts = (self.rate, self.masked, self.random, 1 - self.masked - self.random)
        if min(parts) < -1e-9 or self.rate > 1:
            raise ValueError(
                f"rate {self.rate}, masked {self.masked} and random {self.random} are not shares: "
                "give numbers from 0 to 1, the last two with a sum of at most 1"
            )


def ordinary_ids(tokenizer, punctuation: bool = True) -> Tensor:
    """The ids of a `WordPiece` that may be hidden, int64: all but special tokens, and without
    `punctuation` only those of letters, digits and Chinese characters."""
    tokens = enumerate(tokenizer.tokens)
    return torch.tensor(
        [i for i, t in tokens if t not in SPECIAL and (punctuation or any(map(str.isalnum, t)))]
    )


def mask_tokens(
    ids: Tensor, mask_id: int, ordinary: Tensor, generator=None, how: Masking = Masking()
) -> tuple[Tensor, Tensor]:
    """Choose the tokens to predict, and change most of them.

    Args:
        ids: int64 [B, T].
        mask_id: of [MASK].
        ordinary: the ids that may be hidden, and that a random token is drawn from.
        generator: a torch.Generator of the CPU.
    Returns: inputs [B, T], and targets [B, T]: the token where it must be predicted, else -100.
        In each row the chosen are `rate` of the ordinary tokens, rounded, and at least one.
    """
    may = torch.isin(ids, ordinary)  # [B, T]
    n = (how.rate * may.sum(dim=1)).round().clamp(min=1)  # [B]
    draw = torch.rand(ids.shape, generator=generator).masked_fill(~may, 2.0)
    rank = draw.argsort(dim=1).argsort(dim=1)  # of every draw in its row
    chosen = may & (rank < n[:, None])
    fate = torch.rand(ids.shape, generator=generator)
    others = ordinary[torch.randint(len(ordinary), ids.shape, generator=generator)]
    inputs = torch.where(chosen & (fate < how.masked), mask_id, ids)
    replaced = chosen & (fate >= how.masked) & (fate < how.masked + how.random)
    inputs = torch.where(replaced, others, inputs)
    return inputs, ids.masked_fill(~chosen, IGNORED)


class MaskedBatches:
    """Batches of whole texts, with tokens hidden anew at every step.

    Args:
        batches: `batches[step]` is (ids [B, T], segment ids [B, T], attend [B, T], elsewhere [B]).
        tokenizer: the `WordPiece` of the ids.
        seed: of the hiding.
        how: a `Masking`.
        left_to_right: let each position see only itself and what stands before it, to compare.
        punctuation: whether its marks are hidden too.
    """

    def __init__(
        self, batches, tokenizer, seed: int = 0, how: Masking = Masking(),
        left_to_right: bool = False, punctuation: bool = True,
    ):  # fmt: skip
        (self.mask_id,) = tokenizer.encode(MASK)
        self.ordinary = ordinary_ids(tokenizer, punctuation)
        self.batches, self.seed, self.how = batches, seed, how
        self.left_to_right = left_to_right

    def __getitem__(self, step: int) -> tuple[Tensor, ...]:
        """Inputs, segment ids, attend ([B, T], or [B, T, T] from left to right), elsewhere and the
        targets of one step; a pure function of the step."""
        ids, segments, attend, elsewhere = self.batches[step]
        draw = draws(self.seed, step)
        inputs, targets = mask_tokens(ids, self.mask_id, self.ordinary, draw, self.how)
        if self.left_to_right:
            attend = attend[:, None] & causal_mask(ids.shape[1])  # [B, T, T]
        return inputs, segments, attend, elsewhere, targets
