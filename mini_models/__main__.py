"""The command line: python -m mini_models list | train | eval | write | fill |
draw | measure.

`train` may be started by a launcher in several processes, as in
`accelerate launch --multi_gpu --num_processes 2 -m mini_models train RECIPE`; they speak as one.
"""

import argparse
import inspect
import sys
from pathlib import Path

import torch

from mini_models import experiments, recipes, zoo
from mini_models.bert import fill
from mini_models.decoding.loop import generate
from mini_models.machine import png
from mini_models.machine.devices import best_device
from mini_models.machine.processes import speak_for_all
from mini_models.recipes.training_run import follow


class Parser(argparse.ArgumentParser):
    def error(self, message: str):
        raise ValueError(f"{message}; {self.prog} --help says more")


def parser() -> argparse.ArgumentParser:
    top = Parser("python -m mini_models", description=__doc__.split(":")[0])
    commands = top.add_subparsers(dest="command", required=True)

    commands.add_parser("list", help="the recipes, models and measurements")

    p = commands.add_parser("train", help="follow a recipe")
    p.add_argument("recipe")
    p.add_argument("--text", metavar="FILE", help="train on this text instead; UTF-8")
    p.add_argument("--device", metavar="D", help="cpu, cuda, mps; the best there is if not given")
    p.add_argument("--steps", type=positive, metavar="N", help="instead of the recipe's number")
    p.add_argument("--stop-at", type=float, metavar="LOSS", help="end at this held-out loss")
    p.add_argument("--out", type=Path, metavar="DIR", help="where to write, else runs/RECIPE")
    p.add_argument("--resume", action="store_true", help="continue from the last checkpoint in DIR")

    ask_a_model(commands)

    p = commands.add_parser("measure", help="repeat an experiment of the book")
    p.add_argument("name", help="a measurement of the list")
    p.add_argument("--out", type=Path, metavar="FILE", help="of JSON, else runs/NAME.json")
    return top


def ask_a_model(commands) -> None:
    """The commands that take a trained model."""

    def asking(command: str, about: str) -> argparse.ArgumentParser:
        p = commands.add_parser(command, help=about)
        p.add_argument("name", help="a model of the list, or the path of a .safetensors file")
        return p

    p = asking("eval", "measure a model on what was held out")
    p.add_argument("--text", metavar="FILE", help="what it was trained on, if not the recipe's")

    p = asking("write", "continue a prompt")
    p.add_argument("--prompt", default="\n", metavar="TEXT")
    p.add_argument("--tokens", type=positive, default=400, metavar="N", help="at most")
    p.add_argument("--temperature", type=float, default=0.8, metavar="T", help="0 is greedy")
    p.add_argument("--top-k", type=int, metavar="K", help="only the K most probable tokens")
    p.add_argument("--top-p", type=float, metavar="P", help="only the fewest that reach P together")
    p.add_argument("--seed", type=int, metavar="N", help="the same seed writes the same text")

    p = asking("fill", "restore what is hidden in a text")
    p.add_argument("--text", required=True, metavar="TEXT", help="with [MASK] for a hidden token")
    p.add_argument("--guesses", type=positive, default=5, metavar="N", help="for each of them")

    p = asking("draw", "pictures, of a prompt where the model reads one")
    p.add_argument("--prompt", metavar="TEXT", help="what to draw")
    p.add_argument("--out", type=Path, required=True, metavar="FILE", help="of the picture, .png")
    p.add_argument("--images", type=positive, default=1, metavar="N", help="drawn side by side")
    p.add_argument("--seed", type=int, metavar="N", help="the same seed draws the same pictures")


def positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def list_all(args) -> None:
    print("Recipes, for train:")
    for name, recipe in recipes.RECIPES.items():
        print(f"  {name:24}{recipe.about}")
    print("\nModels, for eval, write, fill and draw:")
    for name in zoo.names():
        card = zoo.card(name)
        size, loss = card["parameters"], card["held_out"]
        print(f"  {name:24}{size:,} weights, {loss:.3f} {card['unit']} held out")
    print("\nMeasurements, for measure:")
    for name in experiments.EXPERIMENTS:
        print(f"  {name:24}{inspect.getdoc(experiments.module_of(name)).splitlines()[0]}")


def train_model(args) -> None:
    text = args.text and read_text(args.text)
    follow(args.recipe, text, args.device, args.steps, args.stop_at, args.out, args.resume)


def evaluate_model(args) -> None:
    model, _ = zoo.load(args.name)
    card = zoo.card(args.name)
    task = recipes.get(card["recipe"]).prepare(args.text and read_text(args.text))
    if task.data_sha256 != card["data_sha256"]:
        raise ValueError(
            f"{args.name} was trained on other data than this, so nothing in it is known to be "
            "held out: give the text that it was trained on with --text FILE"
        )
    for name, figure in task.measure(model.to(best_device())).items():
        unit = f" {task.unit}" if name == "held_out" else ""
        print(f"{name} {figure:.4f}{unit}" if isinstance(figure, float) else f"{name} {figure}")


def write_text(args) -> None:
    model, tokenizer = zoo.load(args.name)
    zoo.refuse_unless("write", args.name, model)
    prompt = args.prompt.replace("\\n", "\n") or "\n"
    ids = tokenizer.encode(prompt)
    print(prompt.lstrip("\n"), end="", flush=True)
    draws = seeded(args.seed)
    how = {"temperature": args.temperature, "top_k": args.top_k, "top_p": args.top_p}
    recipe = recipes.RECIPES.get(zoo.card(args.name).get("recipe"))
    if getattr(recipe, "lines", False):
        stop = tokenizer.encode("\n")[0]
        ids = ids if ids[0] == stop else [stop, *ids]  # where such a model begins
        n = max(1, min(args.tokens, model.config.context_length - len(ids)))
        print(continued(model, tokenizer, ids, n, how, draws, stop).rstrip("\n"))
        return
    left, context = args.tokens, model.config.context_length
    while left:  # a text that fills the context goes on from the second half of it
        ids = ids if len(ids) < context else ids[-max(context // 2, 1) :]
        n = min(left, context - len(ids))
        new = continued(model, tokenizer, ids, n, how, draws)
        print(new, end="", flush=True)
        ids, left = ids + tokenizer.encode(new), left - n
    print()


def seeded(seed: int | None) -> torch.Generator:
    draws = torch.Generator()
    draws.seed() if seed is None else draws.manual_seed(seed)
    return draws


def continued(model, tokenizer, ids, n, how, draws, stop=None) -> str:
    """What the model writes behind the ids."""
    text = generate(model, torch.tensor([ids]), n, **how, stop=stop, generator=draws)
    return tokenizer.decode(text[0, len(ids) :].tolist())


def fill_text(args) -> None:
    model, tokenizer = zoo.load(args.name)
    zoo.refuse_unless("fill", args.name, model)
    for guesses in fill(model, tokenizer, args.text, args.guesses):
        print("  ".join(f"{token} {share:.3f}" for token, share in guesses))


def draw_pictures(args) -> None:
    png.refuse_name(args.out)
    model, tokenizer = zoo.load(args.name)
    zoo.refuse_unless("draw", args.name, model)
    images = zoo.drawn_by(model, tokenizer, args.prompt, args.images, seeded(args.seed))
    png.write_png(args.out, images, args.prompt)
    print(f"wrote {args.out}")


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


def run_measurement(args) -> None:
    out = args.out or Path("runs") / f"{args.name}.json"
    experiments.repeat(args.name, out)
    print(f"wrote {out}")


COMMANDS = {
    "list": list_all, "train": train_model, "eval": evaluate_model, "write": write_text,
    "fill": fill_text, "draw": draw_pictures, "measure": run_measurement,
}  # fmt: skip


def main(arguments: list[str] | None = None) -> None:
    try:
        args = parser().parse_args(arguments)
        COMMANDS[args.command](args)
    except (ValueError, OSError) as error:
        speak_for_all(f"error: {error}")
        sys.exit(1)
    except KeyboardInterrupt:
        speak_for_all("\nstopped; train --resume continues from the last checkpoint")
        sys.exit(1)


if __name__ == "__main__":
    main()
