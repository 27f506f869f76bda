"""dVAE: how many bits the words of a picture may hold, and what is lost of the picture.

Small dVAEs of `shapes` that differ in their grid, their codebook, the weight of the KL term or the
words that they begin with, and two that take the nearest vector instead of a draw; each is trained
for seconds.
"""

import math
from dataclasses import replace
from functools import cache

import torch
from torch import Tensor

from mini_models.data.batches import RowBatches
from mini_models.data.shapes import oracle
from mini_models.data.shapes.batches import captioned
from mini_models.dvae import DVAE, DVAEConfig, dvae_loss
from mini_models.recipes.dvae import WithStep
from mini_models.recipes.judges import codebook_use, through
from mini_models.train import TrainConfig, train
from mini_models.vq import VQVAE, vq_loss

SMALL = DVAEConfig(codes=128, width=32, temperature_steps=300)
HOW = TrainConfig(steps=600, lr=2e-3, warmup=20, betas=(0.9, 0.99), weight_decay=0.01)
PICTURES, BEGIN, BATCH, JUDGED = 4096, 500, 16, 500  # to learn from, of a step, and to judge by
CHANGES = {  # to what `trained` does
    "128 words": {},
    "8 words": {"codes": 8},
    "32 words": {"codes": 32},
    "512 words": {"codes": 512},
    "a grid of 2": {"grid": 2},
    "a grid of 4": {"grid": 4},
    "a grid of 16": {"grid": 16},
    "β = 0": {"kl_weight": 0.0},
    "random words": {"prepared": False},
    "nearest vectors": {"kind": VQVAE},
    "nearest, random": {"kind": VQVAE, "prepared": False},
}


@cache
def to_learn() -> Tensor:
    """Pictures of training scenes, [PICTURES, 3, 32, 32], always the same."""
    return captioned("train", PICTURES, seed=7)[0]


def trained(
    kind=DVAE, seed: int = 0, device="cpu", steps: int = HOW.steps, prepared=True, **changes
):
    """A small dVAE of shapes, or a VQ-VAE: a quarter of a minute on one core.

    Args:
        kind: DVAE or VQVAE.
        seed: of the first weights and of the order of the pictures.
        device: to train on.
        steps: fewer end before the learning rate has fallen.
        prepared: whether the words begin as those of k-means.
        changes: to the configuration SMALL.
    """
    torch.manual_seed(seed)
    model = kind(replace(SMALL, **changes))
    if prepared:
        model.begin(to_learn()[:BEGIN], seed)
    model.to(device)
    batches = RowBatches([to_learn()], BATCH, seed)
    loss = dvae_loss if kind is DVAE else vq_loss
    train(
        model, WithStep(batches) if kind is DVAE else batches, loss, replace(HOW, seed=seed),
        on_step=lambda step, loss: step == steps,
    )  # fmt: skip
    return model.eval()


def rate_and_error(model: DVAE | VQVAE) -> dict:
    """Error and use of the codebook on pictures never seen, and what the oracle reads of them.

    "bits_at_most" is what so many words could say, "bits" what they do say if each is coded by
    how often it is used, whatever stands beside it.
    """
    images, captions = captioned("seen", JUDGED, seed=1)
    figures, cells = codebook_use(model, images), model.config.grid**2
    read = oracle.exact_match(through(model, images)[0], captions)
    found = {
        "bits_at_most": cells * math.log2(model.config.codes),
        "bits": cells * math.log2(figures["perplexity"]),
        **figures,
        "exact": float(read.float().mean()),
    }
    return {name: float(f"{value:.4g}") for name, value in found.items()}


def run(say=print) -> dict:
    """Every one of CHANGES; {"steps": ..., "models": {name: rate_and_error}}."""
    found = {}
    for name, changes in CHANGES.items():
        found[name] = rate_and_error(trained(**changes))
        say(f"{name}: {found[name]}")
    return {"steps": HOW.steps, "pictures": PICTURES, "rate_and_error": JUDGED, "models": found}
