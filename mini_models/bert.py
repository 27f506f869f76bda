"""BERT: read a text from both sides at once; predict what is hidden, then whatever is asked.

Shapes   B batch, T positions, D model width, V vocabulary size, C classes or labels
Source   Devlin et al. 2019, arXiv:1810.04805, sections 3 and 4; the layout of Google's release
Derived  notebooks/06_bert.ipynb
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mini_models.data.batches import IGNORED
from mini_models.layers import ACTIVATIONS, LayerNorm, LearnedPositions, sinusoidal_positions
from mini_models.machine import settings
from mini_models.machine.devices import device_of
from mini_models.machine.evaluating import evaluating
from mini_models.tokenizers.wordpiece import MASK
from mini_models.transformer import Transformer, init_weights

EPS = 1e-12  # in every LayerNorm of Google's release


@dataclass(frozen=True)
class BERTConfig:
    """All sizes of one BERT; the defaults train in about a minute on two CPU cores."""

    vocab_size: int = 4096  # V, tokens
    context_length: int = 64  # T, tokens visible at once
    n_layers: int = 4  # L
    n_heads: int = 4  # H
    d_model: int = 96  # D
    d_ff: int | None = None  # feed-forward width F; None: 4 D
    n_segments: int = 2  # kinds of passage, each with a vector
    dropout: float = 0.0  # share set to zero in training
    activation: str = "gelu"  # the exact form

    def __post_init__(self):
        sizes = ("vocab_size", "context_length", "n_layers", "n_heads", "d_model", "d_ff")
        settings.counts(self, *sizes, "n_segments")
        settings.share(self, "dropout")
        settings.one_of(self, activation=ACTIVATIONS)
        settings.heads(self)


BERT_BASE = BERTConfig(30522, 512, 12, 12, 768)  # Devlin et al. 2019, section 3, uncased
BERT_LARGE = BERTConfig(30522, 512, 24, 16, 1024)
BERT_BASE_CASED = BERTConfig(28996, 512, 12, 12, 768)
BERT_BASE_CHINESE = BERTConfig(21128, 512, 12, 12, 768)


class BERT(nn.Module):
    """Token ids to one vector for each position, in which all the others have had a say."""

    def __init__(self, config: BERTConfig):
        super().__init__()
        self.config = c = config
        self.tokens = nn.Embedding(c.vocab_size, c.d_model)
        self.positions = LearnedPositions(c.context_length, c.d_model)
        self.segments = nn.Embedding(c.n_segments, c.d_model)
        self.norm = LayerNorm(c.d_model, EPS)
        self.transformer = Transformer(
            c.n_layers, c.d_model, c.n_heads, c.d_ff, pre_norm=False,
            activation=c.activation, dropout=c.dropout, eps=EPS,
        )  # fmt: skip
        self.pooler = nn.Linear(c.d_model, c.d_model)
        # BERT's 0.02 is for a width of 768; narrower layers need more to pass on as much
        init_weights(self, c.n_layers, 0.02 * (768 / c.d_model) ** 0.5, by_column=False)
        for table in (self.tokens, self.segments):  # as small as ever: LayerNorm comes next
            nn.init.normal_(table.weight, std=0.02)
        # positions are learned, but start as sinusoids of the same size (0.02): from these a head
        # finds a neighbour much sooner than from random vectors
        waves = sinusoidal_positions(c.context_length, c.d_model + c.d_model % 2)
        self.positions.weight.data = 0.02 * 2**0.5 * waves[:, : c.d_model].contiguous()

    def forward(
        self, ids: Tensor, segment_ids: Tensor | None = None, attend: Tensor | None = None
    ) -> Tensor:
        """The last layer's vectors.

        Args:
            ids: token ids, int64 [B, T].
            segment_ids: of which passage each token is, int64 [B, T]; None: all of the first.
            attend: bool [B, T], True = a real token, False = padding, which nobody may look at;
                or [B, T, T], what each position may look at; None: everything.
        Returns: [B, T, D]; the vectors of padding mean nothing.
        Raises: ValueError if the ids do not fit in the context, or shapes or types do not match.
        """
        T = ids.shape[1]
        if self.config.context_length < T:
            raise ValueError(
                f"{T} tokens do not fit in a context of {self.config.context_length}: "
                "cut the text into pieces that do"
            )
        x = self.tokens(ids) + self.positions(T)  # [B, T, D]
        if segment_ids is None:
            x = x + self.segments.weight[0]
        else:
            _check_shape("segment_ids", segment_ids, ids.shape)
            x = x + self.segments(segment_ids)
        x = F.dropout(self.norm(x), self.config.dropout, self.training)
        if attend is not None and attend.ndim == 2:
            _check_shape("attend", attend, ids.shape)
            attend = attend[:, None]  # [B, 1, T], the same for every query
        return self.transformer(x, attend)

    def pooled(self, hidden: Tensor) -> Tensor:
        """tanh(W h + b) of the first position's vector, that of [CLS]: [B, T, D] to [B, D]."""
        if self.pooler is None:
            raise ValueError("this BERT came without a pooler: use the vectors of its positions")
        return torch.tanh(self.pooler(hidden[:, 0]))


def _check_shape(name: str, given: Tensor, shape) -> None:
    if given.shape != shape:
        raise ValueError(f"{name} is {list(given.shape)} but ids are {list(shape)}: one per token")


class BERTForPretraining(nn.Module):
    """A BERT with the two heads that it is pretrained by."""

    def __init__(self, config: BERTConfig):
        super().__init__()
        self.config = config
        self.bert = BERT(config)
        self.transform = nn.Linear(config.d_model, config.d_model)
        self.norm = LayerNorm(config.d_model, EPS)
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))
        self.elsewhere = nn.Linear(config.d_model, 2)
        for layer in (self.transform, self.elsewhere):
            init_weights(layer, config.n_layers, by_column=False)

    def forward(self, ids: Tensor, segment_ids=None, attend=None, where: Tensor | None = None):
        """What each token is, and whether the second passage follows the first.

        Args:
            ids, segment_ids, attend: as in `BERT`.
            where: bool [B, T], the positions to predict, N of them; None: all.
        Returns: logits of the tokens, [B, T, V] or with `where` [N, V]; and logits [B, 2] of
            "follows" and "is from elsewhere".
        """
        hidden = self.bert(ids, segment_ids, attend)
        chosen = hidden if where is None else hidden[where]
        return self.token_logits(chosen), self.elsewhere(self.bert.pooled(hidden))

    def token_logits(self, hidden: Tensor) -> Tensor:
        """One more layer, then the token embedding again: [..., D] to [..., V]."""
        x = self.norm(ACTIVATIONS[self.config.activation](self.transform(hidden)))
        return F.linear(x, self.bert.tokens.weight, self.bias)


def pretraining_loss(model: nn.Module, batch) -> Tensor:
    """Mean cross-entropy of the hidden tokens plus that of "follows or not", in nats (a scalar).

    Args:
        model: a `BERTForPretraining`.
        batch: inputs [B, T], segment ids [B, T], attend, elsewhere [B] and targets [B, T], as
            `masking.MaskedBatches` gives them; targets of -100 are not counted.
    """
    inputs, segments, attend, elsewhere, targets = batch
    where = targets != IGNORED
    tokens, follows = model(inputs, segments, attend, where)
    return _mean_nats(tokens, targets[where]) + _mean_nats(follows, elsewhere)


def _mean_nats(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy, the mean over the targets that count; 0 if there is none."""
    total = F.cross_entropy(logits.float(), targets, ignore_index=IGNORED, reduction="sum")
    return total / (targets != IGNORED).sum().clamp(min=1)


@torch.no_grad()
def restoration(model: BERTForPretraining, batches) -> dict[str, float]:
    """How well a model restores what is hidden in batches like those of `pretraining_loss`.

    Returns: "held_out", nats per hidden token; "accuracy" and "top5", the shares of them that are
        its first guess or among the first five; and "follows", the share of pairs told right, if
        there are any.
    """
    device, (nats, ranks, pairs) = device_of(model), ([], [], [])
    with evaluating(model):
        for batch in batches:
            inputs, segments, attend, elsewhere, targets = (t.to(device) for t in batch)
            where = targets != IGNORED
            tokens, follows = model(inputs, segments, attend, where)
            truth = targets[where]
            nats.append(F.cross_entropy(tokens.float(), truth, reduction="none"))
            ranks.append(
                (~(tokens < tokens.gather(1, truth[:, None]))).sum(dim=1)
            )  # ties before it
            pairs.append((follows.argmax(dim=1) == elsewhere)[elsewhere != IGNORED])
    nats, ranks, pairs = (torch.cat(x).float() for x in (nats, ranks, pairs))
    found = {"held_out": nats.mean(), "accuracy": (ranks <= 1).float().mean(),
             "top5": (ranks <= 5).float().mean()}  # fmt: skip
    found |= {"follows": pairs.mean()} if len(pairs) else {}
    return {name: float(value) for name, value in found.items()}


@torch.no_grad()
def fill(model: BERTForPretraining, tokenizer, text: str, k: int = 5) -> list[list[tuple]]:
    """The k most probable tokens for each [MASK] in a text, best first, with probabilities.

    Raises: ValueError if there is no [MASK], or the text does not fit in the context.
    """
    (mask,) = tokenizer.encode(MASK)
    ids = torch.tensor([tokenizer.encode(f"[CLS]{text}[SEP]")], device=device_of(model))
    if not (ids == mask).any():
        raise ValueError("there is nothing to fill in: write [MASK] for each hidden token")
    logits, _ = model(ids, where=ids == mask)  # [N, V]
    best = logits.softmax(dim=-1).topk(min(k, logits.shape[-1]))
    return [
        [(tokenizer.tokens[i], p) for i, p in zip(row_ids, row)]
        for row_ids, row in zip(best.indices.tolist(), best.values.tolist())
    ]
