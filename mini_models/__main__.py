"""The command line: python -m mini_models list | train | eval | write."""

import argparse
import dataclasses
import shutil
import sys
import time
from pathlib import Path

import torch
from tqdm import tqdm

from mini_models import recipes, zoo
from mini_models.decoding import generate
from mini_models.gpt import gpt_loss
from mini_models.train import CHECKPOINT, best_device, evaluate, train

STOP_EVERY = 100  # steps between two measurements for --stop-at


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser("python -m mini_models", description=__doc__.split(":")[0])
    commands = top.add_subparsers(dest="command", required=True)

    commands.add_parser("list", help="the recipes, and the models that are ready to use")

    p = commands.add_parser("train", help="follow a recipe")
    p.add_argument("recipe")
    p.add_argument("--text", metavar="FILE", help="train on this text instead; UTF-8")
    p.add_argument("--device", metavar="D", help="cpu, cuda, mps; the best there is if not given")
    p.add_argument("--steps", type=positive, metavar="N", help="instead of the recipe's number")
    p.add_argument("--stop-at", type=float, metavar="LOSS", help="end at this held-out loss")
    p.add_argument("--out", type=Path, metavar="DIR", help="where to write, else runs/RECIPE")
    p.add_argument("--resume", action="store_true", help="continue from the last checkpoint in DIR")

    p = commands.add_parser("eval", help="measure a model on what was held out")
    p.add_argument("name", help="a model of the list, or the path of a .safetensors file")
    p.add_argument("--text", metavar="FILE", help="what it was trained on, if not the recipe's")

    p = commands.add_parser("write", help="continue a prompt")
    p.add_argument("name", help="a model of the list, or the path of a .safetensors file")
    p.add_argument("--prompt", default="\n", metavar="TEXT")
    p.add_argument("--tokens", type=positive, default=400, metavar="N", help="at most")
    p.add_argument("--temperature", type=float, default=0.8, metavar="T", help="0 is greedy")
    p.add_argument("--seed", type=int, metavar="N", help="the same seed writes the same text")
    return top  # fmt: skip


def positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def list_all() -> None:
    print("Recipes, for train:")
    for name, recipe in recipes.RECIPES.items():
        print(f"  {name:24}{recipe.about}")
    print("\nModels, for eval and write:")
    for name in zoo.names():
        card = zoo.card(name)
        size, loss = card["parameters"], card["held_out"]
        print(f"  {name:24}{size:,} weights, {loss:.3f} {card['unit']} held out")


def train_recipe(args) -> None:
    recipe = recipes.get(args.recipe)
    config = dataclasses.replace(recipe.train, steps=args.steps or recipe.train.steps)
    device = device_named(args.device)
    out = args.out or Path("runs") / args.recipe
    if not args.resume and (out / CHECKPOINT).exists():
        raise ValueError(
            f"{out} holds a run already: continue it with --resume, or give another --out"
        )
    task = recipes.prepare(recipe, args.text and read_text(args.text), config.seed)
    model = task.model.to(device)
    numbers = sum(p.numel() for p in model.parameters())
    refuse_full_disk(out, 16 * numbers)  # weights and averages, twice while one is replaced

    begin = time.perf_counter()
    bar = Progress(config.steps, recipe.batch_size * model.config.context_length)
    reached = stopper(model, task.held_out, args.stop_at)
    losses = train(
        model, task.batches, gpt_loss, config, out, args.resume,
        on_step=lambda step, loss: bar.show(step, loss) or reached(step),
    )  # fmt: skip
    bar.close()
    seconds = time.perf_counter() - begin
    model.load_state_dict({k: v.half().float() for k, v in model.state_dict().items()})
    held_out = evaluate(model, task.held_out, gpt_loss)
    card = {
        "recipe": args.recipe, "seed": config.seed, "steps": len(losses), "parameters": numbers,
        "seconds": round(seconds), "device": str(device), "held_out": round(held_out, 4),
        "unit": "nats per character", "data_sha256": task.data_sha256,
    }  # fmt: skip
    path = out / f"{args.recipe}.safetensors"
    zoo.save(path, model.cpu(), task.tokenizer, card)
    print(f"held-out loss {held_out:.4f} nats per character, after {len(losses)} steps")
    print(f"wrote {path}; try: python -m mini_models write {path}")


class Progress:
    """A bar with the loss, tokens per second and the time left."""

    def __init__(self, steps: int, tokens_a_step: int):
        self.bar = tqdm(total=steps, unit="step", dynamic_ncols=True)
        self.tokens, self.first = tokens_a_step, None

    def show(self, step: int, loss) -> None:
        if self.first is None:  # after a resume, what was done before does not count as speed
            self.first = self.bar.initial = step - 1
            self.bar.n = step - 1
        self.bar.update()
        if step % 10 == 0 or step == self.bar.total:
            speed = (step - self.first) * self.tokens / self.bar.format_dict["elapsed"]
            self.bar.set_postfix_str(f"loss {float(loss):.3f}, {speed:,.0f} tokens/s")

    def close(self) -> None:
        self.bar.close()


def stopper(model, held_out, goal):
    """A function of the step: whether the held-out loss has reached the goal."""

    def reached(step: int) -> bool:
        return (
            goal is not None
            and step % STOP_EVERY == 0
            and evaluate(model, held_out, gpt_loss) <= goal
        )

    return reached


def evaluate_model(args) -> None:
    model, tokenizer = zoo.load(args.name)
    card = zoo.card(args.name)
    recipe = recipes.get(card["recipe"])
    if args.text:
        train_text, held_out = recipes.split_lines(read_text(args.text), recipe.lines)
    else:
        train_text, held_out = recipe.texts()
    if recipes.sha256(train_text, held_out) != card["data_sha256"]:
        raise ValueError(
            f"{args.name} was trained on another text than this, so nothing in it is known to be "
            "held out: give the text that it was trained on with --text FILE"
        )
    T = model.config.context_length
    batches = recipes.held_out_batches(held_out, tokenizer, T, recipe.lines)
    loss = evaluate(model.to(best_device()), batches, gpt_loss)
    print(f"held-out loss {loss:.4f} nats per character")


def write_text(args) -> None:
    model, tokenizer = zoo.load(args.name)
    prompt = args.prompt.replace("\\n", "\n") or "\n"
    ids = tokenizer.encode(prompt)
    print(prompt.lstrip("\n"), end="", flush=True)
    draws = torch.Generator()
    draws.seed() if args.seed is None else draws.manual_seed(args.seed)
    recipe = recipes.RECIPES.get(zoo.card(args.name).get("recipe"))
    if recipe is not None and recipe.lines:
        stop = tokenizer.encode("\n")[0]
        ids = ids if ids[0] == stop else [stop, *ids]  # where such a model begins
        n = max(1, min(args.tokens, model.config.context_length - len(ids)))
        print(continued(model, tokenizer, ids, n, args.temperature, draws, stop).rstrip("\n"))
        return
    left, context = args.tokens, model.config.context_length
    while left:  # a text that fills the context goes on from the second half of it
        ids = ids if len(ids) < context else ids[-max(context // 2, 1) :]
        n = min(left, context - len(ids))
        new = continued(model, tokenizer, ids, n, args.temperature, draws)
        print(new, end="", flush=True)
        ids, left = ids + tokenizer.encode(new), left - n
    print()


def continued(model, tokenizer, ids, n, temperature, draws, stop=None) -> str:
    """What the model writes behind the ids."""
    text = generate(model, torch.tensor([ids]), n, temperature, stop=stop, generator=draws)
    return tokenizer.decode(text[0, len(ids) :].tolist())


def read_text(path: str) -> str:
    """A text file. Raises ValueError if it is missing, empty or not UTF-8 text."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
    try:
        text = data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} is not UTF-8 text (byte {error.start} is {data[error.start]:#04x}): "
            "give a plain text file, saved as UTF-8"
        ) from None
    if "\0" in text:
        raise ValueError(f"{path} holds a zero byte, so it is not text: give a plain text file")
    if not text.strip():
        raise ValueError(f"{path} is empty: give a file with some text in it")
    return text


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


COMMANDS = {"train": train_recipe, "eval": evaluate_model, "write": write_text}


def main(arguments: list[str] | None = None) -> None:
    args = parser().parse_args(arguments)
    try:
        list_all() if args.command == "list" else COMMANDS[args.command](args)
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("\nstopped; train --resume continues from the last checkpoint")


if __name__ == "__main__":
    main()
