"""Tests of the benchmarks, at sizes for any CPU: that their numbers are what they say they are."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mini_models.gpt import GPT, GPT2_SMALL, GPTConfig, gpt_loss

ROOT = Path(__file__).resolve().parents[2]
TINY = GPTConfig(vocab_size=50, context_length=16, n_layers=2, n_heads=2, d_model=32)
CPU = torch.device("cpu")


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import gpu

    return gpu


@pytest.fixture
def speed(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import speed

    monkeypatch.setattr(speed, "DEVICE", CPU)
    return speed


# agrees with an independent implementation


def test_both_models_take_the_same_steps(gpu):
    (ours, theirs) = gpu.pair(TINY, CPU)
    trainers = gpu.Trainer(ours, gpt_loss, False), gpu.Trainer(theirs, gpu.their_loss, False)
    batch = gpu.batch_of(TINY, 4, CPU)
    losses = [[t.step(batch).item() for _ in range(8)] for t in trainers]
    assert losses[0] == pytest.approx(losses[1], abs=0.01)
    assert losses[0][-1] < losses[0][0]


def test_utilisation_equals_the_count_by_hand(gpu):
    # GPT-2 small: 12 blocks of 12 · 768² weights and the output layer, each 2 FLOPs a token, and
    # attention's two products; 1,024 tokens, 4 rows, half a second, a card of 100 TFLOP/s
    a_token = 2 * (12 * 12 * 768**2 + 768 * 50257) + 12 * 4 * 1024 * 768
    by_hand = 3 * a_token * 1024 * 4 / 0.5 / 100e12
    assert gpu.utilisation(GPT2_SMALL, 4, 0.5, 100e12) == pytest.approx(by_hand)
    assert by_hand == pytest.approx(0.07, abs=1e-4)


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
@pytest.mark.filterwarnings("ignore")  # of the compiler's own
def test_our_gpt_compiles_in_one_piece_to_the_same_loss_and_gradient():
    torch.manual_seed(0)
    model = GPT(replace(TINY, n_layers=1))  # every layer takes the compiler as long
    ids = torch.randint(50, (2, 17))
    results = []
    for loss_of in (gpt_loss, torch.compile(gpt_loss, fullgraph=True, dynamic=False)):
        model.zero_grad()
        loss = loss_of(model, (ids[:, :-1], ids[:, 1:]))
        loss.backward()
        results.append((loss.detach(), [p.grad.clone() for p in model.parameters()]))
    torch.testing.assert_close(results[0], results[1], atol=1e-5, rtol=1e-3)


def test_both_berts_take_the_same_steps(speed):
    models = speed.bert_pair(2, 32, 2, 16)
    ids, real = (
        torch.randint(1000, (4, 16)),
        torch.arange(16) < torch.tensor([[16], [9], [12], [8]]),
    )
    steps = [  # the loss of each, and its step
        (lambda m: m(ids, attend=real)[real].square().mean()),
        (lambda m: m(ids, real.long()).last_hidden_state[real].square().mean()),
    ]
    losses = []
    for model, loss_of in zip(models, steps):
        step = speed.stepper(model.train(), loss_of)
        for _ in range(5):
            step()
        losses.append(loss_of(model).item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


# properties


@pytest.mark.parametrize("padded", [False, True])
def test_a_ratio_is_that_of_the_seconds_that_both_berts_took(speed, monkeypatch, padded):
    def medians(functions, rounds):
        for function in functions.values():
            function()
        return {model: 3.0 if type(model).__name__ == "BERT" else 2.0 for model in functions}

    monkeypatch.setattr(speed, "medians", medians)
    assert speed.bert(1, 8, 2, 6, 3, padded=padded) == [1.5, 1.5]


def test_what_is_measured_belongs_together(gpu):
    found = gpu.measure(TINY, CPU, rows=2, compiled=False, rounds=2)
    for name in ("ours", "theirs"):
        assert found["tokens"][name] * found["seconds"][name] == pytest.approx(2 * 16)
    assert found["losses"]["ours"] == pytest.approx(found["losses"]["theirs"], abs=0.02)


def test_what_stays_in_memory_is_weights_and_two_averages(gpu):
    trainer = gpu.Trainer(GPT(TINY), gpt_loss, False)
    trainer.step(gpu.batch_of(TINY, 2, CPU))
    weights = sum(p.nbytes for p in trainer.model.parameters())
    assert 3 * weights <= trainer.own_bytes() < 3.1 * weights


@pytest.mark.parametrize("room, rows", [(0, 0), (1, 1), (5, 4), (64, 64), (99999, 1024)])
def test_the_most_rows_are_the_largest_power_of_two_that_fits(gpu, room, rows):
    assert gpu.most_rows(lambda n: n <= room) == rows


@pytest.mark.parametrize(
    "card, tera",
    [
        ("NVIDIA H100 80GB HBM3", 989),
        ("NVIDIA H100 PCIe", 756),
        ("NVIDIA A100-SXM4-80GB", 312),
        ("NVIDIA A10", 125),
        ("NVIDIA L4", 121),
        ("NVIDIA L40S", 362),
        ("NVIDIA GeForce RTX 4090", 165),
    ],
)
def test_a_card_is_known_by_its_name(gpu, card, tera):
    assert gpu.peak(card) == tera * 1e12


@pytest.mark.parametrize("card", ["Tesla T4", "NVIDIA A10G", "NVIDIA GH200 480GB", "L40"])
def test_a_card_that_is_not_in_the_table_has_no_peak(gpu, card):
    assert gpu.peak(card) is None


# refuses


def test_without_a_gpu_it_says_so_and_measures_nothing(gpu, capsys, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    gpu.main()
    assert capsys.readouterr().out == "there is no GPU here: nothing is measured\n"


def test_models_that_start_with_other_losses_are_not_compared(gpu, monkeypatch):
    monkeypatch.setattr(gpu, "pair", lambda config, device: (GPT(TINY), GPT(TINY)))
    monkeypatch.setattr(gpu, "their_loss", lambda model, batch: 2 * gpt_loss(model, batch))
    with pytest.raises(SystemExit, match="do not start with the same loss"):
        gpu.measure(TINY, CPU, rows=2, compiled=False)


def test_berts_that_compute_different_vectors_are_not_compared(speed, monkeypatch):
    ours, theirs = speed.bert_pair(1, 8, 2, 6)
    ours.transformer.blocks[0].attention.out.weight.data *= 2
    monkeypatch.setattr(speed, "bert_pair", lambda *_: (ours, theirs))
    with pytest.raises(SystemExit, match="the two computed different vectors"):
        speed.bert(1, 8, 2, 6, 3, padded=True)
