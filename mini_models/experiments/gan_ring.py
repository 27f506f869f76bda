"""Ring: eight small clouds of points on a circle, where one can count what a GAN has missed.

Two coordinates instead of 784 pixels: a run takes seconds, every failure can be drawn, and since
the truth is known, coverage and quality are counts and not opinions.

Shapes   B batch, N points; points [N, 2]
Source   Metz et al. 2017, arXiv:1611.02163 (the ring); Srivastava et al. 2017, arXiv:1705.07761
         (clouds reached and good points); Goodfellow et al. 2014, arXiv:1406.2661, algorithm 1
         (moving in turn)
Derived  notebooks/14_gan.ipynb
"""

import math
import time

import torch
from torch import Tensor, nn

from mini_models.data.batches import draws
from mini_models.gan import CURES, GAN, LOSSES, GANConfig, frozen, gan_loss
from mini_models.optimizers import SCHEDULES
from mini_models.train import TrainConfig, train

MODES, RADIUS, SPREAD = 8, 2.0, 0.05  # clouds, their distance from 0, their standard deviation
STRENGTH = {"r1": 0.1, "gradient-penalty": 1.0}  # of the penalties
SEEDS = range(5)
STEPS, BATCH, LATENT, WIDTH = 1500, 256, 16, 64
FIVE_TO_ONE = [("minimax", "none"), ("non-saturating", "none"), ("non-saturating", "r1"),
               ("wasserstein", "gradient-penalty"), ("wasserstein", "spectral-norm")]  # fmt: skip


def centres() -> Tensor:
    """The middles of the clouds, [MODES, 2]."""
    angles = torch.arange(MODES) * (2 * math.pi / MODES)
    return RADIUS * torch.stack([angles.cos(), angles.sin()], dim=1)


def ring(n: int, generator: torch.Generator | None = None) -> Tensor:
    """n points [n, 2], each from a cloud drawn at random."""
    which = torch.randint(MODES, (n,), generator=generator)
    return centres()[which] + SPREAD * torch.randn(n, 2, generator=generator)


def covered(points: Tensor) -> tuple[int, float]:
    """How many clouds the points [N, 2] reach, and the share of them that lies in one.

    A point lies in a cloud if it is within three standard deviations of its centre, as 98.9 % of
    the true ones are. A cloud is reached if it holds at least a hundredth of all points; its fair
    share is an eighth.
    """
    distance, cloud = torch.cdist(points, centres().to(points)).min(dim=1)
    good = distance < 3 * SPREAD
    held = torch.bincount(cloud[good], minlength=MODES)
    return int((held >= len(points) / 100).sum()), float(good.float().mean())


class RingBatches:
    """`batches[step]` is a tuple of one batch of points, the same for the same step and seed."""

    def __init__(self, batch_size: int = BATCH, seed: int = 0):
        self.batch_size, self.seed = batch_size, seed

    def __getitem__(self, step: int) -> tuple[Tensor]:
        return (ring(self.batch_size, draws(self.seed, step)),)


def players(loss: str, cure: str, seed: int = 0) -> GAN:
    """A game on the ring: two networks of three linear layers, `WIDTH` units wide."""
    torch.manual_seed(seed)
    config = GANConfig(
        latent=LATENT, loss=loss, cure=cure, strength=STRENGTH.get(cure, 0.0), average=0.99
    )
    generator = _three_layers(LATENT, 2, nn.ReLU())
    judge = nn.Sequential(_three_layers(2, 1, nn.LeakyReLU(0.2)), nn.Flatten(0))
    return GAN(config, generator, judge)


def _three_layers(inputs: int, outputs: int, bend: nn.Module) -> nn.Sequential:
    hidden = nn.Linear(inputs, WIDTH), bend, nn.Linear(WIDTH, WIDTH), bend
    return nn.Sequential(*hidden, nn.Linear(WIDTH, outputs))


HOW = TrainConfig(
    STEPS, lr=2e-3, warmup=0, betas=(0.0, 0.99), weight_decay=0.0, clip=math.inf,
    precision="fp32", checkpoint_every=STEPS,
)  # fmt: skip


def alternate(game: GAN, batches, config: TrainConfig, judge_steps: int = 1, on_step=None) -> None:
    """Move in turn: the discriminator `judge_steps` times, then the generator once (algorithm 1).

    Args: config: its steps, lr, betas and schedule are used. on_step: called with each step done.
    """
    game.train()
    loss_of, taken = LOSSES[game.config.loss], 0
    ours, theirs = (
        torch.optim.Adam(network.parameters(), betas=config.betas)
        for network in (game.discriminator, game.generator)
    )
    for step in range(config.steps):
        for group in ours.param_groups + theirs.param_groups:
            group["lr"] = config.lr * SCHEDULES[config.schedule](step, config)
        for _ in range(judge_steps):
            (real,), taken = batches[taken], taken + 1
            fake = game.generator(game.latents(len(real))).detach()
            told = loss_of(game.discriminator(real), game.discriminator(fake))[0]
            ours.zero_grad()
            (told + game.config.strength * game.penalty(real, fake)).backward()
            ours.step()
        with frozen(game.discriminator) as judge:
            fooled = loss_of(judge(real), judge(game.generator(game.latents(len(real)))))[1]
        theirs.zero_grad()
        fooled.backward()
        theirs.step()
        game.average.update_parameters(game.generator)
        if on_step is not None:
            on_step(step + 1)


MOVES = {"together": 0, "in turn": 1, "five to one": 5}  # steps of the discriminator in a row


def play(loss: str, cure: str, moves: str, seed: int = 0, config=HOW, on_step=None) -> GAN:
    """Play one game on the ring to its end.

    Args:
        moves: "together" (both follow one gradient, by `train`), or "in turn", or "five to one".
        on_step: called as on_step(game, step) after each step, counted from 1.
    """
    if moves not in MOVES:
        raise ValueError(f"moves {moves!r} are unknown: choose one of {', '.join(MOVES)}")
    game, batches = players(loss, cure, seed), RingBatches(seed=seed)
    report = None if on_step is None else lambda step, loss=None: on_step(game, step)
    if moves == "together":
        train(game, batches, gan_loss, config, on_step=report)
    else:
        alternate(game, batches, config, MOVES[moves], report)
    return game


def look(game: GAN, n: int = 2500) -> dict:
    """What the averaged generator has learnt: clouds reached, share of good points, and how far
    the discriminator's logits are from 0 on them, as a mean."""
    points = game.draw(game.latents(n, torch.Generator().manual_seed(1)))
    modes, good = covered(points)
    with torch.no_grad():
        logit = float(game.discriminator(points).abs().mean())
    return {"modes": modes, "good": round(good, 4), "logit": round(logit, 3)}


def run(say=print) -> dict:
    """Every loss with every cure, in turn and together, then some at five to one; five seeds."""
    games = [(x, y, z) for z in ("in turn", "together") for x in LOSSES for y in CURES]
    games += [(x, y, "five to one") for x, y in FIVE_TO_ONE]
    runs, begin = [], time.perf_counter()
    for loss, cure, moves in games:
        for seed in SEEDS:
            found = look(play(loss, cure, moves, seed))
            runs.append({"loss": loss, "cure": cure, "moves": moves, "seed": seed, **found})
        modes = [run["modes"] for run in runs[-len(SEEDS) :]]
        say(f"{loss}, {cure}, {moves}: {modes} of {MODES}, {time.perf_counter() - begin:.0f} s")
    return {
        "command": "python -m mini_models measure gan-ring", "torch": torch.__version__,
        "strength": STRENGTH, "steps": STEPS, "runs": runs,
    }  # fmt: skip
