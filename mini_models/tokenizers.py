"""Tokenizers: a text becomes a list of integers, and comes back.

Source   Sennrich et al. 2016, arXiv:1508.07909 (byte-pair encoding); Radford et al. 2019, section
         2.2 (on bytes); Schuster and Nakajima 2012 and Devlin et al. 2019, arXiv:1810.04805
         (WordPiece)
Derived  notebooks/01_tokenizers.ipynb
"""

import heapq
import json
import lzma
import os
from collections import Counter
from functools import lru_cache
from pathlib import Path

import regex

from mini_models.pieces import (
    GPT2_PIECES,
    Pairs,
    basic_words,
    byte_alphabet,
    byte_order,
    merge_pair,
    refuse_surrogates,
)

CORPORA = Path(__file__).parent / "corpora"


def _texts(texts):
    """One text counts as a list of one."""
    return [texts] if isinstance(texts, str) else list(texts)


class _Saved:
    """Saving and loading: a JSON file with the class's name and the arguments that rebuild it."""

    def save(self, path) -> None:
        """Write to `path`, first under a temporary name, so that no half file is ever there."""
        path = Path(path)
        temporary = path.with_name(path.name + ".tmp")
        temporary.write_text(
            json.dumps({"kind": type(self).__name__, **self._arguments()}, ensure_ascii=False),
            encoding="utf-8",
        )
        os.replace(temporary, path)

    @classmethod
    def load(cls, path):
        """Rebuild what `save` wrote. Raises ValueError if the file holds anything else."""
        try:
            saved = json.loads(Path(path).read_text(encoding="utf-8"))
            kind = saved.pop("kind")
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise ValueError(f"{path} holds no tokenizer: give a file that save() wrote") from error
        if kind != cls.__name__:
            raise ValueError(f"{path} holds a {kind}: load it with {kind}.load")
        return cls(**saved)


class CharTokenizer(_Saved):
    """Every character is a token.

    Args:
        characters: the alphabet; a character's place in it is its id.
    """

    def __init__(self, characters):
        self.characters = list(characters)
        self._id = {c: i for i, c in enumerate(self.characters)}
        if len(self._id) < len(self.characters):
            raise ValueError("the alphabet names a character twice: give each of them once")

    @classmethod
    def train(cls, texts, vocab_size: int | None = None):
        """The characters of the texts, sorted; with a vocab_size, only the most frequent ones."""
        counts = Counter()
        for text in _texts(texts):
            counts.update(text)
        if not counts:
            raise ValueError("the texts are empty: there is no character to learn")
        kept = sorted(counts, key=lambda c: (-counts[c], c))[:vocab_size]
        return cls(sorted(kept))

    def _arguments(self):
        return {"characters": self.characters}

    @property
    def vocab_size(self) -> int:
        return len(self.characters)

    def encode(self, text: str) -> list[int]:
        """The id of each character. Raises ValueError naming those that are not in the alphabet."""
        try:
            return [self._id[c] for c in text]
        except KeyError:
            unseen = sorted(set(text) - set(self._id))
            raise ValueError(
                f"{len(unseen)} characters are not in this alphabet of {self.vocab_size}: "
                f"{' '.join(map(repr, unseen[:10]))}; replace them or train on a text with them"
            ) from None

    def decode(self, ids) -> str:
        """The text of a list of ids. Raises ValueError for an id outside the vocabulary."""
        return "".join(_lookup(self.characters, ids))


def _lookup(tokens: list, ids) -> list:
    """The token of each id; ValueError if an id is negative or too large."""
    ids = [int(i) for i in ids]
    wrong = [i for i in ids if not 0 <= i < len(tokens)]
    if wrong:
        raise ValueError(f"id {wrong[0]} is outside the vocabulary of {len(tokens)} tokens")
    return [tokens[i] for i in ids]


class ByteLevelBPE(_Saved):
    """Byte-pair encoding on bytes: any text has tokens, since any text has bytes.

    Args:
        merges: pairs of tokens in the order in which they are joined, in `byte_alphabet`'s
            spelling.
        special: tokens that no text is split into, with the last ids.
    """

    def __init__(self, merges, special=()):
        self.merges = [tuple(m) for m in merges]
        self.special = list(special)
        joined = ["".join(m) for m in self.merges]  # two merges may give the same token
        self.tokens = list(dict.fromkeys(byte_alphabet() + joined + self.special))
        self._id = {t: i for i, t in enumerate(self.tokens)}
        self._rank = {m: i for i, m in enumerate(self.merges)}
        self._letter = dict(zip(byte_order(), byte_alphabet()))
        self._byte = {letter: b for b, letter in self._letter.items()}
        self._piece_ids = lru_cache(1 << 16)(self._ids_of_piece)

    @classmethod
    def gpt2(cls):
        """The tokenizer of GPT-2 and GPT-3: 256 bytes, 50,000 merges and <|endoftext|>."""
        lines = lzma.decompress((CORPORA / "gpt2_merges.txt.xz").read_bytes()).decode().split("\n")
        merges = [tuple(line.split()) for line in lines if line and not line.startswith("#version")]
        return cls(merges, ["<|endoftext|>"])

    @classmethod
    def train(cls, texts, vocab_size: int):
        """Learn merges: join the most frequent pair of neighbours, again and again.

        Of pairs equally frequent, the one whose tokens have the smaller ids (its first token's,
        then its second's) is joined, as in the `tokenizers` library. Stops early when no pair is
        left.
        Raises: ValueError if vocab_size is below 256, or there is no text.
        """
        if vocab_size < 256:
            raise ValueError(f"vocab_size is {vocab_size}: the bytes alone need 256")
        letters = dict(zip(byte_order(), byte_alphabet()))
        ids = {letter: i for i, letter in enumerate(byte_alphabet())}
        pieces = Counter(p for text in _texts(texts) for p in GPT2_PIECES.findall(text))
        if not pieces:
            raise ValueError("the texts are empty: there is nothing to learn merges from")
        words = {tuple(letters[b] for b in p.encode()): n for p, n in pieces.items()}
        pairs, merges = Pairs(words), []
        heap = [(-n, ids[a], ids[b], (a, b)) for (a, b), n in pairs.counts.items()]
        heapq.heapify(heap)
        while heap and len(ids) < vocab_size:
            negative, _, _, pair = heapq.heappop(heap)
            if pairs.counts[pair] != -negative:
                continue  # counted again since
            if negative == 0:
                break
            joined = "".join(pair)
            ids.setdefault(joined, len(ids))
            merges.append(pair)
            for a, b in pairs.merge(pair, joined):
                if pairs.counts[a, b] > 0:
                    heapq.heappush(heap, (-pairs.counts[a, b], ids[a], ids[b], (a, b)))
        return cls(merges)

    def _arguments(self):
        return {"merges": self.merges, "special": self.special}

    @property
    def vocab_size(self) -> int:
        return len(self.tokens)

    def encode(self, text: str) -> list[int]:
        """The ids of a text. Special tokens typed in the text are taken as plain text.

        Raises: ValueError for half a character (a lone surrogate), which has no bytes.
        """
        refuse_surrogates(text)
        return [i for piece in GPT2_PIECES.findall(text) for i in self._piece_ids(piece)]

    def _ids_of_piece(self, piece: str) -> list[int]:
        """Join neighbours in the order in which training joined them."""
        symbols = [self._letter[b] for b in piece.encode()]
        while len(symbols) > 1:
            pair = min(zip(symbols, symbols[1:]), key=lambda p: self._rank.get(p, len(self._rank)))
            if pair not in self._rank:
                break
            symbols = merge_pair(symbols, pair, "".join(pair))
        return [self._id[s] for s in symbols]

    def decode(self, ids) -> str:
        """The text of a list of ids; bytes that are no whole character become U+FFFD."""
        special = set(self.special)
        data = b""
        for token in _lookup(self.tokens, ids):
            data += token.encode() if token in special else bytes(self._byte[c] for c in token)
        return data.decode("utf-8", errors="replace")


PAD, UNK, CLS, SEP, MASK = SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


class WordPiece(_Saved):
    """Words in the largest known pieces, from the left; a piece inside a word begins with ##.

    Args:
        tokens: the vocabulary, special tokens included; a token's place is its id.
    Raises: ValueError if [UNK] is missing or a token stands twice.
    """

    longest_word = 100  # characters; a longer word is [UNK]

    def __init__(self, tokens):
        self.tokens = list(tokens)
        self._id = {t: i for i, t in enumerate(self.tokens)}
        if UNK not in self._id or len(self._id) < len(self.tokens):
            raise ValueError(
                f"a vocabulary of {len(self.tokens)} tokens, {len(self._id)} of them different, "
                f"with{'' if UNK in self._id else 'out'} {UNK}: give each token once, and {UNK}"
            )
        known = [regex.escape(t) for t in SPECIAL if t in self._id]
        self._special = regex.compile(f"({'|'.join(known)})")
        self._ids_of_word = lru_cache(1 << 16)(self._match)

    @classmethod
    def from_vocab(cls, path):
        """Read a vocab.txt as BERT's release has it: one token a line."""
        return cls(Path(path).read_text(encoding="utf-8").splitlines())

    @classmethod
    def bert_uncased(cls):
        """The 30,522 tokens of BERT base, uncased."""
        data = lzma.decompress((CORPORA / "bert_uncased_vocab.txt.xz").read_bytes())
        return cls(data.decode().split("\n")[:-1])

    @classmethod
    def train(cls, texts, vocab_size: int, min_count: int = 2):
        """Join the pair that raises the likelihood of a unigram model most, again and again.

        The score of a pair is count(ab) / (count(a) count(b)) (Schuster and Nakajima 2012), so
        rare pieces that always meet go before frequent ones that meet by chance. Google's trainer
        was never released; the one in the `tokenizers` library joins by count(ab), as BPE does.

        Args:
            min_count: pairs that occur less often are not joined.
        Raises: ValueError if the characters alone exceed vocab_size, or there is no text.
        """
        counts = Counter(w for text in _texts(texts) for w in basic_words(text))
        if not counts:
            raise ValueError("the texts are empty: there is nothing to learn pieces from")
        words = {(w[0], *(f"##{c}" for c in w[1:])): n for w, n in counts.items()}
        alphabet = sorted({symbol for word in words for symbol in word})
        tokens = SPECIAL + alphabet
        if len(tokens) > vocab_size:
            raise ValueError(
                f"vocab_size is {vocab_size}, but special tokens and characters need {len(tokens)}"
            )
        pairs, tokens = Pairs(words), dict.fromkeys(tokens)
        while len(tokens) < vocab_size:
            n, alone = pairs.counts, pairs.symbols
            allowed = [p for p in n if n[p] >= min_count]
            if not allowed:
                break
            best = max(allowed, key=lambda p: (n[p] / (alone[p[0]] * alone[p[1]]), n[p], p))
            joined = best[0] + best[1].removeprefix("##")
            tokens[joined] = None
            pairs.merge(best, joined)
        return cls(tokens)

    def _arguments(self):
        return {"tokens": self.tokens}

    @property
    def vocab_size(self) -> int:
        return len(self.tokens)

    def encode(self, text: str) -> list[int]:
        """The ids of a text, without [CLS] and [SEP] around it.

        Special tokens typed in the text, such as [MASK], are themselves.
        """
        refuse_surrogates(text)
        ids = []
        for part in self._special.split(text):
            if part in SPECIAL and part in self._id:
                ids.append(self._id[part])
            else:
                ids.extend(i for word in basic_words(part) for i in self._ids_of_word(word))
        return ids

    def _match(self, word: str) -> list[int]:
        """The longest known piece, then the longest behind it, and so on; or [UNK]."""
        ids, start = [], 0
        while start < len(word) <= self.longest_word:
            mark = "##" if start else ""
            for end in range(len(word), start, -1):
                if mark + word[start:end] in self._id:
                    break
            else:
                return [self._id[UNK]]
            ids.append(self._id[mark + word[start:end]])
            start = end
        return ids or [self._id[UNK]]

    def decode(self, ids) -> str:
        """Words separated by spaces; what `encode` dropped (case, accents, spacing) is gone."""
        return " ".join(_lookup(self.tokens, ids)).replace(" ##", "")
