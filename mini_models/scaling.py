"""Scaling: how many numbers a model has, what it costs, and how large it should be.

Shapes   D model width, F feed-forward width, L layers, H heads, V vocabulary size, T positions
Units    parameters: a count; FLOPs: floating-point operations, a multiply-add being two;
         1 PF-day = 1e15 FLOP/s for a day = 8.64e19 FLOPs; losses: nats per token
Source   Devlin et al. 2019, arXiv:1810.04805, section 3; Radford et al. 2019, table 2; Brown et al.
         2020, arXiv:2005.14165, tables 2.1 and D.1; Ramesh et al. 2021, arXiv:2102.12092, section
         2.2; Kaplan et al. 2020, arXiv:2001.08361, section 2.1; Hoffmann et al. 2022,
         arXiv:2203.15556, section 3.3; Besiroglu et al. 2024, arXiv:2404.10102
Derived  block_params and n_params in notebooks/04_transformer.ipynb, the rest in 11_scaling.ipynb
"""

from dataclasses import dataclass

from mini_models.bert import BERT_BASE, BERT_BASE_CASED, BERT_BASE_CHINESE, BERT_LARGE, BERTConfig
from mini_models.dalle import DALLEConfig
from mini_models.gpt import GPT2_LARGE, GPT2_MEDIUM, GPT2_SMALL, GPT2_XL, GPT3_175B, GPTConfig

PF_DAY = 1e15 * 24 * 60 * 60  # FLOPs

BERT_SIZES = {
    "base-uncased": BERT_BASE,
    "base-cased": BERT_BASE_CASED,
    "base-chinese": BERT_BASE_CHINESE,
    "large-uncased": BERT_LARGE,
}
GPT2_SIZES = {"small": GPT2_SMALL, "medium": GPT2_MEDIUM, "large": GPT2_LARGE, "xl": GPT2_XL}

# Brown et al. 2020, table 2.1, with two entries that contradict the rest of the paper replaced:
# XL prints 24 heads of 128 for a width of 2048 (16 heads fit), and 13B prints a width of 5140 for
# 40 heads of 128 (5120). Only the replaced values give the parameters and FLOPs of table D.1.
GPT3_SIZES = {
    "Small": GPTConfig(50257, 2048, 12, 12, 768),
    "Medium": GPTConfig(50257, 2048, 24, 16, 1024),
    "Large": GPTConfig(50257, 2048, 24, 16, 1536),
    "XL": GPTConfig(50257, 2048, 24, 16, 2048),
    "2.7B": GPTConfig(50257, 2048, 32, 32, 2560),
    "6.7B": GPTConfig(50257, 2048, 32, 32, 4096),
    "13B": GPTConfig(50257, 2048, 40, 40, 5120),
    "175B": GPT3_175B,
}

# Ramesh et al. 2021: the widths of table 1, in heads of 64. Only the largest model's 64 layers are
# printed; 62 and 56 are inferred, as depths that give the other two their printed parameters.
DALLE_SIZES = {
    "2.8B": DALLEConfig(16384, 8192, 256, 1024, 62, 30, 1920, kernel=11),
    "5.6B": DALLEConfig(16384, 8192, 256, 1024, 56, 45, 2880, kernel=11),
    "12.0B": DALLEConfig(16384, 8192, 256, 1024, 64, 62, 3968, kernel=11),
}


def block_params(config) -> int:
    """Parameters of one block: 4 D² + 4 D of attention, 2 D F + F + D of the feed-forward, 4 D of
    the two LayerNorms; with F = 4 D that is 12 D² + 13 D. Any of the configs above will do."""
    d, f = config.d_model, config.d_ff or 4 * config.d_model
    return (4 * d * d + 4 * d) + (2 * d * f + f + d) + 4 * d


def n_params(config) -> int:
    """Parameters of a model: L blocks, and around them so many vectors of width D.

    GPT: V tokens, T positions where they are learned, and 2 of the last LayerNorm; the output layer
        is the embedding again.
    BERT: V tokens, T positions, the segments, 2 of the first LayerNorm, and D + 1 of the layer on
        top of [CLS], the pooler. `pretraining_head_params` are extra.
    DALL-E: its text and image tokens. Paddings, positions and the last LayerNorm, which
        `dalle.StreamDecoder` has as well, are not counted.

    Raises: ValueError if the config is none of these.
    """
    if isinstance(config, GPTConfig):
        positions = config.context_length if config.positions == "learned" else 0
        vectors = config.vocab_size + positions + 2
    elif isinstance(config, BERTConfig):
        vectors = config.vocab_size + config.context_length + config.n_segments + 2
        vectors += config.d_model + 1
    elif isinstance(config, DALLEConfig):
        vectors = config.text_vocab_size + config.image_vocab_size
    else:
        raise ValueError(
            f"cannot count a {type(config).__name__}: give a GPTConfig, BERTConfig or DALLEConfig"
        )
    return config.n_layers * block_params(config) + vectors * config.d_model


def pretraining_head_params(config: BERTConfig) -> int:
    """Parameters of BERT's two heads: to predict masked tokens, a layer D → D, a LayerNorm and a
    bias for each token (its matrix is the embedding again); for the next sentence, D → 2."""
    d = config.d_model
    return (d * d + d) + 2 * d + config.vocab_size + (2 * d + 2)


def training_flops(config, tokens: float) -> float:
    """C = 6 N · tokens: 2 N to read a token, 4 N for its gradient (Kaplan et al. 2020, 2.1).

    Leaves out the products of queries with keys and of weights with values; `forward_flops` counts
    them.
    """
    return 6 * n_params(config) * tokens


def pf_days(config, tokens: float) -> float:
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


def kv_cache_bytes(config, bytes_per_number: int = 2) -> int:
    """Bytes of keys and values that one token of one sequence takes: 2 · L · D numbers."""
    return 2 * config.n_layers * config.d_model * bytes_per_number


def activation_bytes(config: GPTConfig, bytes_per_number: int = 4) -> int:
    """Bytes that one token leaves in memory between the forward and the backward pass.

    Of each block 8 D + 2 F + H + 4 numbers: D of the input, of each LayerNorm's output, of queries,
    keys, values and their average, and of the stream between the layers; F before and after the
    activation; a sum for each head's softmax, mean and deviation for each LayerNorm. At the end
    2 D + 2 of the last LayerNorm and V of the softmax. Positions are learned, dropout is 0, and
    attention never stores its T² weights (Dao et al. 2022, arXiv:2205.14135).
    """
    d, f = config.d_model, config.d_ff or 4 * config.d_model
    block = 8 * d + 2 * f + config.n_heads + 4
    return (config.n_layers * block + 2 * d + 2 + config.vocab_size) * bytes_per_number


@dataclass(frozen=True)
class LossLaw:
    """L(N, n) = floor + A / N^alpha + B / n^beta: a loss from N parameters and n tokens of training
    (Hoffmann et al. 2022, eq. 2, where the tokens are D and the floor is E)."""

    floor: float  # nats per token
    A: float
    B: float
    alpha: float
    beta: float

    def loss(self, params: float, tokens: float) -> float:
        """Nats per token."""
        return self.floor + self.A / params**self.alpha + self.B / tokens**self.beta

    def best_params(self, flops: float) -> float:
        """The N that makes the loss smallest when 6 N n is given (Hoffmann et al. 2022, eq. 4).

        Raises: ValueError unless flops is positive.
        """
        if flops <= 0:
            raise ValueError(f"the arithmetic is {flops} FLOPs: it must be above 0")
        together = self.alpha + self.beta
        ratio = (self.alpha * self.A / (self.beta * self.B)) ** (1 / together)
        return ratio * (flops / 6) ** (self.beta / together)


# Hoffmann et al. 2022, section 3.3, with exponents to the four digits of the paper's source, which
# Besiroglu et al. 2024 report; and what these fitted to the same runs, read off its figure
CHINCHILLA = LossLaw(1.6934, 406.4, 410.7, 0.3392, 0.2849)
CHINCHILLA_REFIT = LossLaw(1.8172, 482.01, 2085.43, 0.3478, 0.3658)
