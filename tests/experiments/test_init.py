"""Tests of mini_models.experiments: each is found by its name, repeated, and stored."""

import json

import pytest

from mini_models import experiments
from mini_models.experiments import EXPERIMENTS, gan_ring, module_of, repeat, results

# agrees with the files


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_what_is_stored_is_read_as_json_has_it(name):
    stored = (experiments.RESULTS / f"{name}.json").read_text(encoding="utf-8")
    assert results(name) == json.loads(stored)


def test_nothing_is_stored_but_what_can_be_repeated():
    assert {path.stem for path in experiments.RESULTS.glob("*.json")} == set(EXPERIMENTS)


# properties


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_each_experiment_is_a_module_that_says_what_it_asks(name):
    module = module_of(name)
    assert module.__name__ == "mini_models.experiments." + name.replace("-", "_")
    assert callable(module.run) and len(module.__doc__.splitlines()[0]) > 20


def test_repeating_writes_what_a_run_finds_and_passes_on_what_it_says(tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr(gan_ring, "run", lambda say: say("slowly") or {"1": [0.5, "é"]})
    repeat("gan-ring", tmp_path / "new" / "gan_ring.json", told.append)
    written = (tmp_path / "new" / "gan_ring.json").read_text(encoding="utf-8")
    assert json.loads(written) == {"1": [0.5, "é"]} and "é" in written and told == ["slowly"]
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["gan_ring.json"]


def test_a_run_that_fails_leaves_what_was_found_before(tmp_path, monkeypatch):
    def fails(say):
        raise RuntimeError("the disk is on fire")

    (tmp_path / "gan_ring.json").write_text("{}")
    monkeypatch.setattr(gan_ring, "run", fails)
    with pytest.raises(RuntimeError, match="on fire"):
        repeat("gan-ring", tmp_path / "gan_ring.json")
    assert (tmp_path / "gan_ring.json").read_text() == "{}"


# refuses


def test_an_unknown_experiment_is_refused_with_the_known_ones(tmp_path):
    with pytest.raises(ValueError, match="no measurement 'pi': choose one of dvae, finetuning, "):
        module_of("pi")
    with pytest.raises(ValueError, match="no measurement 'pi': choose one of dvae, finetuning, "):
        repeat("pi", tmp_path / "pi.json")
    with pytest.raises(ValueError, match="no results 'pi': choose one of dvae, finetuning, gan-r"):
        results("pi")
    assert not list(tmp_path.iterdir())
