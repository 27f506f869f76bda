"""BERT recipes: named pretraining runs, each a collection of texts, a model and a way to train.

Derived  notebooks/06_bert.ipynb
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mini_models.bert import BERTConfig, BERTForPretraining, pretraining_loss, restoration
from mini_models.data import RowBatches, documents, split, split_documents, tang_quatrains
from mini_models.documents import Document, PairBatches, sentences
from mini_models.masking import IGNORED, MaskedBatches, Masking
from mini_models.task import Task
from mini_models.text_recipes import split_lines
from mini_models.tokenizers import SPECIAL, CharTokenizer, WordPiece
from mini_models.train import TrainConfig

MIN_COUNT = 90  # of a pair that may become a piece; it is what limits the English vocabulary


@dataclass(frozen=True)
class BERTRecipe:
    """How one BERT is pretrained."""

    about: str
    model: BERTConfig  # but for vocab_size, which is at most this
    train: TrainConfig
    batch_size: int  # rows a step
    pairs: bool = False  # rows are two passages, which may follow one another; else a line each
    masking: Masking = Masking()
    left_to_right: bool = False  # to compare: no position sees what stands after it

    def prepare(self, text: str | None = None, seed: int = 0) -> Task:
        """A fresh model, its tokenizer, and batches of the recipe's own texts or of `text`.

        Args:
            text: to train on instead. For pairs its paragraphs, between blank lines, are the
                documents; else each line is a text. A tenth of them is held out.
            seed: of the model's first weights, of the order and of what is hidden.
        Raises: ValueError if the text is too short, or a line of it too long.
        """
        tokenizer, train, held_out, sha256 = (prose if self.pairs else verse)(
            text, self.model, self.batch_size, seed
        )
        # where the marks of a poem stand is known from its form: nothing to learn, so not hidden
        how = {"left_to_right": self.left_to_right, "punctuation": self.pairs}
        train = MaskedBatches(train, tokenizer, seed, self.masking, **how)
        # what is hidden to measure on is [MASK] everywhere, and always the same
        to_restore = Masking(masked=1.0, random=0.0)
        hidden = MaskedBatches(held_out, tokenizer, 1, to_restore, **how)
        hidden = [hidden[step] for step in range(len(held_out))]
        torch.manual_seed(seed)
        return Task(
            BERTForPretraining(replace(self.model, vocab_size=tokenizer.vocab_size)),
            train, pretraining_loss, measure=lambda model: restoration(model, hidden),
            unit="nats per hidden token", data_sha256=sha256, tokenizer=tokenizer,
            held_out=hidden, row=self.model.context_length,
        )  # fmt: skip


def prose(text: str | None, config: BERTConfig, batch_size: int, seed: int):
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
        _sha256(s for doc in (*train, *held_out) for s in doc.sentences),
    )


def verse(text: str | None, config: BERTConfig, batch_size: int, seed: int):
    """Texts of one line, one character a token: as `prose` returns."""
    if text is None:
        train, held_out = ([p.text for p in part] for part in split(tang_quatrains()))
    else:
        train, held_out = (part.split("\n") for part in split_lines(text, lines=True))
    characters = CharTokenizer.train(train, config.vocab_size - len(SPECIAL)).characters
    tokenizer = WordPiece(SPECIAL + [c for c in characters if not c.isspace()])
    rows = rows_of_lines(train, tokenizer, config.context_length)
    held = rows_of_lines(held_out, tokenizer, config.context_length)
    batches = [tuple(part) for part in zip(*(t.split(64) for t in held))]
    return tokenizer, RowBatches(rows, batch_size, seed), batches, _sha256((*train, *held_out))


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


def paragraphs(text: str) -> list[Document]:
    """The paragraphs of a text that have two sentences or more, each a document.

    Raises: ValueError if there are fewer than 20.
    """
    parts = [sentences(" ".join(part.split())) for part in text.split("\n\n")]
    docs = [Document("text", str(i), part) for i, part in enumerate(parts, 1) if len(part) > 1]
    if len(docs) < 20:
        raise ValueError(
            f"the text has {len(docs)} paragraphs of two sentences or more: this recipe needs at "
            "least 20, with blank lines between them"
        )
    return docs


def _sha256(lines) -> str:
    """What tells one collection of texts from another, in hexadecimal digits."""
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


RECIPES = {
    "bert-english": BERTRecipe(
        "restores hidden words: 1.3 million weights, speeches and Moby-Dick; half an hour on two "
        "cores",
        BERTConfig(context_length=128, n_layers=4, n_heads=4, d_model=128),
        TrainConfig(steps=9000, lr=3e-3, optimizer="muon", muon_lr=0.01, warmup=200, decay=0.7),
        batch_size=32,
        pairs=True,
    ),
    "bert-tang": BERTRecipe(
        "restores hidden characters of Tang quatrains; minutes on two cores",
        BERTConfig(vocab_size=4200, context_length=34, n_layers=4, n_heads=4, d_model=96),
        TrainConfig(steps=6000, lr=3e-3, optimizer="muon", muon_lr=0.01, warmup=100, decay=0.7),
        batch_size=64,
    ),
}
