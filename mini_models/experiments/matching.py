"""Matching: what a GAN that draws from captions owes to the wrong captions that it is shown.

A small game on pictures of one object is played with them and without, from several first weights.

Source   Reed et al. 2016, arXiv:1605.05396, section 5 (with and without the matching-aware loss)
"""

import random
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from mini_models.data.shapes import oracle
from mini_models.data.shapes.batches import MatchingBatches
from mini_models.data.shapes.drawing import BACKGROUND, COLOURS
from mini_models.data.shapes.grammar import caption, parse, scenes
from mini_models.recipes.judges import illustrated
from mini_models.text_to_image_gan import TextToImageConfig, TextToImageGAN, text_to_image_loss
from mini_models.train import TrainConfig, train

SMALL = TextToImageConfig(width=16, eye=16, features=128, average=0.99)
HOW = TrainConfig(steps=1000, lr=2e-3, betas=(0.0, 0.99), weight_decay=0.0, clip=1000.0, warmup=100)
GAMES = {  # what is left of the game
    "real and drawn": {"wrong": 0.0, "contrast": 0.0},
    "wrong captions": {"contrast": 0.0},
    "wrong captions and contrast": {},
}
SEEDS = 3


def captions(n: int = 400) -> list[str]:
    """Captions of one object, of scenes of training."""
    alone = [caption(scene) for scene in scenes("train") if scene.second is None]
    return random.Random(0).choices(alone, k=n)


def play_with_captions(
    seed: int = 0, device="cpu", **changes
) -> tuple[TextToImageGAN, list[float]]:
    """A game of 1,000 steps on pictures of one object: half a minute on two cores.

    Args:
        seed: of the first weights and of the pictures.
        device: to play_with_captions on.
        changes: to the configuration SMALL.
    Returns: the game, and of all pictures shown to the discriminator at each step the share that
        it told right, real from drawn.
    """
    torch.manual_seed(seed)
    game, told = TextToImageGAN(replace(SMALL, **changes)).to(device), []
    batches = MatchingBatches(32, seed, objects=1, ramp=0)
    how = replace(HOW, seed=seed)
    train(game, batches, text_to_image_loss, how, on_step=lambda *_: told.append(game.told))
    return game, torch.stack(told).tolist()


def hue_is_right(images: Tensor, asked: list[str]) -> Tensor:
    """Whether all that differs from the background has, taken together, the caption's colour.

    A blot will do, so this can be asked before there is a shape to be read. A guess is right in
    one of eight. Images [N, 3, 32, 32] of one object; bool [N].
    """
    ground = torch.tensor(BACKGROUND)
    palette = F.normalize(torch.tensor(list(COLOURS.values())) - ground, dim=1)  # [8, 3]
    nearest = ((images.mean(dim=(2, 3)) - ground) @ palette.T).argmax(dim=1)
    names = list(COLOURS)
    return torch.tensor([names[i] == parse(t).first.colour for i, t in zip(nearest, asked)])


def shares_right(model, asked: list[str]) -> dict[str, float]:
    """Share of drawings in which the hue and each attribute are right; "exact": all of them."""
    images = illustrated(model, asked)
    found = {"hue": hue_is_right(images, asked)} | oracle.by_attribute(images, asked)
    found["exact"] = oracle.exact_match(images, asked)
    return {
        name: round(float(right.float().mean()), 4) for name, right in found.items() if len(right)
    }


def run(say=print) -> dict:
    """Every game of GAMES from SEEDS first weights; {game: [shares_right, ...]}."""
    asked, found = captions(), {}
    for name, changes in GAMES.items():
        found[name] = []
        for seed in range(SEEDS):
            found[name].append(shares_right(play_with_captions(seed, **changes)[0], asked))
            say(f"{name}, seed {seed}: {found[name][-1]}")
    return {"steps": HOW.steps, "captions": len(asked), "games": found}
