"""Tests of mini_models.experiments.scaling: a run by hand, and the stored ones."""

import json
from dataclasses import replace
from functools import partial

import torch

from mini_models import experiments
from mini_models.data import shakespeare
from mini_models.experiments import scaling
from mini_models.experiments.scaling import FAMILY, LARGER, SEEDS, STEPS, WIDTHS, run, train_width
from mini_models.gpt import gpt_loss
from mini_models.recipes.gpt import RECIPES, all_plays, gpt_task
from mini_models.train import evaluate, train


def shorter(monkeypatch, steps: int) -> None:
    """Fewer steps on a shorter text, for the runs of one test."""
    family, text = scaling.FAMILY, shakespeare()
    task = partial(gpt_task, texts=lambda: (text[:20_000], text[20_000:22_000]))
    family = replace(family, task=task, train=replace(family.train, steps=steps))
    monkeypatch.setattr(scaling, "FAMILY", family)


# agrees with an independent implementation


def test_a_run_is_what_train_and_evaluate_make_of_the_recipe(monkeypatch):
    shorter(monkeypatch, steps=3)
    family = scaling.FAMILY
    task = replace(family, model=replace(family.model, d_model=8)).prepare(seed=5)
    losses = train(task.model, task.batches, gpt_loss, family.train)
    one = train_width(8, seed=5)
    assert one["loss"] == evaluate(task.model, task.held_out, gpt_loss)
    blocks = task.model.transformer.blocks
    assert one["params"] == sum(p.numel() for p in blocks.parameters())
    assert one["steps"] == len(losses) == 3 and one["tokens"] == 3 * 32 * 64
    assert (one["width"], one["seed"]) == (8, 5)


# properties


def test_every_width_and_seed_is_measured_and_the_larger_one_last(monkeypatch):
    asked, told = [], []

    def instead(width, seed=0, device="cpu"):
        asked.append((width, seed))
        return {"width": width, "seed": seed, "loss": 2.0, "seconds": 1.0}

    monkeypatch.setattr(scaling, "train_width", instead)
    found = run(told.append)
    assert sorted(asked[:-1]) == sorted((w, s) for w in WIDTHS for s in SEEDS)
    assert asked[-1] == (LARGER, 0) and len(told) == len(asked)
    assert json.loads(json.dumps(found)) == found and found["torch"] == torch.__version__


def test_the_family_is_measured_on_the_pages_of_the_shakespeare_recipe():
    assert FAMILY.task is RECIPES["gpt-shakespeare"].task
    rows = STEPS * FAMILY.batch_size
    assert rows * 64 < len(all_plays()[0])  # no page is read twice


def test_the_stored_runs_are_of_every_width_and_seed_and_wider_is_better():
    runs = experiments.results("scaling")["runs"]
    asked = [*((w, s) for s in SEEDS for w in WIDTHS), (LARGER, 0)]
    assert [(r["width"], r["seed"]) for r in runs] == asked
    assert {r["steps"] for r in runs} == {STEPS}
    for r in runs:
        assert r["params"] == 3 * (12 * r["width"] ** 2 + 13 * r["width"])
        wider = [other["loss"] for other in runs if other["width"] > r["width"]]
        assert all(r["loss"] > loss for loss in wider)


# learns


def test_of_two_widths_the_larger_learns_more(monkeypatch):
    shorter(monkeypatch, steps=40)
    narrow, wide = train_width(8), train_width(32)
    assert wide["loss"] < narrow["loss"] - 0.1 and wide["params"] > narrow["params"]
