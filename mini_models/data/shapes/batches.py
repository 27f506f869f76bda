"""Batches of shapes: pictures of a split with their captions, right, wrong and nearly right.

A caption of another picture is wrong in nearly everything, and easy to tell. One that differs in a
single thing is what a reader must learn to tell in the end.

Shapes   B batch, T words of the longest caption; images [B, 3, 32, 32] from 0 to 1
"""

import random
from dataclasses import replace
from functools import cache

import torch
from torch import Tensor

from mini_models.corpora import LANGUAGES
from mini_models.data.batches import seed_of
from mini_models.data.shapes.drawing import COLOURS, SHAPES, SIZES, draw
from mini_models.data.shapes.grammar import RELATIONS, SPLITS, TURNED, Scene, caption, scenes
from mini_models.machine.files import digest
from mini_models.tokenizers.words import WordTokenizer

SHAPES_TEXT_LENGTH = {"en": 10, "zh": 19, "both": 19}  # T


def captioned(split: str, n: int, seed: int = 0, language: str = "en") -> tuple[Tensor, list[str]]:
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
    one_or_two = by_number_of_objects(split)
    chosen, captions = [], []
    for number, which, turned, other in torch.rand(n, 4, generator=generator).tolist():
        group = one_or_two[number > 1 / 3]
        chosen.append(group[int(which * len(group))])
        spoken = LANGUAGES[other > 0.5] if language == "both" else language
        captions.append(caption(chosen[-1], spoken, turned > 0.5))
    return draw(chosen, generator), captions


def _check(split, language):
    scenes(split)  # refuses what is none
    if language not in SHAPES_TEXT_LENGTH:
        raise ValueError(f"{language!r} is no language of the captions: choose en, zh or both")


@cache
def by_number_of_objects(split: str) -> list[list[Scene]]:
    """The scenes of a split with one object, and those with two."""
    return [[s for s in scenes(split) if len(s.things) == n] for n in (1, 2)]


@cache
def caption_tokenizer() -> WordTokenizer:
    """The words and characters of all captions of `shapes`, in both languages."""
    train = scenes("train")  # has every word
    said = [caption(s, language, t) for s in train for language in LANGUAGES for t in (0, 1)]
    return WordTokenizer.train(said)


class ShapesBatches:
    """Pictures of `shapes` and their captions as ids; `batches[step]` is a function of the step.

    Every step draws fresh pictures: none comes a second time.

    Args:
        batch_size: B.
        seed, language, split: as in `captioned`.
    Raises: ValueError for another split or language.
    """

    def __init__(self, batch_size: int, seed: int = 0, language: str = "en", split: str = "train"):
        _check(split, language)
        self.batch_size, self.seed, self.language, self.split = batch_size, seed, language, split
        self.tokenizer = caption_tokenizer()
        self.text_length = SHAPES_TEXT_LENGTH[language]  # T

    def __getitem__(self, step: int) -> tuple[Tensor, Tensor]:
        """Images [B, 3, 32, 32] and ids, int64 [B, T], padded with 0."""
        seed = seed_of(self.seed + 1, step)  # not the small ones with which one measures
        images, captions = captioned(self.split, self.batch_size, seed, self.language)
        return images, self.tokenizer.encode_batch(captions, self.text_length)


VALUES = {"size": SIZES, "colour": COLOURS, "shape": SHAPES}


def nearly(scene: Scene, draws: random.Random) -> Scene:
    """A scene of training that differs from this one in one size, colour, shape or relation."""
    known = _training_scenes()
    while True:
        things, relation = list(scene.things), scene.relation
        what = draws.choice(("size", "colour", "shape") + ("relation",) * (len(things) - 1))
        if what == "relation":
            relation = draws.choice((*RELATIONS, *TURNED.values()))
        else:
            i = draws.randrange(len(things))
            things[i] = replace(things[i], **{what: draws.choice(tuple(VALUES[what]))})
        other = Scene(things[0], relation, *things[1:])
        if other != scene and other in known:
            return other


@cache
def _training_scenes() -> frozenset[Scene]:
    return frozenset(scenes("train"))


@cache
def english_tokenizer() -> WordTokenizer:
    """The English words of the captions."""
    return WordTokenizer.train(caption(s, "en", t) for s in scenes("train") for t in (False, True))


def _draws(seed: int, step: int) -> tuple[random.Random, torch.Generator]:
    """Random numbers of a step, for what is shown and for where it lies."""
    number = seed_of(seed + 1, step)
    return random.Random(number), torch.Generator().manual_seed(number)


class MatchingBatches:
    """Pictures, captions and wrong captions; `batches[step]` is a function of the step.

    A third of the pictures has one object, as in `shapes`. At first every wrong caption is that of
    another picture of the batch; by and by, up to half of them, it is `nearly` the right one.

    Args:
        batch_size: B.
        seed: of the scenes, their places and the wrong captions.
        objects: 1 or 2 for pictures of so many alone.
        ramp: steps until half of the wrong captions are nearly right; 0: from the beginning.
    """

    def __init__(self, batch_size: int, seed: int = 0, objects: int | None = None, ramp=1500):
        both = by_number_of_objects("train")
        self.pools = both if objects is None else [both[objects - 1]]
        self.batch_size, self.seed, self.ramp = batch_size, seed, ramp

    def __getitem__(self, step: int) -> tuple[Tensor, Tensor, Tensor]:
        """Images [B, 3, 32, 32], ids and wrong ids, int64 [B, T], padded with 0."""
        draws, places = _draws(self.seed, step)
        chosen = [
            draws.choice(self.pools[-(draws.random() > 1 / 3)]) for _ in range(self.batch_size)
        ]
        near = min(step / max(self.ramp, 1), 1) / 2 if self.ramp else 0.5
        wrong = [
            nearly(scene, draws) if draws.random() < near or other == scene else other
            for scene, other in zip(chosen, chosen[1:] + chosen[:1])
        ]
        ids, other = (
            english_tokenizer().encode_batch(
                [caption(s, "en", draws.random() < 0.5) for s in said], SHAPES_TEXT_LENGTH["en"]
            )
            for said in (chosen, wrong)
        )
        return draw(chosen, places), ids, other


class NearPairs:
    """Scenes of `shapes` and as many that are nearly the same; `batches[step]` is of the step.

    Among random scenes a caption's colours alone give its picture away. Here each has a rival in
    the batch that differs in one size, colour, shape or relation.

    Args:
        batch_size: B, an even number.
        seed: of the scenes, their places and the languages of their captions.
        near: False for batches of scenes at random alone.
    Raises: ValueError for an odd number.
    """

    def __init__(self, batch_size: int, seed: int = 0, near: bool = True):
        if batch_size % 2:
            raise ValueError(f"a batch of {batch_size} has no halves: give an even number")
        self.batch_size, self.seed, self.near = batch_size, seed, near
        self.label = {scene: i for i, scene in enumerate(scenes("train"))}
        self.pools = by_number_of_objects("train")

    def __getitem__(self, step: int) -> tuple[Tensor, Tensor, Tensor]:
        """Images [B, 3, 32, 32], ids int64 [B, T] in either language, and labels [B] of scenes."""
        draws, places = _draws(self.seed, step)
        n = self.batch_size // 2 if self.near else self.batch_size
        chosen = [draws.choice(self.pools[draws.random() > 1 / 3]) for _ in range(n)]
        if self.near:
            chosen += [nearly(scene, draws) for scene in chosen]
        said = [caption(s, draws.choice(LANGUAGES), draws.random() < 0.5) for s in chosen]
        ids = caption_tokenizer().encode_batch(said, SHAPES_TEXT_LENGTH["both"])
        return draw(chosen, places), ids, torch.tensor([self.label[s] for s in chosen])


def altered(scene: Scene, draws: random.Random) -> Scene:
    """A scene of any split that differs from this one in one size, colour, shape or relation."""
    things, other = list(scene.things), scene
    what = draws.choice([*VALUES] * len(things) + ["relation"] * (len(things) - 1))
    while other == scene:
        if what == "relation":
            other = replace(scene, relation=draws.choice((*RELATIONS, *TURNED.values())))
        else:
            i = draws.randrange(len(things))
            thing = replace(things[i], **{what: draws.choice(tuple(VALUES[what]))})
            first, *second = [*things[:i], thing, *things[i + 1 :]]
            other = Scene(first, scene.relation, *second)
    return other


def shapes_sha256() -> str:
    """What tells these scenes and splits from others, in hexadecimal digits."""
    said = [f"{split}: {caption(scene)}" for split in SPLITS for scene in scenes(split)]
    return digest("\n".join(said))
