"""Byte pairs: join the most frequent neighbours, again and again, until words are tokens.

Source   Sennrich et al. 2016, arXiv:1508.07909 (byte-pair encoding); Radford et al. 2019, section
         2.2 (on bytes)
Derived  notebooks/01_tokenizers.ipynb
"""

import heapq
from collections import Counter
from functools import lru_cache

from mini_models import corpora
from mini_models.tokenizers.pieces import (
    GPT2_PIECES,
    Pairs,
    as_texts,
    byte_alphabet,
    byte_order,
    look_up,
    merge_pair,
    refuse_surrogates,
)


class ByteLevelBPE:
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
        lines = corpora.read("gpt2_merges.txt.xz").decode().split("\n")
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
        pieces = Counter(p for text in as_texts(texts) for p in GPT2_PIECES.findall(text))
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
        for token in look_up(self.tokens, ids):
            data += token.encode() if token in special else bytes(self._byte[c] for c in token)
        return data.decode("utf-8", errors="replace")
