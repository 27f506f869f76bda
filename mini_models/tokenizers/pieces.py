"""Pieces: what a tokenizer cuts a text into before it looks for tokens, and how neighbours join.

Source   Radford et al. 2019, section 2.2 (bytes and GPT-2's pieces); Devlin et al. 2019,
         arXiv:1810.04805 (BERT's words); Sennrich et al. 2016, arXiv:1508.07909, section 3.2
         (counting and joining pairs)
Derived  notebooks/01_tokenizers.ipynb
"""

import unicodedata
from collections import Counter, defaultdict

import regex


def byte_alphabet() -> list[str]:
    """A visible character for each of the 256 bytes, in GPT-2's order and spelling.

    Bytes that print as themselves keep their character and come first; the others (space, control
    characters, parts of longer characters) borrow the characters from U+0100 on.
    """
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [b for b in range(256) if b not in printable]
    return [chr(b) for b in printable] + [chr(256 + i) for i in range(len(hidden))]


def byte_order() -> list[int]:
    """The 256 bytes in the order of `byte_alphabet`."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return printable + [b for b in range(256) if b not in printable]


# Radford et al. 2019 merge only within these pieces: contractions, words with the space before
# them, numbers, other marks, white space
GPT2_PIECES = regex.compile(
    r"""'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""
)


def merge_pair(symbols: list, pair: tuple, joined) -> list:
    """Replace each occurrence of the pair, from left to right, by the joined symbol."""
    out, i = [], 0
    while i < len(symbols):
        if i + 1 < len(symbols) and (symbols[i], symbols[i + 1]) == pair:
            out.append(joined)
            i += 2
        else:
            out.append(symbols[i])
            i += 1
    return out


class Pairs:
    """The words of a corpus as symbols, with up-to-date counts of every pair beside each other.

    Merging a pair changes only the words that hold it, so only their pairs are counted again.
    """

    def __init__(self, words: dict[tuple, int]):
        self.words = [(list(symbols), count) for symbols, count in words.items()]
        self.counts, self.where = Counter(), defaultdict(set)
        self.symbols = Counter()
        for i, (symbols, count) in enumerate(self.words):
            self._add(i, symbols, count)

    def _add(self, i, symbols, count):
        for symbol in symbols:
            self.symbols[symbol] += count
        for pair in zip(symbols, symbols[1:]):
            self.counts[pair] += count
            self.where[pair].add(i)

    def merge(self, pair, joined) -> set:
        """Join the pair everywhere; return the pairs whose counts changed."""
        changed = set()
        for i in self.where.pop(pair):
            symbols, count = self.words[i]
            new = merge_pair(symbols, pair, joined)
            if len(new) == len(symbols):
                continue  # an earlier merge had already taken it apart
            for old_pair in zip(symbols, symbols[1:]):
                self.counts[old_pair] -= count
                changed.add(old_pair)
            for new_pair in zip(new, new[1:]):
                self.counts[new_pair] += count
                changed.add(new_pair)
                if joined in new_pair:  # the word is on the other pairs' lists already
                    self.where[new_pair].add(i)
            times = count * (len(symbols) - len(new))
            for symbol, change in ((pair[0], -times), (pair[1], -times), (joined, times)):
                self.symbols[symbol] += change
            self.words[i] = (new, count)
        changed.discard(pair)
        del self.counts[pair]
        return changed


# blocks of Chinese characters, which BERT separates (Devlin et al. 2019, multilingual notes)
_CJK = [(0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F),
        (0x2B740, 0x2B81F), (0x2B920, 0x2CEAF), (0xF900, 0xFAFF), (0x2F800, 0x2FA1F)]  # fmt: skip


def basic_words(text: str) -> list[str]:
    """BERT's first step: lower case, no accents, words, punctuation marks and Chinese characters
    each by itself; control characters are dropped."""
    spaced = []
    for c in text:
        kind = unicodedata.category(c)
        if c not in "\t\n\r" and (c == "\ufffd" or kind in ("Cc", "Cf", "Co")):
            continue
        if c.isspace():
            spaced.append(" ")
        else:
            spaced.append(f" {c} " if any(a <= ord(c) <= b for a, b in _CJK) else c)
    plain = unicodedata.normalize("NFD", "".join(spaced))
    letters = (c.lower() for c in plain if unicodedata.category(c) != "Mn")
    return "".join(f" {c} " if _is_punctuation(c) else c for c in "".join(letters)).split()


def word_spans(text: str) -> list[tuple[int, int]]:
    """Where the words, punctuation marks and Chinese characters of a text begin and end, so that
    encoding them one by one gives the tokens of the whole."""
    spans, start = [], None
    for i, c in enumerate(text):
        alone = _is_punctuation(c) or any(a <= ord(c) <= b for a, b in _CJK)
        if start is not None and (alone or _is_space(c)):
            spans.append((start, i))
            start = None
        if alone:
            spans.append((i, i + 1))
        elif start is None and not _is_space(c):
            start = i
    return spans + ([(start, len(text))] if start is not None else [])


def _is_space(c: str) -> bool:
    """White space, but for the control characters that `basic_words` drops."""
    return c in "\t\n\r" or (c.isspace() and unicodedata.category(c) != "Cc")


def _is_punctuation(c: str) -> bool:
    """Unicode punctuation, and all of ASCII that is neither letter, digit nor space."""
    return c in "$+<=>^`|~" or unicodedata.category(c).startswith("P")


def refuse_surrogates(text: str) -> None:
    """Raise ValueError for half a character, which no file in UTF-8 can hold."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"character {error.start} is {text[error.start]!r}, half of a character: "
            "decode the text as UTF-8 before you tokenize it"
        ) from None


def as_texts(texts) -> list[str]:
    """One text counts as a list of one."""
    return [texts] if isinstance(texts, str) else list(texts)


def look_up(tokens: list, ids) -> list:
    """The token of each id; ValueError if an id is negative or too large."""
    ids = [int(i) for i in ids]
    wrong = [i for i in ids if not 0 <= i < len(tokens)]
    if wrong:
        raise ValueError(f"id {wrong[0]} is outside the vocabulary of {len(tokens)} tokens")
    return [tokens[i] for i in ids]
