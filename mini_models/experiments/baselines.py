"""Baselines: what a linear model, which has never read anything else, makes of the same jobs.

Source   Rajpurkar et al. 2016, arXiv:1606.05250, section 5 (features of spans)
Derived  notebooks/07_finetuning.ipynb
"""

import random
import re
from collections.abc import Sequence

from sklearn.feature_extraction import DictVectorizer
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import precision_recall_fscore_support
from sklearn.pipeline import make_pipeline

from mini_models.data.labelled import Tagged
from mini_models.data.squad import Question, squad_scores

_WORD, _SENTENCE = re.compile(r"[\w']+"), re.compile(r"[^.]+")


def entity_scores(truth: Sequence[Tagged], given: Sequence[Sequence[str]]) -> dict[str, float]:
    """F1, precision and recall of whole names: a name counts if both its ends are right."""
    right = {(i, *e) for i, s in enumerate(truth) for e in s.entities}
    found = {(i, *e) for i, (s, tags) in enumerate(zip(truth, given))
             for e in Tagged(s.words, tuple(tags)).entities}  # fmt: skip
    every = sorted(right | found) or [None]  # no name on either side: all scores are 0
    precision, recall, f1, _ = precision_recall_fscore_support(
        [e in right for e in every], [e in found for e in every], average="binary", zero_division=0
    )
    return {"f1": float(f1), "precision": float(precision), "recall": float(recall)}


def linear_text(train, held_out, analyzer="word") -> dict[str, float]:
    """Words and pairs of neighbours (or characters), weighed by TF-IDF, and logistic regression."""
    model = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, analyzer=analyzer),
        LogisticRegression(C=4, max_iter=1000),
    )
    model.fit([t.text for t in train], [t.label for t in train])
    return {"accuracy": model.score([t.text for t in held_out], [t.label for t in held_out])}


def linear_tags(train, held_out, cased: bool = True) -> dict[str, float]:
    """Each word by itself from its `word_features`, rare tags weighing more."""
    model = make_pipeline(
        DictVectorizer(), LogisticRegression(max_iter=300, class_weight="balanced")
    )
    model.fit([f for s in train for f in word_features(s.words, cased)],
              [tag for s in train for tag in s.tags])  # fmt: skip
    return entity_scores(held_out, [model.predict(word_features(s.words, cased)) for s in held_out])


def linear_spans(train, held_out):
    return f1_first(squad_scores(span_baseline(train, held_out), held_out))


def f1_first(scores: dict[str, float]) -> dict[str, float]:
    return {"f1": scores["f1"], "exact": scores["exact"]}


def span_baseline(train: list[Question], asked: list[Question], seed: int = 0) -> dict[str, str]:
    """An answer to each question asked, by its id, from a logistic regression without a network.

    Every span of up to 6 words inside a sentence is a candidate, described by `_features`, and the
    most probable one is the answer. It learns the first answer of each question against 30 other
    spans of its text.
    """
    draw, features, right = random.Random(seed), [], []
    for q in train:
        text, start = q.answers[0]
        spans = _candidates(q.context)
        is_right = [_place(span) == (start, start + len(text)) for span in spans]
        shown = {*draw.sample(range(len(spans)), min(30, len(spans)))}
        shown |= {i for i, one in enumerate(is_right) if one}
        features += [_features(q, spans[i]) for i in sorted(shown)]
        right += [is_right[i] for i in sorted(shown)]
    model = make_pipeline(DictVectorizer(), LogisticRegression(C=3, max_iter=1000))
    model.fit(features, right)
    found = {}
    for q in asked:
        spans = _candidates(q.context)
        scores = model.decision_function([_features(q, span) for span in spans])
        start, end = _place(spans[scores.argmax()])
        found[q.id] = q.context[start:end]
    return found


def _candidates(context: str) -> list[tuple[list[re.Match], int, int]]:
    """Spans of up to 6 words: the words of a sentence, the first's number, one behind the last."""
    sentences = [[*_WORD.finditer(context, *s.span())] for s in _SENTENCE.finditer(context)]
    return [
        (words, i, j)
        for words in sentences
        for i in range(len(words))
        for j in range(i + 1, min(i + 6, len(words)) + 1)
    ]


def _place(span) -> tuple[int, int]:
    words, i, j = span
    return words[i].start(), words[j - 1].end()


def _features(q: Question, span) -> dict[str, float]:
    """The words at a span's ends and beside it, its length and capitals, each with how the question
    begins; and how many of the question's words are in it, near it and in its sentence."""
    words, i, j = span
    said = ["^", *(w.group().lower() for w in words), "$"]
    wanted = _WORD.findall(q.question.lower())
    parts = {
        **{"before": said[i], "first": said[i + 1], "last": said[j], "after": said[j + 1]},
        **{"length": j - i, "capitals": sum(w.group().istitle() for w in words[max(i, 1) : j])},
    }
    begins = (wanted[0], " ".join(wanted[:2]))
    found = {f"{begin}: {name} {part}": 1.0 for begin in begins for name, part in parts.items()}
    inside, near = said[i + 1 : j + 1], said[max(0, i - 3) : i + 1] + said[j + 1 : j + 5]
    for name, where in (("in", inside), ("near", near), ("sentence", said)):
        found[f"{wanted[0]} {name}"] = found[name] = float(len({*wanted} & {*where}))
    return found


def word_features(words, cased: bool) -> list[dict]:
    """What a model without attention may know of each word: itself, its ends, its neighbours.

    Args:
        words: of a sentence.
        cased: whether it may see which letters are large.
    Returns: a dict for each word, for scikit-learn's `DictVectorizer`.
    """
    seen = ["<s>", *(word if cased else word.lower() for word in words), "</s>"]
    return [
        {
            "word": word.lower(),
            "before": seen[i - 1].lower(),
            "behind": seen[i + 1].lower(),
            "ends in": word[-3:].lower(),
            "ends with": word[-2:].lower(),
            "large": word[0].isupper(),
            "large before": seen[i - 1][0].isupper(),
            "large behind": seen[i + 1][0].isupper(),
            "first": i == 1,
            "last": i == len(words),
        }
        for i, word in enumerate(seen[1:-1], 1)
    ]
