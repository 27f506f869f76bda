"""Scaling: how many numbers a model has, how much arithmetic it needs, and the published sizes.

Units    parameters: a count; FLOPs: floating-point operations, a multiply-add being two;
         1 PF-day = 1e15 FLOP/s for a day = 8.64e19 FLOPs
Source   Radford et al. 2019, table 2; Brown et al. 2020, arXiv:2005.14165, tables 2.1 and D.1;
         Kaplan et al. 2020, arXiv:2001.08361, section 2.1
Derived  notebooks/04_transformer.ipynb
"""

from mini_models.gpt import (
    GPT2_LARGE,
    GPT2_MEDIUM,
    GPT2_SMALL,
    GPT2_XL,
    GPT3_175B,
    GPTConfig,
)

PF_DAY = 1e15 * 24 * 60 * 60  # FLOPs

GPT2 = {"small": GPT2_SMALL, "medium": GPT2_MEDIUM, "large": GPT2_LARGE, "xl": GPT2_XL}

# Brown et al. 2020, table 2.1, with two entries that contradict the rest of the paper replaced:
# XL prints 24 heads of 128 for a width of 2048 (16 heads fit), and 13B prints a width of 5140 for
# 40 heads of 128 (5120). Only the replaced values give the parameters and FLOPs of table D.1.
GPT3 = {
    "Small": GPTConfig(50257, 2048, 12, 12, 768),
    "Medium": GPTConfig(50257, 2048, 24, 16, 1024),
    "Large": GPTConfig(50257, 2048, 24, 16, 1536),
    "XL": GPTConfig(50257, 2048, 24, 16, 2048),
    "2.7B": GPTConfig(50257, 2048, 32, 32, 2560),
    "6.7B": GPTConfig(50257, 2048, 32, 32, 4096),
    "13B": GPTConfig(50257, 2048, 40, 40, 5120),
    "175B": GPT3_175B,
}


def block_params(config: GPTConfig) -> int:
    """Parameters of one block: 4 D² + 4 D of attention, 2 D F + F + D of the feed-forward, 4 D of
    the two LayerNorms; with F = 4 D that is 12 D² + 13 D."""
    d, f = config.d_model, config.d_ff or 4 * config.d_model
    return (4 * d * d + 4 * d) + (2 * d * f + f + d) + 4 * d


def n_params(config: GPTConfig) -> int:
    """Parameters of a `GPT`, the output layer shared with the embedding: L blocks, V + T vectors of
    width D (T only where positions are learned), and a last LayerNorm of 2 D."""
    positions = config.context_length if config.positions == "learned" else 0
    vectors = config.vocab_size + positions + 2
    return config.n_layers * block_params(config) + vectors * config.d_model


def training_flops(config: GPTConfig, tokens: float) -> float:
    """C = 6 N · tokens: 2 N to read a token, 4 N for its gradient (Kaplan et al. 2020, 2.1).

    Leaves out the products of queries with keys and of weights with values; `forward_flops` counts
    them.
    """
    return 6 * n_params(config) * tokens


def pf_days(config: GPTConfig, tokens: float) -> float:
    """Training arithmetic in PF-days, as table D.1 of Brown et al. 2020 gives it."""
    return training_flops(config, tokens) / PF_DAY


def forward_flops(config: GPTConfig, T: int) -> int:
    """FLOPs of the matrix products in one forward pass over T tokens, attention's T² included.

    Counts 2 for each multiply-add; leaves out LayerNorm, softmax, activations and biases.
    """
    d, f = config.d_model, config.d_ff or 4 * config.d_model
    projections = 2 * T * (4 * d * d + 2 * d * f)
    attention = 2 * 2 * T * T * d  # q kᵀ and weights · v, every query with every key
    return config.n_layers * (projections + attention) + 2 * T * d * config.vocab_size


def kv_cache_bytes(config: GPTConfig, bytes_per_number: int = 2) -> int:
    """Bytes of keys and values that one token of one sequence takes: 2 · L · D numbers."""
    return 2 * config.n_layers * config.d_model * bytes_per_number
