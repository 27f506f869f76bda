"""Text recipes: named training runs of a GPT, each a text, a model and a way to train.

Derived  notebooks/08_gpt.ipynb
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from mini_models.data import (
    SequenceBatches,
    TextBatches,
    other_plays,
    pad,
    shakespeare,
    split,
    tang_quatrains,
    windows,
)
from mini_models.gpt import GPT, GPTConfig, gpt_loss
from mini_models.task import Task
from mini_models.tokenizers import CharTokenizer
from mini_models.train import TrainConfig, evaluate

LONGEST_LINE = 512  # characters, for recipes that take each line as a text of its own


@dataclass(frozen=True)
class TextRecipe:
    """How one GPT is made; its tokens are characters."""

    about: str
    texts: Callable[[], tuple[str, str]]  # to train on, and held out
    model: GPTConfig  # but for vocab_size, which is the number of characters in the texts
    train: TrainConfig
    batch_size: int  # rows a step
    lines: bool = False  # each line is a text of its own, and the model begins and ends with "\n"

    def prepare(self, text: str | None = None, seed: int = 0) -> Task:
        """A fresh model, its tokenizer, and batches of the recipe's own texts or of `text`.

        Args:
            text: to train on instead; its last tenth is held out.
            seed: of the model's first weights and of the order of the batches.
        Raises: ValueError if the text is too short, or a line of it too long.
        """
        train_text, held_text = self.texts() if text is None else split_lines(text, self.lines)
        tokenizer = CharTokenizer.train([train_text, held_text, "\n"])
        config = replace(self.model, vocab_size=tokenizer.vocab_size)
        if self.lines:
            sequences = _sequences(train_text, tokenizer)
            config = replace(config, context_length=longest_line(train_text + "\n" + held_text) + 1)
            batches = SequenceBatches(sequences, self.batch_size, seed)
        else:
            ids = tokenizer.encode(train_text)
            batches = TextBatches(ids, config.context_length, self.batch_size, seed)
        torch.manual_seed(seed)
        held_out = held_out_batches(held_text, tokenizer, config.context_length, self.lines)
        return Task(
            GPT(config), batches, gpt_loss,
            measure=lambda model: {"held_out": evaluate(model, held_out, gpt_loss)},
            unit="nats per character", data_sha256=sha256(train_text, held_text),
            tokenizer=tokenizer, held_out=held_out, row=config.context_length,
        )  # fmt: skip


def _plays() -> tuple[str, str]:
    train, held_out = split(shakespeare())
    return train + other_plays(), held_out


def _quatrains() -> tuple[str, str]:
    return tuple("\n".join(poem.text for poem in part) for part in split(tang_quatrains()))


RECIPES = {
    "gpt-shakespeare": TextRecipe(
        "writes plays: 4 million weights, 34 plays by Shakespeare; half an hour on two cores",
        _plays,
        GPTConfig(context_length=256, n_layers=5, n_heads=4, d_model=256, positions="rotary"),
        TrainConfig(steps=1800, lr=3e-3, optimizer="muon", warmup=100, decay=0.6),
        batch_size=16,
    ),
    "gpt-shakespeare-quick": TextRecipe(
        "the same at a size that trains while you wait, on nine plays",
        lambda: split(shakespeare()),
        GPTConfig(context_length=64, n_layers=2, n_heads=4, d_model=128, positions="rotary"),
        TrainConfig(steps=600, lr=0.02, optimizer="muon", warmup=20, decay=0.7),
        batch_size=24,
    ),
    "gpt-2022": TextRecipe(
        "as it was done in 2022, to compare with: AdamW, learned positions, cosine",
        lambda: split(shakespeare()),
        GPTConfig(context_length=64, n_layers=4, n_heads=4, d_model=128),
        TrainConfig(steps=2000, schedule="cosine", warmup=100, betas=(0.9, 0.99)),
        batch_size=12,
    ),
    "gpt-tang": TextRecipe(
        "writes quatrains: 2 million weights, the Tang dynasty's poets; minutes on two cores",
        _quatrains,
        GPTConfig(
            context_length=33, n_layers=4, n_heads=4, d_model=160, dropout=0.1, positions="rotary"
        ),
        TrainConfig(steps=1500, lr=5e-3, optimizer="muon", warmup=50, decay=0.7),
        batch_size=64,
        lines=True,
    ),
}  # fmt: skip


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
        kept = [line.strip() for line in text.splitlines() if line.strip()]
        n = len(kept) // 10
        if not n:
            raise ValueError(f"the text has {len(kept)} lines: this recipe needs at least 10")
        return "\n".join(kept[:-n]), "\n".join(kept[-n:])
    if len(text) < 20:
        raise ValueError(f"the text has {len(text)} characters: that is too little to learn from")
    return split(text)


def sha256(train_text: str, held_text: str) -> str:
    """What tells one pair of texts from another, in hexadecimal digits."""
    return hashlib.sha256((train_text + held_text).encode()).hexdigest()


def held_out_batches(text: str, tokenizer, context_length: int, lines: bool) -> list:
    """A text as batches in which every target counts once."""
    if not lines:
        return windows(tokenizer.encode(text), context_length)
    inputs, targets = pad(_sequences(text, tokenizer))
    return list(zip(inputs.split(64), targets.split(64)))


def _sequences(text: str, tokenizer) -> list[list[int]]:
    return [tokenizer.encode(f"\n{line}\n") for line in text.split("\n") if line]
