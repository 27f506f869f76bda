"""Emoji: small pictures that people drew, each with a name and keywords in English and Chinese.

Two families of drawings, Noto's and Fluent's, show the same concepts, so what a model learned can
be measured twice: on drawings it never saw of concepts that it knows, and on concepts that it
never saw.

Shapes   N pictures, each [3, 32, 32], red, green and blue on white; B batch, T tokens of a caption
Source   mini_models/corpora/README.md says what we carry; names and keywords are Unicode CLDR's
"""

import hashlib
import json
import random
import re
from dataclasses import dataclass
from functools import cache

import torch
from scipy.cluster.hierarchy import DisjointSet
from torch import Tensor
from torch.nn.functional import pad

from mini_models import corpora
from mini_models.corpora import LANGUAGES
from mini_models.data.batches import Epochs, seed_of
from mini_models.machine.files import digest
from mini_models.tokenizers.captions import CaptionTokenizer

EMOJI_VOCABULARY = 2048  # ids
EMOJI_TEXT_LENGTH = 24  # T: every name and every keyword fits
WHITE = 255
MOVED = 1  # pixels, at most, in x and in y
EMOJI_SIDE = 32  # pixels
EMOJI_STYLES = ("noto", "fluent")
EMOJI_SPLITS = ("train", "drawings", "concepts")
COMMA = {"en": ", ", "zh": "，"}  # between keywords
PERSON = re.compile(r"^(man|woman|men|women|person|people)(:? |$)")  # at the start of a name
HELD_OUT_OF_256 = 26  # of 256: about a tenth
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
class Drawings:
    """N pictures, the concept that each shows, and who drew it."""

    images: Tensor  # uint8 [N, 3, 32, 32]
    emoji: tuple[Emoji, ...]  # [N]
    styles: tuple[str, ...]  # [N], each "noto" or "fluent"

    def __len__(self) -> int:
        return len(self.emoji)

    def floats(self) -> Tensor:
        """The images as float32 [N, 3, 32, 32], from 0 to white 1."""
        return self.images / 255

    def only(self, rows) -> "Drawings":
        """Those in the given rows, a list of int."""
        rows = list(rows)
        kept = ([values[row] for row in rows] for values in (self.emoji, self.styles))
        return Drawings(self.images[rows], *map(tuple, kept))


@cache
def drawings() -> Drawings:
    """All 3,149 pictures of 1,588 concepts: 1,588 of Noto's, then 1,561 of Fluent's."""
    rows = corpora.read("emoji_captions.jsonl.xz").decode()
    concepts, drawn = [], {style: [] for style in EMOJI_STYLES}
    for row in map(json.loads, rows.splitlines()):
        styles = row.pop("styles")
        for key in ("en_keywords", "zh_keywords"):
            row[key] = tuple(row[key])
        concepts.append(Emoji(**row))
        for style in styles:
            drawn[style].append(concepts[-1])
    images = torch.frombuffer(bytearray(corpora.read("emoji_images.rgb.xz")), dtype=torch.uint8)
    images = (
        images.view(-1, EMOJI_SIDE, EMOJI_SIDE, 3).permute(0, 3, 1, 2).contiguous()
    )  # [N, 3, 32, 32]
    styles = tuple(style for style in EMOJI_STYLES for _ in drawn[style])
    return Drawings(images, tuple(e for style in EMOJI_STYLES for e in drawn[style]), styles)


@cache
def emoji_split(name: str) -> Drawings:
    """The pictures of a split, always the same ones in the same order.

    "concepts" has both drawings of about a tenth of the concepts; of the others, "drawings" has
    the Fluent drawing of about a tenth, whose Noto drawing is in "train" with all the rest. No
    picture of one split is, pixel for pixel, a picture of another, and concepts that differ only
    in who it is, such as a man and a woman who cook, are in one split.
    Raises: ValueError for another name.
    """
    if name not in EMOJI_SPLITS:
        raise ValueError(f"{name!r} is not a split: choose one of {', '.join(EMOJI_SPLITS)}")
    everything = drawings()
    families = _families(everything)
    rows = []
    for row, (one, style) in enumerate(zip(everything.emoji, everything.styles)):
        digest = hashlib.sha256(families[one.char].encode()).digest()
        if digest[0] < HELD_OUT_OF_256:
            where = "concepts"
        else:
            where = "drawings" if style == "fluent" and digest[1] < HELD_OUT_OF_256 else "train"
        if where == name:
            rows.append(row)
    return everything.only(rows)


def _families(pictures: Drawings) -> dict[str, str]:
    """For each concept's character, that of one concept which stands for all that go with it.

    Those go together that have a picture in common, pixel by pixel, or a name but for the word
    that says who it is: the man and the woman who cook are drawn nearly alike.
    """
    order = {char: i for i, char in enumerate(dict.fromkeys(e.char for e in pictures.emoji))}
    families, seen = DisjointSet(order), {}
    for image, one in zip(pictures.images, pictures.emoji):
        for trait in (image.numpy().tobytes(), PERSON.sub("", one.en)):
            families.merge(one.char, seen.setdefault(trait, one.char))
    return {c: min(those, key=order.get) for those in families.subsets() for c in those}


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


@cache
def emoji_tokenizer() -> CaptionTokenizer:
    """Byte-pair codes learned from the names and keywords, in both languages, of "train"."""
    concepts = dict.fromkeys(emoji_split("train").emoji)
    said = []
    for one in concepts:
        said += [one.en, one.zh, *one.en_keywords, *one.zh_keywords]
    return CaptionTokenizer.train(said, EMOJI_VOCABULARY)


def fitting(caption: str, language: str, length: int = EMOJI_TEXT_LENGTH) -> str:
    """A caption without the last keywords that do not fit in `length` tokens."""
    while len(emoji_tokenizer().encode(caption)) > length and COMMA[language] in caption:
        caption = caption.rpartition(COMMA[language])[0]
    return caption


class EmojiBatches:
    """Pictures of "train" with captions as ids; `batches[step]` is a function of the step.

    Every epoch takes each picture once, in a new order. Each time it is moved by up to one pixel
    on its white ground, and gets a caption of `caption_of` in one of the languages at random.

    Args:
        batch_size: B.
        seed: of the order, the moves and the captions.
    """

    def __init__(self, batch_size: int, seed: int = 0):
        self.pictures, self.seed = emoji_split("train"), seed
        self.tokenizer, self.text_length = emoji_tokenizer(), EMOJI_TEXT_LENGTH  # T
        self.rows = Epochs(len(self.pictures), batch_size, seed)

    def __getitem__(self, step: int) -> tuple[Tensor, Tensor]:
        """Images float32 [B, 3, 32, 32] from 0 to 1, and ids, int64 [B, T], padded with 0."""
        rows = self.rows[step]
        draws = random.Random(seed_of(self.seed + 1, step))
        captions = []
        for row in rows:
            language = draws.choice(LANGUAGES)
            said = caption_of(self.pictures.emoji[row], language, draws)
            captions.append(fitting(said, language, self.text_length))
        moves = [draws.randint(0, 2 * MOVED) for _ in range(2 * len(rows))]
        images = moved(self.pictures.images[rows], torch.tensor(moves).view(2, -1))
        return images / 255, self.tokenizer.encode_batch(captions, self.text_length)


def moved(images: Tensor, by: Tensor) -> Tensor:
    """Images [B, 3, 32, 32] on a white ground, cut out `by` int64 [2, B] pixels down and right.

    A cut at (1, 1) is the image itself; at (0, 0) it has moved one pixel down and one right.
    """
    wide = pad(images, (MOVED,) * 4, value=WHITE).permute(0, 2, 3, 1)  # [B, 34, 34, 3]
    y, x = by[:, :, None] + torch.arange(EMOJI_SIDE)  # [B, 32] each
    row = torch.arange(len(images))[:, None, None]
    return wide[row, y[:, :, None], x[:, None, :]].permute(0, 3, 1, 2)


class LabelledEmoji:
    """`EmojiBatches`, and for each pair the number of its concept; arguments as there."""

    def __init__(self, batch_size: int, seed: int = 0):
        self.pairs, concepts = EmojiBatches(batch_size, seed), {}
        numbers = [concepts.setdefault(e, len(concepts)) for e in emoji_split("train").emoji]
        self.labels = torch.tensor(numbers)

    def __getitem__(self, step: int) -> tuple[Tensor, Tensor, Tensor]:
        """Images [B, 3, 32, 32], ids int64 [B, T] and the labels [B]."""
        return *self.pairs[step], self.labels[self.pairs.rows[step]]


@cache
def emoji_sha256() -> str:
    """What tells these pictures, captions and splits from others, in hexadecimal digits."""
    parts = [emoji_split(split) for split in EMOJI_SPLITS]
    return digest(*(x for p in parts for x in (p.images.numpy().tobytes(), repr(p.emoji))))
