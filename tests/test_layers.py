"""Tests of mini_models.layers: against torch's, transformers', formulas and finite differences."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.testing import assert_close
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding, apply_rotary_pos_emb

from mini_models.layers import (
    ACTIVATIONS,
    FeedForward,
    LayerNorm,
    LearnedPositions,
    Rotary,
    SinusoidalPositions,
    gelu,
    relu,
    sinusoidal_positions,
)

B, T, D, WIDE, K = 3, 6, 8, 20, 8
FORMULAS = {"relu": relu, "gelu": gelu, "gelu_tanh": lambda x: gelu(x, "tanh")}


def draw(*shape, dtype=torch.float32, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def feed_forward(activation="gelu", **options):
    torch.manual_seed(0)
    return FeedForward(D, WIDE, activation, **options).eval()


# agrees with an independent implementation


@pytest.mark.parametrize("eps", [1e-5, 1e-12, 0.1])
def test_layer_norm_equals_torchs_and_its_formula(eps):
    ours, theirs, x = LayerNorm(D, eps), nn.LayerNorm(D, eps), 3 * draw(B, T, D) + 2
    for layer in (ours, theirs):
        layer.load_state_dict({"weight": draw(D, seed=1), "bias": draw(D, seed=2)})
    assert_close(ours(x), theirs(x))
    for row, out in zip(x.flatten(0, 1).tolist(), ours(x).flatten(0, 1).tolist()):
        mean = sum(row) / D
        deviation = math.sqrt(sum((value - mean) ** 2 for value in row) / D + eps)
        wanted = [(value - mean) / deviation for value in row]
        wanted = [w * a + b for w, a, b in zip(wanted, ours.weight.tolist(), ours.bias.tolist())]
        assert out == pytest.approx(wanted, abs=1e-5)


def test_gelu_is_x_times_the_normal_distribution_function():
    x = torch.linspace(-6, 6, 101, dtype=torch.float64)
    below = torch.distributions.Normal(0.0, 1.0).cdf(x)
    assert_close(gelu(x), x * below)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_the_formula_of_each_activation_equals_its_fused_kernel_and_its_gradient(name):
    x = torch.linspace(-6, 6, 101, dtype=torch.float64, requires_grad=True)
    assert FORMULAS.keys() == ACTIVATIONS.keys()
    out, fused = FORMULAS[name](x), ACTIVATIONS[name](x)
    assert_close(out, fused)
    (slope,), (expected,) = (torch.autograd.grad(y.sum(), x) for y in (out, fused))
    kink = x.detach().abs() < 1e-9  # relu has no slope at zero
    assert_close(slope[~kink], expected[~kink])


def test_both_forms_of_gelu_equal_torchs_and_differ_from_each_other():
    x = draw(1000)
    assert_close(gelu(x), F.gelu(x))
    assert_close(gelu(x, "tanh"), F.gelu(x, approximate="tanh"))
    assert 1e-5 < (gelu(x) - gelu(x, "tanh")).abs().max() < 1e-3


@pytest.mark.parametrize(
    "name, theirs",
    [("relu", nn.ReLU()), ("gelu", nn.GELU()), ("gelu_tanh", nn.GELU(approximate="tanh"))],
)
def test_the_feed_forward_equals_two_linear_layers_of_torch(name, theirs):
    ours = feed_forward(name)
    torchs = nn.Sequential(nn.Linear(D, WIDE), theirs, nn.Linear(WIDE, D))
    torchs.load_state_dict(dict(zip(torchs.state_dict(), ours.state_dict().values())))
    x = draw(B, T, D)
    assert_close(ours(x), torchs(x))


@pytest.mark.parametrize("layer", [LayerNorm(D), FeedForward(D, WIDE), Rotary(K)])
def test_gradients_equal_finite_differences(layer):
    x = draw(2, 3, D, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(layer.double(), x)


def test_sinusoidal_positions_follow_the_papers_formula():
    table = sinusoidal_positions(T, D, start=3)
    for row in range(T):
        for i in range(D // 2):
            angle = (row + 3) / 10000 ** (2 * i / D)
            assert table[row, 2 * i].item() == pytest.approx(math.sin(angle), abs=1e-6)
            assert table[row, 2 * i + 1].item() == pytest.approx(math.cos(angle), abs=1e-6)


def test_rotary_turns_each_pair_as_a_complex_number():
    x, rotary = draw(B, T, K, dtype=torch.float64), Rotary(K)
    pairs = torch.complex(x[..., : K // 2], x[..., K // 2 :])
    for t in range(T):
        for i in range(K // 2):
            angle = torch.tensor((t + 5) * 10000 ** (-2 * i / K), dtype=torch.float64)
            pairs[:, t, i] *= torch.polar(torch.ones_like(angle), angle)
    wanted = torch.cat([pairs.real, pairs.imag], dim=-1)
    assert_close(rotary(x, start=5), wanted, atol=1e-5, rtol=0)


def test_rotary_equals_that_of_llama():
    theirs = LlamaRotaryEmbedding(LlamaConfig(hidden_size=2 * K, num_attention_heads=2))
    q, k = draw(B, 2, T, K), draw(B, 2, T, K, seed=1)
    cos, sin = theirs(q, torch.arange(T)[None])
    for mine, other in zip((q, k), apply_rotary_pos_emb(q, k, cos, sin)):
        assert_close(Rotary(K)(mine), other)


# properties


def test_layer_norm_forgets_the_mean_and_the_scale():
    x, norm = draw(B, T, D), LayerNorm(D)
    out = norm(x)
    assert_close(out.mean(-1), torch.zeros(B, T))
    assert_close(out.var(-1, correction=0), torch.ones(B, T), atol=1e-3, rtol=0)
    assert_close(norm(5 * x + 7), out, atol=1e-3, rtol=0)
    assert (norm(torch.full((D,), 3.0)) == 0).all()  # no division by zero


def test_the_feed_forward_treats_every_position_alike():
    model, x, order = feed_forward(), draw(B, T, D), torch.tensor([3, 0, 5, 4, 1, 2])
    assert_close(model(x[:, order]), model(x)[:, order])
    assert_close(model(x)[1, 2], model(x[1, 2]))


def test_dropout_acts_in_training_only():
    model, x = feed_forward(dropout=0.5), draw(B, T, D)
    assert_close(model(x), feed_forward()(x))
    out, plain = model.train()(x), feed_forward()(x)
    kept = out != 0
    assert 0.3 < kept.float().mean() < 0.7
    assert_close(out[kept], 2 * plain[kept])  # what is kept makes up for what is dropped


@pytest.mark.parametrize("layer", [LearnedPositions(9, D), SinusoidalPositions(9, D)])
def test_positions_that_start_later_continue_those_before(layer):
    assert layer(9).shape == (9, D)
    assert_close(torch.cat([layer(4), layer(5, start=4)]), layer(9))


def test_only_learned_positions_have_weights():
    assert [p.shape for p in LearnedPositions(9, D).parameters()] == [(9, D)]
    assert not SinusoidalPositions(9, D).state_dict() and not Rotary(K).state_dict()


def test_sinusoids_go_on_behind_the_end_of_their_table():
    assert_close(SinusoidalPositions(4, D)(6, start=2), sinusoidal_positions(6, D, start=2))


def test_shifting_a_sinusoid_is_the_same_turn_at_every_position():
    table = sinusoidal_positions(50, D).double()
    turn = torch.linalg.lstsq(table[:40], table[3:43]).solution  # [D, D]
    assert_close(table[40:47] @ turn, table[43:50], atol=1e-4, rtol=0)


def test_a_rotary_dot_product_depends_on_the_distance_only():
    rotary, q, k = Rotary(K), draw(1, K), draw(1, K, seed=1)

    def dot(m, n):
        return (rotary(q, m) @ rotary(k, n).T).item()

    for m, n in [(0, 0), (5, 2), (2, 5), (0, 40)]:
        for shift in (1, 7, 60):
            assert dot(m + shift, n + shift) == pytest.approx(dot(m, n), abs=1e-4)
    assert abs(dot(5, 0) - dot(10, 0)) > 0.1  # but it does depend on it
    assert abs(dot(5, 0) - dot(0, 5)) > 0.1  # and on which of the two comes first


def test_rotary_keeps_lengths_and_leaves_position_zero_alone():
    x = draw(B, T, K)
    assert_close(Rotary(K)(x).norm(dim=-1), x.norm(dim=-1))
    assert_close(Rotary(K)(x)[:, 0], x[:, 0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_rotary_keeps_the_precision_of_what_it_turns(dtype):
    assert Rotary(K)(draw(B, T, K, dtype=dtype)).dtype == dtype


def test_a_rotary_table_grows_as_it_is_needed():
    short, long, x = Rotary(K, context_length=2), Rotary(K, context_length=100), draw(B, T, K)
    for start in (0, 30, 7):
        assert_close(short(x, start), long(x, start))


def test_a_rotary_table_that_grew_while_writing_can_be_trained_through():
    rotary, x = Rotary(K, context_length=2), draw(B, T, K).requires_grad_()
    with torch.inference_mode():
        rotary(draw(B, T, K))
    rotary(x).square().sum().backward()
    assert_close(x.grad, 2 * x.detach())  # a turn keeps lengths


# refuses


def test_an_unknown_form_of_gelu_is_refused():
    with pytest.raises(ValueError, match='approximate=\'tan\' is unknown: use "none" or "tanh"'):
        gelu(draw(3), "tan")


def test_an_unknown_activation_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="activation 'swish' is unknown: choose one of relu, gelu"):
        FeedForward(D, WIDE, "swish")


def test_an_odd_width_has_no_sinusoids_and_no_rotary_pairs():
    with pytest.raises(ValueError, match="a width of 7 has no sine-cosine pairs: make d_model"):
        sinusoidal_positions(T, 7)
    with pytest.raises(ValueError, match="a width of 7 has no sine-cosine pairs"):
        SinusoidalPositions(T, 7)
    with pytest.raises(ValueError, match="heads are 5 wide: rotary positions need an even width"):
        Rotary(5)


# learns


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_feed_forward_learns_what_no_linear_map_can(activation):
    def fit(model):
        optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
        for _ in range(300):
            loss = (model(x) - y).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return loss.item()

    x = draw(64, D).sign()
    y = x * x.roll(1, dims=-1)  # whether two neighbours agree: uncorrelated with either
    assert fit(nn.Linear(D, D)) > 0.5
    torch.manual_seed(0)
    assert fit(FeedForward(D, 64, activation)) < 0.05
