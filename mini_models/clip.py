"""CLIP: two readers, one of pictures and one of texts, who meet in one space of vectors.

A batch of pairs is its own examination: each picture must find its text among all texts of the
batch, and each text its picture, so what agrees ends up in the same direction.

Shapes   B batch of pairs, T text tokens, D model width, E width of the space that both share
Source   Radford et al. 2021, arXiv:2103.00020, sections 2.3 to 2.5 and figure 3; van den Oord et
         al. 2018, arXiv:1807.03748, eq. 4 (the loss) and 5 (its bound); reranking: Ramesh et al.
         2021, arXiv:2102.12092, section 2.6
Derived  notebooks/18_clip.ipynb
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mini_models.machine import settings
from mini_models.machine.devices import device_of
from mini_models.text_to_image_gan import TextEncoder
from mini_models.transformer import Transformer, init_weights


@dataclass(frozen=True)
class CLIPConfig:
    """All sizes of one CLIP; the vocabulary includes the padding, id 0."""

    vocab_size: int = 51
    text_length: int = 19  # T, tokens at most
    image_size: int = 32  # side of a picture, pixels; a multiple of 8
    channels: int = 3
    width: int = 24  # channels of the eye's first layer; each of the next two doubles them
    d_model: int = 64  # D
    n_heads: int = 4  # H
    n_layers: int = 2  # blocks that read a text
    eye_layers: int = 1  # blocks that look at a picture, behind the convolutions
    d_joint: int = 64  # E
    spread: float = 0.5  # standard deviation of the first vectors of words and places
    temperature: float = 0.07  # at the start; the scale is its inverse
    largest_scale: float = 100.0  # beyond which training may not sharpen the scores

    def __post_init__(self):
        sizes = ("vocab_size", "text_length", "image_size", "channels", "width", "d_model")
        settings.counts(self, *sizes, "n_heads", "n_layers", "eye_layers", "d_joint")
        settings.above_zero(self, "spread", "temperature", "largest_scale")
        settings.heads(self)
        if self.image_size % 8:
            raise ValueError(
                f"a side of {self.image_size} pixels cannot be halved three times: "
                "give a multiple of 8"
            )
        if not 1 / self.largest_scale <= self.temperature:
            raise ValueError(
                f"a temperature of {self.temperature} is a scale of more than "
                f"{self.largest_scale:g}: raise the one or the other"
            )


class TextReader(TextEncoder):
    """Texts [B, T] to [B, E]: words that have looked at each other, and their mean.

    CLIP's own looks back alone and takes the vector of the last token.
    """

    def __init__(self, config: CLIPConfig):
        super().__init__(config, spread=None)
        self.out = nn.Linear(config.d_model, config.d_joint, bias=False)

    def forward(self, ids: Tensor) -> Tensor:
        return self.out(super().forward(ids))


class Eye(nn.Module):
    """Pictures [B, C, S, S] from 0 to 1 to [B, E]: patches that have looked at each other.

    Convolutions halve the side three times; the square of vectors that is left is read as a text.
    """

    def __init__(self, config: CLIPConfig):
        super().__init__()
        w, D, side = config.width, config.d_model, config.image_size // 8
        self.patches = nn.Sequential(
            nn.PixelUnshuffle(2), nn.Conv2d(4 * config.channels, w, 3, padding=1), nn.GELU(),
            nn.Conv2d(w, 2 * w, 4, stride=2, padding=1), nn.GELU(),
            nn.Conv2d(2 * w, 4 * w, 4, stride=2, padding=1), nn.GELU(),
            nn.Conv2d(4 * w, D, 1),
        )  # fmt: skip
        self.places = nn.Embedding(side * side, D)
        self.transformer = Transformer(config.eye_layers, D, config.n_heads)
        self.out = nn.Linear(D, config.d_joint, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        x = self.patches(2 * images - 1).flatten(2).mT  # [B, S² / 64, D]
        return self.out(self.transformer(x + self.places.weight).mean(dim=1))


class CLIP(nn.Module):
    def __init__(self, config: CLIPConfig):
        super().__init__()
        self.config = config
        self.eye, self.reader = Eye(config), TextReader(config)
        init_weights(self.reader, config.n_layers, by_column=False)
        init_weights(self.eye, config.eye_layers, by_column=False)
        for table in (self.reader.words, self.reader.order, self.eye.places):
            nn.init.normal_(table.weight, std=config.spread)
        for seer in (self.eye, self.reader):
            nn.init.normal_(seer.out.weight, std=config.d_model**-0.5)
        self.log_scale = nn.Parameter(torch.full([1], -math.log(config.temperature)))

    @property
    def scale(self) -> Tensor:
        """What cosines are multiplied by, the inverse of the temperature; [1], at most 100."""
        return self.log_scale.float().clamp(max=math.log(self.config.largest_scale)).exp()

    def embed_images(self, images: Tensor) -> Tensor:
        """Pictures [B, C, S, S], from 0 to 1, to unit vectors [B, E], float32."""
        return F.normalize(self.eye(images).float(), dim=1)

    def embed_texts(self, ids: Tensor) -> Tensor:
        """Texts, int64 [B, T], padded with 0 behind their end, to unit vectors [B, E], float32.

        Raises: ValueError if a text is longer than the model's, or has no word.
        """
        most = self.config.text_length
        if ids.shape[1] > most:
            raise ValueError(f"the texts have {ids.shape[1]} tokens, more than {most}: shorten")
        if not (ids > 0).any(dim=1).all():
            raise ValueError(f"one of {len(ids)} texts is empty: say what to look for")
        return F.normalize(self.reader(ids).float(), dim=1)

    def forward(self, images: Tensor, ids: Tensor) -> Tensor:
        """Scores [B, N] of B pictures with N texts: cosines, times the scale, in float32."""
        with torch.no_grad():  # not only in `scale`: beyond the limit it would have no slope
            self.log_scale.clamp_(max=math.log(self.config.largest_scale))
        seen, said = self.embed_images(images), self.embed_texts(ids)
        with torch.autocast(seen.device.type, enabled=False):  # 8 bits are too few for a cosine
            return self.scale * (seen @ said.T)

    @torch.no_grad()
    def vectors(self, images: Tensor | None = None, ids: Tensor | None = None) -> Tensor:
        """Unit vectors [N, E] of many pictures or of many texts, on the CPU, without slopes."""
        embed, many = (self.embed_texts, ids) if images is None else (self.embed_images, images)
        place = device_of(self)
        return torch.cat([embed(part.to(place)).cpu() for part in many.split(256)])


def contrastive_loss(scores: Tensor, labels: Tensor | None = None) -> Tensor:
    """How surprising the right text is to each picture, and the right picture to each text; nats.

    The mean of two cross-entropies, along the rows and along the columns (Radford et al. 2021,
    figure 3), in float32 whatever the scores are in.

    Args:
        scores: [B, B], of picture i with text j; pairs are on the diagonal.
        labels: int [B]; two pairs with the same label say the same, so neither is offered the
            other as a wrong answer. None: all say different things.
    Raises: ValueError if the scores are no square, or of a single pair.
    """
    if scores.ndim != 2 or scores.shape[0] != scores.shape[1]:
        raise ValueError(
            f"the scores have shape {list(scores.shape)}: give one of each picture with each text "
            "of the same pairs, [B, B]"
        )
    if len(scores) < 2:
        raise ValueError(
            f"a batch of {len(scores)} pair has nothing to tell it from, its loss is 0 whatever "
            "the model says: give at least 2"
        )
    scores, own = scores.float(), torch.arange(len(scores), device=scores.device)
    if labels is not None:
        same = labels[:, None] == labels
        scores = scores.masked_fill(same & (own[:, None] != own), -torch.inf)
    return (F.cross_entropy(scores, own) + F.cross_entropy(scores.T, own)) / 2


def clip_loss(model: CLIP, batch: tuple[Tensor, ...]) -> Tensor:
    """The loss of pictures [B, C, S, S], their texts [B, T], and labels if any, for `train`.

    A batch that is cut up, by `accumulate` or among processes, is as many smaller examinations.
    """
    images, ids, *labels = batch
    return contrastive_loss(model(images, ids), *labels)


def ranks(scores: Tensor, rows: Tensor | None = None, columns: Tensor | None = None) -> Tensor:
    """The place, counted from 1, of the best right answer to each row; int64 [N].

    A wrong answer with the same score comes first, and nan behind all, so that scores all alike,
    or none, earn nothing.

    Args:
        scores: [N, M] of N questions with M answers.
        rows, columns: labels [N] and [M]; an answer is right if its label is the question's.
            None: each its own number, so that the right answers are on the diagonal.
    Raises: ValueError if a question has no right answer.
    """
    rows = torch.arange(scores.shape[0]) if rows is None else rows
    columns = torch.arange(scores.shape[1]) if columns is None else columns
    right = (rows[:, None] == columns).to(scores.device)
    if not right.any(dim=1).all():
        lonely = int((~right.any(dim=1)).sum())
        raise ValueError(
            f"{lonely} of {len(scores)} questions have no right answer: leave them out"
        )
    best = scores.masked_fill(~right, -torch.inf).amax(dim=1, keepdim=True)
    return 1 + (~right & ~(scores < best)).sum(dim=1)


def recall_at(scores: Tensor, k: int, rows=None, columns=None) -> float:
    """R@k, the share of questions with a right answer among the k best; arguments as `ranks`."""
    return float((ranks(scores, rows, columns) <= k).float().mean())


def chance_at(k: int, rows: Tensor, columns: Tensor) -> float:
    """What `recall_at` gives on average to answers in random order; labels as in `ranks`."""
    m, right = len(columns), (rows[:, None] == columns).sum(dim=1).tolist()
    k = min(k, m)  # of fewer answers all are among the k best
    return sum(1 - math.comb(m - r, k) / math.comb(m, k) for r in right) / len(right)


def by_way_of(first: Tensor, second: Tensor) -> Tensor:
    """Scores [N, K] of N questions with K answers by way of the best of M go-betweens.

    Args: scores [N, M] of questions with go-betweens, and [M, K] of those with answers.
    """
    return second[first.argmax(dim=1)]


def rerank(model: CLIP, images: Tensor, ids: Tensor) -> Tensor:
    """Cosines [C, N] of C texts, each with N pictures made for it; `best_of` chooses by them.

    Args: images [C, N, 3, S, S] from 0 to 1; ids int64 [C, T].
    """
    seen = model.vectors(images.flatten(0, 1)).unflatten(0, images.shape[:2])  # [C, N, E]
    return torch.einsum("cne,ce->cn", seen, model.vectors(ids=ids))


def best_of(scores: Tensor, n: int) -> Tensor:
    """Which of the first n pictures has the highest score; int64 [C], of scores [C, N].

    Raises: ValueError if there are no n pictures.
    """
    if not 1 <= n <= scores.shape[1]:
        raise ValueError(f"the best of {n} was asked for: choose from 1 to {scores.shape[1]}")
    return scores[:, :n].argmax(dim=1)
