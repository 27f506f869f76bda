"""Tests of mini_models.power_law: laws that are known are found again, and how surely."""

import numpy as np
import pytest
from scipy.optimize import curve_fit

from mini_models.power_law import PowerLaw, bootstrap_laws, fit_power_law, predict_loss

PARAMS = np.repeat([1e4, 3e4, 1e5, 3e5, 1e6], 3)
TRUTH = PowerLaw(1.4, 20.0, 0.35)


def noisy(seed: int, deviation: float = 0.005) -> np.ndarray:
    return TRUTH(PARAMS) + np.random.default_rng(seed).normal(0, deviation, len(PARAMS))


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


# refuses


def test_two_sizes_are_too_few():
    with pytest.raises(ValueError, match="the runs have 2 different sizes: .* needs at least 3"):
        fit_power_law([1e4, 1e4, 1e5], [2.0, 2.1, 1.8])
