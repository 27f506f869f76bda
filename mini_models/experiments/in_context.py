"""In context: a real pretrained model is asked with no example, with one and with a few, measured.

Source   Brown et al. 2020, arXiv:2005.14165, section 2 (zero-, one- and few-shot)
"""

import time

from mini_models.in_context import (
    CONTENT_FREE,
    SHOTS,
    WORD_TASKS,
    complete,
    label_scores,
    tasks,
)
from mini_models.machine.files import digest
from mini_models.pretrained import smollm2

NEW_TOKENS = {"into French": 20, "from French": 20, "questions": 12}  # six do for a word


def run(say=print) -> dict:
    """Ask everything: each task, with and without a sentence about it, k shots, several draws.

    Returns: what json can store; "answers" holds for each row of the table the model's answers in
        the order of `PromptTask.asked`, one a line, "margins" ln p(positive) - ln p(negative).
    """
    begin, model_and_tokenizer = time.perf_counter(), smollm2.smollm2()
    found = {
        "command": "python -m mini_models measure in-context", "model": smollm2.FILE,
        "sha256": digest(smollm2.weights_file().read_bytes()), "answers": [], "margins": [],
    }  # fmt: skip
    for name, task in tasks().items():
        draws = 8 if name == "sentiment" else 4
        for about in (False, True) if name in WORD_TASKS else (False,):
            for k in SHOTS:
                for draw in range(draws if k else 1):
                    _ask(found, *model_and_tokenizer, name, task, k, draw, about)
        if name in WORD_TASKS:  # the same examples, their answers handed to one another
            for draw in range(draws):
                _ask(found, *model_and_tokenizer, name, task, max(SHOTS), draw, mixed=True)
        say(f"{name}: {time.perf_counter() - begin:.0f} s")
    found["seconds"] = round(time.perf_counter() - begin)
    return found


def _ask(found, model, tokenizer, name, task, k, draw, about=False, mixed=False) -> None:
    """One row of the table."""
    shots = task.shots(k, draw)
    if mixed:  # each example gets the answer of the next
        shots = [(x, shots[(i + 1) % k][1]) for i, (x, _) in enumerate(shots)]
    row = {"task": name, "k": k, "draw": draw, "about": about, "mixed": mixed}
    prefix = task.prefix(shots, about)
    lead = task.between if prefix else ""
    questions = [lead + task.question(x) for x, _ in task.asked]
    if name == "sentiment":
        questions += [lead + task.question(x) for x in CONTENT_FREE]
        scores = label_scores(model, tokenizer, prefix, questions)
        margins = [round(m, 3) for m in (scores[:, 0] - scores[:, 1]).tolist()]
        n = len(CONTENT_FREE)
        found["margins"].append(row | {"asked": margins[:-n], "content_free": margins[-n:]})
    else:
        answers = complete(model, tokenizer, prefix, questions, NEW_TOKENS.get(name, 6))
        found["answers"].append(row | {"answers": "\n".join(answers)})
