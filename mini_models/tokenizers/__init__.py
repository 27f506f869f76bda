"""Tokenizers: a text becomes a list of integers, and comes back."""

from mini_models.tokenizers.byte_pairs import ByteLevelBPE
from mini_models.tokenizers.captions import CaptionTokenizer
from mini_models.tokenizers.characters import CharTokenizer
from mini_models.tokenizers.wordpiece import MASK, SPECIAL, WordPiece
from mini_models.tokenizers.words import WordTokenizer
