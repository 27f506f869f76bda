"""Prose: English documents in whole sentences, and pairs of its passages for BERT to compare.

Shapes   B batch, T context length
Source   mini_models/corpora/README.md has the texts; Devlin et al. 2019, arXiv:1810.04805, section
         3.1 and appendix A.2, the pairs
"""

import random
from collections import defaultdict
from dataclasses import dataclass, replace
from functools import cache

import regex
import torch
from torch import Tensor

from mini_models import corpora
from mini_models.data.batches import Epochs

# a full stop, perhaps a closing quote, and a capital; but not behind a title or an initial
SENTENCE_END = regex.compile(
    r"""(?<!\b(?:Mr|Mrs|Ms|Dr|St|Gen|Capt|Messrs|Sr|Jr|No|[A-Z])\.)"""
    r"""(?<=[.!?]["'’”)\]]*)\s+(?=["'‘“(\[]?[A-Z0-9])"""
)


@dataclass(frozen=True)
class Document:
    """A text whose sentences follow one another."""

    kind: str  # "address", to the Congress of the United States, or "chapter", of Moby-Dick
    title: str
    sentences: tuple[str, ...]


def sentences(text: str) -> tuple[str, ...]:
    """The sentences of a text, by punctuation and capitals alone, so now and then wrongly."""
    return tuple(part for part in SENTENCE_END.split(text.strip()) if part)


@cache
def documents() -> tuple[Document, ...]:
    """79 State of the Union addresses, 1945 to 2021, and the 135 chapters of Moby-Dick."""
    rows = corpora.read("english_documents.tsv.xz").decode().splitlines()
    return tuple(
        Document(kind, title, sentences(text))
        for kind, title, text in (row.split("\t") for row in rows)
    )


def split_documents(docs, held_out: float = 0.1) -> tuple[list[Document], list[Document]]:
    """Whole documents to learn from, and others to measure on; the same cut every time.

    Where a sentence to learn from also stands in a held-out document ("Thank you."), it is left
    out and its document ends there; what follows it is a document of its own.

    Args:
        held_out: the share of documents to hold out, of each kind.
    Returns: (train, held_out), which share no sentence.
    Raises: ValueError if the share is not between 0 and 1, or no document would be held out.
    """
    if not 0 < held_out < 1:
        raise ValueError(f"held_out is {held_out}: give a share between 0 and 1, such as 0.1")
    kinds = defaultdict(list)
    for doc in docs:
        kinds[doc.kind].append(doc)
    train, held = [], []
    for of_kind in kinds.values():
        random.Random(0).shuffle(of_kind)
        n = int(len(of_kind) * held_out)
        held, train = held + of_kind[:n], train + of_kind[n:]
    if not held:
        raise ValueError(f"{len(train)} documents are too few to hold out {held_out} of each kind")
    seen = {sentence for doc in held for sentence in doc.sentences}
    parts = [part for doc in train for part in _parts(doc, seen)]
    if not parts:
        raise ValueError(
            f"of {len(train)} documents nothing is left to learn from, since their sentences stand "
            f"in the {len(held)} held out too: give documents that differ"
        )
    return parts, held


def _parts(doc: Document, left_out: set[str]) -> list[Document]:
    """A document cut where a sentence is left out; parts of one sentence have no neighbours."""
    parts, rest = [], []
    for sentence in (*doc.sentences, None):
        if sentence is not None and sentence not in left_out:
            rest.append(sentence)
            continue
        parts += [replace(doc, sentences=tuple(rest))] if len(rest) > 1 else []
        rest = []
    return parts


class PairBatches:
    """Pairs of passages: the second follows the first, or comes from another document.

    A passage is one sentence or more. The first begins at any sentence and fills half of the
    context; half the time the next passage follows, otherwise one of another document of the same
    kind (of one that `split_documents` has cut, now and then the other part). `batches[step]` is a
    pure function of the step; an epoch begins at every sentence once.

    Args:
        docs: at least two of each kind.
        tokenizer: a `WordPiece`.
        context_length: T.
        batch_size: B, pairs in a batch.
        seed: of the order and of the second passages.
    Raises: ValueError if there is only one document of a kind, or no room for two passages.
    """

    def __init__(self, docs, tokenizer, context_length: int, batch_size: int, seed: int = 0):
        if context_length < 8:
            raise ValueError(
                f"{context_length} tokens have no room for two passages: give 8 or more"
            )
        self.docs = [[tokenizer.encode(s) for s in doc.sentences] for doc in docs]
        self.kinds = defaultdict(list)
        for i, doc in enumerate(docs):
            self.kinds[doc.kind].append(i)
        self.others = [self.kinds[doc.kind] for doc in docs]  # of each, those of its kind
        if min(map(len, self.others), default=0) < 2:
            raise ValueError("a passage from elsewhere needs at least two documents of each kind")
        self.starts = [(d, s) for d, doc in enumerate(self.docs) for s in range(len(doc) - 1)]
        (self.cls,), (self.sep,), (self.pad,) = map(tokenizer.encode, ("[CLS]", "[SEP]", "[PAD]"))
        self.room, self.batch_size, self.seed = context_length - 3, batch_size, seed
        self.order = Epochs(len(self.starts), batch_size, seed)

    def __len__(self) -> int:
        """Batches in an epoch, the last whole one included."""
        return max(1, len(self.starts) // self.batch_size)

    def __getitem__(self, step: int) -> tuple[Tensor, ...]:
        """The pairs of one step.

        Returns: ids, int64 [B, T], as [CLS] first [SEP] second [SEP] and padding; segment ids,
            int64 [B, T], 1 from the second passage on; attend, bool [B, T], False for padding; and
            elsewhere, int64 [B], 1 if the second passage does not follow the first.
        """
        draw = random.Random(f"{self.seed} {step}")
        pairs = [self._pair(*self.starts[i], draw) for i in self.order[step]]
        ids = torch.full((len(pairs), self.room + 3), self.pad)
        segments = torch.zeros_like(ids)
        for row, (first, second, _) in enumerate(pairs):
            whole = [self.cls, *first, self.sep, *second, self.sep]
            ids[row, : len(whole)] = torch.tensor(whole)
            segments[row, len(first) + 2 : len(whole)] = 1
        return ids, segments, ids != self.pad, torch.tensor([pair[2] for pair in pairs])

    def _pair(self, doc: int, start: int, draw: random.Random) -> tuple[list, list, int]:
        """Two passages that fit together into the context, and whether the second is a stray."""
        first, middle = self._passage(doc, start, self.room // 2, leave=1)
        elsewhere = draw.random() < 0.5
        if elsewhere:
            doc = draw.choice([other for other in self.others[doc] if other != doc])
            middle = draw.randrange(len(self.docs[doc]))
        second, _ = self._passage(doc, middle, self.room - min(len(first), self.room // 2))
        first = first[-(self.room // 2) :]  # the end of the first, where the second may follow
        return first, second[: self.room - len(first)], int(elsewhere)

    def _passage(self, doc: int, start: int, length: int, leave: int = 0) -> tuple[list, int]:
        """Whole sentences from `start` until there are `length` tokens or `leave` are left."""
        found, end = [], start
        while end < len(self.docs[doc]) - leave and len(found) < length:
            found, end = found + self.docs[doc][end], end + 1
        return found, end


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
