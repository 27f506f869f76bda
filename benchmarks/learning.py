"""Learning: seconds to the held-out loss at which the recipe of 2022 ends, and what saves them.

    python benchmarks/learning.py

`gpt-2022` is trained to its end. Then `gpt-shakespeare-quick`, and each of its variants that goes
back on one choice, is trained in ever longer runs, each with a schedule of its own, until one ends
at that loss or below. Only training is timed. All in one run, so that the ratios mean something.
"""

import time
from dataclasses import replace

from mini_models.gpt import gpt_loss
from mini_models.machine.devices import best_device, prefers_bf16
from mini_models.recipes.gpt import RECIPES
from mini_models.recipes.task import Recipe
from mini_models.train import evaluate, train

LENGTHS = (140, 200, 280, 400, 560, 800, 1120, 1600, 2240)  # steps, each run 1.4 times the last
OURS = RECIPES["gpt-shakespeare-quick"]


def variants() -> dict[str, Recipe]:
    """Ours, and ours with one choice of 2022 in the place of its own."""

    def model(**changes):
        return replace(OURS, model=replace(OURS.model, **changes))

    def how(**changes):
        return replace(OURS, train=replace(OURS.train, **changes))

    found = {
        "ours": OURS,
        "AdamW for all, 5e-3": how(optimizer="adamw", lr=5e-3),
        "learned positions": model(positions="learned"),
        "cosine schedule": how(schedule="cosine"),
        "batch 12": replace(OURS, batch_size=12),
        "4 layers": model(n_layers=4),
    }
    if prefers_bf16(best_device()):
        found["float32"] = how(precision="fp32")
    return found


def run(recipe: Recipe, steps: int) -> tuple[float, float]:
    """Train for so many steps: seconds, and held-out loss in nats per character."""
    task = recipe.prepare()
    task.model.to(best_device())
    config = replace(recipe.train, steps=steps)
    begin = time.perf_counter()
    train(task.model, task.batches, gpt_loss, config)
    seconds = time.perf_counter() - begin
    return seconds, evaluate(task.model, task.held_out, gpt_loss)


def until(goal: float, recipe: Recipe) -> tuple[int, float, float] | None:
    """The shortest run of LENGTHS that ends at the goal: its steps, seconds and held-out loss."""
    for steps in LENGTHS:
        seconds, loss = run(recipe, steps)
        if loss <= goal:
            return steps, seconds, loss
    return None


if __name__ == "__main__":
    old = RECIPES["gpt-2022"]
    run(OURS, 5)  # the first steps of a process are slow, whoever makes them
    base, goal = run(old, old.train.steps)
    print(f"{'recipe':24}{'steps':>7}{'held out':>10}{'seconds':>9}{'times fewer':>13}")
    print(f"{'gpt-2022':24}{old.train.steps:7}{goal:10.3f}{base:9.1f}{1.0:13.1f}", flush=True)
    for name, recipe in variants().items():
        found = until(goal, recipe)
        if found is None:
            print(f"{name:24} does not get there in {LENGTHS[-1]} steps", flush=True)
            continue
        steps, seconds, loss = found
        print(f"{name:24}{steps:7}{loss:10.3f}{seconds:9.1f}{base / seconds:13.1f}", flush=True)
