"""Tests of mini_models.power_law: laws that are known, a judge, and the runs that are stored."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.optimize import curve_fit

from mini_models import power_law
from mini_models.data import shakespeare
from mini_models.experiments.scaling import FAMILY, LARGER, SEEDS, STEPS, WIDTHS, run, train_width
from mini_models.gpt import gpt_loss
from mini_models.power_law import PowerLaw, bootstrap_laws, fit_power_law, predict_loss
from mini_models.recipes.gpt import RECIPES
from mini_models.train import evaluate, train

PARAMS = np.repeat([1e4, 3e4, 1e5, 3e5, 1e6], 3)
TRUTH = PowerLaw(1.4, 20.0, 0.35)


def noisy(seed: int, deviation: float = 0.005) -> np.ndarray:
    return TRUTH(PARAMS) + np.random.default_rng(seed).normal(0, deviation, len(PARAMS))


def shorter(monkeypatch, steps: int) -> None:
    """Fewer steps on a shorter text, for the runs of one test."""
    family = replace(FAMILY, train=replace(FAMILY.train, steps=steps))
    text = shakespeare()
    family = replace(family, texts=lambda: (text[:20_000], text[20_000:22_000]))
    monkeypatch.setattr(power_law, "FAMILY", family)


# agrees with an independent implementation


@pytest.mark.parametrize("seed", range(3))
def test_the_fit_is_the_one_that_scipy_finds(seed):
    losses = noisy(seed)
    constants, _ = curve_fit(
        lambda n, floor, scale, exponent: floor + scale * n**-exponent,
        PARAMS, losses, p0=(1.0, 10.0, 0.3), maxfev=10_000,
    )  # fmt: skip
    ours = fit_power_law(PARAMS, losses)
    assert ours.exponent == pytest.approx(constants[2], abs=0.0006)  # half a step of the search
    assert ours.floor == pytest.approx(constants[0], abs=0.001)
    theirs = ((PowerLaw(*constants)(PARAMS) - losses) ** 2).sum()
    assert ((ours(PARAMS) - losses) ** 2).sum() <= theirs * 1.001  # as fine as the search is


def test_a_run_is_what_train_and_evaluate_make_of_the_recipe(monkeypatch):
    shorter(monkeypatch, steps=3)
    family = FAMILY
    task = replace(family, model=replace(family.model, d_model=8)).prepare(seed=5)
    losses = train(task.model, task.batches, gpt_loss, family.train)
    one = train_width(8, seed=5)
    assert one["loss"] == evaluate(task.model, task.held_out, gpt_loss)
    blocks = task.model.transformer.blocks
    assert one["params"] == sum(p.numel() for p in blocks.parameters())
    assert one["steps"] == len(losses) == 3 and one["tokens"] == 3 * 32 * 64
    assert (one["width"], one["seed"]) == (8, 5)


# properties


@pytest.mark.parametrize("law", [TRUTH, PowerLaw(0.0, 5.0, 0.076), PowerLaw(2.0, 900.0, 1.5)])
def test_a_law_without_noise_is_found_again(law):
    found = fit_power_law(PARAMS, law(PARAMS))
    assert found.exponent == pytest.approx(law.exponent)
    assert found.floor == pytest.approx(law.floor, abs=1e-6)
    assert found.scale == pytest.approx(law.scale, rel=1e-6)


def test_a_floor_is_never_negative():
    sinking = 3 - 0.1 * np.log(PARAMS)  # straight in the logarithm: a floor of minus infinity
    law = fit_power_law(PARAMS, sinking)
    assert law.floor == 0 and law.exponent > 0
    assert abs(law(PARAMS) - sinking).max() < 0.05


def test_the_interval_holds_a_new_run_about_as_often_as_it_says():
    inside = 0
    for seed in range(100):
        low, high = predict_loss(PARAMS, noisy(seed), 4e6, draws=100)
        new = TRUTH(4e6) + np.random.default_rng(1000 + seed).normal(0, 0.005)
        inside += low < new < high
    assert 86 <= inside <= 100  # 95 expected, and 19 times in 20 at least 91


def test_the_law_that_was_true_is_among_those_of_the_bootstrap():
    laws = bootstrap_laws(PARAMS, noisy(0))
    low, high = np.percentile([law.exponent for law in laws], [2.5, 97.5])
    assert low < TRUTH.exponent < high and high - low < 0.3
    assert len(laws) == 1000


def test_the_same_seed_gives_the_same_interval_and_more_noise_a_wider_one():
    quiet = predict_loss(PARAMS, noisy(1), 1e7, draws=200)
    assert quiet == predict_loss(PARAMS, noisy(1), 1e7, draws=200)
    loud = predict_loss(PARAMS, noisy(1, 0.05), 1e7, draws=200)
    assert loud[1] - loud[0] > 3 * (quiet[1] - quiet[0])


def test_every_width_and_seed_is_measured_and_the_larger_one_last(monkeypatch):
    asked, told = [], []

    def instead(width, seed=0, device="cpu"):
        asked.append((width, seed))
        return {"width": width, "seed": seed, "loss": 2.0, "seconds": 1.0}

    monkeypatch.setattr(power_law, "train_width", instead)
    found = run(told.append)
    assert sorted(asked[:-1]) == sorted((w, s) for w in WIDTHS for s in SEEDS)
    assert asked[-1] == (LARGER, 0) and len(told) == len(asked)
    assert json.loads(json.dumps(found)) == found and found["torch"] == torch.__version__


def test_the_family_is_measured_on_the_pages_of_the_shakespeare_recipe():
    assert FAMILY.texts() == RECIPES["gpt-shakespeare"].texts()
    rows = STEPS * FAMILY.batch_size
    assert rows * 64 < len(FAMILY.texts()[0])  # no page is read twice


def test_the_stored_runs_are_of_every_width_and_seed_and_wider_is_better():
    path = Path(power_law.__file__).parent / "results" / "scaling.json"
    runs = json.loads(path.read_text())["runs"]
    asked = [*((w, s) for s in SEEDS for w in WIDTHS), (LARGER, 0)]
    assert [(r["width"], r["seed"]) for r in runs] == asked
    assert {r["steps"] for r in runs} == {STEPS}
    for r in runs:
        assert r["params"] == 3 * (12 * r["width"] ** 2 + 13 * r["width"])
        wider = [other["loss"] for other in runs if other["width"] > r["width"]]
        assert all(r["loss"] > loss for loss in wider)


# refuses


def test_two_sizes_are_too_few():
    with pytest.raises(ValueError, match="the runs have 2 different sizes: .* needs at least 3"):
        fit_power_law([1e4, 1e4, 1e5], [2.0, 2.1, 1.8])


# learns


def test_of_two_widths_the_larger_learns_more(monkeypatch):
    shorter(monkeypatch, steps=60)
    narrow, wide = train_width(8), train_width(48)
    assert wide["loss"] < narrow["loss"] - 0.1 and wide["params"] > narrow["params"]
