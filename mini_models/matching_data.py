"""Matching data: pictures, their captions, and for each a caption that is wrong.

A caption of another picture is wrong in nearly everything, and easy to tell. One that differs in a
single thing is what a reader must learn to tell in the end.

Shapes   B batch, T words of the longest caption
Derived  notebooks/13_text_to_image_gan.ipynb
"""

import random
from dataclasses import replace
from functools import cache

import torch
from torch import Tensor

from mini_models.shapes import (
    COLOURS,
    RELATIONS,
    SHAPES,
    SIZES,
    TURNED,
    Scene,
    caption,
    draw,
    scenes,
)
from mini_models.shapes_data import CAPTION_LENGTH
from mini_models.words import WordTokenizer

WORDS = {"size": SIZES, "colour": COLOURS, "shape": SHAPES}


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
            things[i] = replace(things[i], **{what: draws.choice(tuple(WORDS[what]))})
        other = Scene(things[0], relation, *things[1:])
        if other != scene and other in known:
            return other


@cache
def _training_scenes() -> frozenset[Scene]:
    return frozenset(scenes("train"))


@cache
def english() -> WordTokenizer:
    """The English words of the captions."""
    return WordTokenizer.train(caption(s, "en", t) for s in scenes("train") for t in (False, True))


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
        known = scenes("train")
        self.pools = [[s for s in known if len(s.things) == n] for n in (1, 2)]
        if objects is not None:
            self.pools = [self.pools[objects - 1]]
        self.batch_size, self.seed, self.ramp = batch_size, seed, ramp

    def __getitem__(self, step: int) -> tuple[Tensor, Tensor, Tensor]:
        """Images [B, 3, 32, 32], ids and wrong ids, int64 [B, T], padded with 0."""
        seed = (self.seed + 1) * 1_000_003 + step
        draws, places = random.Random(seed), torch.Generator().manual_seed(seed)
        chosen = [
            draws.choice(self.pools[-(draws.random() > 1 / 3)]) for _ in range(self.batch_size)
        ]
        near = min(step / max(self.ramp, 1), 1) / 2 if self.ramp else 0.5
        wrong = [
            nearly(scene, draws) if draws.random() < near or other == scene else other
            for scene, other in zip(chosen, chosen[1:] + chosen[:1])
        ]
        ids, other = (
            english().encode_batch(
                [caption(s, "en", draws.random() < 0.5) for s in said], CAPTION_LENGTH["en"]
            )
            for said in (chosen, wrong)
        )
        return draw(chosen, places), ids, other
