"""Emoji: small pictures that people drew, each with a name and keywords in English and Chinese.

Two families of drawings, Noto's and Fluent's, show the same concepts, so what a model learned can
be measured twice: on drawings it never saw of concepts that it knows, and on concepts that it
never saw.

Shapes   N pictures, each [3, 32, 32], red, green and blue on white
Source   mini_models/corpora/README.md says what we carry; names and keywords are Unicode CLDR's
"""

import hashlib
import json
import lzma
import random
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

CORPORA = Path(__file__).parent / "corpora"
SIDE = 32  # pixels
STYLES = ("noto", "fluent")
SPLITS = ("train", "drawings", "concepts")
COMMA = {"en": ", ", "zh": "，"}  # between keywords
PERSON = re.compile(r"^(man|woman|men|women|person|people)(:? |$)")  # at the start of a name
HELD_OUT = 26  # of 256: about a tenth
MOST_KEYWORDS = 3  # in a caption


@dataclass(frozen=True)
class Emoji:
    """One concept: its character, its group, and what it is called, as CLDR has it."""

    char: str
    group: str  # such as food-drink
    en: str
    zh: str
    en_keywords: tuple[str, ...]
    zh_keywords: tuple[str, ...]


@dataclass(frozen=True)
class Pictures:
    """N pictures, the concept that each shows, and who drew it."""

    images: Tensor  # uint8 [N, 3, 32, 32]
    emoji: tuple[Emoji, ...]  # [N]
    styles: tuple[str, ...]  # [N], each "noto" or "fluent"

    def __len__(self) -> int:
        return len(self.emoji)

    def floats(self) -> Tensor:
        """The images as float32 [N, 3, 32, 32], from 0 to white 1."""
        return self.images / 255

    def only(self, rows) -> "Pictures":
        """Those in the given rows, a list of int."""
        rows = list(rows)
        kept = ([values[row] for row in rows] for values in (self.emoji, self.styles))
        return Pictures(self.images[rows], *map(tuple, kept))


@cache
def emoji() -> Pictures:
    """All 3,149 pictures of 1,588 concepts: 1,588 of Noto's, then 1,561 of Fluent's."""
    rows = lzma.decompress((CORPORA / "emoji_captions.jsonl.xz").read_bytes()).decode()
    concepts, drawn = [], {style: [] for style in STYLES}
    for row in map(json.loads, rows.splitlines()):
        styles = row.pop("styles")
        for key in ("en_keywords", "zh_keywords"):
            row[key] = tuple(row[key])
        concepts.append(Emoji(**row))
        for style in styles:
            drawn[style].append(concepts[-1])
    packed = (CORPORA / "emoji_images.rgb.xz").read_bytes()
    images = torch.frombuffer(bytearray(lzma.decompress(packed)), dtype=torch.uint8)
    images = images.view(-1, SIDE, SIDE, 3).permute(0, 3, 1, 2).contiguous()  # [N, 3, 32, 32]
    styles = tuple(style for style in STYLES for _ in drawn[style])
    return Pictures(images, tuple(e for style in STYLES for e in drawn[style]), styles)


@cache
def emoji_split(name: str) -> Pictures:
    """The pictures of a split, always the same ones in the same order.

    "concepts" has both drawings of about a tenth of the concepts; of the others, "drawings" has
    the Fluent drawing of about a tenth, whose Noto drawing is in "train" with all the rest. No
    picture of one split is, pixel for pixel, a picture of another, and concepts that differ only
    in who it is, such as a man and a woman who cook, are in one split.
    Raises: ValueError for another name.
    """
    if name not in SPLITS:
        raise ValueError(f"{name!r} is not a split: choose one of {', '.join(SPLITS)}")
    everything = emoji()
    families = _families(everything)
    rows = []
    for row, (one, style) in enumerate(zip(everything.emoji, everything.styles)):
        digest = hashlib.sha256(families[one.char].encode()).digest()
        if digest[0] < HELD_OUT:
            where = "concepts"
        else:
            where = "drawings" if style == "fluent" and digest[1] < HELD_OUT else "train"
        if where == name:
            rows.append(row)
    return everything.only(rows)


def _families(pictures: Pictures) -> dict[str, str]:
    """For each concept's character, that of one concept which stands for all that go with it.

    Those go together that have a picture in common, pixel by pixel, or a name but for the word
    that says who it is: the man and the woman who cook are drawn nearly alike.
    """
    parent, seen = {one.char: one.char for one in pictures.emoji}, {}

    def eldest(char):
        while parent[char] != char:
            char = parent[char]
        return char

    for image, one in zip(pictures.images, pictures.emoji):
        for trait in (image.numpy().tobytes(), PERSON.sub("", one.en)):
            parent[eldest(one.char)] = eldest(seen.setdefault(trait, one.char))
    return {char: eldest(char) for char in parent}


def caption_of(one: Emoji, language: str, draws: random.Random | None = None) -> str:
    """What a picture of a concept is called, in lower case.

    Args:
        language: "en" or "zh".
        draws: None for the name; in training a source of random numbers, with which half of the
            captions are the name, a quarter one to three keywords in any order, and a quarter the
            name and then such keywords.
    Raises: ValueError for another language.
    """
    if language not in COMMA:
        raise ValueError(f"{language!r} is no language of the captions: choose en or zh")
    name, keywords = getattr(one, language), getattr(one, f"{language}_keywords")
    said = [name]
    if draws is not None and draws.random() < 0.5:
        others = [word for word in keywords if word != name] or [name]
        chosen = draws.sample(others, min(draws.randint(1, MOST_KEYWORDS), len(others)))
        said = list(dict.fromkeys([name, *chosen])) if draws.random() < 0.5 else chosen
    return COMMA[language].join(said).lower()
