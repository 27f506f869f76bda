"""Tests of mini_models.recipes.progress: what is shown and said while a model trains."""

import io
from dataclasses import dataclass
from typing import Any

import pytest
import torch

from mini_models.recipes import progress
from mini_models.recipes.progress import Progress, Watch


@dataclass
class Told:
    """As much of a task as a `Watch` asks for."""

    watch: Any = None
    model: Any = None


# properties


def test_each_warning_is_said_once_and_kept():
    bar, found = Progress(10, 1, "tokens"), ["slow", None, "slow", "alike"]
    watch = Watch(Told(watch=lambda model, step: found[step]), bar)
    for step in range(4):
        assert watch(step) is None
    assert watch.said == ["slow", "alike"]
    quiet = Watch(Told(), bar)
    assert quiet(3) is None and quiet.said == []


@pytest.fixture
def shown(monkeypatch):
    """What bars write."""
    page, bar = io.StringIO(), progress.tqdm
    monkeypatch.setattr(progress, "tqdm", lambda **how: bar(file=page, ncols=120, **how))
    return page


def test_the_bar_ends_full_and_shows_the_loss_and_the_speed_in_its_unit(shown):
    bar = Progress(20, 3, "pictures")
    for step in range(1, 21):
        bar.show(step, torch.tensor(step / 10))
    bar.close()
    last = shown.getvalue().split("\r")[-1]
    assert "20/20" in last and "loss 2.000" in last and "pictures/s" in last


def test_another_process_shows_nothing(shown, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    bar = Progress(2, 1, "tokens")
    bar.show(1, torch.tensor(0.0))
    bar.show(2, torch.tensor(0.0))
    bar.say("not heard")
    bar.close()
    assert shown.getvalue() == ""
