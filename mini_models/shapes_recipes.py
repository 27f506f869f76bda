"""Shapes recipes: named training runs of models that draw what a caption says.

Derived  notebooks/13_text_to_image_gan.ipynb
"""

import hashlib
from dataclasses import dataclass

import torch

from mini_models import oracle
from mini_models.image_recipes import GameWatch
from mini_models.matching_data import MatchingBatches, english
from mini_models.shapes import SPLITS, caption, scenes
from mini_models.shapes_data import CAPTION_LENGTH, shapes
from mini_models.task import Task
from mini_models.text_to_image_gan import TextToImageConfig, TextToImageGAN, text_to_image_loss
from mini_models.train import TrainConfig

PROMPTS = 1000  # captions of each split that a model is judged by


@dataclass(frozen=True)
class ShapesRecipe:
    """How one model is made that draws shapes from English captions."""

    about: str
    model: TextToImageConfig  # but for vocab_size, the number of words in the captions
    train: TrainConfig
    batch_size: int  # pictures a step

    def prepare(self, text: str | None = None, seed: int = 0) -> Task:
        """A fresh game, and the pictures and captions of `shapes`.

        Args:
            text: only None; recipes of texts take one.
            seed: of the model's first weights and of the scenes.
        Raises: ValueError if there is a text.
        """
        if text is not None:
            raise ValueError("this recipe learns from pictures, not from a text: leave out --text")
        torch.manual_seed(seed)
        return Task(
            TextToImageGAN(self.model), MatchingBatches(self.batch_size, seed),
            text_to_image_loss, measure, "mistakes a picture", shapes_sha256(),
            tokenizer=english(), item="pictures", settle=TextToImageGAN.settled,
            watch=ShapesWatch(shapes("train", 500)[0]),
        )  # fmt: skip


def prompts(split: str, n: int = PROMPTS) -> list[str]:
    """Captions of a split to judge a model by, always the same."""
    return shapes(split, n)[1]


def drawn(model, captions: list[str], seed: int = 0) -> torch.Tensor:
    """What a model that draws from English captions makes of them, [N, 3, 32, 32] on the CPU."""
    ids = english().encode_batch(captions, CAPTION_LENGTH["en"])
    return model.draw(ids, torch.Generator().manual_seed(seed)).float().cpu().clamp(0, 1)


def measure(model) -> dict:
    """How often the oracle reads back what the captions of each split say.

    "held_out" is the share of mistakes among captions with a colour and a shape that never met in
    training; the others are shares that are right.
    """
    said = {split: prompts(split) for split in SPLITS}
    right = {f"exact_{s}": float(oracle.exact_match(drawn(model, c), c).float().mean())
             for s, c in said.items()}  # fmt: skip
    return {"held_out": 1 - right["exact_held_out"], **right}


class ShapesWatch(GameWatch):
    """A `GameWatch` of a generator that also reads captions."""

    @torch.no_grad()
    def drawn_spread(self, gan: TextToImageGAN) -> torch.Tensor:
        """How much drawings of 64 captions by the latest generator vary, point by point."""
        return drawn(gan.generator, prompts("train", 64)).var(dim=0).mean()


def shapes_sha256() -> str:
    """What tells these scenes and splits from others, in hexadecimal digits."""
    said = [f"{split}: {caption(scene)}" for split in SPLITS for scene in scenes(split)]
    return hashlib.sha256("\n".join(said).encode()).hexdigest()


RECIPES = {
    "gan-shapes": ShapesRecipe(
        "draws shapes from captions: a generator and a discriminator that read; a quarter of an "
        "hour on two cores",
        TextToImageConfig(),
        TrainConfig(steps=16000, betas=(0.0, 0.99), weight_decay=0, clip=1000.0, warmup=100),
        batch_size=64,
    ),
}
