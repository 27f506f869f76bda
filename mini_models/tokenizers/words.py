"""Words: a tokenizer for captions, in which a word of English or a Chinese character is a token.

Source   mini_models/data/shapes has the captions it is made for; Ramesh et al. 2021,
         arXiv:2102.12092, section 2.2, write captions in lower case too
"""

import re
from itertools import takewhile

import torch
from torch import Tensor

from mini_models.tokenizers.pieces import as_texts

CHINESE_CHARACTERS = (
    "\u3000-\u303f\u3400-\u4dbf\u4e00-\u9fff\uff01-\uff65"  # characters and full-width marks
)
WORD = re.compile(rf"[{CHINESE_CHARACTERS}]|[^\s{CHINESE_CHARACTERS}]+")


def split_words(text: str) -> list[str]:
    """The words of a text in lower case; a Chinese character is a word of its own."""
    return WORD.findall(text.lower())


class WordTokenizer:
    """Every word is a token; id 0, `pad`, fills the rows of a batch.

    Args:
        words: the vocabulary; the first has id 1, since 0 is no word's.
    Raises: ValueError if a word stands in it twice, or is no single word.
    """

    pad = 0

    def __init__(self, words):
        self.words = list(words)
        self._id = {word: i for i, word in enumerate(self.words, 1)}
        if len(self._id) < len(self.words):
            raise ValueError(f"a word stands twice among {len(self.words)}: give each of them once")
        wrong = [word for word in self.words if split_words(word) != [word]]
        if wrong:
            raise ValueError(
                f"{wrong[0]!r} is no single word in lower case: train on texts instead"
            )

    @classmethod
    def train(cls, texts):
        """The words of the texts, sorted. Raises ValueError if there is none."""
        words = {word for text in as_texts(texts) for word in split_words(text)}
        if not words:
            raise ValueError("the texts are empty: there is no word to learn")
        return cls(sorted(words))

    @property
    def vocab_size(self) -> int:
        """How many ids there are: one for each word, and the padding."""
        return len(self.words) + 1

    def encode(self, text: str) -> list[int]:
        """The id of each word. Raises ValueError naming the words that are not known."""
        words = split_words(text)
        unknown = [word for word in dict.fromkeys(words) if word not in self._id]
        if unknown:
            raise ValueError(
                f"{text!r} has words that are not known: {', '.join(map(repr, unknown))}; "
                f"known are these {len(self.words)}: {_some(self.words)}"
            )
        return [self._id[word] for word in words]

    def decode(self, ids) -> str:
        """The text of a list of ids, up to the first padding; no space beside a Chinese character.

        Raises: ValueError for an id outside the vocabulary.
        """
        words = [self.words[i - 1] for i in before_padding(ids, self.vocab_size)]
        return re.sub(
            rf" (?=[{CHINESE_CHARACTERS}])|(?<=[{CHINESE_CHARACTERS}]) ", "", " ".join(words)
        )

    def encode_batch(self, texts, length: int) -> Tensor:
        """Texts as ids, int64 [B, length], padded behind their end.

        Raises: ValueError if a text has more words than `length`, or one that is not known.
        """
        return padded_rows(texts, self.encode, length, "words")


def padded_rows(texts, encode, length: int, unit: str) -> Tensor:
    """What `encode` makes of each text as a row of ids, int64 [B, length], filled up with 0.

    Raises: ValueError if one has more than `length` of its unit.
    """
    rows = torch.zeros(len(texts), length, dtype=torch.long)
    for row, text in zip(rows, texts):
        ids = encode(text)
        if len(ids) > length:
            raise ValueError(f"{text!r} has {len(ids)} {unit}, more than {length}: shorten it")
        row[: len(ids)] = torch.tensor(ids, dtype=torch.long)
    return rows


def before_padding(ids, vocab_size: int) -> list[int]:
    """The ids up to the first 0; ValueError if one of them is outside the vocabulary."""
    kept = list(takewhile(bool, map(int, ids)))
    for i in kept:
        if not 0 < i < vocab_size:
            raise ValueError(f"id {i} is outside the vocabulary of {vocab_size} ids")
    return kept


def _some(words, most: int = 100) -> str:
    """The words as one line, cut off where they are many."""
    return ", ".join(words[:most]) + (f" and {len(words) - most} more" if len(words) > most else "")
