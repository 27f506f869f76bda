"""Tests of mini_models.recipes.training_run: what a run says, refuses and leaves."""

import json
from dataclasses import replace

import pytest
import torch
from torch import nn

from mini_models import recipes, zoo
from mini_models.gan import GAN, GANConfig
from mini_models.gpt import GPT, GPTConfig
from mini_models.machine.weights import read_safetensors
from mini_models.recipes import training_run as runs
from mini_models.recipes.task import Task
from mini_models.train import CHECKPOINT, evaluate

TEXT = "To be, or not to be: that is the question.\n" * 60


@pytest.fixture
def tiny(monkeypatch):
    """The name of a recipe that takes no time."""
    quick = recipes.get("gpt-shakespeare-quick")
    small = replace(
        quick,
        model=replace(quick.model, n_layers=1, d_model=16),
        train=replace(quick.train, optimizer="adamw", precision="fp32", steps=4, warmup=1),
        batch_size=4,
    )
    monkeypatch.setitem(recipes.RECIPES, "tiny", small)
    return "tiny"


def task_of(measure):
    model = nn.Linear(1, 1)
    return Task(model, [], None, measure, "mistakes", "0")


# agrees with the recipe, followed by hand


def test_what_is_saved_is_what_training_the_recipe_comes_to(tiny, tmp_path, capsys):
    runs.follow(tiny, TEXT, device="cpu", out=tmp_path)
    task = recipes.get(tiny).prepare(TEXT)
    model, tokenizer = zoo.load(str(tmp_path / "tiny.safetensors"))
    card = json.loads((tmp_path / "tiny.json").read_text())
    assert card["held_out"] == pytest.approx(evaluate(model, task.held_out, task.loss), abs=1e-4)
    assert card["parameters"] == sum(p.numel() for p in task.model.parameters())
    assert (card["recipe"], card["steps"], card["seed"], card["device"]) == ("tiny", 4, 0, "cpu")
    assert card["unit"] == task.unit and card["data_sha256"] == task.data_sha256
    assert tokenizer.characters == task.tokenizer.characters and "warnings" not in card
    assert f"held out: {card['held_out']:.4f} nats per character, after 4 steps" in (
        capsys.readouterr().out
    )


# properties


def test_a_run_goes_on_from_where_it_was(tiny, tmp_path):
    runs.follow(tiny, TEXT, device="cpu", out=tmp_path / "whole", steps=9)
    runs.follow(tiny, TEXT, device="cpu", out=tmp_path / "parts", steps=9, stop_at=None)
    whole, again = (read_safetensors(tmp_path / f / CHECKPOINT)[0] for f in ("whole", "parts"))
    assert len(whole["losses"]) == 9 and torch.equal(whole["losses"], again["losses"])
    runs.follow(tiny, TEXT, device="cpu", out=tmp_path / "parts", steps=9, resume=True)
    assert torch.equal(
        read_safetensors(tmp_path / "parts" / CHECKPOINT)[0]["losses"], again["losses"]
    )


def test_the_goal_is_looked_for_now_and_then_and_the_model_goes_on_training(monkeypatch):
    asked, figures = [], iter([3.0, 2.0])

    def measure(model):
        asked.append(model.training)
        return {"held_out": next(figures)}

    task = task_of(measure)
    reached = runs.stopper(task, 2.0)
    steps = [step for step in range(1, 2 * runs.STOP_EVERY + 1) if reached(step)]
    assert steps == [2 * runs.STOP_EVERY] and asked == [False, False] and task.model.training
    assert not runs.stopper(task, None)(runs.STOP_EVERY)  # nothing is measured


def test_what_one_may_do_next_depends_on_the_model(tmp_path):
    path = tmp_path / "m.safetensors"
    writer = GPT(GPTConfig(3, 8, n_layers=1, n_heads=1, d_model=4))
    assert runs.next_command(writer, path).endswith(f"python -m mini_models write {path}")
    painter = GAN(GANConfig(latent=4, image_size=8, width=4))
    assert runs.next_command(painter, path).endswith(f"draw {path} --out drawn.png")
    classifier = zoo.load("classifier-fashion")[0]
    assert runs.next_command(classifier, path) == ""


def test_what_is_lost_with_a_process_is_said(tmp_path):
    assert "nothing had been saved yet, so start it again" in runs.lost(tmp_path)
    (tmp_path / CHECKPOINT).touch()
    assert f"--resume continues from the last checkpoint in {tmp_path}" in runs.lost(tmp_path)


# refuses


def test_a_run_is_not_begun_where_another_is(tmp_path):
    runs.refuse_started(tmp_path, resume=False)
    (tmp_path / CHECKPOINT).touch()
    runs.refuse_started(tmp_path, resume=True)
    with pytest.raises(ValueError, match="holds a run already: continue it with --resume, or give"):
        runs.refuse_started(tmp_path, resume=False)


def test_a_disk_without_room_is_refused_and_the_folder_made(tmp_path):
    runs.refuse_full_disk(tmp_path / "a" / "b", 1000)
    assert (tmp_path / "a" / "b").is_dir()
    with pytest.raises(
        ValueError, match=r"has room for .* bytes, and the run needs 1,000,000,000,"
    ):
        runs.refuse_full_disk(tmp_path, 10**18)


def test_a_device_that_is_not_there_is_refused(monkeypatch):
    assert runs.device_named("cpu") == torch.device("cpu") == runs.device_of_run("cpu")
    assert runs.device_named(None).type in ("cpu", "cuda", "mps")
    with pytest.raises(ValueError, match="the device 'abacus' cannot be used here .*: try cpu"):
        runs.device_named("abacus")
    for name, value in {"WORLD_SIZE": "2", "RANK": "0"}.items():  # as a launcher has it
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    with pytest.raises(ValueError, match="processes train on cuda, not on cpu: leave out --device"):
        runs.device_of_run("cpu")


def test_an_unknown_recipe_is_refused_before_anything_is_made(tmp_path):
    with pytest.raises(ValueError, match="there is no recipe 'gpt-9': choose one of gpt-shakes"):
        runs.follow("gpt-9", out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
