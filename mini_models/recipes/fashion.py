"""Fashion recipes: named training runs of models that tell clothes apart, or draw them."""

import torch

from mini_models import zoo
from mini_models.data.batches import RowBatches
from mini_models.data.fashion import fashion_mnist, fashion_sha256
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
from mini_models.machine.devices import device_of
from mini_models.recipes.task import Recipe, Task
from mini_models.recipes.watches import GameWatch
from mini_models.train import TrainConfig


def classifier_task(recipe: Recipe, seed: int) -> Task:
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


def gan_task(recipe: Recipe, seed: int) -> Task:
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


RECIPES = {
    "classifier-fashion": Recipe(
        "tells ten kinds of clothes apart: 93 thousand weights, half a minute on two cores",
        classifier_task, ClassifierConfig(),
        TrainConfig(steps=1250, lr=5e-3, decay=0.7), batch_size=64,
    ),
    "gan-fashion": Recipe(
        "draws clothes: two networks that play against each other; ten minutes on two cores",
        gan_task, GANConfig(latent=32, width=48, strength=0.1),
        TrainConfig(
            steps=14000, lr=2e-3, decay=0.6, betas=(0.0, 0.99), weight_decay=0, clip=1000.0,
            checkpoint_every=500,
        ),
        batch_size=32,
    ),
}  # fmt: skip
