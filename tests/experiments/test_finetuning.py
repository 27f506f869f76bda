"""Tests of mini_models.experiments.finetuning: every job can be done, from texts to scores."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from mini_models.bert import BERT, BERTConfig
from mini_models.data.labelled import Labelled
from mini_models.experiments import finetuning
from mini_models.experiments.finetuning import (
    JOBS,
    POETS,
    Job,
    config_for,
    poets,
    quatrains_by_poet,
    rounded,
    some,
    tuned_scores,
)
from mini_models.tokenizers import SPECIAL, WordPiece


def small_body(name):
    """A BERT that knows nothing, with the vocabulary that the job's texts need."""
    if name == "poets":
        characters = {c for part in quatrains_by_poet() for p in part for c in p.text}
        tokenizer = WordPiece([*SPECIAL, *sorted(characters)])
    else:
        tokenizer = WordPiece.bert_uncased()
    config = BERTConfig(tokenizer.vocab_size, 256, n_layers=1, n_heads=2, d_model=16)
    return BERT(config), tokenizer


# properties


def test_a_fresh_draw_of_few_is_part_of_the_texts_and_a_pure_function_of_the_seed():
    texts = list(range(100))
    assert some(texts, 10, 3) == some(texts, 10, 3) != some(texts, 10, 4)
    assert len(set(some(texts, 10, 3))) == 10
    assert sorted(some(texts, 1000, 3)) == texts


@pytest.mark.parametrize("n", [1, 16, 64, 256, 1024, 9146])
def test_tuning_takes_the_jobs_epochs_or_sixty_steps_and_a_head_alone_300(n):
    for job in JOBS.values():
        for B in (8, job.batch_size):
            tuned, frozen = (config_for(job, n, B, how, seed=2) for how in (False, True))
            assert tuned.steps >= 60 and tuned.steps * B >= job.epochs * n
            assert tuned.steps == 60 or (tuned.steps - 1) * B < job.epochs * n
            assert frozen.steps == 300
            assert (tuned.lr, frozen.lr) == (job.lr, 5e-3) and tuned.seed == frozen.seed == 2


def test_the_poets_are_those_with_most_quatrains_and_none_is_held_out_alone():
    train, held_out = quatrains_by_poet()
    assert len(poets()) == POETS == len({p.label for p in held_out})
    counts = {poet: sum(p.label == poet for p in train) for poet in poets()}
    assert min(counts.values()) > 100
    assert {p.text for p in train}.isdisjoint(p.text for p in held_out)


@pytest.mark.parametrize("name", JOBS)
def test_every_job_goes_from_its_texts_to_its_scores(name, monkeypatch):
    job = JOBS[name]
    train, held_out = job.texts()
    torch.manual_seed(0)
    body = small_body(name)
    few = dataclasses.replace(job, body=lambda: body, texts=lambda: (train[:40], held_out[:30]))
    short = dataclasses.replace(config_for(job, 16, 8, True, 0), steps=3)
    monkeypatch.setattr(finetuning, "config_for", lambda *_: short)
    scores = tuned_scores(few, 16, frozen=True, seed=0)
    counts = "f1" if name in ("names", "renamed", "answers") else "accuracy"
    assert list(scores)[0] == counts
    assert all(0 <= value <= 1 for value in scores.values())
    assert list(job.baseline(train[:200], held_out[:30]))[0] in ("accuracy", "f1", "exact")


def test_the_body_that_a_job_keeps_is_not_changed_by_playing():
    body, tokenizer = small_body("sentiment")
    before = {name: p.clone() for name, p in body.state_dict().items()}
    texts = [Labelled("fine", "good"), Labelled("dull", "bad")] * 4
    job = dataclasses.replace(
        JOBS["sentiment"], body=lambda: (body, tokenizer), texts=lambda: (texts, texts), lr=1e-2
    )
    assert tuned_scores(job, 8, frozen=False, seed=0) == {"accuracy": 1.0}  # and it does learn
    assert all(torch.equal(p, before[name]) for name, p in body.state_dict().items())


def test_what_is_measured_has_every_size_every_seed_and_is_what_json_can_store(monkeypatch):
    told, played = [], []

    def pretend(job, n, frozen, seed):
        played.append((n, frozen, seed))
        return {"accuracy": np.float64(0.123456)}

    texts = [Labelled(str(i), "good") for i in range(70)]
    drawn = []

    def baseline(few, held_out):
        drawn.append(tuple(few))
        return {"accuracy": 1 / 3}

    job = Job(None, None, lambda: (texts, texts[:5]), None, None, baseline)
    monkeypatch.setattr(finetuning, "JOBS", {"one": job})
    monkeypatch.setattr(finetuning, "tuned_scores", pretend)
    monkeypatch.setattr(finetuning, "NUMBERS_OF_LABELS", {16: (0, 1), 64: (0, 1), 10_000: (0,)})
    found = finetuning.run(told.append)["one"]
    assert (found["train"], found["held_out"], found["sizes"]) == (70, 5, [16, 64, 70])
    assert found["baseline"] == {16: [{"accuracy": 0.3333}] * 2, 64: [{"accuracy": 0.3333}] * 2,
                                 70: [{"accuracy": 0.3333}]}  # fmt: skip
    assert found["frozen"] == found["tuned"]
    assert found["tuned"][16] == [{"accuracy": 0.1235}] * 2
    assert type(found["tuned"][16][0]["accuracy"]) is float
    sizes = {16: 2, 64: 2, 70: 1}
    every = [(n, how, s) for n, k in sizes.items() for how in (True, False) for s in range(k)]
    assert sorted(played) == sorted(every) and len(set(drawn)) == 5 and len(told) == 6
    assert json.loads(json.dumps(found))["tuned"]["70"] == [{"accuracy": 0.1235}]


def test_rounded_keeps_four_digits():
    assert rounded({"a": 0.99999, "b": 1 / 3}) == {"a": 1.0, "b": 0.3333}
