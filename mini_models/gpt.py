"""GPT: the probability of a text is the product of each token's, given what came before.

Shapes   B batch, T positions, D model width, V vocabulary size, L layers
Source   Radford et al. 2019 (GPT-2), section 2; Brown et al. 2020, arXiv:2005.14165, section 2.1
Derived  notebooks/08_gpt.ipynb
"""

import math
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from mini_models.decoding.cache import KeyValueCache
from mini_models.layers import ACTIVATIONS, LearnedPositions, SinusoidalPositions
from mini_models.machine import settings
from mini_models.transformer import Transformer, init_weights

POSITIONS = ("learned", "sinusoidal", "rotary", "none")


@dataclass(frozen=True)
class GPTConfig:
    """All sizes of one GPT; the defaults train in about a minute on two CPU cores."""

    vocab_size: int = 96  # V, tokens
    context_length: int = 64  # tokens visible at once, T
    n_layers: int = 4  # L
    n_heads: int = 4  # H
    d_model: int = 64  # D
    d_ff: int | None = None  # feed-forward width F; None: 4 D
    dropout: float = 0.0  # share set to zero in training
    positions: str = "learned"  # one of POSITIONS; the papers learn them
    activation: str = "gelu_tanh"  # GPT-2's form of GELU

    def __post_init__(self):
        sizes = ("vocab_size", "context_length", "n_layers", "n_heads", "d_model", "d_ff")
        settings.counts(self, *sizes)
        settings.share(self, "dropout")
        settings.one_of(self, positions=POSITIONS, activation=ACTIVATIONS)
        settings.heads(self)


GPT2_SMALL = GPTConfig(50257, 1024, 12, 12, 768)  # Radford et al. 2019, table 2
GPT2_MEDIUM = GPTConfig(50257, 1024, 24, 16, 1024)
GPT2_LARGE = GPTConfig(50257, 1024, 36, 20, 1280)
GPT2_XL = GPTConfig(50257, 1024, 48, 25, 1600)
GPT3_175B = GPTConfig(50257, 2048, 96, 96, 12288)  # Brown et al. 2020, table 2.1


class GPT(nn.Module):
    """Token ids to the logits of each next token; the output layer is the token embedding again."""

    def __init__(self, config: GPTConfig):
        super().__init__()
        self.config = c = config
        self.tokens = nn.Embedding(c.vocab_size, c.d_model)
        self.positions = None
        if c.positions == "learned":
            self.positions = LearnedPositions(c.context_length, c.d_model)
        elif c.positions == "sinusoidal":
            self.positions = SinusoidalPositions(c.context_length, c.d_model)
        self.transformer = Transformer(
            c.n_layers, c.d_model, c.n_heads, c.d_ff, activation=c.activation, dropout=c.dropout,
            rotary=c.positions == "rotary", context_length=c.context_length,
        )  # fmt: skip
        init_weights(self, c.n_layers)

    def forward(self, ids: Tensor, cache: KeyValueCache | None = None) -> Tensor:
        """Logits of the token after each position.

        Args:
            ids: token ids, int64 [B, T].
            cache: from `new_cache`; ids then continue what it has read, without dropout and
                without gradients.
        Returns: [B, T, V], in nats before normalisation.
        Raises: ValueError if the ids do not fit in the context.
        """
        start = cache.length if cache is not None else 0
        T = ids.shape[1]
        if start + T > self.config.context_length:
            raise ValueError(
                f"{start + T} tokens do not fit in a context of {self.config.context_length}: "
                "cut the ids to the last context_length tokens"
            )
        x = self.tokens(ids)  # [B, T, D]
        if self.config.positions == "sinusoidal":  # which would drown vectors as short as ours
            x = x * math.sqrt(self.config.d_model)  # Vaswani et al. 2017, section 3.4
        if self.positions is not None:
            x = x + self.positions(T, start)
        if cache is not None:
            return cache.read(x)
        if self.config.dropout:
            x = F.dropout(x, self.config.dropout, self.training)
        x = self.transformer(x, "causal")
        return F.linear(x, self.tokens.weight)  # [B, T, V]

    def new_cache(self, batch: int) -> KeyValueCache:
        """An empty key-value cache for `batch` sequences of up to context_length tokens."""
        return KeyValueCache(
            self.transformer, self.tokens.weight, batch, self.config.context_length
        )


def gpt_loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    """Mean cross-entropy of each next token, in nats per token (a scalar).

    Args:
        model: ids [B, T] -> logits [B, T, V].
        batch: inputs [B, T] and targets [B, T], the same tokens one place to the left;
            a target of -100 is not counted.
    """
    inputs, targets = batch
    logits = model(inputs)  # [B, T, V]
    return F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten())
