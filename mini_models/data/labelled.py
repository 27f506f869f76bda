"""Labelled: texts with a class, and words with a tag, from plain files.

A fault in a file is told by its row, counted from 1, before anything is learned from it.
"""

import random
import re
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Labelled:
    """A text and the class it belongs to."""

    text: str
    label: str


@dataclass(frozen=True)
class Tagged:
    """A sentence as words, each with a tag: B-X begins a name of kind X, I-X goes on with it, O is
    outside of any (Ramshaw and Marcus 1995, arXiv:cmp-lg/9505040)."""

    words: tuple[str, ...]
    tags: tuple[str, ...]

    def __post_init__(self):
        if not self.words or len(self.words) != len(self.tags):
            raise ValueError(
                f"a sentence has {len(self.words)} words and {len(self.tags)} tags: "
                "give each word a tag, and at least one word"
            )

    @property
    def entities(self) -> set[tuple[int, int, str]]:
        """(first word, word behind the last, kind) of every name; a stray I-X begins one too."""
        found, start, kind = set(), 0, None
        for i, tag in enumerate((*self.tags, "O")):
            goes_on = tag == f"I-{kind}"
            if kind is not None and not goes_on:
                found.add((start, i, kind))
                kind = None
            if tag != "O" and not goes_on:
                start, kind = i, tag[2:]
        return found


def renamed(sentences, share: float = 0.5, seed: int = 0) -> list[Tagged]:
    """Give every named word of some sentences a made-up spelling, so that it is of no use to know
    the names by heart; the tags stay.

    Args:
        share: of the sentences, between 0 and 1, each drawn by itself.
    """
    draw = random.Random(seed)

    def made_up() -> str:
        return "".join(draw.choice("bcdfglmnprstv") + draw.choice("aeiou") for _ in range(3))

    return [
        Tagged(
            tuple(w if t == "O" else made_up().title() for w, t in zip(s.words, s.tags)), s.tags
        )
        if draw.random() < share else s
        for s in sentences
    ]  # fmt: skip


def read_labelled(path) -> list[Labelled]:
    """Texts and classes of a file with a text, a tab and a class on each line.

    Raises: ValueError naming the row that is empty, lacks its class or has more than one tab.
    """
    found = []
    for row, line in enumerate(_lines(path), 1):
        text, tab, label = line.partition("\t")
        if not text.strip():
            raise ValueError(f"{path}, row {row}: the text is empty; write it or delete the row")
        if not label.strip() or "\t" in label:
            raise ValueError(
                f"{path}, row {row}: {line[:40]!r} is no text, tab and class; give just these"
            )
        found.append(Labelled(text.strip(), label.strip()))
    return found


def read_tagged(path) -> list[Tagged]:
    """Sentences of a file with a word, a tab or space and its tag on each line, and a blank line
    behind each sentence; lines that begin with "# " are comments.

    Raises: ValueError naming the row without a word or a tag, or with a tag of another form.
    """
    found, words, tags = [], [], []
    for row, line in enumerate((*_lines(path), ""), 1):
        if line.startswith("# "):
            continue
        if not line.strip():
            found += [Tagged(tuple(words), tuple(tags))] if words else []
            words, tags = [], []
            continue
        parts = line.split()
        if len(parts) != 2 or not re.fullmatch("O|[BI]-.+", parts[1]):
            raise ValueError(
                f"{path}, row {row}: {line[:40]!r} is no word and tag; the tag is O, or B- or I- "
                "with the kind of name"
            )
        words.append(parts[0])
        tags.append(parts[1])
    return found


def _lines(path) -> list[str]:
    """The lines of a file, which must be UTF-8 and hold something."""
    try:
        with Path(path).open(encoding="utf-8-sig") as file:  # with or without a byte order mark
            lines = [line.rstrip("\n") for line in file]  # and not at U+2028, as splitlines would
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 ({error}): save it in that encoding") from None
    if not any(line.strip() for line in lines):
        raise ValueError(f"{path} is empty: there is nothing to learn from")
    return lines
