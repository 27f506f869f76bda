"""Shapes as data: pictures of a split with their captions, and batches of them to train on.

Shapes   B batch, T words of the longest caption
"""

from functools import cache

import torch
from torch import Tensor

from mini_models.shapes import caption, draw, scenes
from mini_models.words import WordTokenizer

CAPTION_LENGTH = {"en": 10, "zh": 19, "both": 19}  # T


def shapes(split: str, n: int, seed: int = 0, language: str = "en") -> tuple[Tensor, list[str]]:
    """Pictures of scenes drawn at random, a third of them with one object, and their captions.

    Args:
        split: "train", "seen" or "held_out", as `shapes.scenes` tells them apart.
        n: how many.
        language: "en", "zh", or "both" for one of them at random, each time anew.
    Returns: images, float32 [n, 3, 32, 32] from 0 to 1, and n captions; those of two objects begin
        with either of them, at random.
    Raises: ValueError for another split or language, or fewer than one.
    """
    _check(split, language)
    if n < 1:
        raise ValueError(f"{n} pictures were asked for: ask for at least one")
    generator = torch.Generator().manual_seed(seed)
    one_or_two = _by_number_of_objects(split)
    chosen, captions = [], []
    for number, which, turned, other in torch.rand(n, 4, generator=generator).tolist():
        group = one_or_two[number > 1 / 3]
        chosen.append(group[int(which * len(group))])
        spoken = ("en", "zh")[other > 0.5] if language == "both" else language
        captions.append(caption(chosen[-1], spoken, turned > 0.5))
    return draw(chosen, generator), captions


def _check(split, language):
    scenes(split)  # refuses what is none
    if language not in CAPTION_LENGTH:
        raise ValueError(f"{language!r} is no language of the captions: choose en, zh or both")


@cache
def _by_number_of_objects(split):
    return [[s for s in scenes(split) if len(s.things) == n] for n in (1, 2)]


@cache
def caption_tokenizer() -> WordTokenizer:
    """The words and characters of all captions of `shapes`, in both languages."""
    train = scenes("train")  # has every word
    said = [caption(s, language, t) for s in train for language in ("en", "zh") for t in (0, 1)]
    return WordTokenizer.train(said)


class ShapesBatches:
    """Pictures of `shapes` and their captions as ids; `batches[step]` is a function of the step.

    Every step draws fresh pictures: none comes a second time.

    Args:
        batch_size: B.
        seed, language, split: as in `shapes`.
    Raises: ValueError for another split or language.
    """

    def __init__(self, batch_size: int, seed: int = 0, language: str = "en", split: str = "train"):
        _check(split, language)
        self.batch_size, self.seed, self.language, self.split = batch_size, seed, language, split
        self.tokenizer = caption_tokenizer()
        self.length = CAPTION_LENGTH[language]  # T

    def __getitem__(self, step: int) -> tuple[Tensor, Tensor]:
        """Images [B, 3, 32, 32] and ids, int64 [B, T], padded with 0."""
        seed = (self.seed + 1) * 1_000_003 + step  # not the small ones with which one measures
        images, captions = shapes(self.split, self.batch_size, seed, self.language)
        return images, self.tokenizer.encode_batch(captions, self.length)
