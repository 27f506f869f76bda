"""Layers: what stands around attention in a block — normalisation, the feed-forward, positions.

Shapes   B batch, T positions, D model width, F feed-forward width, K head width
Source   Vaswani et al. 2017, arXiv:1706.03762, sections 3.3 and 3.5; Ba et al. 2016,
         arXiv:1607.06450; Hendrycks and Gimpel 2016, arXiv:1606.08415; Su et al. 2021,
         arXiv:2104.09864
Derived  FeedForward and gelu in notebooks/03_feed_forward.ipynb, the rest in 04_transformer.ipynb
"""

import math
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class LayerNorm(nn.Module):
    """Centre each vector, scale it to variance 1, then stretch and shift each coordinate.

    weight ⊙ (x - mean) / √(variance + eps) + bias, over the last axis (Ba et al. 2016, eq. 4);
    the variance divides by D, not D - 1. Maps [..., D] to [..., D].
    """

    def __init__(self, d_model: int, eps: float = 1e-5):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(d_model))
        self.bias = nn.Parameter(torch.zeros(d_model))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps)


def relu(x: Tensor) -> Tensor:
    """max(0, x), elementwise."""
    return x.clamp(min=0)


def gelu(x: Tensor, approximate: str = "none") -> Tensor:
    """x Φ(x), where Φ is the standard normal's distribution function; elementwise.

    Args:
        approximate: "none" for the exact form (BERT), "tanh" for GPT-2's
            x/2 (1 + tanh(√(2/π) (x + 0.044715 x³))) (Hendrycks and Gimpel 2016, section 2).
    """
    if approximate == "none":
        return x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))
    if approximate == "tanh":
        return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    raise ValueError(f'approximate={approximate!r} is unknown: use "none" or "tanh"')


# torch's fused kernels of the functions above; tests/test_layers.py holds them together
ACTIVATIONS = {"relu": F.relu, "gelu": F.gelu, "gelu_tanh": partial(F.gelu, approximate="tanh")}


class FeedForward(nn.Module):
    """activation(x W1 + b1) W2 + b2, the same for every position (Vaswani et al. 2017, eq. 2).

    Args:
        d_model: D.
        d_ff: inner width F; the papers use 4 D.
        activation: "relu" (the 2017 Transformer), "gelu" (BERT, exact) or "gelu_tanh" (GPT-2).
        dropout: share of outputs set to zero in training.
    Raises: ValueError if the activation is unknown.
    """

    def __init__(self, d_model: int, d_ff: int, activation: str = "gelu", dropout: float = 0.0):
        super().__init__()
        if activation not in ACTIVATIONS:
            raise ValueError(
                f"activation {activation!r} is unknown: choose one of {', '.join(ACTIVATIONS)}"
            )
        self.inner = nn.Linear(d_model, d_ff)
        self.outer = nn.Linear(d_ff, d_model)
        self.activation = ACTIVATIONS[activation]
        self.dropout = dropout

    def forward(self, x: Tensor) -> Tensor:
        x = self.outer(self.activation(self.inner(x)))  # [..., F] inside, [..., D] out
        return F.dropout(x, self.dropout, self.training) if self.dropout else x


def sinusoidal_positions(T: int, d_model: int, start: int = 0) -> Tensor:
    """The fixed position vectors of Vaswani et al. 2017, section 3.5; float [T, D].

    Pair i turns at the rate 10000^(-2i/D) radians a position: sine in coordinate 2i, cosine in
    2i + 1. Raises ValueError if d_model is odd.
    """
    if d_model % 2:
        raise ValueError(f"a width of {d_model} has no sine-cosine pairs: make d_model even")
    angles = _angles(torch.arange(start, start + T), d_model)  # [T, D / 2]
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(-2)  # [T, D]


def _angles(positions: Tensor, width: int) -> Tensor:
    """position · 10000^(-2i / width) for i = 0 … width / 2 - 1; [T, width / 2]."""
    rates = 10_000 ** (-torch.arange(0, width, 2, device=positions.device) / width)
    return positions[:, None] * rates


class LearnedPositions(nn.Module):
    """One trained vector for each position up to the context length; gives [T, D]."""

    def __init__(self, context_length: int, d_model: int):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(context_length, d_model) * 0.02)

    def forward(self, T: int, start: int = 0) -> Tensor:
        return self.weight[start : start + T]


class SinusoidalPositions(nn.Module):
    """`sinusoidal_positions` as a layer with no parameters; gives [T, D]."""

    def __init__(self, context_length: int, d_model: int):
        super().__init__()
        table = sinusoidal_positions(context_length, d_model)
        self.register_buffer("table", table, persistent=False)

    def forward(self, T: int, start: int = 0) -> Tensor:
        if start + T > len(self.table):  # the formula has no last position
            return sinusoidal_positions(T, self.table.shape[1], start).to(self.table)
        return self.table[start : start + T]


class Rotary(nn.Module):
    """Turn each pair of coordinates by an angle that grows with the position (RoPE, eq. 34).

    The dot product of a turned query and a turned key depends on their distance alone.
    Coordinate i is paired with i + K/2.

    Args:
        head_width: K, even.
        context_length: how many positions to tabulate; longer inputs extend the table.
    """

    def __init__(self, head_width: int, context_length: int = 1024):
        super().__init__()
        if head_width % 2:
            raise ValueError(f"heads are {head_width} wide: rotary positions need an even width")
        self.head_width = head_width
        self._tabulate(context_length)

    @torch.inference_mode(False)  # a table that grew while writing must serve training too
    def _tabulate(self, T: int, device: torch.device | None = None) -> None:
        angles = _angles(torch.arange(T, device=device), self.head_width).repeat(1, 2)  # [T, K]
        sign = torch.ones(self.head_width, device=device)
        sign[: self.head_width // 2] = -1  # (a, b) -> (a cos - b sin, b cos + a sin)
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin() * sign, persistent=False)

    def forward(self, x: Tensor, start: int = 0) -> Tensor:
        """x [..., T, K], whose first position is `start`; returns the same shape."""
        end = start + x.shape[-2]
        if end > len(self.cos):
            self._tabulate(2 * end, self.cos.device)
        cos, sin = self.cos[start:end].to(x.dtype), self.sin[start:end].to(x.dtype)  # [T, K]
        return x * cos + x.roll(self.head_width // 2, dims=-1) * sin
