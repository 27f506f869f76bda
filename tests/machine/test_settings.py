"""Tests of mini_models.machine.settings: what cannot be meant is refused when a config is made."""

import math
from dataclasses import dataclass, fields, replace

import numpy as np
import pytest

from mini_models.bert import BERTConfig
from mini_models.clip import CLIPConfig
from mini_models.dalle import DALLEConfig
from mini_models.dvae import DVAEConfig
from mini_models.fidelity import ClassifierConfig
from mini_models.gan import GANConfig
from mini_models.gpt import GPTConfig
from mini_models.machine import settings
from mini_models.text_to_image_gan import TextToImageConfig
from mini_models.train import TrainConfig

CONFIGS = (
    *(BERTConfig, CLIPConfig, DALLEConfig, DVAEConfig, ClassifierConfig, GANConfig, GPTConfig),
    *(TextToImageConfig, TrainConfig),
)


@dataclass(frozen=True)
class Some:
    n: object = 4
    x: object = 0.5
    word: str = "a"


# property


@pytest.mark.parametrize("n", [1, 7, np.int64(3), None])
def test_whole_numbers_of_any_kind_count_and_none_is_left_alone(n):
    settings.counts(Some(n=n), "n")


def test_ends_belong_to_a_range_and_zero_to_a_share():
    settings.number(Some(x=0), "x", most=1)
    settings.number(Some(x=1), "x", most=1)
    settings.number(Some(x=math.inf), "x")
    settings.share(Some(x=0.0), "x")
    settings.counts(Some(n=0), "n", least=0)
    settings.one_of(Some(), word=("a", "b"))


# refuses


@pytest.mark.parametrize(
    "check, value, said",
    [
        (settings.counts, 0, "n is 0: it must be at least 1"),
        (settings.counts, 2.0, r"n is 2\.0: it must be a whole number"),
        (settings.counts, True, "n is True: it must be a whole number"),
        (settings.counts, "4", "n is '4': it must be a whole number"),
        (settings.number, -0.1, r"n is -0\.1: it must be a number of at least 0"),
        (settings.number, math.nan, "n is nan: it must be a number of at least 0"),
        (settings.above_zero, 0, "n is 0: it must be above 0 and finite"),
        (settings.above_zero, math.inf, "n is inf: it must be above 0 and finite"),
        (settings.above_zero, math.nan, "n is nan: it must be above 0 and finite"),
        (settings.share, 1.0, r"n is 1\.0: give a share from 0 to below 1"),
        (settings.share, -1e-9, "n is -1e-09: give a share from 0 to below 1"),
        (settings.share, math.nan, "n is nan: give a share"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_its_name(check, value, said):
    with pytest.raises(ValueError, match=f"^{said}"):
        check(Some(n=value), "n")


def test_a_number_above_the_most_and_an_unknown_word_are_refused():
    with pytest.raises(ValueError, match="x is 2: it must be a number of at least 0 and at most 1"):
        settings.number(Some(x=2), "x", most=1)
    with pytest.raises(ValueError, match="word 'c' is unknown: choose one of a, b"):
        settings.one_of(Some(word="c"), word=("a", "b"))


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.__name__)
def test_no_number_of_a_config_may_be_negative_or_nan(config):
    numbers = [f.name for f in fields(config) if isinstance(f.default, int | float)]
    assert len(numbers) > 4
    for name in numbers:
        for wrong in (-1, math.nan):
            with pytest.raises(ValueError, match=name):
                replace(config(), **{name: wrong})


@pytest.mark.parametrize(
    "config", [c for c in CONFIGS if hasattr(c, "n_heads")], ids=lambda config: config.__name__
)
def test_a_width_that_heads_cannot_share_is_refused(config):
    with pytest.raises(ValueError, match="a width of 30 cannot be shared by 4 heads: make d_model"):
        config(d_model=30, n_heads=4)
