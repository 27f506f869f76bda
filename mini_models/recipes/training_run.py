"""Training run: a recipe followed from its data to a finished model, by one process or by many.

A run lives in a directory: the checkpoint while it trains, then the model and its card.
"""

import contextlib
import dataclasses
import os
import shutil
import time
from pathlib import Path

import torch
import torch.distributed as dist
from accelerate.utils import gather_object

from mini_models import recipes, zoo
from mini_models.machine import processes
from mini_models.machine.devices import best_device
from mini_models.machine.eight_bits import packed, unpacked
from mini_models.machine.evaluating import evaluating
from mini_models.machine.weights import full_weights
from mini_models.recipes import progress
from mini_models.train import CHECKPOINT, train

STOP_EVERY = 100  # steps between two measurements for stop_at


def follow(
    name: str, text: str | None = None, device: str | None = None, steps: int | None = None,
    stop_at: float | None = None, out: Path | None = None, resume: bool = False,
) -> None:  # fmt: skip
    """Train, measure and save the model of a recipe.

    Args:
        name: of the recipe.
        text: to train on instead of the recipe's own.
        device: by name; None for the best there is. Under a launcher it can only be the one that
            the launcher's processes use.
        steps: instead of the recipe's number.
        stop_at: a held-out figure, in the recipe's unit, at which to end early.
        out: the directory for the checkpoint, the finished model and its card; None for runs/NAME.
        resume: continue from the checkpoint in `out`.
    Raises: ValueError if there is no such recipe, its text or device cannot be used, `out` holds a
        run already, or there is nothing that fits to resume. Ends the process, with a word and
        exit code 1, if another process of the run is lost.
    """
    processes.refuse_launched_alone()
    recipe = recipes.get(name)
    config = dataclasses.replace(recipe.train, steps=steps or recipe.train.steps)
    place = device_of_run(device)
    out = out or Path("runs") / name
    refuse_started(out, resume)
    task = recipe.prepare(text, config.seed)
    whole = type(task.model)(task.model.config)  # for the weights, should they be shared out
    model = task.model if processes.process_count() > 1 else task.model.to(place)
    numbers = sum(p.numel() for p in model.parameters())
    refuse_full_disk(out, 16 * numbers)  # weights and averages, twice while one is replaced

    begin, worked = time.perf_counter(), time.process_time()
    bar = progress.Progress(config.steps, recipe.batch_size * task.row, task.item)
    reached, watch = stopper(task, stop_at), progress.Watch(task, bar)
    with ending_together(out), contextlib.closing(bar):
        losses = train(
            model, task.batches, task.loss, config, out, resume,
            on_step=lambda step, loss: bar.show(step, loss) or watch(step) or reached(step),
        )  # fmt: skip
        weights = full_weights(model)
    whole.load_state_dict(weights)
    card = {
        "recipe": name, "seed": config.seed, "steps": len(losses), "parameters": numbers,
        "seconds": round(time.perf_counter() - begin),
        "cpu_seconds": round(time.process_time() - worked), "device": str(place),
        "unit": task.unit, "data_sha256": task.data_sha256,
    }  # fmt: skip
    card |= {"warnings": watch.said} if watch.said else {}
    if processes.process_index() == 0:
        finish(task, whole, card, out / f"{name}.safetensors", place)


def refuse_started(out: Path, resume: bool) -> None:
    """Raise ValueError if a run would be overwritten."""
    if not resume and (out / CHECKPOINT).exists():
        raise ValueError(
            f"{out} holds a run already: continue it with --resume, or give another --out"
        )


@contextlib.contextmanager
def ending_together(out: Path):
    """If one process of the run is lost, or the launcher ends it, one word for all, and the end."""
    if processes.process_count() > 1:
        processes.speak_for_all_when_ended(lambda: lost(out))
    try:
        with processes.noticing_lost_processes():
            yield
    except ConnectionError:
        processes.speak_for_all(lost(out))
        time.sleep(5)  # let the launcher notice who was lost, and end this process
        os._exit(1)  # an orderly end could wait for ever for the process that is gone
    if dist.is_initialized():
        dist.destroy_process_group()


def finish(task, trained, card: dict, path: Path, device) -> None:
    """Measure what training has come to, in the 8 bits that it is stored in, and save."""
    model = task.settle(trained)
    card["parameters"] = sum(p.numel() for p in model.parameters())  # of what is kept
    model.load_state_dict(unpacked(packed(model.state_dict())))
    found = task.measure(model.to(device).eval())
    card |= {k: round(v, 4) if isinstance(v, float) else v for k, v in found.items()}
    zoo.save(path, model.cpu(), task.tokenizer, card)
    print(f"held out: {found['held_out']:.4f} {task.unit}, after {card['steps']} steps")
    print(f"wrote {path}" + next_command(model, path))


def next_command(model, path: Path) -> str:
    """What one may do with a model of this kind on the command line."""
    how = {
        "write": f"write {path}",
        "fill": f'fill {path} --text "… [MASK] …"',
        "draw": f"draw {path} --out drawn.png",
        "draw a prompt": f'draw {path} --prompt "a small red circle" --out drawn.png',
    }.get(zoo.KINDS[type(model).__name__].does)
    return f"; try: python -m mini_models {how}" if how else ""


def lost(out: Path) -> str:
    """What to say when the run ends with one of its processes lost, or by the launcher's will."""
    what_now = (
        f"the same command with --resume continues from the last checkpoint in {out}"
        if (out / CHECKPOINT).exists()
        else "nothing had been saved yet, so start it again"
    )
    return (
        f"\n\nerror: a process of this run was lost, or told to end: {what_now}\n"
        "What follows is the launcher's report: who ended first, and how.\n"
    )


def stopper(task, goal: float | None):
    """A function of the step: whether the held-out figure has reached the goal, in process 0."""

    def reached(step: int) -> bool:
        if goal is None or step % STOP_EVERY:
            return False
        with evaluating(task.model):
            figure = task.measure(task.model)["held_out"]
        return gather_object([figure <= goal])[0]

    return reached


def device_of_run(name: str | None) -> torch.device:
    """The device to train on. Raises ValueError if the launcher gives the processes others."""
    device, given = device_named(name), best_device()
    if processes.process_count() > 1 and device.type != given.type:
        raise ValueError(
            f"the launcher's processes train on {given.type}, not on {device}: leave out --device"
            + (", and set CUDA_VISIBLE_DEVICES= to hide the GPUs" if given.type == "cuda" else "")
        )
    return device


def device_named(name: str | None) -> torch.device:
    """Raises ValueError if PyTorch cannot put a number there."""
    if name is None:
        return best_device()
    try:
        torch.zeros(1, device=name)
        return torch.device(name)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"the device {name!r} cannot be used here ({reason}): try cpu") from None


def refuse_full_disk(folder: Path, needed: int) -> None:
    """Raise ValueError unless the folder can be made and has room for `needed` bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise ValueError(
            f"{folder} has room for {free:,} bytes, and the run needs {needed:,}: "
            "make room, or give another --out"
        )
