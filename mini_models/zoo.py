"""Zoo: trained models, ready to use.

Each is two files: the weights (safetensors), in 8 bits or, in older files, in half precision, with
the kind of model, its sizes and the alphabet that they belong to; and a card (JSON) that says how
they were made and how good they are.
"""

import json
import os
from dataclasses import asdict
from pathlib import Path

from torch import nn

from mini_models.bert import BERTConfig, BERTForPretraining
from mini_models.captions import CaptionTokenizer
from mini_models.clip import CLIP, CLIPConfig
from mini_models.dalle import DALLE, DALLEConfig
from mini_models.dvae import DVAE, DVAEConfig
from mini_models.eight_bits import packed, unpacked
from mini_models.fidelity import Classifier, ClassifierConfig
from mini_models.gan import GAN, GANConfig
from mini_models.gpt import GPT, GPTConfig
from mini_models.text_to_image_gan import TextGenerator, TextToImageConfig
from mini_models.tokenizers import CharTokenizer, WordPiece
from mini_models.weights import (
    load_weights,
    read_about,
    read_safetensors,
    write_safetensors,
)
from mini_models.words import WordTokenizer

CHECKPOINTS = Path(__file__).parent / "checkpoints"
KINDS = {
    "GPT": (GPT, GPTConfig),
    "BERTForPretraining": (BERTForPretraining, BERTConfig),
    "GAN": (GAN, GANConfig),
    "Classifier": (Classifier, ClassifierConfig),
    "TextGenerator": (TextGenerator, TextToImageConfig),
    "DVAE": (DVAE, DVAEConfig),
    "DALLE": (DALLE, DALLEConfig),
    "CLIP": (CLIP, CLIPConfig),
}
ALPHABETS = {
    "characters": CharTokenizer,
    "words": WordTokenizer,
    "tokens": WordPiece,
    "merges": CaptionTokenizer,
}  # as a file calls them


def names(*kinds: str) -> list[str]:
    """The models that come with the package; only those of some kinds, if any are named."""
    found = sorted(path.stem for path in CHECKPOINTS.glob("*.safetensors"))
    return [n for n in found if not kinds or kind_of(read_about(find(n))) in kinds]


def kind_of(about: dict) -> str:
    """The kind of model that a file holds, a key of KINDS."""
    return about.get("kind", "GPT")  # the first files, all of them GPTs, did not say


def load(name: str) -> tuple[nn.Module, CharTokenizer | None]:
    """A trained model, in evaluation mode on the CPU, and its tokenizer, None if it reads no text.

    Args:
        name: one of `names()`, or the path of a .safetensors file that `save` wrote.
    Raises: ValueError if there is no such model, or its file is damaged or another's.
    """
    path = find(name)
    tensors, about = read_safetensors(path)
    if "config" not in about or "losses" in tensors or kind_of(about) not in KINDS:
        raise ValueError(
            f"{path} is not a finished model: give the .safetensors file that training ends with"
        )
    make, config = KINDS[kind_of(about)]
    try:
        model = make(config(**about["config"]))
    except TypeError as error:
        said = f"{path} was written for another version of {config.__name__}: {error}"
        raise ValueError(said) from None
    load_weights(model, unpacked(tensors), path)
    tokenizers = [
        make(about[alphabet]) for alphabet, make in ALPHABETS.items() if alphabet in about
    ]
    return model.eval(), next(iter(tokenizers), None)


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
    path = CHECKPOINTS / f"{name}.safetensors"
    if path.parent == CHECKPOINTS and path.is_file():
        return path
    path = Path(name)
    if path.suffix == ".safetensors" and path.is_file():
        return path
    raise ValueError(
        f"there is no model {name!r}: choose one of {', '.join(names()) or 'none yet'}, "
        "or give the path of a .safetensors file"
    )


def save(path: Path, model: nn.Module, tokenizer, card: dict) -> None:
    """Write a model and its card so that `load` finds them, each renamed when it is complete."""
    about = {"kind": type(model).__name__, "config": asdict(model.config)}
    for alphabet, kind in ALPHABETS.items():
        if isinstance(tokenizer, kind):
            about[alphabet] = getattr(tokenizer, alphabet)
    text = json.dumps(card, indent=2, ensure_ascii=False) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".json.part")
    part.write_text(text, encoding="utf-8")
    write_safetensors(path, packed(model.state_dict()), about)
    os.replace(part, path.with_suffix(".json"))
