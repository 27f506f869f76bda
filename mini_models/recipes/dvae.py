"""dVAE recipes: named training runs of models that turn a picture into words and back."""

import torch

from mini_models.data.emoji import EmojiBatches, emoji_sha256, emoji_split
from mini_models.data.shapes import oracle
from mini_models.data.shapes.batches import ShapesBatches, captioned, shapes_sha256
from mini_models.data.shapes.grammar import SPLITS
from mini_models.dvae import DVAE, DVAEConfig, dvae_loss
from mini_models.recipes.judges import PROMPTS, codebook_use, through
from mini_models.recipes.task import Recipe, Task
from mini_models.recipes.watches import CodebookWatch
from mini_models.train import TrainConfig


class WithStep:
    """The pictures of batches, each with the number of the step, which a dVAE's schedules need."""

    def __init__(self, batches):
        self.batches = batches

    def __getitem__(self, step: int):
        """Images [B, 3, 32, 32] and the step's number [B]."""
        images = self.batches[step][0]
        return images, torch.full((len(images),), float(step))


def begun(config: DVAEConfig, images: torch.Tensor, seed: int) -> DVAE:
    """A dVAE whose words begin as the k-means of the cells of images."""
    model = DVAE(config)
    model.begin(images, seed)
    return model


def dvae_shapes_task(recipe: Recipe, seed: int) -> Task:
    """A dVAE of `shapes`, judged by what the oracle cannot read in its reconstructions."""

    def measure(model: DVAE) -> dict:
        right, seen = {}, {split: captioned(split, PROMPTS, seed=1) for split in SPLITS}
        for split, (images, captions) in seen.items():
            read = oracle.exact_match(through(model, images)[0], captions)
            right[f"exact_{split}"] = float(read.float().mean())
        figures = codebook_use(model, seen["held_out"][0])
        return {"held_out": 1 - right["exact_held_out"], **right, **figures}

    return Task(
        begun(recipe.model, captioned("train", 3000, seed=2)[0], seed),
        WithStep(ShapesBatches(recipe.batch_size, seed)), dvae_loss, measure,
        "mistakes a reconstruction", shapes_sha256(), item="pictures",
        watch=CodebookWatch(captioned("train", 64)[0]),
    )  # fmt: skip


def dvae_emoji_task(recipe: Recipe, seed: int) -> Task:
    """A dVAE of emoji, judged by its squared error on pictures of concepts never seen."""
    held_out = emoji_split("concepts").floats()

    def measure(model: DVAE) -> dict:
        figures = codebook_use(model, held_out)
        seen = codebook_use(model, emoji_split("train").floats())
        return {"held_out": figures["squared_error"], "train": seen["squared_error"], **figures}

    return Task(
        begun(recipe.model, emoji_split("train").floats(), seed),
        WithStep(EmojiBatches(recipe.batch_size, seed)), dvae_loss, measure,
        "squared error a number", emoji_sha256(), item="pictures",
        watch=CodebookWatch(held_out[:64]),
    )  # fmt: skip


RECIPES = {
    "dvae-shapes": Recipe(
        "turns pictures of shapes into 64 words and back; five minutes on two cores",
        dvae_shapes_task, DVAEConfig(),
        TrainConfig(steps=2000, lr=1.5e-3, decay=0.6, betas=(0.9, 0.99), weight_decay=0.01),
        batch_size=32,
    ),
    "dvae-emoji": Recipe(
        "turns emoji into 64 words and back; five minutes on two cores",
        dvae_emoji_task, DVAEConfig(),
        TrainConfig(steps=2000, lr=1.5e-3, decay=0.6, betas=(0.9, 0.99), weight_decay=0.01),
        batch_size=32,
    ),
}  # fmt: skip
