"""Transformer: the one stack of blocks that BERT, GPT and DALL-E share.

They differ by the mask they pass in and the head they put on top.

Shapes   B batch, T positions, D model width, L layers
Source   Vaswani et al. 2017, arXiv:1706.03762, section 3.1; Xiong et al. 2020, arXiv:2002.04745,
         table 1 (post- and pre-norm side by side)
Derived  notebooks/04_transformer.ipynb
"""

import math

import torch.nn.functional as F
from torch import Tensor, nn

from mini_models.attention import MultiHeadAttention
from mini_models.layers import FeedForward, LayerNorm, Rotary


class Block(nn.Module):
    """Attention, then the feed-forward; each adds its output to the residual stream.

    Pre-norm (GPT-2 and after):  h = x + Attention(LN(x)),   y = h + FFN(LN(h)).
    Post-norm (2017, BERT):      h = LN(x + Attention(x)),   y = LN(h + FFN(h)).

    Args:
        d_model, n_heads, d_ff: D, H and the feed-forward width F (None: 4 D).
        pre_norm: where the normalisation stands.
        activation: of the feed-forward, see `layers.FeedForward`.
        rotary: a `layers.Rotary` shared by all blocks, or None.
        dropout: share of weights and outputs set to zero in training.
        eps: added to the variance in LayerNorm.
    """

    def __init__(
        self, d_model: int, n_heads: int, d_ff: int | None = None, pre_norm: bool = True,
        activation: str = "gelu", rotary: Rotary | None = None, dropout: float = 0.0,
        eps: float = 1e-5,
    ):  # fmt: skip
        super().__init__()
        self.norm1 = LayerNorm(d_model, eps)
        self.attention = MultiHeadAttention(d_model, n_heads, rotary, dropout)
        self.norm2 = LayerNorm(d_model, eps)
        self.feed_forward = FeedForward(d_model, d_ff or 4 * d_model, activation, dropout)
        self.pre_norm, self.dropout = pre_norm, dropout

    def attend(self, x: Tensor, mask) -> Tensor:
        x = self.attention(x, mask)
        return F.dropout(x, self.dropout, self.training) if self.dropout else x

    def forward(self, x: Tensor, mask: Tensor | str | None = None) -> Tensor:
        """x [B, T, D] to [B, T, D]; mask as in `MultiHeadAttention`."""
        if self.pre_norm:
            x = x + self.attend(self.norm1(x), mask)
            return x + self.feed_forward(self.norm2(x))
        x = self.norm1(x + self.attend(x, mask))
        return self.norm2(x + self.feed_forward(x))


class Transformer(nn.Module):
    """L blocks one after another; pre-norm adds a last LayerNorm at the end of the stream.

    Args: as `Block`, and n_layers: L; rotary: True to turn queries and keys by position;
        context_length: how many positions the rotary table covers at first.
    """

    def __init__(
        self, n_layers: int, d_model: int, n_heads: int, d_ff: int | None = None,
        pre_norm: bool = True, activation: str = "gelu", rotary: bool = False,
        dropout: float = 0.0, eps: float = 1e-5, context_length: int = 1024,
    ):  # fmt: skip
        super().__init__()
        turn = Rotary(d_model // n_heads, context_length) if rotary else None
        self.blocks = nn.ModuleList(
            Block(d_model, n_heads, d_ff, pre_norm, activation, turn, dropout, eps)
            for _ in range(n_layers)
        )
        self.norm = LayerNorm(d_model, eps) if pre_norm else nn.Identity()

    def forward(self, x: Tensor, mask: Tensor | str | list | None = None) -> Tensor:
        """x [B, T, D] to [B, T, D]; mask as in `MultiHeadAttention`, or a list of one a block."""
        masks = mask if isinstance(mask, list) else [mask] * len(self.blocks)
        for block, mask in zip(self.blocks, masks, strict=True):
            x = block(x, mask)
        return self.norm(x)


def init_weights(
    model: nn.Module, n_layers: int, std: float = 0.02, by_column: bool = True
) -> None:
    """Draw weights as GPT-2 does: normal with the given std, biases 0 (Radford et al. 2019, 2.3).

    The two projections that write to the residual stream of each block are divided by √(2 L), so
    that the stream's variance does not grow with the depth L.

    Args:
        by_column: store matrices column by column, as GPT-2's own: the same numbers, but many CPUs
            multiply such a matrix by a single vector faster, and that is all that writing one token
            takes. For a model that does not write: row by row, which AdamW goes through faster.
    """
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            writes = name.endswith(("attention.out", "feed_forward.outer"))
            nn.init.normal_(module.weight, std=std / math.sqrt(2 * n_layers) if writes else std)
            if by_column:
                module.weight.data = module.weight.data.T.contiguous().T
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=std)
