"""Attention: each position takes a weighted average of what the others offer.

Shapes   B batch, T queries, S keys, D model width, H heads, K = D / H head width
Source   Vaswani et al. 2017, arXiv:1706.03762, eq. 1 and section 3.2.2
Derived  notebooks/02_attention.ipynb
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def scaled_dot_product_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None):
    """softmax(q kᵀ / √K) v, eq. 1.

    Args:
        q, k, v: queries [..., T, K], keys [..., S, K], values [..., S, V].
        mask: bool, broadcastable to [..., T, S]; True = may look, None = all may.
    Returns: out [..., T, V] and weights [..., T, S], whose rows sum to 1; a row of the mask
        with no True gives zeros in both.
    Raises: ValueError if q and k differ in width, k and v in length, or the mask is not bool.
    """
    if q.shape[-1] != k.shape[-1]:
        raise ValueError(
            f"queries are {q.shape[-1]} wide but keys are {k.shape[-1]}: "
            "project both to the same head width K before comparing them"
        )
    if k.shape[-2] != v.shape[-2]:
        raise ValueError(
            f"there are {k.shape[-2]} keys but {v.shape[-2]} values: give every key one value"
        )
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])  # [..., T, S]
    if mask is None:
        weights = scores.softmax(dim=-1)
    else:
        check_mask(mask)
        scores = scores.masked_fill(~mask, -math.inf)
        # a query that may look nowhere has softmax 0 / 0: its nan becomes 0
        weights = scores.softmax(dim=-1).masked_fill(~mask, 0.0)
    return weights @ v, weights


def check_mask(mask: Tensor) -> None:
    """Raise ValueError unless the mask is bool: 0 and -inf masks mean the opposite of ours."""
    if mask.dtype != torch.bool:
        raise ValueError(
            f"the mask is {mask.dtype}, not torch.bool: give True where a query may look"
        )


def causal_mask(T: int, S: int | None = None, device: torch.device | None = None) -> Tensor:
    """Each query sees itself and what came before; bool [T, S].

    With more keys than queries (S > T) the queries are the last T of the S positions, as when
    earlier keys are cached. Raises ValueError if S < T.
    """
    S = T if S is None else S
    if S < T:
        raise ValueError(f"{T} queries but only {S} keys: every query needs its own key")
    return torch.ones(T, S, dtype=torch.bool, device=device).tril(S - T)


def padding_mask(lengths: Tensor, size: int) -> Tensor:
    """True for the real tokens of each sequence, False for the padding after them.

    Args:
        lengths: how many real tokens each sequence has, [B].
        size: the padded length S.
    Returns: bool [B, 1, S], the same for every query.
    Raises: ValueError if a sequence is longer than the size.
    """
    lengths = torch.as_tensor(lengths)
    if len(lengths) and int(lengths.max()) > size:
        raise ValueError(
            f"a sequence has {int(lengths.max())} tokens but the padded size is {size}: "
            "pad to at least the longest sequence"
        )
    return (torch.arange(size, device=lengths.device) < lengths[:, None])[:, None]  # [B, 1, S]


def banded_mask(T: int, width: int, device: torch.device | None = None) -> Tensor:
    """Each query sees itself and the width - 1 positions before it; bool [T, T].

    GPT-3 alternates this locally banded pattern with dense causal layers (Brown et al. 2020,
    section 2.1, after Child et al. 2019). Raises ValueError if the width is below 1.
    """
    if width < 1:
        raise ValueError(f"a band of width {width} leaves nothing to look at: use at least 1")
    return causal_mask(T, device=device).triu(1 - width)


class MultiHeadAttention(nn.Module):
    """H attentions side by side, each on its own D / H wide projection (section 3.2.2).

    Args:
        d_model: model width D, a multiple of n_heads.
        n_heads: H.
        rotary: a `layers.Rotary` that turns queries and keys by their position, or None.
        dropout: share of attention weights set to zero in training.
    Raises: ValueError if d_model is not a multiple of n_heads.
    """

    def __init__(self, d_model: int, n_heads: int, rotary=None, dropout: float = 0.0):
        super().__init__()
        if n_heads < 1 or d_model % n_heads:
            raise ValueError(
                f"a width of {d_model} cannot be shared by {n_heads} heads: "
                "make d_model a multiple of n_heads"
            )
        self.n_heads, self.rotary, self.dropout = n_heads, rotary, dropout
        self.qkv = nn.Linear(d_model, 3 * d_model)  # W_Q, W_K, W_V side by side
        self.out = nn.Linear(d_model, d_model)  # W_O

    def project(self, x: Tensor):
        """Queries, keys and values of x [B, T, D], each [B, H, T, K]."""
        B, T, D = x.shape
        qkv = self.qkv(x).view(B, T, 3, self.n_heads, D // self.n_heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # each [B, H, T, K]
        if self.rotary is not None:
            q, k = self.rotary(q), self.rotary(k)
        return q, k, v

    def forward(self, x: Tensor, mask: Tensor | str | None = None) -> Tensor:
        """Attend within x.

        Args:
            x: [B, T, D].
            mask: bool, broadcastable to [B, T, T] (True = may look), "causal", or None.
        Returns: [B, T, D].
        """
        B, T, D = x.shape
        q, k, v = self.project(x)
        attn_mask, is_causal = self._mask_for_torch(mask)
        dropout = self.dropout if self.training else 0.0
        # torch's CPU kernel is slow backward in bfloat16: two matrix products are faster
        if q.dtype == torch.bfloat16 and q.device.type == "cpu" and not dropout:
            allowed = causal_mask(x.shape[1]) if is_causal else attn_mask
            heads = _plain(q, k, v, allowed)  # [B, H, T, K]
        else:
            # the fused kernel computes eq. 1 without storing the T × S weights
            heads = F.scaled_dot_product_attention(
                q, k, v, attn_mask, dropout_p=dropout, is_causal=is_causal
            )
        return self.out(heads.transpose(1, 2).reshape(B, T, D))

    @torch.no_grad()
    def weights(self, x: Tensor, mask: Tensor | str | None = None) -> Tensor:
        """The attention weights [B, H, T, T] that `forward` uses, for looking at."""
        q, k, v = self.project(x)
        mask, is_causal = self._mask_for_torch(mask)
        mask = causal_mask(x.shape[1], device=x.device) if is_causal else mask
        return scaled_dot_product_attention(q, k, v, mask)[1]

    @staticmethod
    def _mask_for_torch(mask) -> tuple[Tensor | None, bool]:
        """The attn_mask and is_causal of torch's kernel."""
        if isinstance(mask, str):
            if mask != "causal":
                raise ValueError(f'mask {mask!r} is unknown: give a bool tensor, "causal" or None')
            return None, True
        if mask is not None:
            check_mask(mask)
        return _with_head_axis(mask), False


def _with_head_axis(mask: Tensor | None) -> Tensor | None:
    """A mask per sequence, [B, T, S], becomes [B, 1, T, S] so that it serves every head."""
    return mask.unsqueeze(1) if mask is not None and mask.ndim == 3 else mask


def _plain(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """Eq. 1 with the mask added as 0 and -inf; q, k, v and the result [B, H, T, K]."""
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])  # [B, H, T, T]
    if mask is None:
        return scores.softmax(dim=-1).to(v) @ v
    some = mask.any(dim=-1, keepdim=True)  # a query that may look nowhere: 0, and no nan backward
    hidden = torch.zeros(mask.shape, dtype=q.dtype).masked_fill(some & ~mask, -math.inf)
    return (scores + hidden).softmax(dim=-1).to(v) @ v * some
