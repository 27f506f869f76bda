"""WordPiece: words in the largest known pieces, BERT's way to tokens.

Source   Schuster and Nakajima 2012; Devlin et al. 2019, arXiv:1810.04805
Derived  notebooks/01_tokenizers.ipynb
"""

from collections import Counter
from functools import lru_cache
from pathlib import Path

import regex

from mini_models import corpora
from mini_models.tokenizers.pieces import Pairs, as_texts, basic_words, look_up, refuse_surrogates

PAD, UNK, CLS, SEP, MASK = SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


class WordPiece:
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
        return cls(Path(path).read_text(encoding="utf-8").removesuffix("\n").split("\n"))

    @classmethod
    def bert_uncased(cls):
        """The 30,522 tokens of BERT base, uncased."""
        return cls(corpora.read("bert_uncased_vocab.txt.xz").decode().split("\n")[:-1])

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
        counts = Counter(w for text in as_texts(texts) for w in basic_words(text))
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
        return " ".join(look_up(self.tokens, ids)).replace(" ##", "")
