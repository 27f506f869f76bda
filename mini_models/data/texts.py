"""Texts: plays and poems to write on from, what is held out of them, and a reader's own text.

Source   mini_models/corpora/README.md: where each text comes from, and its licence
"""

import random
import re
from dataclasses import dataclass
from functools import cache

from mini_models import corpora

LONGEST_LINE = 512  # characters, for recipes that take each line as a text of its own


@cache
def shakespeare() -> str:
    """Nine plays, speaker's name before each speech: 1,165,338 characters, 65 different ones."""
    return corpora.read("shakespeare.txt.xz").decode()


@cache
def other_plays() -> str:
    """25 more plays by Shakespeare in the same layout, for training only: 2,989,446 characters."""
    return corpora.read("shakespeare_more.txt.xz").decode()


@dataclass(frozen=True)
class Poem:
    """A Tang quatrain: four lines of five or seven characters each."""

    form: str  # 五绝: lines of five characters, 七绝: of seven
    title: str
    author: str
    text: str  # with punctuation, on one line

    @property
    def lines(self) -> list[str]:
        """The four lines, without punctuation."""
        return re.findall(r"[^，。？！；：、\s]+", self.text)


@cache
def tang_quatrains() -> tuple[Poem, ...]:
    """13,884 quatrains of the Complete Tang Poems, in simplified characters."""
    rows = corpora.read("tang_quatrains.tsv.xz").decode().splitlines()
    return tuple(Poem(*row.split("\t")) for row in rows)


def split(text, held_out: float = 0.1):
    """Cut what is only for measuring from what is trained on; the same cut every time.

    Args:
        text: a str, whose last part is held out, so that no sentence is on both sides; or a
            sequence of `Poem`, shuffled first. A training poem that shares a line with a held-out
            one is left out: the collection holds variants of the same poem.
        held_out: the share to hold out, between 0 and 1.
    Returns: (train, held_out), two strings or two lists.
    Raises: ValueError if the share is not between 0 and 1.
    """
    if not 0 < held_out < 1:
        raise ValueError(f"held_out is {held_out}: give a share between 0 and 1, such as 0.1")
    n = int(len(text) * held_out)
    if isinstance(text, str):
        return text[: len(text) - n], text[len(text) - n :]
    poems = list(text)
    random.Random(0).shuffle(poems)
    held = {line for poem in poems[:n] for line in poem.lines}
    return [p for p in poems[n:] if held.isdisjoint(p.lines)], poems[:n]


def longest_line(text: str) -> int:
    """In characters. Raises ValueError if that is too long for a text of its own."""
    longest = max(map(len, text.split("\n")))
    if longest > LONGEST_LINE:
        raise ValueError(
            f"a line of the text has {longest} characters; in this recipe each line is a text "
            f"of its own, of at most {LONGEST_LINE}: break the lines, or choose another recipe"
        )
    return longest


def split_lines(text: str, lines: bool) -> tuple[str, str]:
    """The first nine tenths of a text and its last; with `lines`, of its lines that are not blank.

    Raises: ValueError if there is not enough to train and to measure.
    """
    if lines:
        kept = [line.strip() for line in text.split("\n") if line.strip()]
        n = len(kept) // 10
        if not n:
            raise ValueError(f"the text has {len(kept)} lines: this recipe needs at least 10")
        return "\n".join(kept[:-n]), "\n".join(kept[-n:])
    if len(text) < 20:
        raise ValueError(f"the text has {len(text)} characters: that is too little to learn from")
    return split(text)
