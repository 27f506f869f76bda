"""SQuAD: questions whose answers are spans of a text, from files, and how answers are scored.

Source   Rajpurkar et al. 2016, arXiv:1606.05250, section 6.1 (exact match and F1); Rajpurkar et
         al. 2018, arXiv:1806.03822 (questions that the text does not answer)
Derived  notebooks/07_finetuning.ipynb
"""

import json
import re
import string
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from mini_models.machine.files import write_whole


@dataclass(frozen=True)
class Question:
    """A question about a text, and its answers as they stand in that text.

    An answer is a text and the place of its first character; there is none if the context holds
    none. Raises: ValueError if a part is empty, or an answer does not stand where it is said to.
    """

    id: str
    question: str
    context: str
    answers: tuple[tuple[str, int], ...]

    def __post_init__(self):
        for name in ("id", "question", "context"):
            if not getattr(self, name).strip():
                raise ValueError(f"its {name} is empty: write it, or delete the question")
        for text, start in self.answers:
            if not text.strip():
                raise ValueError("an answer is empty: copy its words from the context")
            if not 0 <= start < len(self.context):
                raise ValueError(
                    f"the answer {text!r} begins at {start}, outside the context of "
                    f"{len(self.context)} characters{self._where(text)}"
                )
            if not self.context.startswith(text, start):
                there = self.context[start : start + len(text)]
                raise ValueError(
                    f"at character {start} stands {there!r}, not the answer {text!r}"
                    f"{self._where(text)}"
                )

    def _where(self, text: str) -> str:
        found = [str(m.start()) for m in re.finditer(f"(?={re.escape(text)})", self.context)]
        if not found:
            return "; the context does not hold it: copy an answer from the context"
        return f"; set answer_start to where it stands: {' or '.join(found[:5])}"

    @property
    def texts(self) -> list[str]:
        """The answers without their places."""
        return [text for text, _ in self.answers]


def read_squad(path) -> list[Question]:
    """The questions of a file in SQuAD's format, version 1.1 or 2.0 (JSON: data, paragraphs, qas).

    Raises: ValueError naming the row, such as data[0].paragraphs[2].qas[1], what is wrong with it
        and what to do.
    """
    try:
        told = json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 ({error}): save it in that encoding") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not JSON ({error}): mend it there") from None
    found, first = [], {}
    for i, article in enumerate(_get(told, "data", list, "the file")):
        for j, paragraph in enumerate(_get(article, "paragraphs", list, f"data[{i}]")):
            where = f"data[{i}].paragraphs[{j}]"
            context = _get(paragraph, "context", str, where)
            for k, row in enumerate(_get(paragraph, "qas", list, where)):
                name = f"{where}.qas[{k}]"
                question = _question(row, context, name)
                if first.setdefault(question.id, name) != name:
                    raise ValueError(
                        f"{name} has the id {question.id!r} of {first[question.id]}: "
                        "give each question an id of its own"
                    )
                found.append(question)
    if not found:
        raise ValueError(f"{path} holds no question: there is nothing to learn from")
    return found


def write_squad(path, questions: Sequence[Question]) -> None:
    """Questions as a file in SQuAD's format, version 2.0; `read_squad` gives the same ones back.

    Neighbours about the same context share a paragraph. Raises: ValueError if there is no question,
    or two have the same id.
    """
    counts = Counter(q.id for q in questions)
    if not counts or max(counts.values()) > 1:
        wrong = f"two questions have the id {max(counts, key=counts.get)!r}" if counts else "no row"
        raise ValueError(f"{wrong}: give at least one question, each with an id of its own")
    paragraphs = [
        {"context": context, "qas": [_row(q) for q in group]}
        for context, group in groupby(questions, key=lambda q: q.context)
    ]
    told = {"version": "v2.0", "data": [{"title": "", "paragraphs": paragraphs}]}
    write_whole(path, json.dumps(told, ensure_ascii=False, indent=1))


def _row(q: Question) -> dict:
    answers = [{"text": text, "answer_start": start} for text, start in q.answers]
    told = {"id": q.id, "question": q.question, "answers": answers}
    return told | {"is_impossible": not answers}


def _question(row, context: str, name: str) -> Question:
    """One of the qas, named in what is said of its faults."""
    number = _get(row, "id", str, name)
    name += f" (id {number})"
    answers = []
    for a, answer in enumerate(_get(row, "answers", list, name)):
        where = f"{name}.answers[{a}]"
        text, start = _get(answer, "text", str, where), _get(answer, "answer_start", int, where)
        answers.append((text, start))
    impossible = row.get("is_impossible", False)
    if impossible is not bool(not answers):
        raise ValueError(
            f"{name} has {len(answers)} answers and is_impossible {impossible!r}: give an answer, "
            "or say is_impossible: true and none"
        )
    try:
        return Question(number, _get(row, "question", str, name), context, tuple(answers))
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def _get(told, key: str, kind: type, where: str):
    """What a dictionary has under a key, of the kind that it must be."""
    words = {list: "a list", str: "a text", int: "a whole number"}
    if not isinstance(told, dict):
        raise ValueError(f"{where} is {str(told)[:40]!r}: give an object with the key {key!r}")
    if key not in told:
        raise ValueError(f"{where} lacks {key!r}: give it {words[kind]}")
    if not isinstance(told[key], kind) or isinstance(told[key], bool):
        raise ValueError(f"{where}.{key} is {str(told[key])[:40]!r}: give {words[kind]}")
    return told[key]


def normalise(text: str) -> str:
    """Lower case, without ASCII punctuation, English articles and repeated spaces."""
    text = "".join(c for c in text.lower() if c not in string.punctuation)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def squad_exact(given: str, answers: Iterable[str]) -> float:
    """1.0 if what was given is one of the answers once both are normalised, else 0.0.

    Args:
        given: the predicted answer; "" says that the text holds none.
        answers: the texts of the right answers; none if the text holds none.

    As SQuAD 2.0's own script scores it; so does version 1.1's, but for answers of which nothing is
    left when normalised, such as "The": 2.0 leaves them out, 1.1 compares them.
    """
    return float(normalise(given) in _truths(answers))


def squad_f1(given: str, answers: Iterable[str]) -> float:
    """Harmonic mean of precision and recall over words, the best over all answers, 0 to 1.

    Args: as for `squad_exact`. Where nothing is left of either side when normalised, it is 1.0 if
    nothing is left of both: so version 2.0 has it. In 1.1, which knows no question without an
    answer, it is 0.0.
    """
    words, best = normalise(given).split(), 0.0
    for truth in map(str.split, _truths(answers)):
        if not words or not truth:
            best = max(best, float(words == truth))
        else:
            shared = (Counter(words) & Counter(truth)).total()
            best = max(best, 2 * shared / (len(words) + len(truth)))  # 2 P R / (P + R)
    return best


def _truths(answers: Iterable[str]) -> list[str]:
    """What may be said: the normalised answers, or the empty text if there is none."""
    if isinstance(answers, str):
        raise ValueError(f"the answers are the single text {answers!r}: give a list of texts")
    return [text for text in map(normalise, answers) if text] or [""]


def squad_scores(predictions: Mapping[str, str], questions: Sequence[Question]) -> dict[str, float]:
    """Mean of `squad_exact` and of `squad_f1` over the questions: {"exact": 0 to 1, "f1": 0 to 1}.

    Args:
        predictions: the text given to each question, by its id; "" says that there is no answer.
    Raises: ValueError if there is no question, or a question has no text.
    """
    if not questions:
        raise ValueError("there is no question to score: give at least one")
    missing = [q.id for q in questions if not isinstance(predictions.get(q.id), str)]
    if missing:
        raise ValueError(
            f"{len(missing)} of {len(questions)} questions have no text given to them, the first "
            f"is {missing[0]!r}: give '' where the text holds no answer"
        )
    found = {"exact": squad_exact, "f1": squad_f1}
    return {
        name: sum(score(predictions[q.id], q.texts) for q in questions) / len(questions)
        for name, score in found.items()
    }
