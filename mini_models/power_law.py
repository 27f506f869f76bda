"""Power law: how the loss of one family of models falls as they grow, fitted and drawn on.

Units    losses: nats per token
Source   Kaplan et al. 2020, arXiv:2001.08361, eq. 1.1; Henighan et al. 2020, arXiv:2010.14701,
         eq. 1.1 (with a floor)
Derived  notebooks/11_scaling.ipynb
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class PowerLaw:
    """L(N) = floor + scale · N^-exponent."""

    floor: float  # nats, what no size would get below
    scale: float  # nats
    exponent: float

    def __call__(self, params):
        """The loss of models with so many parameters, a number or an array."""
        return self.floor + self.scale * np.asarray(params, dtype=float) ** -self.exponent


EXPONENTS = np.arange(1, 2001) / 1000  # that `fit_power_law` tries


def fit_power_law(params, losses) -> PowerLaw:
    """The law with the smallest squared error, its floor not below 0.

    Given the exponent, the law is a straight line in N^-exponent, and the best line has a formula.
    So only the exponent is searched for, in steps of a thousandth.

    Args: params, losses: a number for each run, [R].
    Raises: ValueError if the runs are of fewer than three sizes: three constants need as many.
    """
    params, losses = np.asarray(params, dtype=float), np.asarray(losses, dtype=float)
    if len(set(params)) < 3:
        raise ValueError(
            f"the runs have {len(set(params))} different sizes: a law of three constants needs "
            "at least 3"
        )
    x = params ** -EXPONENTS[:, None]  # [2000, R]
    mean = x.mean(axis=1, keepdims=True)
    scale = (x - mean) @ losses / ((x - mean) ** 2).sum(axis=1)
    floor = losses.mean() - scale * mean[:, 0]
    scale = np.where(floor < 0, x @ losses / (x**2).sum(axis=1), scale)  # the best with floor 0
    floor = np.maximum(floor, 0)
    errors = (floor[:, None] + scale[:, None] * x - losses) ** 2
    best = errors.sum(axis=1).argmin()
    return PowerLaw(float(floor[best]), float(scale[best]), float(EXPONENTS[best]))


def bootstrap_laws(params, losses, draws: int = 1000, seed: int = 0) -> list[PowerLaw]:
    """Laws that other runs of the same sizes might have given: a bootstrap of the residuals.

    Each draw adds to the fitted law residuals drawn with replacement and fits again. A law that has
    bent its three constants to R runs leaves residuals that are too small, by √((R - 3) / R) on
    average, so they are enlarged by the inverse.
    """
    law, draw = fit_power_law(params, losses), np.random.default_rng(seed)
    left = _residuals(law, params, losses)
    return [fit_power_law(params, law(params) + draw.choice(left, len(left))) for _ in range(draws)]


def _residuals(law: PowerLaw, params, losses) -> np.ndarray:
    """What a law that was fitted to R runs leaves of them, enlarged by √(R / (R - 3)), in nats."""
    left = np.asarray(losses) - law(params)
    return left * np.sqrt(len(left) / (len(left) - 3))


def predict_loss(params, losses, larger: float, draws: int = 1000, seed: int = 0) -> tuple:
    """Where one more run, of a larger model, should end: the 2.5th and 97.5th percentile, in nats.

    Two things are uncertain: the law, of which `bootstrap_laws` gives draws, and by how much a
    single run misses it, of which the residuals are examples.
    """
    laws = bootstrap_laws(params, losses, draws, seed)
    left = _residuals(fit_power_law(params, losses), params, losses)
    misses = np.random.default_rng(seed + 1).choice(left, draws)
    low, high = np.percentile([law(larger) for law in laws] + misses, [2.5, 97.5])
    return float(low), float(high)
