"""Zoo: trained models, ready to use.

Each is two files: the weights in half precision (safetensors), with the sizes and the characters
that they belong to; and a card (JSON) that says how they were made and how good they are.
"""

import json
import os
from dataclasses import asdict
from pathlib import Path

import torch

from mini_models.gpt import GPT, GPTConfig
from mini_models.tokenizers import CharTokenizer
from mini_models.weights import load_weights, read_safetensors, write_safetensors

CHECKPOINTS = Path(__file__).parent / "checkpoints"


def names() -> list[str]:
    """The models that come with the package."""
    return sorted(path.stem for path in CHECKPOINTS.glob("*.safetensors"))


def load(name: str) -> tuple[GPT, CharTokenizer]:
    """A trained model, in evaluation mode on the CPU, and its tokenizer.

    Args:
        name: one of `names()`, or the path of a .safetensors file that `save` wrote.
    Raises: ValueError if there is no such model, or its file is damaged or another's.
    """
    path = find(name)
    tensors, about = read_safetensors(path)
    if not {"config", "characters"} <= about.keys():
        raise ValueError(
            f"{path} is not a finished model: give the .safetensors file that training ends with"
        )
    try:
        model = GPT(GPTConfig(**about["config"]))
    except TypeError as error:
        raise ValueError(f"{path} was written for another version of GPTConfig: {error}") from None
    load_weights(model, {k: v.float() for k, v in tensors.items()}, path)
    return model.eval(), CharTokenizer(about["characters"])


def card(name: str) -> dict:
    """How a model was made: recipe, seed, steps, seconds, held_out (nats), data_sha256, …

    Raises: ValueError if there is no such model, or its card is missing or damaged.
    """
    path = find(name).with_suffix(".json")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"the card {path} cannot be read: {error}") from None


def find(name: str) -> Path:
    """The file of a model by its name or path. Raises ValueError if there is none."""
    if name in names():
        return CHECKPOINTS / f"{name}.safetensors"
    path = Path(name)
    if path.suffix == ".safetensors" and path.is_file():
        return path
    raise ValueError(
        f"there is no model {name!r}: choose one of {', '.join(names()) or 'none yet'}, "
        "or give the path of a .safetensors file"
    )


def save(path: Path, model: GPT, tokenizer: CharTokenizer, card: dict) -> None:
    """Write a model and its card so that `load` finds them, each renamed when it is complete."""
    about = {"config": asdict(model.config), "characters": tokenizer.characters}
    half = {k: v.to(torch.float16) for k, v in model.state_dict().items()}
    text = json.dumps(card, indent=2, ensure_ascii=False) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".json.part")
    part.write_text(text, encoding="utf-8")
    write_safetensors(path, half, about)
    os.replace(part, path.with_suffix(".json"))
