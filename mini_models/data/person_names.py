"""Names: sentences of plays, and which of their words are names of persons.

The labels to learn from are silver: the headings of the plays tell who speaks, and those names are
looked for in what is said. The labels to measure with are gold: each sentence was read and tagged.
Their plays are never learned from, and their names never occur in what is.

Source   mini_models/corpora/README.md has the texts; Ramshaw and Marcus 1995, arXiv:cmp-lg/9505040,
         the tags; corpora/names_gold.txt says what counts as a name
"""

import json
import random
import re
from collections import Counter
from functools import cache

from mini_models import corpora
from mini_models.data.labelled import Tagged, read_tagged
from mini_models.data.texts import other_plays, shakespeare

HELD_OUT_PLAYS = ("julius_caesar", "macbeth", "romeo_and_juliet", "twelfth_night", "winters_tale")
ABBREVIATED = ("henry_iv_part_1",)  # its headings say FAL for Falstaff: no labels to learn from
_PLAYS = json.loads(corpora.read("plays.json"))
# the first speech of each play, in the order in which the two files hold them
FIRST_LINES = _PLAYS["first lines"]
# words of headings that say what somebody is and not who, though plays write them large
ROLES = frozenset(_PLAYS["roles"])
HEADING = re.compile(r"(?:\A|(?<=\n\n))([^\n:]+):\n")
SPEECH_SENTENCE_END = re.compile(r"(?<=[.!?])(?<!Mrs\.)(?<!Mr\.)['\")]*[\s-]+(?=['\"(]*[A-Z])")
WORD_OR_MARK = re.compile(r"'s\b|\w+(?:'(?!s\b)\w+|-\w+)*|--|[^\w\s]")
SHORTEST, LONGEST = 4, 40  # words of a sentence, punctuation included


@cache
def plays() -> dict[str, str]:
    """The 34 bundled plays by title, in the layout of `data.shakespeare`."""
    text = shakespeare() + "\n\n" + other_plays()
    starts = [text.index(line) for line in FIRST_LINES.values()]
    ends = [*starts[1:], len(text)]
    return {title: text[a:b].strip() for title, a, b in zip(FIRST_LINES, starts, ends)}


def _words(sentence: str) -> list[tuple[str, bool]]:
    """Each word, and whether it stands first in its line, where verse writes every word large."""
    found = []
    for match in WORD_OR_MARK.finditer(sentence):
        before = sentence[: match.start()].rstrip(" '\"(-")
        found.append((match.group(), not before or before.endswith("\n")))
    return found


@cache
def _sentences(title: str) -> list[list[tuple[str, bool]]]:
    """What is said in a play, in its order; a stray heading in large letters leaves one out."""
    speeches = HEADING.sub("", plays()[title]).split("\n\n")
    found = [_words(part) for speech in speeches for part in SPEECH_SENTENCE_END.split(speech)]
    return [
        words
        for words in found
        if SHORTEST <= len(words) <= LONGEST
        and not any(word.isupper() and len(word) > 2 for word, _ in words)
    ]


@cache
def speakers_of(title: str) -> dict[str, bool]:
    """Words of the names of a play's speakers, in small letters, without what is only a role.

    A word is a name if it is not in `ROLES` and the play writes it large, behind the first word of
    a line, at least as often as small: FORD is a name in the play of Ford, SERVANT in none.

    Returns: for each whether the play uses it as a common word too; such a word counts as a name
        only where it is large and not first in its line.
    Raises: ValueError if there is no play of this title.
    """
    if title not in FIRST_LINES:
        raise ValueError(f"there is no play {title!r}: take one of {', '.join(FIRST_LINES)}")
    large, small = _large_and_small(title)
    headings = {re.sub(r" OF .*|'S .*", "", h) for h in HEADING.findall(plays()[title])}
    found = {w.lower() for h in headings for w in re.findall(r"[A-Z][A-Z-]{2,}", h)} - ROLES
    return {
        w: small[w] > 0
        for w in sorted(found)
        if small[w] <= large[w] and (large[w] or w not in _common_words())
    }


@cache
def _known_everywhere() -> dict[str, bool]:
    """Names of speakers that are a common word in no play: they are known in each, as Hector is."""
    titles = [title for title in plays() if title not in ABBREVIATED]
    found = {name for title in titles for name in speakers_of(title)}
    return dict.fromkeys(sorted(found - _common_words()), False)


@cache
def _large_and_small(title: str) -> tuple[Counter, Counter]:
    """How often a play writes each word large, but not first in a line, and how often small."""
    large, small = Counter(), Counter()
    for word, first in (word for sentence in _sentences(title) for word in sentence):
        if word[0].islower():
            small[word] += 1
        elif not first:
            large[word.lower()] += 1
    return large, small


@cache
def _common_words() -> set[str]:
    """Words that some play writes small."""
    return {word for title in plays() for word in _large_and_small(title)[1]}


@cache
def _silver(title: str) -> list[Tagged]:
    """Every sentence of a play, its names found by the headings."""
    names = _known_everywhere() | speakers_of(title)
    return [_tagged(sentence, names) for sentence in _sentences(title)]


def _tagged(sentence: list[tuple[str, bool]], names: dict[str, bool]) -> Tagged:
    words, tags = [word for word, _ in sentence], []
    for i, (word, first) in enumerate(sentence):
        key = word.lower()
        known = word[0].isupper() and key in names and not (names[key] and first)
        # the York of "Duke of York" says which duke; alone it is what the duke is called
        place = i > 1 and words[i - 1] == "of" and words[i - 2].lower() in ROLES
        inside = bool(tags) and tags[-1] != "O"
        tags.append("O" if not known or place else "I-PER" if inside else "B-PER")
    return Tagged(tuple(words), tuple(tags))


def silver(split: str) -> list[Tagged]:
    """Sentences whose tags follow from who speaks in their play, or in another.

    Args:
        split: "train", sentences of 28 plays, as many without a name as with one, shuffled; none
            is in the gold set, or holds a word of a name in it or of a speaker of the held-out
            plays, large or small. "held_out": every sentence of the held-out plays.
    Raises: ValueError for another split.
    """
    if split == "held_out":
        return [sentence for title in HELD_OUT_PLAYS for sentence in _silver(title)]
    if split != "train":
        raise ValueError(f"split is {split!r}: take 'train' or 'held_out'")
    hidden = {name for title in HELD_OUT_PLAYS for name in speakers_of(title)} | {
        word.lower() for s in gold() for a, b, _ in s.entities for word in s.words[a:b]
    }
    titles = [title for title in plays() if title not in (*HELD_OUT_PLAYS, *ABBREVIATED)]
    found = [s for title in titles for s in _silver(title)]
    tested = {s.words for s in gold()}
    found = [
        s
        for s in found
        if s.words not in tested and hidden.isdisjoint(word.lower() for word in s.words)
    ]
    draw = random.Random(0)
    named = [s for s in found if s.entities]
    chosen = named + draw.sample([s for s in found if not s.entities], len(named))
    draw.shuffle(chosen)
    return chosen


def gold() -> list[Tagged]:
    """400 sentences of the held-out plays, tagged by reading each; the file says by what rules."""
    return read_tagged(corpora.CORPORA / "names_gold.txt")
