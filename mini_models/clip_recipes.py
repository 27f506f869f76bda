"""CLIP recipes: named training runs of models that find pictures for texts and texts for pictures.

Shapes   B batch, T tokens of the longest caption, N texts or pictures to search
Derived  notebooks/16_clip.ipynb
"""

import hashlib
import random
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mini_models.clip import CLIP, CLIPConfig, by_way_of, chance_at, clip_loss, recall_at
from mini_models.data import RowBatches
from mini_models.emoji import emoji_split
from mini_models.emoji_data import EMOJI_LENGTH, EMOJI_VOCABULARY, EmojiBatches, emoji_tokenizer
from mini_models.image_recipes import ImageRecipe
from mini_models.matching_data import WORDS, nearly
from mini_models.shapes import RELATIONS, SPLITS, TURNED, Scene, caption, draw, scenes
from mini_models.shapes_data import CAPTION_LENGTH, caption_tokenizer
from mini_models.task import Task
from mini_models.train import TrainConfig

LANGUAGES = ("en", "zh")
GALLERY = 500  # scenes of `shapes` among which one is searched


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
        self.pools = [[s for s in self.label if len(s.things) == n] for n in (1, 2)]

    def __getitem__(self, step: int) -> tuple[Tensor, Tensor, Tensor]:
        """Images [B, 3, 32, 32], ids int64 [B, T] in either language, and labels [B] of scenes."""
        seed = (self.seed + 1) * 1_000_003 + step
        draws, places = random.Random(seed), torch.Generator().manual_seed(seed)
        n = self.batch_size // 2 if self.near else self.batch_size
        chosen = [draws.choice(self.pools[draws.random() > 1 / 3]) for _ in range(n)]
        if self.near:
            chosen += [nearly(scene, draws) for scene in chosen]
        said = [caption(s, draws.choice(LANGUAGES), draws.random() < 0.5) for s in chosen]
        ids = caption_tokenizer().encode_batch(said, CAPTION_LENGTH["both"])
        return draw(chosen, places), ids, torch.tensor([self.label[s] for s in chosen])


class LabelledEmoji:
    """`EmojiBatches`, and for each pair the number of its concept; arguments as there."""

    def __init__(self, batch_size: int, seed: int = 0):
        self.pairs, concepts = EmojiBatches(batch_size, seed), {}
        numbers = [concepts.setdefault(e, len(concepts)) for e in emoji_split("train").emoji]
        self.rows = RowBatches([torch.tensor(numbers)], batch_size, seed)  # in the same order

    def __getitem__(self, step: int) -> tuple[Tensor, Tensor, Tensor]:
        """Images [B, 3, 32, 32], ids int64 [B, T] and the labels [B]."""
        return *self.pairs[step], *self.rows[step]


@dataclass(frozen=True)
class Gallery:
    """N pictures, and M texts in two languages, each of which has at least one picture."""

    images: Tensor  # float32 [N, 3, 32, 32], from 0 to 1
    texts: dict[str, list[str]]  # language -> M texts, the same things in the same order
    shown: Tensor  # int64 [N], the number of what each picture shows
    tokenizer: object
    length: int  # T

    def scores(self, model: CLIP) -> dict[str, Tensor]:
        """Cosines [M, N] of the texts of each language with the pictures."""
        seen = model.vectors(self.images)
        ids = {k: self.tokenizer.encode_batch(t, self.length) for k, t in self.texts.items()}
        return {language: model.vectors(ids=text) @ seen.T for language, text in ids.items()}

    def recalls(self, model: CLIP, ks=(1, 5)) -> dict[str, float]:
        """R@k of pictures for English and for Chinese, and of Chinese for English through them."""
        found, said = self.scores(model), torch.arange(len(self.texts["en"]))
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
    return Gallery(images, texts, torch.arange(n), caption_tokenizer(), CAPTION_LENGTH["both"])


def emoji_gallery(split: str) -> Gallery:
    """All pictures of a split, and the name of each of its concepts."""
    pictures = emoji_split(split)
    concepts = {e: i for i, e in enumerate(dict.fromkeys(pictures.emoji))}
    texts = {"en": [e.en.lower() for e in concepts], "zh": [e.zh.lower() for e in concepts]}
    shown = torch.tensor([concepts[e] for e in pictures.emoji])
    return Gallery(pictures.floats(), texts, shown, emoji_tokenizer(), EMOJI_LENGTH)


def altered(scene: Scene, draws: random.Random) -> Scene:
    """A scene of any split that differs from this one in one size, colour, shape or relation."""
    things, other = list(scene.things), scene
    what = draws.choice([*WORDS] * len(things) + ["relation"] * (len(things) - 1))
    while other == scene:
        if what == "relation":
            other = replace(scene, relation=draws.choice((*RELATIONS, *TURNED.values())))
        else:
            i = draws.randrange(len(things))
            thing = replace(things[i], **{what: draws.choice(tuple(WORDS[what]))})
            first, *second = [*things[:i], thing, *things[i + 1 :]]
            other = Scene(first, scene.relation, *second)
    return other


@torch.no_grad()
def told_apart(model: CLIP, split: str, n: int = GALLERY) -> float:
    """How often a caption prefers its picture to one that differs in one thing; 1/2 is a guess.

    A third of the n scenes have one object; captions are in either language.
    """
    draws, places = random.Random(1), torch.Generator().manual_seed(1)
    pools = [[s for s in scenes(split) if len(s.things) == m] for m in (1, 2)]
    chosen = [draws.choice(pools[draws.random() > 1 / 3]) for _ in range(n)]
    right, wrong = (
        model.vectors(draw(those, places))
        for those in (chosen, [altered(s, draws) for s in chosen])
    )
    said = [caption(s, draws.choice(LANGUAGES), draws.random() < 0.5) for s in chosen]
    said = model.vectors(ids=caption_tokenizer().encode_batch(said, CAPTION_LENGTH["both"]))
    return float(((right * said).sum(dim=1) > (wrong * said).sum(dim=1)).float().mean())


def shapes_task(recipe: ImageRecipe, seed: int) -> Task:
    """Pairs of `shapes` in two languages, judged by 500 held-out scenes.

    "held_out" is the share of captions of either language whose picture is not found first.
    """

    def measure(model: CLIP) -> dict:
        found = {s: shapes_gallery(s).recalls(model) for s in ("seen", "held_out")}
        rows = {f"{s}_{key}": value for s, row in found.items() for key, value in row.items()}
        apart = {f"told_apart_{s}": told_apart(model, s) for s in found}
        return {"held_out": _missed(found["held_out"]), **rows, **apart}

    said = [caption(s, language) for part in SPLITS for s in scenes(part) for language in LANGUAGES]
    return Task(
        CLIP(recipe.model), NearPairs(recipe.batch_size, seed), clip_loss, measure,
        "mistakes a text", hashlib.sha256("\n".join(said).encode()).hexdigest(),
        tokenizer=caption_tokenizer(), item="pairs",
    )  # fmt: skip


def emoji_task(recipe: ImageRecipe, seed: int) -> Task:
    """Emoji and their names in two languages, judged by drawings of known and of new concepts.

    "held_out" is the share of names of known concepts whose new drawing is not found first.
    """

    def measure(model: CLIP) -> dict:
        found = {s: emoji_gallery(s).recalls(model) for s in ("drawings", "concepts")}
        rows = {f"{s}_{key}": value for s, row in found.items() for key, value in row.items()}
        return {"held_out": _missed(found["drawings"]), **rows}

    digest = hashlib.sha256()
    for split in ("train", "drawings", "concepts"):
        pictures = emoji_split(split)
        digest.update(pictures.images.numpy().tobytes() + repr(pictures.emoji).encode())
    return Task(
        CLIP(recipe.model), LabelledEmoji(recipe.batch_size, seed), clip_loss, measure,
        "mistakes a text", digest.hexdigest(), tokenizer=emoji_tokenizer(), item="pairs",
    )  # fmt: skip


def _missed(recalls: dict) -> float:
    return 1 - (recalls["en_r1"] + recalls["zh_r1"]) / 2


RECIPES = {
    "clip-shapes": ImageRecipe(
        "finds pictures of shapes for captions in English and Chinese; five minutes on two cores",
        shapes_task,
        CLIPConfig(vocab_size=51, text_length=CAPTION_LENGTH["both"]),
        TrainConfig(steps=2500, lr=2e-3, decay=0.7),
        batch_size=128,
    ),
    "clip-emoji": ImageRecipe(
        "finds emoji for names and keywords in English and Chinese; five minutes on two cores",
        emoji_task,
        CLIPConfig(vocab_size=EMOJI_VOCABULARY, text_length=EMOJI_LENGTH, spread=0.1),
        TrainConfig(steps=3500, lr=3e-3, decay=0.7),
        batch_size=128,
    ),
}
