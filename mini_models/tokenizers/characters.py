"""Characters: every character of a text is a token.

Derived  notebooks/01_tokenizers.ipynb
"""

from collections import Counter

from mini_models.tokenizers.pieces import as_texts, look_up


class CharTokenizer:
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
        for text in as_texts(texts):
            counts.update(text)
        if not counts:
            raise ValueError("the texts are empty: there is no character to learn")
        kept = sorted(counts, key=lambda c: (-counts[c], c))[:vocab_size]
        return cls(sorted(kept))

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
        return "".join(look_up(self.characters, ids))
