"""Image recipes: named training runs of models that see or draw pictures.

Derived  notebooks/12_gan.ipynb
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch

from mini_models import zoo
from mini_models.data import RowBatches, fashion_mnist
from mini_models.devices import device_of
from mini_models.fidelity import (
    Classifier,
    ClassifierConfig,
    bootstrap,
    classifier_loss,
    features,
    frechet_distance,
    nearer_to_training,
    precision_recall,
)
from mini_models.gan import GAN, GANConfig, gan_loss
from mini_models.task import Task
from mini_models.train import TrainConfig

WON = 0.98  # where more than this share of the images of a stretch is told right, it is over
ALIKE = 0.05  # drawings that differ by less than this share of what real images do are all alike


@dataclass(frozen=True)
class ImageRecipe:
    """How one model of pictures is made."""

    about: str
    task: Callable[["ImageRecipe", int], Task]  # (recipe, seed of the order) -> all made ready
    model: Any  # the model's config
    train: TrainConfig
    batch_size: int  # images a step

    def prepare(self, text: str | None = None, seed: int = 0) -> Task:
        """A fresh model, and the pictures that it learns from and is measured on.

        Args:
            text: only None; recipes of texts take one.
            seed: of the model's first weights and of the order of the batches.
        Raises: ValueError if there is a text.
        """
        if text is not None:
            raise ValueError("this recipe learns from pictures, not from a text: leave out --text")
        torch.manual_seed(seed)
        return self.task(self, seed)


def classifier_task(recipe: ImageRecipe, seed: int) -> Task:
    """A classifier of Fashion-MNIST, judged by its mistakes on 2,000 held-out images."""
    images, labels = fashion_mnist("held_out")

    @torch.no_grad()
    def measure(model: Classifier) -> dict:
        place = device_of(model)
        chosen = torch.cat([model(x.to(place)).argmax(dim=1).cpu() for x in images.split(500)])
        right = float((chosen == labels).float().mean())
        return {"held_out": 1 - right, "accuracy": right}

    return Task(
        Classifier(recipe.model), RowBatches(fashion_mnist("train"), recipe.batch_size, seed),
        classifier_loss, measure, "mistakes a picture", fashion_sha256(), item="pictures",
    )  # fmt: skip


def gan_task(recipe: ImageRecipe, seed: int) -> Task:
    """A GAN that draws clothes, judged by the Fréchet distance of 2,000 drawings to real images.

    They are compared with the 2,000 held-out ones in the features of the zoo's classifier. `floor`
    is the distance of as many training images: copies of them would come so far, and no nearer.
    """
    train, real = fashion_mnist("train")[0], fashion_mnist("held_out")[0]
    classifier, _ = zoo.load("classifier-fashion")

    def measure(gan: GAN) -> dict:
        seen = features(classifier, real)
        drawn = gan.draw(gan.latents(len(real), torch.Generator().manual_seed(0))).cpu()
        value, low, high = bootstrap(features(classifier, drawn), seen)
        precision, recall = precision_recall(seen, features(classifier, drawn))
        return {
            "held_out": value, "low": low, "high": high,
            "floor": frechet_distance(features(classifier, train[: len(real)]), seen),
            "precision": precision, "recall": recall,
            "nearer_to_training": nearer_to_training(drawn, train, real),
        }  # fmt: skip

    return Task(
        GAN(recipe.model), RowBatches([train], recipe.batch_size, seed), gan_loss, measure,
        "Fréchet distance", fashion_sha256(), item="pictures",
        settle=GAN.settled, watch=GameWatch(real),
    )  # fmt: skip


class GameWatch:
    """Notices, while a GAN trains, that its game is over: (model, step) -> what is wrong, or None.

    The discriminator has won where it told nearly all images of a stretch of steps right; the
    generator has collapsed where its drawings are nearly all the same, twice in a row.
    """

    def __init__(self, real: torch.Tensor, stretch: int = 300):
        self.stretch, self.spread = stretch, real.var(dim=0).mean()
        self.told, self.alike = [], 0

    def __call__(self, gan: GAN, step: int) -> str | None:
        self.told.append(gan.told)
        if step % self.stretch:
            return None
        told, self.told = torch.stack(self.told), []
        if len(told) == self.stretch and told.mean() > WON:
            return (
                "the discriminator tells nearly all images right, so the generator hardly learns: "
                "smooth it more (cure='r1' and a larger strength), or lower the learning rate"
            )
        self.alike = self.alike + 1 if self.drawn_spread(gan) < ALIKE * self.spread else 0
        if self.alike == 2:
            return (
                "the drawings are nearly all alike, the generator has collapsed: begin anew with "
                "a smoother discriminator (cure='r1', a larger strength) or a lower learning rate"
            )
        return None

    @torch.no_grad()
    def drawn_spread(self, gan: GAN) -> torch.Tensor:
        """How much 64 drawings of the latest generator vary, point by point."""
        latents = gan.latents(64, torch.Generator().manual_seed(0))
        drawn = gan.generator.eval()(latents).float()
        gan.generator.train()
        return drawn.var(dim=0).mean().cpu()


@cache
def fashion_sha256() -> str:
    """What tells these pictures and classes from others, in hexadecimal digits."""
    return hashlib.sha256(b"".join(t.numpy().tobytes() for t in fashion_mnist())).hexdigest()


RECIPES = {
    "classifier-fashion": ImageRecipe(
        "tells ten kinds of clothes apart: 93 thousand weights, half a minute on two cores",
        classifier_task,
        ClassifierConfig(),
        TrainConfig(steps=1250, lr=5e-3, decay=0.7),
        batch_size=64,
    ),
    "gan-fashion": ImageRecipe(
        "draws clothes: two networks that play against each other; ten minutes on two cores",
        gan_task,
        GANConfig(latent=32, width=48, strength=0.1),
        TrainConfig(
            steps=14000, lr=2e-3, decay=0.6, betas=(0.0, 0.99), weight_decay=0, clip=1000.0,
            checkpoint_every=500,
        ),
        batch_size=32,
    ),
}  # fmt: skip
