"""Tests of python -m mini_models: it trains, resumes, measures, writes, and refuses in a line."""

import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from mini_models import zoo
from mini_models.__main__ import main
from mini_models.train import CHECKPOINT, read_safetensors

TEXT = "To be, or not to be: that is the question.\n" * 60


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(TEXT, encoding="utf-8")
    return str(path)


def refusal(capsys, *arguments) -> str:
    """What the command says when it refuses: one line, and a non-zero exit."""
    with pytest.raises(SystemExit) as stopped:
        main(list(map(str, arguments)))
    message = stopped.value.code
    if message == 2:  # argparse prints its own
        message = capsys.readouterr().err.strip().splitlines()[-1]
    assert isinstance(message, str) and "\n" not in message
    return message


def train_quick(out, *more):
    main(["train", "gpt-shakespeare-quick", "--out", str(out), "--device", "cpu", *map(str, more)])


# property


def test_list_names_every_recipe_and_model(capsys):
    main(["list"])
    printed = capsys.readouterr().out
    assert "gpt-2022" in printed and "gpt-tang" in printed and "nats per character" in printed


def test_train_eval_and_write_work_on_a_text_of_ones_own(tmp_path, text, capsys):
    train_quick(tmp_path / "run", "--text", text, "--steps", 30)
    said = capsys.readouterr()
    assert "held-out loss" in said.out and "after 30 steps" in said.out
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


def test_a_text_longer_than_the_context_goes_on(capsys):
    main(["write", "gpt-shakespeare", "--prompt", "ROMEO:\n" * 60, "--tokens", "5", "--seed", "0"])
    assert len(capsys.readouterr().out) == 7 * 60 + 5 + 1


def test_a_killed_run_resumes_and_ends_as_if_it_had_not_been(tmp_path, text):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    train_quick(whole, "--text", text, "--steps", 150)
    command = [sys.executable, "-m", "mini_models", "train", "gpt-shakespeare-quick"]
    command += ["--text", text, "--steps", "150", "--out", str(broken), "--device", "cpu"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE)
    until = time.monotonic() + 120
    while not (broken / CHECKPOINT).exists() and time.monotonic() < until:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    done = len(read_safetensors(broken / CHECKPOINT)[0]["losses"])
    assert 100 <= done < 150
    train_quick(broken, "--text", text, "--steps", 150, "--resume")
    name = "gpt-shakespeare-quick.safetensors"
    (a, _), (b, _) = (read_safetensors(folder / name) for folder in (whole, broken))
    assert all(torch.equal(a[key], b[key]) for key in a)


def test_stop_at_ends_a_run_early_at_its_held_out_loss(tmp_path, text, capsys):
    train_quick(tmp_path, "--text", text, "--stop-at", "2.0")
    assert "after 100 steps" in capsys.readouterr().out


# refuses


def test_an_unknown_recipe_or_model_is_one_line(capsys):
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


def test_eval_on_another_text_is_refused(capsys, text):
    assert "was trained on another text" in refusal(capsys, "eval", "gpt-tang", "--text", text)
