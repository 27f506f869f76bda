"""Zoo: trained models, ready to use.

Each is two files: the weights (safetensors), in 8 bits or, in older files, in half precision, with
the kind of model, its sizes and the alphabet that they belong to; and a card (JSON) that says how
they were made and how good they are.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor, nn

from mini_models.bert import BERTConfig, BERTForPretraining
from mini_models.clip import CLIP, CLIPConfig
from mini_models.dalle import DALLE, DALLEConfig
from mini_models.dvae import DVAE, DVAEConfig
from mini_models.fidelity import Classifier, ClassifierConfig
from mini_models.gan import GAN, GANConfig
from mini_models.gpt import GPT, GPTConfig
from mini_models.machine import weights
from mini_models.machine.eight_bits import packed, unpacked
from mini_models.machine.files import whole
from mini_models.text_to_image_gan import TextGenerator, TextToImageConfig
from mini_models.tokenizers.captions import CaptionTokenizer
from mini_models.tokenizers.characters import CharTokenizer
from mini_models.tokenizers.wordpiece import WordPiece
from mini_models.tokenizers.words import WordTokenizer

CHECKPOINTS = Path(__file__).parent / "checkpoints"


class Kind(NamedTuple):
    """A kind of model that a file can hold."""

    model: type[nn.Module]
    config: type
    does: str = "is measured"  # or "write", "fill", "draw", "draw a prompt": what one may ask of it


KINDS = {
    "GPT": Kind(GPT, GPTConfig, "write"),
    "BERTForPretraining": Kind(BERTForPretraining, BERTConfig, "fill"),
    "GAN": Kind(GAN, GANConfig, "draw"),
    "Classifier": Kind(Classifier, ClassifierConfig),
    "TextGenerator": Kind(TextGenerator, TextToImageConfig, "draw a prompt"),
    "DVAE": Kind(DVAE, DVAEConfig),
    "DALLE": Kind(DALLE, DALLEConfig, "draw a prompt"),
    "CLIP": Kind(CLIP, CLIPConfig),
}
ALPHABETS = {
    "characters": CharTokenizer,
    "words": WordTokenizer,
    "tokens": WordPiece,
    "merges": CaptionTokenizer,
}  # as a file calls them


def names(does: str = "") -> list[str]:
    """The models that come with the package; only those that do something, such as "write"."""
    found = sorted(path.stem for path in CHECKPOINTS.glob("*.safetensors"))
    return [n for n in found if KINDS[kind_of(weights.read_about(find(n)))].does.startswith(does)]


def refuse_unless(does: str, name: str, model: nn.Module) -> None:
    """Raise ValueError, with the names of others, unless a model does what is asked of it."""
    if not KINDS[type(model).__name__].does.startswith(does):
        others = ", ".join(names(does))
        raise ValueError(f"{name} does not {does}: choose one of {others}")


def kind_of(about: dict) -> str:
    """The kind of model that a file holds, a key of KINDS."""
    return about.get("kind", "GPT")  # the first files, all of them GPTs, did not say


def load(name: str) -> tuple[nn.Module, Any]:
    """A trained model, in evaluation mode on the CPU, and its tokenizer, None if it reads no text.

    Args:
        name: one of `names()`, or the path of a .safetensors file that `save` wrote.
    Raises: ValueError if there is no such model, or its file is damaged or another's.
    """
    path = find(name)
    tensors, about = weights.read_safetensors(path)
    if "config" not in about or "losses" in tensors or kind_of(about) not in KINDS:
        raise ValueError(
            f"{path} is not a finished model: give the .safetensors file that training ends with"
        )
    kind = KINDS[kind_of(about)]
    try:
        model = kind.model(kind.config(**about["config"]))
    except TypeError as error:
        said = f"{path} was written for another version of {kind.config.__name__}: {error}"
        raise ValueError(said) from None
    weights.load_weights(model, unpacked(tensors), path)
    tokenizers = [
        make(about[alphabet]) for alphabet, make in ALPHABETS.items() if alphabet in about
    ]
    return model.eval(), next(iter(tokenizers), None)


def card(name: str) -> dict:
    """How a model was made: recipe, seed, steps, seconds, data_sha256, and how good it is:
    held_out, in its unit, …

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
    about |= {
        a: getattr(tokenizer, a) for a, kind in ALPHABETS.items() if isinstance(tokenizer, kind)
    }
    if tokenizer is not None and not ALPHABETS.keys() & about.keys():
        known = ", ".join(kind.__name__ for kind in ALPHABETS.values())
        raise ValueError(f"a file keeps no {type(tokenizer).__name__}: give one of {known}")
    with whole(path.with_suffix(".json")) as part:  # the card takes its place after the weights
        part.write_text(json.dumps(card, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        weights.write_safetensors(path, packed(model.state_dict()), about)


def drawn_by(model: nn.Module, tokenizer, prompt: str | None, n: int, generator=None) -> Tensor:
    """n pictures by a model that draws, [n, C, S, S]: of the prompt, if it reads one.

    Raises: ValueError if it needs a prompt and has none, or the reverse, or does not know a word.
    """
    if tokenizer is None:
        if prompt is not None:
            raise ValueError("this model reads no text: draw without a prompt")
        return model.draw(model.latents(n, generator))
    if not (prompt or "").strip():
        words = " ".join(getattr(tokenizer, "words", []))  # where it knows no others
        said = f", in these words: {words}" if words else ", such as 'a red apple' or '红苹果'"
        raise ValueError(f"there is no prompt: say what to draw{said}")
    ids = tokenizer.encode_batch([prompt], model.config.text_length)
    return model.draw(ids.repeat(n, 1), generator)
