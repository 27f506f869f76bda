"""Settings: what a config refuses when it is made, in words that say what to give instead.

Each check takes the config and the names of its fields; one that is None is left to its default.
"""

import math
from numbers import Integral, Real


def counts(config, *names: str, least: int = 1) -> None:
    """Raise ValueError unless each is a whole number, and not below the least."""
    for name, value in _given(config, names):
        if not isinstance(value, Integral) or isinstance(value, bool):
            raise ValueError(f"{name} is {value!r}: it must be a whole number")
        if value < least:
            raise ValueError(f"{name} is {value}: it must be at least {least}")


def number(config, *names: str, least: float = 0.0, most: float = math.inf) -> None:
    """Raise ValueError unless each is a number from the least to the most, both included."""
    for name, value in _given(config, names):
        if not isinstance(value, Real) or not least <= value <= most:  # nor is it nan
            upto = "" if most == math.inf else f" and at most {most:g}"
            raise ValueError(
                f"{name} is {value!r}: it must be a number of at least {least:g}{upto}"
            )


def above_zero(config, *names: str) -> None:
    """Raise ValueError unless each is a finite number above 0."""
    for name, value in _given(config, names):
        if not isinstance(value, Real) or not 0 < value < math.inf:
            raise ValueError(f"{name} is {value!r}: it must be above 0 and finite")


def share(config, *names: str) -> None:
    """Raise ValueError unless each is a share from 0 to below 1, such as of what is dropped."""
    for name, value in _given(config, names):
        if not isinstance(value, Real) or not 0 <= value < 1:
            raise ValueError(f"{name} is {value!r}: give a share from 0 to below 1")


def one_of(config, **known) -> None:
    """Raise ValueError unless each is one of the words that are known for it."""
    for name, words in known.items():
        if getattr(config, name) not in words:
            given = getattr(config, name)
            raise ValueError(f"{name} {given!r} is unknown: choose one of {', '.join(words)}")


def heads(config) -> None:
    """Raise ValueError unless d_model can be shared by n_heads."""
    if config.d_model % config.n_heads:
        raise ValueError(
            f"a width of {config.d_model} cannot be shared by {config.n_heads} heads: "
            "make d_model a multiple of n_heads"
        )


def _given(config, names) -> list[tuple]:
    found = [(name, getattr(config, name)) for name in names]
    return [(name, value) for name, value in found if value is not None]
