"""Tests of mini_models.__main__: it trains, resumes, measures, writes, and refuses in a line."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch

from mini_models import experiments, recipes, zoo
from mini_models.__main__ import main
from mini_models.experiments import scaling
from mini_models.gan import GAN, GANConfig
from mini_models.machine.weights import read_safetensors
from mini_models.train import CHECKPOINT

TEXT = "To be, or not to be: that is the question.\n" * 60


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(TEXT, encoding="utf-8")
    return str(path)


def refusal(capsys, *arguments) -> str:
    """What the command says when it refuses: one line, and a non-zero exit."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        main(list(map(str, arguments)))
    [message] = capsys.readouterr().err.splitlines()
    assert stopped.value.code == 1 and message.startswith("error: ")
    return message


# the quick recipe, made quicker, in float32: here, and in each new process of a test
QUICKER = """
from dataclasses import replace
from mini_models.recipes import RECIPES

quick = RECIPES["gpt-shakespeare-quick"]
how = replace(quick.train, optimizer="adamw", lr=3e-3, schedule="constant", precision="fp32")
RECIPES["gpt-shakespeare-quick"] = replace(
    quick, model=replace(quick.model, d_model=32), train=replace(how, checkpoint_every=5)
)
"""


@pytest.fixture(autouse=True)
def quicker(monkeypatch):
    monkeypatch.setattr("mini_models.recipes.RECIPES", dict(recipes.RECIPES))
    exec(QUICKER, {})


def start(folder, *arguments, launcher=()):
    """`python -m mini_models train`, of the quicker recipe, in a process of its own or several."""
    (folder / "sitecustomize.py").write_text(QUICKER)  # which Python imports when it starts
    path = os.pathsep.join([str(folder), *sys.path])
    environment = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *launcher, "-m", "mini_models", "train", "gpt-shakespeare-quick"]
    return subprocess.Popen(
        [*command, *map(str, arguments)], env=environment, start_new_session=True, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def launch(folder, how, *arguments):
    """`accelerate launch ... -m mini_models train` in two processes."""
    launcher = ["-m", "accelerate.commands.launch", *how, "--num_processes", "2"]
    return start(folder, *arguments, launcher=[*launcher, "--main_process_port", "0"])


def ended(process, seconds):
    """What a launched run printed, to stdout and to stderr; nothing of it may outlive the test."""
    try:
        return process.communicate(timeout=seconds)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def rank(process) -> str | None:
    """Which of the launched processes it is; None if it is none, or has ended meanwhile."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.environ().get("RANK")


def train_quick(out, *more):
    main(["train", "gpt-shakespeare-quick", "--out", str(out), "--device", "cpu", *map(str, more)])


# property


def test_list_names_every_recipe_and_model(capsys):
    main(["list"])
    printed = capsys.readouterr().out
    assert "gpt-2022" in printed and "gpt-tang" in printed and "nats per character" in printed
    for name in experiments.EXPERIMENTS:
        assert f"\n  {name} " in printed


def test_measure_writes_what_the_measurement_found(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(scaling, "run", lambda say: say("slowly") or {"pi": 3})
    monkeypatch.chdir(tmp_path)
    main(["measure", "scaling"])
    assert capsys.readouterr().out == f"slowly\nwrote {Path('runs/scaling.json')}\n"
    main(["measure", "scaling", "--out", "elsewhere/found.json"])
    for path in ("runs/scaling.json", "elsewhere/found.json"):
        assert json.loads(Path(path).read_text()) == {"pi": 3}


def test_train_eval_and_write_work_on_a_text_of_ones_own(tmp_path, text, capsys):
    train_quick(tmp_path / "run", "--text", text, "--steps", 30)
    said = capsys.readouterr()
    assert "held out: " in said.out and "after 30 steps" in said.out
    assert "tokens/s" in said.err and "loss" in said.err
    model = tmp_path / "run" / "gpt-shakespeare-quick.safetensors"
    main(["eval", str(model), "--text", text])
    printed = capsys.readouterr().out
    assert f"{zoo.card(str(model))['held_out']:.4f}" in printed
    main(["write", str(model), "--prompt", "To be", "--tokens", "200"])
    assert len(capsys.readouterr().out) == len("To be") + 200 + 1  # past the context of 64


def test_the_same_seed_writes_the_same_text(capsys):
    texts = []
    for seed in (1, 1, 2):
        main(["write", "gpt-tang", "--prompt", "明", "--seed", str(seed)])
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1] != texts[2] and texts[0].startswith("明")


def test_one_token_to_choose_from_is_greedy_whatever_the_seed(capsys):
    texts = set()
    for how in (["--top-k", "1"], ["--top-p", "0.0001"], ["--temperature", "0"]):
        for seed in "12":
            main(["write", "gpt-tang", "--prompt", "明", "--seed", seed, *how])
            texts.add(capsys.readouterr().out)
    assert len(texts) == 1


def test_a_text_longer_than_the_context_goes_on(capsys):
    main(["write", "gpt-shakespeare", "--prompt", "ROMEO:\n" * 60, "--tokens", "5", "--seed", "0"])
    assert len(capsys.readouterr().out) == 7 * 60 + 5 + 1


@pytest.fixture
def painter(tmp_path):
    """An untrained GAN on disk."""
    torch.manual_seed(0)
    path = tmp_path / "painter.safetensors"
    model = GAN(GANConfig(latent=4, image_size=8, width=4, average=0.0))
    zoo.save(path, model, None, {"recipe": "none", "held_out": 1.0})
    return path


def test_draw_writes_pictures_and_the_same_seed_the_same(tmp_path, painter, capsys):
    drawn = []
    for seed in (1, 1, 2):
        out = tmp_path / "made" / "a.png"
        main(["draw", str(painter), "--out", str(out), "--seed", str(seed), "--images", "3"])
        assert capsys.readouterr().out == f"wrote {out}\n"
        drawn.append(out.read_bytes())
    assert drawn[0] == drawn[1] != drawn[2]


def test_fill_prints_the_guesses_for_each_hidden_token(capsys):
    main(["fill", "bert-tang", "--text", "床前明[MASK]光，疑是[MASK]上霜。", "--guesses", "3"])
    first, second = capsys.readouterr().out.splitlines()
    assert len(first.split("  ")) == len(second.split("  ")) == 3
    assert first.split()[0] == "月" and 0 < float(first.split()[1]) < 1


def test_what_cannot_be_filled_is_one_line(capsys):
    said = refusal(capsys, "fill", "gpt-tang", "--text", "[MASK]")
    assert "gpt-tang does not fill: choose one of bert-english, bert-tang" in said
    said = refusal(capsys, "fill", "bert-tang", "--text", "床前明月光")
    assert "write [MASK] for each hidden token" in said
    assert "do not fit in a context of 34" in refusal(
        capsys, "fill", "bert-tang", "--text", "[MASK]" * 40
    )


def test_a_killed_run_resumes_and_ends_as_if_it_had_not_been(tmp_path, text):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    how = ["--text", text, "--steps", "200"]
    process = start(tmp_path, *how, "--out", broken, "--device", "cpu")
    until = time.monotonic() + 120
    while not (broken / CHECKPOINT).exists() and process.poll() is None:
        assert time.monotonic() < until
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    done = len(read_safetensors(broken / CHECKPOINT)[0]["losses"])
    assert 5 <= done < 200
    train_quick(whole, *how)
    train_quick(broken, *how, "--resume")
    name = "gpt-shakespeare-quick.safetensors"
    (a, _), (b, _) = (read_safetensors(folder / name) for folder in (whole, broken))
    assert all(torch.equal(a[key], b[key]) for key in a)
    losses = [read_safetensors(folder / CHECKPOINT)[0]["losses"] for folder in (whole, broken)]
    assert torch.equal(*losses)


def test_stop_at_ends_a_run_early_at_its_held_out_loss(tmp_path, text, capsys, monkeypatch):
    monkeypatch.setattr("mini_models.recipes.training_run.STOP_EVERY", 10)
    train_quick(tmp_path, "--text", text, "--stop-at", "2.0")
    found, steps = re.search(
        r"held out: (.*) nats .* after (\d+) steps", capsys.readouterr().out
    ).groups()
    assert int(steps) in range(20, 100, 10) and 1.5 < float(found) < 2.01  # 8 bits are a bit worse


@pytest.mark.parametrize(
    "how, victim", [(["--multi_gpu"], "1"), (["--use_fsdp", "--fsdp_version", "2"], "0")]
)
def test_a_run_that_loses_a_process_says_so_and_resumes(tmp_path, text, how, victim):
    out, stored = tmp_path / "run", tmp_path / "run" / CHECKPOINT
    run = launch(tmp_path, how, "--text", text, "--out", out, "--steps", 100_000)
    until = time.monotonic() + 60
    while not stored.exists() and time.monotonic() < until:
        assert run.poll() is None, run.communicate()[1]
        time.sleep(0.05)
    [worker] = [p for p in psutil.Process(run.pid).children(recursive=True) if rank(p) == victim]
    worker.kill()
    killed = time.monotonic()
    said = ended(run, 60)[1]
    assert time.monotonic() - killed < 20
    assert run.returncode == 1
    assert said.count("a process of this run was lost, or told to end: the same command with") == 1
    assert "--resume continues from the last checkpoint" in said
    assert "mini_models/" not in said, "a traceback of ours"
    assert re.search(rf"Root Cause.*?rank +: {victim} .*?SIGKILL", said, re.DOTALL)

    steps = len(read_safetensors(stored)[0]["losses"]) + 5
    run = launch(tmp_path, how, "--text", text, "--out", out, "--steps", steps, "--resume")
    printed, said = ended(run, 60)
    assert run.returncode == 0, said
    assert printed.count("held out: ") == 1 and "tokens/s" in said
    model = out / "gpt-shakespeare-quick.safetensors"
    losses = read_safetensors(stored)[0]["losses"].tolist()
    train_quick(tmp_path / "whole", "--text", text, "--steps", steps)
    undisturbed = read_safetensors(tmp_path / "whole" / CHECKPOINT)[0]["losses"].tolist()
    assert losses == pytest.approx(undisturbed, abs=1e-3)
    whole = zoo.card(str(tmp_path / "whole" / model.name))["held_out"]
    assert zoo.card(str(model))["held_out"] == pytest.approx(whole, abs=1e-3)


# refuses


def test_several_processes_refuse_in_one_line(tmp_path, text):
    run = launch(tmp_path, ["--multi_gpu"], "--text", tmp_path / "none", "--out", tmp_path / "run")
    said = ended(run, 60)[1]
    assert run.returncode == 1 and said.count("error: ") == 1
    assert said.count("none cannot be read: No such file") == 1
    assert "mini_models/" not in said, "a traceback of ours"


def test_an_unknown_recipe_model_or_measurement_is_one_line(capsys):
    assert "no measurement 'pi': choose one of" in refusal(capsys, "measure", "pi")
    assert "no recipe 'gpt-9'" in refusal(capsys, "train", "gpt-9")
    assert "no model 'gpt-9'" in refusal(capsys, "write", "gpt-9")
    assert "no model 'gpt-9'" in refusal(capsys, "eval", "gpt-9")


def test_a_missing_an_empty_and_a_binary_text_are_one_line(tmp_path, capsys):
    path = tmp_path / "text"
    train = "train", "gpt-shakespeare-quick", "--out", tmp_path, "--text", path
    assert "cannot be read: No such file" in refusal(capsys, *train)
    path.write_text("  \n")
    assert "is empty" in refusal(capsys, *train)
    path.write_bytes(b"\x89PNG\r\n\x1a\n")
    assert "is not UTF-8 text (byte 0 is 0x89)" in refusal(capsys, *train)
    path.write_bytes(b"abc\0def")
    assert "holds a zero byte" in refusal(capsys, *train)
    assert not (tmp_path / CHECKPOINT).exists()


def test_characters_that_the_model_has_never_seen_are_named(capsys):
    said = refusal(capsys, "write", "gpt-shakespeare", "--prompt", "你好")
    assert "2 characters are not in this alphabet of 65: '你' '好'" in said


def test_a_truncated_checkpoint_is_one_line(tmp_path, text, capsys):
    train_quick(tmp_path, "--text", text, "--steps", 5)
    capsys.readouterr()
    path = tmp_path / CHECKPOINT
    path.write_bytes(path.read_bytes()[:-9])
    train = "train", "gpt-shakespeare-quick", "--text", text, "--out", tmp_path, "--resume"
    assert "damaged or cut short" in refusal(capsys, *train)
    model = tmp_path / "gpt-shakespeare-quick.safetensors"
    model.write_bytes(model.read_bytes()[:100])
    assert "damaged or cut short" in refusal(capsys, "write", model)


def test_a_checkpoint_of_another_recipe_is_one_line(tmp_path, text, capsys):
    train_quick(tmp_path, "--text", text, "--steps", 5)
    capsys.readouterr()
    said = refusal(capsys, "train", "gpt-2022", "--text", text, "--out", tmp_path, "--resume")
    assert "was trained with" in said


def test_a_run_is_not_overwritten_and_not_resumed_from_nothing(tmp_path, text, capsys):
    train = "train", "gpt-shakespeare-quick", "--text", text, "--out", tmp_path
    assert "nothing to load" in refusal(capsys, *train, "--resume")
    train_quick(tmp_path, "--text", text, "--steps", 5)
    capsys.readouterr()
    assert "holds a run already: continue it with --resume" in refusal(capsys, *train)


def test_a_full_disk_is_refused_before_training(tmp_path, text, capsys, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 1000}))
    said = refusal(capsys, "train", "gpt-shakespeare-quick", "--text", text, "--out", tmp_path)
    assert "has room for 1,000 bytes, and the run needs" in said


def test_an_out_that_is_a_file_is_one_line(text, capsys):
    said = refusal(capsys, "train", "gpt-shakespeare-quick", "--text", text, "--out", text)
    assert "File exists" in said or "Not a directory" in said


def test_a_device_that_is_not_there_and_numbers_that_make_no_sense_are_one_line(capsys, tmp_path):
    train = "train", "gpt-shakespeare-quick", "--out", tmp_path
    said = refusal(capsys, *train, "--device", "abacus")
    assert "the device 'abacus' cannot be used here" in said
    assert "'0' is not a whole number above 0" in refusal(capsys, *train, "--steps", "0")
    assert "temperature is -1.0" in refusal(capsys, "write", "gpt-tang", "--temperature", "-1")
    assert "top_p is 1.5" in refusal(capsys, "write", "gpt-tang", "--top-p", "1.5")
    assert "top_k is 0" in refusal(capsys, "write", "gpt-tang", "--top-k", "0")


def test_what_cannot_be_drawn_is_one_line(tmp_path, painter, capsys):
    out = tmp_path / "a.png"
    assert "does not draw: choose one of" in refusal(capsys, "draw", "gpt-tang", "--out", out)
    assert "does not write: choose one of gpt-" in refusal(capsys, "write", painter)
    said = refusal(capsys, "draw", painter, "--prompt", "a cat", "--out", out)
    assert "reads no text: draw without a prompt" in said
    said = refusal(capsys, "draw", painter, "--out", tmp_path / "a.jpg")
    assert "give one that ends in .png" in said
    assert "no model 'dall-e'" in refusal(capsys, "draw", "dall-e", "--out", out)
    assert not out.exists()


def test_eval_on_another_text_is_refused(capsys, text):
    assert "was trained on other data" in refusal(capsys, "eval", "gpt-tang", "--text", text)
