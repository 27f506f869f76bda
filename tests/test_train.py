"""Tests of mini_models.train: against a plain torch loop, across kills, and across processes."""

import math
import signal
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.testing import assert_close
from workers import BATCHES, FLAT, SHORT, TEXT, in_new_processes, small_gpt

from mini_models.data import windows
from mini_models.gpt import GPT, GPTConfig, gpt_loss
from mini_models.machine.devices import prefers_bf16
from mini_models.optimizers import SCHEDULES
from mini_models.train import CHECKPOINT, TrainConfig, evaluate, train


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def squares(model, batch):
    return ((model(batch[0]) - batch[1]) ** 2).mean()


# agrees with an independent implementation


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_adamw_training_equals_a_plain_torch_loop(schedule):
    config = replace(SHORT, schedule=schedule)
    ours, theirs = small_gpt(), small_gpt()
    losses = train(ours, BATCHES, gpt_loss, config)
    matrix = [p for n, p in theirs.named_parameters() if p.ndim == 2 and "transformer" in n]
    others = [p for p in theirs.parameters() if all(p is not q for q in matrix)]
    groups = [{"params": matrix}, {"params": others, "weight_decay": 0}]
    optimizer = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1)
    for step in range(6):
        inputs, targets = BATCHES[step]
        loss = nn.functional.cross_entropy(theirs(inputs).transpose(1, 2), targets)
        assert loss.item() == pytest.approx(losses[step], abs=1e-5)
        loss.backward()
        nn.utils.clip_grad_norm_(theirs.parameters(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 * SCHEDULES[schedule](step, config)
        optimizer.step()
        optimizer.zero_grad()
    assert_close(weights(ours), weights(theirs))


def test_slices_of_a_batch_give_the_same_step_as_the_whole_batch():
    whole, sliced = small_gpt(), small_gpt()
    train(whole, BATCHES, gpt_loss, SHORT)
    train(sliced, BATCHES, gpt_loss, replace(SHORT, accumulate=4))
    assert_close(weights(whole), weights(sliced), atol=1e-6, rtol=0)


@pytest.mark.parametrize("how", [("--multi_gpu",), ("--use_fsdp", "--fsdp_version", "2")])
def test_two_processes_give_the_same_weights_as_one(tmp_path, monkeypatch, how):
    # in float32: bfloat16 would make the last bit of a sum over processes a hundredth of a step
    monkeypatch.setattr("mini_models.optimizers.prefers_bf16", lambda device: False)
    script = tmp_path / "worker.py"
    script.write_text(
        "import os, sys; from dataclasses import replace\n"
        "from workers import *; from mini_models.gpt import gpt_loss\n"
        "from mini_models.train import train; import mini_models.optimizers\n"
        "mini_models.optimizers.prefers_bf16 = lambda device: False\n"
        "for optimizer in ('adamw', 'muon'):\n"
        "    out, model = sys.argv[1] + '/' + optimizer, small_gpt()\n"
        "    torch.nn.init.zeros_(model.tokens.weight[11 - int(os.environ['RANK']) :])\n"
        "    train(model, BATCHES, gpt_loss, replace(FLAT, optimizer=optimizer), out)\n"
        "parts = [p.to_local() if hasattr(p, 'to_local') else p for p in model.parameters()]\n"
        "here = sum(part.numel() for part in parts)\n"
        "open(sys.argv[1] + '/held.' + os.environ['RANK'], 'w').write(str(here))\n"
    )
    launcher = ["-m", "accelerate.commands.launch", *how, "--num_processes", "2"]
    launcher += ["--main_process_port", "0"]
    run = in_new_processes(script, tmp_path, launcher=launcher)
    assert run.returncode == 0, run.stderr
    whole = weights(small_gpt()).numel()
    held = [int((tmp_path / f"held.{rank}").read_text()) for rank in (0, 1)]
    if how == ("--multi_gpu",):
        assert held == [whole, whole]
    else:
        assert sum(held) == whole and max(held) < 0.52 * whole
    for optimizer in ("adamw", "muon"):
        model = small_gpt()
        config = replace(FLAT, optimizer=optimizer)
        losses = train(model, BATCHES, gpt_loss, config)
        theirs = load_file(tmp_path / optimizer / CHECKPOINT)
        assert "rng.1.0" in theirs, "only one process took part"
        assert_close(theirs["losses"], torch.tensor(losses), atol=1e-5, rtol=0)
        for name, value in model.state_dict().items():
            assert_close(theirs[f"model.{name}"], value, atol=1e-5, rtol=0)
        longer, alone, whole = replace(config, steps=9), small_gpt(), small_gpt()
        train(alone, BATCHES, gpt_loss, longer, tmp_path / optimizer, resume=True)
        train(whole, BATCHES, gpt_loss, longer)
        assert_close(weights(alone), weights(whole), atol=1e-5, rtol=0)


# properties


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_killed_run_resumes_to_the_same_weights_bit_for_bit(tmp_path, optimizer):
    script = tmp_path / "victim.py"
    script.write_text(
        "import os, signal, sys; from dataclasses import replace; from workers import *\n"
        "from mini_models.gpt import gpt_loss; from mini_models.train import train\n"
        "die = lambda step, loss: step == 7 and os.kill(os.getpid(), signal.SIGKILL)\n"
        "config = replace(SHORT, steps=12, optimizer=sys.argv[2])\n"
        "train(small_gpt(dropout=0.2), BATCHES, gpt_loss, config, sys.argv[1], on_step=die)\n"
    )
    config = replace(SHORT, steps=12, optimizer=optimizer)
    threads = torch.get_num_threads()  # more would round differently
    victim = in_new_processes(script, tmp_path, optimizer, threads=threads)
    whole, resumed = small_gpt(dropout=0.2), small_gpt(dropout=0.2)
    losses = train(whole, BATCHES, gpt_loss, config)
    assert victim.returncode == -signal.SIGKILL, victim.stderr
    seen = []
    again = train(resumed, BATCHES, gpt_loss, config, tmp_path, resume=True,
                  on_step=lambda step, loss: seen.append(step))  # fmt: skip
    assert seen[0] == 5  # the last checkpoint was of step 4
    assert again == losses
    assert torch.equal(weights(whole), weights(resumed))


def test_a_failed_write_leaves_the_last_checkpoint_whole(tmp_path, monkeypatch):
    train(small_gpt(), BATCHES, gpt_loss, SHORT, tmp_path)
    before = (tmp_path / CHECKPOINT).read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(OSError, match="No space"):
        train(small_gpt(), BATCHES, gpt_loss, replace(SHORT, steps=8), tmp_path, resume=True)
    assert (tmp_path / CHECKPOINT).read_bytes() == before


def test_evaluate_counts_every_target_once_and_keeps_the_mode():
    model = small_gpt(dropout=0.5).train()
    batches = windows(TEXT[:100], context_length=8, batch_size=5)  # the last is shorter
    count = [int((targets != -100).sum()) for _, targets in batches]
    assert sum(count) == 99 and len(set(count)) > 1
    found = evaluate(model, batches, gpt_loss)
    assert model.training
    model.eval()
    losses = [gpt_loss(model, b).item() for b in batches]
    assert found == pytest.approx(sum(c * x for c, x in zip(count, losses)) / 99, abs=1e-6)


def test_training_keeps_the_mode_and_stops_when_asked():
    model = small_gpt().eval()
    losses = train(model, BATCHES, gpt_loss, SHORT, on_step=lambda step, loss: step == 3)
    assert len(losses) == 3 and not model.training


def test_batches_may_be_dicts_and_losses_of_any_kind():
    x = torch.randn(4, 3)
    layer = nn.Linear(3, 1)
    config = replace(SHORT, steps=40, lr=0.1, weight_decay=0.0)
    losses = train(layer, [{"x": x, "y": x.sum(1, keepdim=True)}] * 40,
                   lambda m, b: squares(m, (b["x"], b["y"])), config)  # fmt: skip
    assert losses[-1] < 0.05 * losses[0]
    assert evaluate(layer, [(x, x.sum(1, keepdim=True))], squares) < 0.05 * losses[0]


# refuses


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_checkpoint(tmp_path):
    class Poison:
        def __getitem__(self, step):
            return BATCHES[step] if step != 5 else None

    def loss_of(model, batch):
        loss = gpt_loss(model, batch)
        return loss * math.nan if len(seen) == 5 else loss

    seen = []
    with pytest.raises(ValueError, match="loss of step 6 is nan: try a lower learning rate"):
        train(small_gpt(), BATCHES, loss_of, replace(SHORT, steps=8), tmp_path,
              on_step=lambda step, loss: seen.append(step))  # fmt: skip
    assert len(load_file(tmp_path / CHECKPOINT)["losses"]) == 4


@pytest.mark.parametrize(
    "change, message",
    [
        ({"steps": 0}, "steps is 0: it must be at least 1"),
        ({"optimizer": "sgd"}, "optimizer 'sgd' is unknown: choose one of adamw, muon"),
        ({"schedule": "step"}, "schedule 'step' is unknown: choose one of constant"),
        ({"precision": "fp8"}, "precision 'fp8' is unknown"),
    ],
)
def test_a_wrong_setting_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        replace(SHORT, **change)


def test_rows_that_cannot_be_shared_are_refused():
    with pytest.raises(ValueError, match="a batch of 4 rows cannot be shared .* a multiple of 3"):
        train(small_gpt(), BATCHES, gpt_loss, replace(SHORT, accumulate=3))


def test_resuming_what_does_not_fit_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no checkpoint.safetensors in .*: nothing to load"):
        train(small_gpt(), BATCHES, gpt_loss, SHORT, tmp_path, resume=True)
    with pytest.raises(ValueError, match="no directory to resume from"):
        train(small_gpt(), BATCHES, gpt_loss, SHORT, resume=True)
    train(small_gpt(), BATCHES, gpt_loss, SHORT, tmp_path)
    with pytest.raises(ValueError, match="trained with lr=0.001, not 0.002"):
        train(small_gpt(), BATCHES, gpt_loss, replace(SHORT, lr=2e-3), tmp_path, resume=True)
    wider = GPT(GPTConfig(11, 8, n_layers=2, n_heads=2, d_model=32))
    with pytest.raises(ValueError, match=r"has shape \[8, 16\], this one's \[8, 32\]"):
        train(wider, BATCHES, gpt_loss, SHORT, tmp_path, resume=True)
    path = tmp_path / CHECKPOINT
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match="damaged or cut short"):
        train(small_gpt(), BATCHES, gpt_loss, SHORT, tmp_path, resume=True)


def test_measuring_on_nothing_is_refused():
    with pytest.raises(ValueError, match="no target to measure on"):
        evaluate(small_gpt(), [], gpt_loss)


# learns


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_small_gpt_learns_a_rule(optimizer, precision):
    torch.manual_seed(0)
    model = small_gpt()
    config = TrainConfig(steps=120, lr=1e-2, warmup=5, optimizer=optimizer, precision=precision)
    before = evaluate(model, windows(TEXT, 8), gpt_loss)
    losses = train(model, BATCHES, gpt_loss, config)
    assert before > 2.2  # log 11 = 2.4
    assert losses[-1] < 0.4
    assert isinstance(prefers_bf16(torch.device("cpu")), bool)


def test_a_batch_without_a_target_does_not_count():
    model, (inputs, targets) = small_gpt(), BATCHES[0]
    nothing = (inputs, torch.full_like(targets, -100))
    assert evaluate(model, [(inputs, targets), nothing], gpt_loss) == pytest.approx(
        gpt_loss(model, (inputs, targets)).item()
    )
    with pytest.raises(ValueError, match="there is no target to measure on"):
        evaluate(model, [nothing], gpt_loss)


def test_a_clip_of_zero_is_no_limit():
    free, open_ended = small_gpt(), small_gpt()
    losses = train(free, BATCHES, gpt_loss, replace(SHORT, clip=0))
    assert losses == train(open_ended, BATCHES, gpt_loss, replace(SHORT, clip=math.inf))
    assert_close(weights(free), weights(open_ended), rtol=0, atol=0)
    assert losses[-1] < losses[0]
