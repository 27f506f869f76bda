"""Tests of mini_models.experiments.in_context: every answer of the book is stored."""

from mini_models import experiments
from mini_models.in_context import POOL, SHOTS, WORD_TASKS, tasks
from mini_models.pretrained import smollm2

ALL = tasks()


# properties


def test_the_stored_answers_are_complete_and_of_the_pinned_file():
    found = experiments.results("in-context")
    assert found["model"] == smollm2.FILE and len(found["sha256"]) == 64
    rows = {(r["task"], r["k"], r["draw"], r["about"], r["mixed"]) for r in found["answers"]}
    words = {n for n in ALL if n in WORD_TASKS}
    assert len(rows) == len(found["answers"]) == len(words) * (2 * 17 + 4) + 3 * 17
    for row in found["answers"]:
        assert len(row["answers"].split("\n")) == len(ALL[row["task"]].asked)
    assert {(r["k"], r["draw"]) for r in found["margins"]} == {
        (k, draw) for k in SHOTS for draw in range(8 if k else 1)
    }
    assert all(len(r["asked"]) == len(ALL["sentiment"].pairs) - POOL for r in found["margins"])
