"""GPT recipes: named training runs, each a text, a model and a way to train."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from mini_models.data.batches import SequenceBatches, TextBatches, pad, windows
from mini_models.data.texts import (
    longest_line,
    other_plays,
    shakespeare,
    split,
    split_lines,
    tang_quatrains,
)  # fmt: skip
from mini_models.gpt import GPT, GPTConfig, gpt_loss
from mini_models.machine.files import digest
from mini_models.recipes.task import Recipe, Task
from mini_models.tokenizers.characters import CharTokenizer
from mini_models.train import TrainConfig, evaluate


def gpt_task(recipe: Recipe, seed: int, text: str | None, texts: Callable) -> Task:
    """A GPT whose tokens are characters, judged by its loss on the text held out.

    Args:
        text: to learn from, its last tenth held out; None for what `texts()` gives, a text to train
            on and one held out.
    Raises: ValueError if the text is too short, or a line of it too long.
    """
    train_text, held_text = texts() if text is None else split_lines(text, recipe.lines)
    tokenizer = CharTokenizer.train([train_text, held_text, "\n"])
    config = replace(recipe.model, vocab_size=tokenizer.vocab_size)
    if recipe.lines:
        config = replace(config, context_length=longest_line(train_text + "\n" + held_text) + 1)
        batches = SequenceBatches(_sequences(train_text, tokenizer), recipe.batch_size, seed)
    else:
        ids = tokenizer.encode(train_text)
        batches = TextBatches(ids, config.context_length, recipe.batch_size, seed)
    held_out = held_out_batches(held_text, tokenizer, config.context_length, recipe.lines)
    return Task(
        GPT(config), batches, gpt_loss,
        measure=lambda model: {"held_out": evaluate(model, held_out, gpt_loss)},
        unit="nats per character", data_sha256=digest(train_text, held_text),
        tokenizer=tokenizer, held_out=held_out, row=config.context_length,
    )  # fmt: skip


def held_out_batches(text: str, tokenizer, context_length: int, lines: bool) -> list:
    """A text as batches in which every target counts once."""
    if not lines:
        return windows(tokenizer.encode(text), context_length)
    inputs, targets = pad(_sequences(text, tokenizer))
    return list(zip(inputs.split(64), targets.split(64)))


def _sequences(text: str, tokenizer) -> list[list[int]]:
    return [tokenizer.encode(f"\n{line}\n") for line in text.split("\n") if line]


def all_plays() -> tuple[str, str]:
    """34 plays to learn from, but for the pages of nine of them that are held out."""
    train, held_out = split(shakespeare())
    return train + other_plays(), held_out


def nine_plays() -> tuple[str, str]:
    """Nine plays to learn from, but for the same pages."""
    return split(shakespeare())


def quatrains() -> tuple[str, str]:
    """Tang quatrains, one a line, to learn from and held out."""
    return tuple("\n".join(poem.text for poem in part) for part in split(tang_quatrains()))


RECIPES = {
    "gpt-shakespeare": Recipe(
        "writes plays: 4 million weights, 34 plays by Shakespeare; half an hour on two cores",
        partial(gpt_task, texts=all_plays),
        GPTConfig(context_length=256, n_layers=5, n_heads=4, d_model=256, positions="rotary"),
        TrainConfig(steps=1800, lr=3e-3, optimizer="muon", warmup=100, decay=0.6),
        batch_size=16, reads_text=True,
    ),
    "gpt-shakespeare-quick": Recipe(
        "the same at a size that trains while you wait, on nine plays",
        partial(gpt_task, texts=nine_plays),
        GPTConfig(context_length=64, n_layers=2, n_heads=4, d_model=128, positions="rotary"),
        TrainConfig(steps=600, lr=0.02, optimizer="muon", warmup=20, decay=0.7),
        batch_size=24, reads_text=True,
    ),
    "gpt-2022": Recipe(
        "as it was done in 2022, to compare with: AdamW, learned positions, cosine",
        partial(gpt_task, texts=nine_plays),
        GPTConfig(context_length=64, n_layers=4, n_heads=4, d_model=128),
        TrainConfig(steps=2000, schedule="cosine", warmup=100, betas=(0.9, 0.99)),
        batch_size=12, reads_text=True,
    ),
    "gpt-tang": Recipe(
        "writes quatrains: 2 million weights, the Tang dynasty's poets; minutes on two cores",
        partial(gpt_task, texts=quatrains),
        GPTConfig(
            context_length=33, n_layers=4, n_heads=4, d_model=160, dropout=0.1, positions="rotary"
        ),
        TrainConfig(steps=1500, lr=5e-3, optimizer="muon", warmup=50, decay=0.7),
        batch_size=64, reads_text=True, lines=True,
    ),
}  # fmt: skip
