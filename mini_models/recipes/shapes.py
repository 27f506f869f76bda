"""Shapes recipes: named training runs of games that draw what a caption says."""

from mini_models.data.shapes.batches import (
    MatchingBatches,
    captioned,
    english_tokenizer,
    shapes_sha256,
)
from mini_models.recipes.judges import exact_by_split
from mini_models.recipes.task import Recipe, Task
from mini_models.recipes.watches import ShapesWatch
from mini_models.text_to_image_gan import TextToImageConfig, TextToImageGAN, text_to_image_loss
from mini_models.train import TrainConfig


def gan_shapes_task(recipe: Recipe, seed: int) -> Task:
    """A game on the pictures and English captions of `shapes`, judged by the oracle."""
    return Task(
        TextToImageGAN(recipe.model), MatchingBatches(recipe.batch_size, seed),
        text_to_image_loss, exact_by_split, "mistakes a picture", shapes_sha256(),
        tokenizer=english_tokenizer(), item="pictures", settle=TextToImageGAN.settled,
        watch=ShapesWatch(captioned("train", 500)[0]),
    )  # fmt: skip


RECIPES = {
    "gan-shapes": Recipe(
        "draws shapes from captions: a generator and a discriminator that read; a quarter of an "
        "hour on two cores",
        gan_shapes_task, TextToImageConfig(),
        TrainConfig(steps=16000, betas=(0.0, 0.99), weight_decay=0, clip=1000.0, warmup=100),
        batch_size=64,
    ),
}  # fmt: skip
