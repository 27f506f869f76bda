"""Captions: a tokenizer for captions in any language, byte-pair encoding in lower case.

Source   Ramesh et al. 2021, arXiv:2102.12092, section 2.2 (captions in lower case, in byte-pair
         codes); Sennrich et al. 2016, arXiv:1508.07909
"""

import re

from torch import Tensor

from mini_models.tokenizers.byte_pairs import ByteLevelBPE
from mini_models.tokenizers.pieces import as_texts
from mini_models.tokenizers.words import CHINESE_CHARACTERS, before_padding, padded_rows

NO_SPACE = re.compile(f"[{CHINESE_CHARACTERS}]")
FIRST_ID = 1  # 0 is padding, so every id of the byte-pair encoding moves up by one


class CaptionTokenizer:
    """Byte-pair codes of a caption in lower case; id 0, `pad`, fills the rows of a batch.

    Any text in any language has ids, since any text has bytes. A word has the same ids at the
    start of a caption as behind another word: GPT-2's pieces keep the space before a word, so the
    first word gets one too, unless it is Chinese, which writes no spaces.

    Args:
        merges: pairs of tokens in the order in which they are joined, as `ByteLevelBPE` has them;
            `merges` keeps them, a list of pairs that JSON can hold.
    """

    pad = 0

    def __init__(self, merges):
        self.bpe = ByteLevelBPE(merges)
        self.merges = self.bpe.merges

    @classmethod
    def train(cls, texts, vocab_size: int):
        """Learn merges from captions until there are vocab_size ids, the padding one of them.

        Raises: ValueError if vocab_size is below 257, or there is no text.
        """
        if vocab_size < FIRST_ID + 256:
            raise ValueError(f"vocab_size is {vocab_size}: the bytes and the padding need 257")
        said = [text for text in map(_spelled, as_texts(texts)) if text]
        return cls(ByteLevelBPE.train(said, vocab_size - FIRST_ID).merges)

    @property
    def vocab_size(self) -> int:
        """How many ids there are: one for each token, and the padding."""
        return self.bpe.vocab_size + FIRST_ID

    def encode(self, text: str) -> list[int]:
        """The ids of a caption, each above 0; white space around it is dropped."""
        return [i + FIRST_ID for i in self.bpe.encode(_spelled(text))]

    def decode(self, ids) -> str:
        """The caption of a list of ids, up to the first padding, in lower case.

        Bytes that are no whole character become U+FFFD.
        Raises: ValueError for an id outside the vocabulary.
        """
        kept = before_padding(ids, self.vocab_size)
        return self.bpe.decode([i - FIRST_ID for i in kept]).strip()

    def encode_batch(self, texts, length: int) -> Tensor:
        """Captions as ids, int64 [B, length], padded behind their end.

        Raises: ValueError if a caption is empty or has more than `length` tokens.
        """
        for text in texts:
            if not text.strip():
                raise ValueError(f"caption {text!r} has 0 tokens: say what the picture shows")
        return padded_rows(texts, self.encode, length, "tokens")


def _spelled(text: str) -> str:
    """Lower case, and a space before the first word unless that is Chinese."""
    text = text.strip().lower()
    return text if not text or NO_SPACE.match(text) else f" {text}"
