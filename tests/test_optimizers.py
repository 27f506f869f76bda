"""Tests of mini_models.optimizers: Muon against torch's, its step against the decomposition."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from mini_models.data import TextBatches
from mini_models.gpt import GPT, GPTConfig, gpt_loss
from mini_models.optimizers import SCHEDULES, Muon, make_optimizers, orthogonalise
from mini_models.train import TrainConfig, train

BATCHES = TextBatches([i * i % 11 for i in range(800)], context_length=8, batch_size=4)
SHORT = TrainConfig(steps=6, warmup=2, precision="fp32", checkpoint_every=4)


def small_gpt():
    torch.manual_seed(1)
    return GPT(GPTConfig(11, 8, n_layers=2, n_heads=2, d_model=16))


# agrees with an independent implementation


@pytest.mark.parametrize("shape", [(8, 20), (20, 8), (6, 6)])
def test_muon_takes_the_same_steps_as_torchs(shape):
    torch.manual_seed(0)
    ours = nn.Parameter(torch.randn(shape))
    theirs = nn.Parameter(ours.detach().clone())
    mine = Muon([ours], 0.02, weight_decay=0.1, dtype=torch.bfloat16)
    torchs = torch.optim.Muon([theirs], 0.02, weight_decay=0.1)
    for _ in range(20):
        ours.grad = torch.randn(shape)
        theirs.grad = ours.grad.clone()
        mine.step()
        torchs.step()
    assert_close(ours, theirs)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_orthogonalising_keeps_the_singular_vectors_and_levels_their_values(dtype):
    torch.manual_seed(0)
    left, right = (torch.linalg.qr(torch.randn(n, 6))[0] for n in (12, 7))
    values = torch.linspace(0.2, 1, 6)
    level = orthogonalise(left @ values.diag() @ right.T, dtype=dtype).float()
    inside = left.T @ level @ right  # diagonal if the singular vectors are the same
    assert (inside - inside.diag().diag()).abs().max() < 0.1
    assert inside.diag().min() > 0.6
    assert inside.diag().max() < 1.3


# properties


def test_muon_moves_every_linear_matrix_by_a_nearly_orthogonal_step():
    before, model = small_gpt(), small_gpt()
    config = replace(SHORT, steps=1, warmup=0, decay=0, optimizer="muon", weight_decay=0.0)
    train(model, BATCHES, gpt_loss, config)
    for name, p in model.named_parameters():
        step = p.detach() - before.get_parameter(name).detach()
        if p.ndim == 2 and "transformer" in name:  # all singular values near the rate
            singular = torch.linalg.svdvals(step) / (0.02 * max(1, p.shape[0] / p.shape[1]) ** 0.5)
            assert 0.5 < singular.median() < 1.3, name
        elif step.abs().max() > 0:  # AdamW's first step is the rate times the sign
            assert step.abs().max() <= 1.01e-3, name


def test_schedules_warm_up_to_the_peak_and_come_down_where_they_should():
    config = TrainConfig(steps=100, warmup=9, decay=0.5)
    factors = {n: [f(step, config) for step in range(100)] for n, f in SCHEDULES.items()}
    for factor in factors.values():
        assert factor[0] == pytest.approx(0.1) and max(factor) == pytest.approx(1.0)
    assert factors["constant"][9:] == [1.0] * 91
    assert factors["trapezoid"][9:51] == [1.0] * 42
    assert factors["trapezoid"][75] == pytest.approx(0.5)
    assert factors["trapezoid"][99] == pytest.approx(0.02)
    assert factors["cosine"][-1] == pytest.approx(0.1, abs=0.001)


def test_weights_of_layers_decay_and_all_else_does_not():
    model = nn.Sequential(nn.Conv1d(2, 3, 1), nn.LayerNorm(4), nn.Linear(4, 5), nn.Embedding(6, 7))
    for optimizer, muon in (("adamw", []), ("muon", [(5, 4)])):
        first, *others = make_optimizers(model, replace(SHORT, optimizer=optimizer))
        decays, rest = ([tuple(p.shape) for p in g["params"]] for g in first.param_groups)
        assert sorted(decays + muon) == [(3, 2, 1), (5, 4)]
        assert sorted(rest) == [(3,), (4,), (4,), (5,), (6, 7)]
        assert [g["weight_decay"] for g in first.param_groups] == [0.1, 0.0]
        assert [tuple(p.shape) for o in others for p in o.param_groups[0]["params"]] == muon
