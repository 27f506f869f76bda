"""What tests share with the processes that they start: small models, and batches for them."""

import os
import subprocess
import sys
from dataclasses import replace

import torch
from torch import nn

from mini_models.data import TextBatches
from mini_models.gan import GAN, GANConfig
from mini_models.gpt import GPT, GPTConfig
from mini_models.train import TrainConfig

TEXT = [i * i % 11 for i in range(800)]
BATCHES = TextBatches(TEXT, context_length=8, batch_size=4)
SHORT = TrainConfig(steps=6, warmup=2, precision="fp32", checkpoint_every=4)
FLAT = replace(SHORT, schedule="constant")  # so that more steps do not change the first
GAME = TrainConfig(
    steps=8, lr=1e-3, warmup=0, betas=(0.0, 0.99), weight_decay=0.0, precision="fp32",
    checkpoint_every=4,
)  # fmt: skip


def small_gpt(dropout=0.0):
    torch.manual_seed(1)
    return GPT(GPTConfig(11, 8, n_layers=2, n_heads=2, d_model=16, dropout=dropout))


def layers(inputs, outputs):
    return nn.Sequential(nn.Linear(inputs, 8), nn.LeakyReLU(0.2), nn.Linear(8, outputs))


def small_gan(seed=0, **changes) -> GAN:
    torch.manual_seed(seed)
    config = replace(GANConfig(latent=4, average=0.9), **changes)
    return GAN(config, layers(4, 2), nn.Sequential(layers(2, 1), nn.Flatten(0)))


class Points:
    """Batches of eight points in the plane."""

    def __getitem__(self, step):
        return (torch.randn(8, 2, generator=torch.Generator().manual_seed(step)) + 3,)


def in_new_processes(script, *arguments, launcher=(), threads=1):
    """Run the script in fresh Python processes, in which it can import this module."""
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": str(threads),
    }  # fmt: skip
    command = [sys.executable, *launcher, str(script), *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
