"""BERT recipes: named pretraining runs, each a collection of texts, a model and a way to train."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from mini_models.bert import BERTConfig, BERTForPretraining, pretraining_loss, restoration
from mini_models.data.batches import IGNORED, RowBatches
from mini_models.data.prose import PairBatches, documents, paragraphs, split_documents
from mini_models.data.texts import split, split_lines, tang_quatrains
from mini_models.machine.files import digest
from mini_models.masking import MaskedBatches, Masking
from mini_models.recipes.task import Recipe, Task
from mini_models.tokenizers.characters import CharTokenizer
from mini_models.tokenizers.wordpiece import SPECIAL, WordPiece
from mini_models.train import TrainConfig

AS_BERT = Masking()
MIN_COUNT = 90  # of a pair that may become a piece; it is what limits the English vocabulary


def bert_task(
    recipe: Recipe, seed: int, text: str | None, pairs: bool,
    masking: Masking = AS_BERT, left_to_right: bool = False,
) -> Task:  # fmt: skip
    """A BERT, judged by how well it restores what is hidden in texts held out.

    Args:
        text: to learn from, a tenth of it held out; None for the recipe's own. For pairs its
            paragraphs, between blank lines, are the documents; else each line is a text.
        pairs: rows are two passages, which may follow one another; else a line each.
        masking: what is hidden, and how.
        left_to_right: to compare: no position sees what stands after it.
    Raises: ValueError if the text is too short, or a line of it too long.
    """
    tokenizer, train, held_out, sha256 = (prose_batches if pairs else verse_batches)(
        text, recipe.model, recipe.batch_size, seed
    )
    # where the marks of a poem stand is known from its form: nothing to learn, so not hidden
    how = {"left_to_right": left_to_right, "punctuation": pairs}
    train = MaskedBatches(train, tokenizer, seed, masking, **how)
    # what is hidden to measure on is [MASK] everywhere, and always the same
    to_restore = Masking(masked=1.0, random=0.0)
    hidden = MaskedBatches(held_out, tokenizer, 1, to_restore, **how)
    hidden = [hidden[step] for step in range(len(held_out))]
    return Task(
        BERTForPretraining(replace(recipe.model, vocab_size=tokenizer.vocab_size)),
        train, pretraining_loss, measure=lambda model: restoration(model, hidden),
        unit="nats per hidden token", data_sha256=sha256, tokenizer=tokenizer,
        held_out=hidden, row=recipe.model.context_length,
    )  # fmt: skip


def prose_batches(text: str | None, config: BERTConfig, batch_size: int, seed: int):
    """Pairs of passages of English: the tokenizer, batches to train on and held out, sha256."""
    docs = documents() if text is None else paragraphs(text)
    train, held_out = split_documents(docs)
    known = [sentence for doc in train for sentence in doc.sentences]
    tokenizer = WordPiece.train(known, config.vocab_size, MIN_COUNT)
    T = config.context_length
    return (
        tokenizer,
        PairBatches(train, tokenizer, T, batch_size, seed),
        PairBatches(held_out, tokenizer, T, 64, seed=1),
        digest("\n".join(s for doc in (*train, *held_out) for s in doc.sentences)),
    )


def verse_batches(text: str | None, config: BERTConfig, batch_size: int, seed: int):
    """Texts of one line, one character a token: as `prose_batches` returns."""
    if text is None:
        train, held_out = ([p.text for p in part] for part in split(tang_quatrains()))
    else:
        train, held_out = (part.split("\n") for part in split_lines(text, lines=True))
    characters = CharTokenizer.train(train, config.vocab_size - len(SPECIAL)).characters
    tokenizer = WordPiece(SPECIAL + [c for c in characters if not c.isspace()])
    rows = rows_of_lines(train, tokenizer, config.context_length)
    held = rows_of_lines(held_out, tokenizer, config.context_length)
    batches = [tuple(part) for part in zip(*(t.split(64) for t in held))]
    sha256 = digest("\n".join((*train, *held_out)))
    return tokenizer, RowBatches(rows, batch_size, seed), batches, sha256


def rows_of_lines(lines: Sequence[str], tokenizer, context_length: int) -> tuple[Tensor, ...]:
    """[CLS] line [SEP] and padding: ids, segment ids, attend, [N, T], and elsewhere [N], none.

    Raises: ValueError naming the row of a line that does not fit.
    """
    (pad,) = tokenizer.encode("[PAD]")
    ids = torch.full((len(lines), context_length), pad)
    for row, line in enumerate(lines):
        found = tokenizer.encode(f"[CLS]{line}[SEP]")
        if len(found) > context_length:
            raise ValueError(
                f"row {row + 1}: {line[:20]!r} has {len(found)} tokens with [CLS] and [SEP], but "
                f"the context {context_length}: break the line"
            )
        ids[row, : len(found)] = torch.tensor(found)
    return ids, torch.zeros_like(ids), ids != pad, torch.full((len(lines),), IGNORED)


RECIPES = {
    "bert-english": Recipe(
        "restores hidden words: 1.3 million weights, speeches and Moby-Dick; half an hour on two "
        "cores",
        partial(bert_task, pairs=True),
        BERTConfig(context_length=128, n_layers=4, n_heads=4, d_model=128),
        TrainConfig(steps=9000, lr=3e-3, optimizer="muon", muon_lr=0.01, warmup=200, decay=0.7),
        batch_size=32, reads_text=True,
    ),
    "bert-tang": Recipe(
        "restores hidden characters of Tang quatrains; minutes on two cores",
        partial(bert_task, pairs=False),
        BERTConfig(vocab_size=4200, context_length=34, n_layers=4, n_heads=4, d_model=96),
        TrainConfig(steps=6000, lr=3e-3, optimizer="muon", muon_lr=0.01, warmup=100, decay=0.7),
        batch_size=64, reads_text=True,
    ),
}  # fmt: skip
