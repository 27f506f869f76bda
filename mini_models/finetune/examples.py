"""Examples: texts, tagged words and questions, as the tokens and targets of a fine-tuned BERT.

[CLS] stands before everything and [SEP] behind each passage. Nothing is cut without a word: a text
that is too long for a class is refused; long sentences of words and long contexts of questions are
read in windows that overlap.

Source   Devlin et al. 2019, arXiv:1810.04805, figure 4 and section 5.3; the windows are those of
         Google's run_squad.py, "doc_stride"
Derived  notebooks/07_finetuning.ipynb
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from mini_models.data.batches import IGNORED
from mini_models.data.labelled import Labelled, Tagged
from mini_models.data.squad import Question
from mini_models.tokenizers.pieces import word_spans


@dataclass(frozen=True)
class Example:
    """One row for the model."""

    ids: list[int]
    segment_ids: list[int]  # 0 for the first passage with its [SEP], 1 for the second
    target: int | list[int]  # a class; a label for each token; or first and last token of an answer
    source: int  # which of the given texts, sentences or questions this is
    places: list[int | None] = field(default_factory=list)


def of_texts(texts: Sequence[Labelled], tokenizer, classes: Sequence[str], context_length: int):
    """An example for each text; its target is the place of its label among the classes.

    Raises: ValueError naming the row of a text that is empty or too long, or of an unknown label.
    """
    found = []
    for row, item in enumerate(texts, 1):
        ids = _wrapped(tokenizer, tokenizer.encode(item.text))
        if len(ids) == 2:
            raise ValueError(f"row {row}: the text {item.text!r} has no token; leave it out")
        if len(ids) > context_length:
            raise ValueError(
                f"row {row}: {item.text[:40]!r} has {len(ids)} tokens with [CLS] and [SEP], and "
                f"the context {context_length}: shorten it, since its end may decide its class"
            )
        target = _place(item.label, classes, f"row {row}")
        found.append(Example(ids, [0] * len(ids), target, row - 1))
    return found


def of_words(sentences: Sequence[Tagged], tokenizer, tags: Sequence[str], context_length: int,
             overlap: int = 16):  # fmt: skip
    """Examples of tagged sentences; a word's first piece has its tag, the others have none.

    A sentence that is too long is read in windows of whole words that share at least `overlap`
    tokens where there is room; each word's tag is then taken from the window in which it has more
    neighbours on both sides.

    Raises: ValueError naming the row of an unknown tag, or of a word longer than a window.
    """
    found, (unknown,) = [], tokenizer.encode("[UNK]")
    for row, sentence in enumerate(sentences, 1):
        targets = [_place(tag, tags, f"row {row}") for tag in sentence.tags]
        pieces = [tokenizer.encode(word) or [unknown] for word in sentence.words]
        for start, end in _windows([len(p) for p in pieces], context_length - 2, overlap, row):
            words = range(start, end)
            ids = _wrapped(tokenizer, [i for w in words for i in pieces[w]])
            places = [w if first else None for w in words
                      for first in [True] + [False] * (len(pieces[w]) - 1)]  # fmt: skip
            target = [IGNORED if w is None else targets[w] for w in places]
            found.append(Example(ids, [0] * len(ids), [IGNORED, *target, IGNORED], row - 1,
                                 [None, *places, None]))  # fmt: skip
    return found


def of_questions(questions: Sequence[Question], tokenizer, context_length: int, overlap: int = 64):
    """Examples [CLS] question [SEP] context [SEP]; the target is the first and last token of the
    first answer, or [CLS] twice where a window does not hold it or there is none.

    A context that is too long is read in windows of whole words that share at least `overlap`
    tokens where there is room.

    Raises: ValueError naming the row of a question that leaves no room for the context, has no
        token, or whose answer does not stand where it says.
    """
    found = []
    for row, item in enumerate(questions, 1):
        name = f"row {row} (id {item.id})"
        asked, spans = tokenizer.encode(item.question), word_spans(item.context)
        pieces = [tokenizer.encode(item.context[a:b]) for a, b in spans]
        if not asked or not any(pieces):
            raise ValueError(f"{name}: the question or its context has no token; leave it out")
        room = context_length - len(asked) - 3
        if room < 8:
            raise ValueError(
                f"{name}: a question of {len(asked)} tokens leaves {room} of {context_length} for "
                "the context: shorten the question"
            )
        answer = _answer_words(item, spans, name)
        for start, end in _windows([len(p) for p in pieces], room, min(overlap, room // 2), row):
            words = range(start, end)
            head = _wrapped(tokenizer, asked)
            ids = head + [i for w in words for i in pieces[w]] + head[-1:]
            places = [None] * len(head) + [spans[w] for w in words for _ in pieces[w]] + [None]
            segments = [0] * len(head) + [1] * (len(ids) - len(head))
            target = [0, 0]
            if answer and start <= answer[0] and answer[1] < end:
                tokens = [i for i, place in enumerate(places) if place and place in
                          (spans[answer[0]], spans[answer[1]])]  # fmt: skip
                target = [tokens[0], tokens[-1]] if tokens else [0, 0]
            found.append(Example(ids, segments, target, row - 1, places))
    return found


def tags_of(examples: Sequence[Example], logits: Sequence[Tensor], tags: Sequence[str]):
    """The tag of each word, from `finetune.predict`: a list of tuples, one for each sentence."""
    best = defaultdict(dict)  # of each sentence: word -> (neighbours on the poorer side, tag)
    for example, row in zip(examples, logits):
        words = [w for w in example.places if w is not None]
        for place, tag in zip(example.places, row.argmax(dim=-1).tolist()):
            if place is not None:
                sure = min(place - words[0], words[-1] - place)
                here = best[example.source]
                here[place] = max(here.get(place, (-1, 0)), (sure, tag), key=lambda x: x[0])
    return [tuple(tags[best[s][w][1]] for w in sorted(best[s])) for s in sorted(best)]


def answers_of(
    examples: Sequence[Example], logits: Sequence[Tensor], questions: Sequence[Question],
    longest: int = 30, may_refuse: bool = False,
) -> dict[str, str]:  # fmt: skip
    """The text of the best answer to each question, by id.

    The score of a span is that of its first token as a beginning plus that of its last as an end;
    the best of all windows counts (Devlin et al. 2019, section 4.2).

    Args:
        longest: tokens of an answer at most.
        may_refuse: "" where [CLS] scores higher than any span (section 4.3).
    """
    best = {}  # source -> (score, text), for spans and for [CLS]
    none = defaultdict(lambda: float("inf"))
    for example, (begins, ends) in zip(examples, logits):
        allowed = torch.tensor([place is not None for place in example.places])
        scores = begins[:, None] + ends[None, :]  # [T, T]
        fits = torch.ones_like(scores, dtype=torch.bool).triu().tril(longest - 1)
        scores = scores.masked_fill(~(fits & allowed & allowed[:, None]), -torch.inf)
        first, last = divmod(int(scores.argmax()), len(begins))
        start, end = example.places[first][0], example.places[last][1]
        text = questions[example.source].context[start:end]
        found = (float(scores[first, last]), text)
        best[example.source] = max(best.get(example.source, found), found)
        none[example.source] = min(none[example.source], float(begins[0] + ends[0]))
    return {
        questions[s].id: "" if may_refuse and none[s] > score else text
        for s, (score, text) in best.items()
    }


def _wrapped(tokenizer, ids: list[int]) -> list[int]:
    (cls,), (sep,) = tokenizer.encode("[CLS]"), tokenizer.encode("[SEP]")
    return [cls, *ids, sep]


def _place(label: str, known: Sequence[str], where: str) -> int:
    if label not in known:
        raise ValueError(f"{where}: {label!r} is unknown: choose one of {', '.join(known)}")
    return list(known).index(label)


def _answer_words(item: Question, spans, name: str) -> tuple[int, int] | None:
    """The first and last word of a question's first answer; None if it has none."""
    if not item.answers:
        return None
    text, start = item.answers[0]
    end = start + len(text)
    if not text or item.context[start:end] != text:
        there = item.context[max(0, start) : end]
        raise ValueError(f"{name}: {there!r} stands at {start}, not the answer {text!r}")
    words = [w for w, (a, b) in enumerate(spans) if a < end and b > start]
    if not words:
        raise ValueError(f"{name}: the answer {text!r} has no word; leave it out")
    return words[0], words[-1]


def _windows(lengths: list[int], room: int, overlap: int, row: int) -> list[tuple[int, int]]:
    """Windows of whole words, (first, behind the last), of at most `room` tokens."""
    if max(lengths) > room:
        raise ValueError(f"row {row}: a word of {max(lengths)} tokens has no room among {room}")
    windows, start = [], 0
    while True:
        end, used = start, 0
        while end < len(lengths) and used + lengths[end] <= room:
            used, end = used + lengths[end], end + 1
        windows.append((start, end))
        if end == len(lengths):
            return windows
        back, shared = end, 0
        while back - 1 > start and shared < overlap:
            back, shared = back - 1, shared + lengths[back - 1]
        start = max(back, start + 1)
