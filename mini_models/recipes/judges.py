"""Judges: how well a model draws, restores or finds pictures, in figures that a card can hold.

Shapes   N texts or pictures, M texts to search for, g side of a grid of words
Source   Wilson 1927, "Probable inference, the law of succession, and statistical inference" (the
         interval of a share)
"""

import random
from dataclasses import dataclass

import torch
from scipy.stats import binomtest
from torch import Tensor

from mini_models.clip import CLIP, by_way_of, chance_at, recall_at
from mini_models.corpora import LANGUAGES
from mini_models.dalle import DALLE
from mini_models.data.emoji import (
    EMOJI_TEXT_LENGTH,
    MOVED,
    caption_of,
    emoji_split,
    emoji_tokenizer,
    fitting,
)
from mini_models.data.shapes import oracle
from mini_models.data.shapes.batches import (
    SHAPES_TEXT_LENGTH,
    altered,
    by_number_of_objects,
    caption_tokenizer,
    captioned,
    english_tokenizer,
)
from mini_models.data.shapes.drawing import draw
from mini_models.data.shapes.grammar import SPLITS, caption, scenes
from mini_models.dvae import DVAE, perplexity
from mini_models.machine.devices import device_of

PROMPTS = 1000  # captions of each split that a model is judged by


def share_with_interval(right) -> tuple[float, float, float]:
    """The share of right answers, and the ends of the interval of Wilson, in which the true share
    lies in 95 of 100 cases.

    Args: right: whether each answer is right, bool [N], N of 1 or more.
    """
    found = binomtest(int(sum(right)), len(right))
    low, high = found.proportion_ci(method="wilson")
    return float(found.statistic), float(low), float(high)


def prompts(split: str, n: int = PROMPTS) -> list[str]:
    """Captions of a split to judge a model by, always the same."""
    return captioned(split, n)[1]


def illustrated(model, captions: list[str], seed: int = 0) -> torch.Tensor:
    """What a model that draws from English captions makes of them, [N, 3, 32, 32] on the CPU."""
    ids = english_tokenizer().encode_batch(captions, SHAPES_TEXT_LENGTH["en"])
    return model.draw(ids, torch.Generator().manual_seed(seed)).float().cpu().clamp(0, 1)


def exact_by_split(model) -> dict:
    """How often the oracle reads back what the captions of each split say.

    "held_out" is the share of mistakes among captions with a colour and a shape that never met in
    training; the others are shares that are right.
    """
    said = {split: prompts(split) for split in SPLITS}
    right = {f"exact_{s}": float(oracle.exact_match(illustrated(model, c), c).float().mean())
             for s, c in said.items()}  # fmt: skip
    return {"held_out": 1 - right["exact_held_out"], **right}


@torch.no_grad()
def through(model: DVAE, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Reconstructions of images [N, 3, 32, 32], and their words [N, g, g], on the CPU."""
    place = device_of(model)
    ids = torch.cat([model.encode(part.to(place)) for part in images.split(250)])
    painted = [model.decode(part) for part in ids.split(250)]
    return torch.cat(painted).cpu(), ids.cpu()


def codebook_use(model: DVAE, images: torch.Tensor) -> dict:
    """Figures of a dVAE on pictures: its error a number, and how it uses its codebook."""
    painted, ids = through(model, images)
    return {
        "squared_error": float((painted - images).square().mean()),
        "perplexity": perplexity(ids, model.config.codes),
        "words_used": len(ids.unique()),
    }


@torch.no_grad()
def image_nats(model: DALLE, split: str) -> float:
    """The mean loss of the image tokens of a split of emoji, after names in both languages."""
    pictures, place, total = emoji_split(split), device_of(model), 0.0
    images = pictures.floats().to(place)
    for language in ("en", "zh"):
        said = [fitting(caption_of(e, language), language) for e in pictures.emoji]
        ids = emoji_tokenizer().encode_batch(said, EMOJI_TEXT_LENGTH).to(place)
        for some, words in zip(images.split(100), ids.split(100)):
            total += float(model(some, words)[1]) * len(some) / (2 * len(images))
    return total


def nearest_in_training(images: torch.Tensor) -> tuple[torch.Tensor, list]:
    """The training emoji nearest to each image [N, 3, 32, 32] in squared error, and what they are.

    Each is looked for at all moves that training makes, so that a moved copy is found too.

    Returns: pictures [N, 3, 32, 32] from 0 to 1, and an `Emoji` for each.
    """
    known = emoji_split("train")
    flat = known.floats().flatten(1)  # [M, 3072]
    best = None
    for down in range(-MOVED, MOVED + 1):
        for right in range(-MOVED, MOVED + 1):
            there = images.cpu().roll((down, right), dims=(2, 3)).flatten(1)
            away = torch.cdist(there, flat)  # [N, M]
            best = away if best is None else torch.minimum(best, away)
    rows = best.argmin(dim=1)
    return known.floats()[rows], [known.emoji[i] for i in rows.tolist()]


GALLERY = 500  # scenes of `shapes` among which one is searched


@dataclass(frozen=True)
class Gallery:
    """N pictures, and M texts in two languages, each of which has at least one picture."""

    images: Tensor  # float32 [N, 3, 32, 32], from 0 to 1
    texts: dict[str, list[str]]  # language -> M texts, the same things in the same order
    shown: Tensor  # int64 [N], the number of what each picture shows
    tokenizer: object
    text_length: int  # T

    def scores(self, model: CLIP) -> dict[str, Tensor]:
        """Cosines [M, N] of the texts of each language with the pictures."""
        seen = model.vectors(self.images)
        ids = {k: self.tokenizer.encode_batch(t, self.text_length) for k, t in self.texts.items()}
        return {language: model.vectors(ids=text) @ seen.T for language, text in ids.items()}

    def recalls(self, model: CLIP) -> dict[str, float]:
        """R@1 and R@5 of pictures for English and for Chinese, and of Chinese for English through
        them."""
        found, said, ks = self.scores(model), torch.arange(len(self.texts["en"])), (1, 5)
        rows = {f"{a}_r{k}": recall_at(found[a], k, said, self.shown) for a in found for k in ks}
        via = by_way_of(found["en"], found["zh"].T)
        return rows | {f"en_zh_r{k}": recall_at(via, k) for k in ks}

    def chance(self, k: int) -> float:
        """What recall at k of the pictures would be, were they in random order."""
        return chance_at(k, torch.arange(len(self.texts["en"])), self.shown)


def shapes_gallery(split: str, n: int = GALLERY) -> Gallery:
    """n different scenes of a split, always the same, each drawn once."""
    chosen = random.Random(0).sample(scenes(split), n)
    images = draw(chosen, torch.Generator().manual_seed(0))
    texts = {language: [caption(s, language) for s in chosen] for language in LANGUAGES}
    return Gallery(images, texts, torch.arange(n), caption_tokenizer(), SHAPES_TEXT_LENGTH["both"])


def emoji_gallery(split: str) -> Gallery:
    """All pictures of a split, and the name of each of its concepts."""
    pictures = emoji_split(split)
    concepts = {e: i for i, e in enumerate(dict.fromkeys(pictures.emoji))}
    texts = {"en": [e.en.lower() for e in concepts], "zh": [e.zh.lower() for e in concepts]}
    shown = torch.tensor([concepts[e] for e in pictures.emoji])
    return Gallery(pictures.floats(), texts, shown, emoji_tokenizer(), EMOJI_TEXT_LENGTH)


@torch.no_grad()
def told_apart(model: CLIP, split: str, n: int = GALLERY) -> float:
    """How often a caption prefers its picture to one that differs in one thing; 1/2 is a guess.

    A third of the n scenes have one object; captions are in either language.
    """
    draws, places = random.Random(1), torch.Generator().manual_seed(1)
    pools = by_number_of_objects(split)
    chosen = [draws.choice(pools[draws.random() > 1 / 3]) for _ in range(n)]
    right, wrong = (
        model.vectors(draw(those, places))
        for those in (chosen, [altered(s, draws) for s in chosen])
    )
    said = [caption(s, draws.choice(LANGUAGES), draws.random() < 0.5) for s in chosen]
    said = model.vectors(ids=caption_tokenizer().encode_batch(said, SHAPES_TEXT_LENGTH["both"]))
    return float(((right * said).sum(dim=1) > (wrong * said).sum(dim=1)).float().mean())
