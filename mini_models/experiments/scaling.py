"""Scaling: how the loss of one family of models falls as they grow, measured.

Eight widths, all else equal: as many characters of the same plays, in as many steps. A law with
three constants is fitted to the seven smaller ones and says what the eighth will reach.

Units    losses: nats per character, on pages that no model learned from
"""

import time
from dataclasses import replace

import torch

from mini_models.gpt import GPTConfig, gpt_loss
from mini_models.machine.devices import prefers_bf16
from mini_models.recipes import RECIPES
from mini_models.recipes.task import Recipe
from mini_models.scaling import block_params
from mini_models.train import TrainConfig, evaluate, train

WIDTHS, SEEDS = (16, 24, 32, 48, 64, 96, 128), (0, 1, 2)
LARGER = 256  # a width that no law is fitted to
STEPS = 985  # of 32 rows of 64 characters: half of the plays once, 2.0 million characters
# The rates, 0.04 of AdamW and 0.02 of Muon, were chosen by trials with the narrowest width, in
# twice as many steps, and the widest of the seven, in half as many. Half of AdamW's was worse for
# both, twice of it worse for the narrowest, and not tried for the widest; Muon's, halved or
# doubled, changed the narrowest by less than seeds do and made the widest worse.
FAMILY = Recipe(
    "three blocks of any width, on the plays of gpt-shakespeare",
    RECIPES["gpt-shakespeare"].task,
    GPTConfig(context_length=64, n_layers=3, n_heads=4, positions="rotary"),
    TrainConfig(steps=STEPS, lr=0.04, optimizer="muon", muon_lr=0.02, warmup=50, decay=0.7),
    batch_size=32,
    reads_text=True,
)


def train_width(width: int, seed: int = 0, device: str = "cpu") -> dict:
    """Train the member of the family that is `width` wide, and measure it.

    Returns: width, seed, steps; params, without the embedding; tokens, characters read; loss, held
        out; seconds.
    """
    member = replace(FAMILY, model=replace(FAMILY.model, d_model=width))
    task = member.prepare(seed=seed)
    begin = time.perf_counter()
    train(task.model.to(device), task.batches, gpt_loss, member.train)
    seconds = time.perf_counter() - begin
    return {
        "width": width, "seed": seed, "steps": member.train.steps,
        "params": member.model.n_layers * block_params(task.model.config),
        "tokens": member.train.steps * member.batch_size * member.model.context_length,
        "loss": evaluate(task.model, task.held_out, gpt_loss), "seconds": seconds,
    }  # fmt: skip


def run(say=print) -> dict:
    """Every width and seed, then the larger width: about a quarter of an hour on one core."""
    runs = []
    for width, seed in [*((w, s) for s in SEEDS for w in WIDTHS), (LARGER, 0)]:
        runs.append(train_width(width, seed))
        say("width {width}, seed {seed}: {loss:.4f} nats, {seconds:.0f} s".format_map(runs[-1]))
    return {
        "command": "python -m mini_models measure scaling", "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "precision": "bfloat16 products" if prefers_bf16(torch.device("cpu")) else "float32",
        "runs": runs,
    }  # fmt: skip
