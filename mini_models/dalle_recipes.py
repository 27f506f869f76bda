"""DALL-E recipes: named training runs of dVAEs, and of the decoders that write in their words.

Derived  notebooks/14_dvae.ipynb, notebooks/15_dalle.ipynb
"""

import hashlib
from dataclasses import replace
from functools import cache

import torch

from mini_models import oracle, zoo
from mini_models.dalle import DALLE, DALLEConfig, dalle_loss
from mini_models.devices import device_of
from mini_models.dvae import DVAE, DVAEConfig, dvae_loss, perplexity
from mini_models.emoji import caption_of, emoji_split
from mini_models.emoji_data import (
    EMOJI_LENGTH,
    EMOJI_VOCABULARY,
    MOVED,
    EmojiBatches,
    emoji_tokenizer,
    fitting,
)
from mini_models.image_recipes import ImageRecipe
from mini_models.matching_data import english
from mini_models.shapes_data import ShapesBatches, shapes
from mini_models.shapes_recipes import PROMPTS, SPLITS, measure, shapes_sha256
from mini_models.task import Task
from mini_models.train import TrainConfig

COLLAPSED = 2.0  # a codebook with a lower perplexity says next to nothing


class Pictures:
    """The pictures of batches, each with the number of the step, which a dVAE's schedules need."""

    def __init__(self, batches):
        self.batches = batches

    def __getitem__(self, step: int):
        """Images [B, 3, 32, 32] and the step's number [B]."""
        images = self.batches[step][0]
        return images, torch.full((len(images),), float(step))


class CodebookWatch:
    """Notices, while a dVAE trains, that its codebook has collapsed: (model, step) -> a warning.

    Twice in a row the words of some pictures are nearly always the same.
    """

    def __init__(self, images: torch.Tensor, every: int = 300):
        self.images, self.every, self.poor = images, every, 0

    def __call__(self, model: DVAE, step: int) -> str | None:
        if step % self.every:
            return None
        used = perplexity(model.encode(self.images.to(device_of(model))), model.config.codes)
        self.poor = self.poor + 1 if used < COLLAPSED else 0
        if self.poor == 2:
            return (
                f"the codebook has collapsed: its {model.config.codes} words have a perplexity of "
                f"{used:.1f}; begin anew from the words of k-means (DVAE.begin), or with a larger "
                "kl_weight"
            )
        return None


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


def begun(config: DVAEConfig, images: torch.Tensor, seed: int) -> DVAE:
    """A dVAE whose words begin as the k-means of the cells of images."""
    model = DVAE(config)
    model.begin(images, seed)
    return model


def dvae_shapes_task(recipe: ImageRecipe, seed: int) -> Task:
    """A dVAE of `shapes`, judged by what the oracle cannot read in its reconstructions."""

    def measure(model: DVAE) -> dict:
        right, seen = {}, {split: shapes(split, PROMPTS, seed=1) for split in SPLITS}
        for split, (images, captions) in seen.items():
            read = oracle.exact_match(through(model, images)[0], captions)
            right[f"exact_{split}"] = float(read.float().mean())
        figures = codebook_use(model, seen["held_out"][0])
        return {"held_out": 1 - right["exact_held_out"], **right, **figures}

    return Task(
        begun(recipe.model, shapes("train", 3000, seed=2)[0], seed),
        Pictures(ShapesBatches(recipe.batch_size, seed)), dvae_loss, measure,
        "mistakes a reconstruction", shapes_sha256(), item="pictures",
        watch=CodebookWatch(shapes("train", 64)[0]),
    )  # fmt: skip


def dvae_emoji_task(recipe: ImageRecipe, seed: int) -> Task:
    """A dVAE of emoji, judged by its squared error on pictures of concepts never seen."""
    held_out = emoji_split("concepts").floats()

    def measure(model: DVAE) -> dict:
        figures = codebook_use(model, held_out)
        seen = codebook_use(model, emoji_split("train").floats())
        return {"held_out": figures["squared_error"], "train": seen["squared_error"], **figures}

    return Task(
        begun(recipe.model, emoji_split("train").floats(), seed),
        Pictures(EmojiBatches(recipe.batch_size, seed)), dvae_loss, measure,
        "squared error a number", emoji_sha256(), item="pictures",
        watch=CodebookWatch(held_out[:64]),
    )  # fmt: skip


def with_dvae(config: DALLEConfig, name: str) -> DALLE:
    """A fresh DALL-E that writes in the words of a dVAE of the zoo."""
    dvae, _ = zoo.load(name)
    sizes = {"image_vocab_size": dvae.config.codes, "image_length": dvae.config.grid**2}
    model = DALLE(replace(config, dvae=dvae.config, **sizes))
    model.dvae.load_state_dict(dvae.state_dict())
    return model


def dalle_shapes_task(recipe: ImageRecipe, seed: int) -> Task:
    """A DALL-E of `shapes`, judged as the GAN of chapter 13 is."""
    return Task(
        with_dvae(recipe.model, "dvae-shapes"), ShapesBatches(recipe.batch_size, seed), dalle_loss,
        measure, "mistakes a picture", shapes_sha256(), tokenizer=english(), item="pictures",
    )  # fmt: skip


def dalle_emoji_task(recipe: ImageRecipe, seed: int) -> Task:
    """A DALL-E of emoji in two languages, judged by the likelihood of drawings never seen."""

    def measure(model: DALLE) -> dict:
        return {
            "held_out": image_nats(model, "drawings"),
            "concepts": image_nats(model, "concepts"),
        }

    return Task(
        with_dvae(recipe.model, "dvae-emoji"), EmojiBatches(recipe.batch_size, seed), dalle_loss,
        measure, "nats an image token", emoji_sha256(), tokenizer=emoji_tokenizer(),
        item="pictures",
    )  # fmt: skip


@torch.no_grad()
def image_nats(model: DALLE, split: str) -> float:
    """The mean loss of the image tokens of a split of emoji, after names in both languages."""
    pictures, place, total = emoji_split(split), device_of(model), 0.0
    images = pictures.floats().to(place)
    for language in ("en", "zh"):
        said = [fitting(caption_of(e, language), language) for e in pictures.emoji]
        ids = emoji_tokenizer().encode_batch(said, EMOJI_LENGTH).to(place)
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


@cache
def emoji_sha256() -> str:
    """What tells these pictures, captions and splits from others, in hexadecimal digits."""
    digest = hashlib.sha256()
    for split in ("train", "drawings", "concepts"):
        pictures = emoji_split(split)
        digest.update(pictures.images.numpy().tobytes())
        digest.update(repr(pictures.emoji).encode())
    return digest.hexdigest()


RECIPES = {
    "dvae-shapes": ImageRecipe(
        "turns pictures of shapes into 64 words and back; five minutes on two cores",
        dvae_shapes_task,
        DVAEConfig(),
        TrainConfig(steps=2000, lr=1.5e-3, decay=0.6, betas=(0.9, 0.99), weight_decay=0.01),
        batch_size=32,
    ),
    "dvae-emoji": ImageRecipe(
        "turns emoji into 64 words and back; five minutes on two cores",
        dvae_emoji_task,
        DVAEConfig(),
        TrainConfig(steps=2000, lr=1.5e-3, decay=0.6, betas=(0.9, 0.99), weight_decay=0.01),
        batch_size=32,
    ),
    "dalle-shapes": ImageRecipe(
        "draws shapes from captions, as one stream of words; a quarter of an hour on two cores",
        dalle_shapes_task,
        DALLEConfig(),
        TrainConfig(steps=3000, lr=5e-3, optimizer="muon", decay=0.7),
        batch_size=64,
    ),
    "dalle-emoji": ImageRecipe(
        "draws emoji from captions in English and Chinese; half an hour on two cores",
        dalle_emoji_task,
        DALLEConfig(EMOJI_VOCABULARY, text_length=EMOJI_LENGTH, d_model=160, n_heads=5),
        TrainConfig(steps=3000, lr=5e-3, optimizer="muon", decay=0.7),
        batch_size=64,
    ),
}
