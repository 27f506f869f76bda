"""Tests of mini_models.attention: against torch's, loops by hand, and finite differences."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.testing import assert_close

from mini_models.attention import (
    MultiHeadAttention,
    banded_mask,
    causal_mask,
    padding_mask,
    scaled_dot_product_attention,
)
from mini_models.layers import Rotary

B, H, T, S, K, V, D = 3, 2, 5, 7, 4, 6, 8
MASKS = {
    "none": None,
    "causal": causal_mask(T),
    "banded": banded_mask(T, 2),
    "padding": padding_mask([5, 2, 1], T),
    "one for each sequence": causal_mask(T) & padding_mask([5, 3, 2], T),
}


def draw(*shape, dtype=torch.float32, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def queries_keys_values(dtype=torch.float32):
    shapes = (B, H, T, K), (B, H, S, K), (B, H, S, V)
    return [draw(*shape, dtype=dtype, seed=i) for i, shape in enumerate(shapes)]


def attention(rotary=None, **options):
    torch.manual_seed(0)
    return MultiHeadAttention(D, H, rotary, **options).eval()


# agrees with an independent implementation


@pytest.mark.parametrize("masked", [False, True])
def test_attention_equals_torchs(masked):
    q, k, v = queries_keys_values()
    mask = draw(T, S, seed=9) > 0 if masked else None
    assert mask is None or mask.any(dim=-1).all()
    out, _ = scaled_dot_product_attention(q, k, v, mask)
    assert_close(out, F.scaled_dot_product_attention(q, k, v, mask))


def test_attention_equals_a_loop_over_queries_and_keys():
    q, k, v = (t[0, 0].tolist() for t in queries_keys_values())
    out, weights = scaled_dot_product_attention(*(torch.tensor(t) for t in (q, k, v)))
    for t in range(T):
        scores = [sum(a * b for a, b in zip(q[t], key)) / 2 for key in k]  # √K = 2
        total = sum(math.exp(score) for score in scores)
        shares = [math.exp(score) / total for score in scores]
        assert weights[t].tolist() == pytest.approx(shares, abs=1e-6)
        mean = [sum(w * value[j] for w, value in zip(shares, v)) for j in range(V)]
        assert out[t].tolist() == pytest.approx(mean, abs=1e-6)


def test_gradients_equal_finite_differences():
    mask = draw(T, S, seed=9) > 0
    mask[2] = False  # a query that may look nowhere
    inputs = [t[:1].requires_grad_() for t in queries_keys_values(torch.float64)]
    assert torch.autograd.gradcheck(
        lambda q, k, v: scaled_dot_product_attention(q, k, v, mask), inputs
    )


@pytest.mark.parametrize("name", MASKS)
def test_many_heads_equal_torchs_in_output_weights_and_gradients(name):
    ours, theirs = attention(), nn.MultiheadAttention(D, H, batch_first=True)
    pairs = {"in_proj_weight": ours.qkv.weight, "in_proj_bias": ours.qkv.bias}
    pairs |= {"out_proj.weight": ours.out.weight, "out_proj.bias": ours.out.bias}
    nn.init.normal_(ours.qkv.bias)
    nn.init.normal_(ours.out.bias)
    theirs.load_state_dict(pairs)
    x, mask = draw(B, T, D), MASKS[name]
    hidden = None if mask is None else ~mask.expand(B, T, T).repeat_interleave(H, 0)
    expected, weights = theirs(x, x, x, attn_mask=hidden, average_attn_weights=False)
    out = ours(x, mask)
    assert_close(out, expected)
    assert_close(ours.weights(x, mask), weights)
    out.square().sum().backward()
    expected.square().sum().backward()
    for key, parameter in pairs.items():
        assert_close(parameter.grad, theirs.get_parameter(key).grad, atol=1e-4, rtol=1e-4)


def test_masks_equal_their_definitions_position_by_position():
    for t in range(T):
        for s in range(T):
            assert causal_mask(T)[t, s] == (s <= t)
            assert banded_mask(T, 3)[t, s] == (t - 3 < s <= t)
            assert causal_mask(2, T)[t % 2, s] == (s <= t % 2 + T - 2)
    mask = padding_mask(torch.tensor([0, 2, 4]), 4)
    assert mask.shape == (3, 1, 4) and mask.dtype == torch.bool
    assert mask.int().tolist() == [[[0, 0, 0, 0]], [[1, 1, 0, 0]], [[1, 1, 1, 1]]]


def test_bfloat16_on_the_cpu_gives_the_result_and_gradients_of_float32():
    model, x = attention(), draw(B, 30, D)
    results = []
    for low in (False, True):
        model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=low):
            out = model(x, "causal")
        out.float().square().mean().backward()
        results.append((out.float(), model.qkv.weight.grad.clone()))
    for exact, low in zip(*results):
        assert (exact - low).abs().max() < 0.02 * exact.abs().max()


LOW_MASKS = {
    "none": None,
    "padding [B, 1, S]": padding_mask([30, 17, 1], 30),
    "an empty sequence [B, 1, S]": padding_mask([30, 0, 4], 30),
    "each its own [B, T, S]": causal_mask(30) & padding_mask([30, 17, 3], 30),
    "some queries without a key [B, T, S]": draw(B, 30, 30) > 1.8,
    "[T, S]": banded_mask(30, 4),
}


@pytest.mark.parametrize("whole", [False, True], ids=["autocast", "weights too"])
@pytest.mark.parametrize("mask", LOW_MASKS.values(), ids=LOW_MASKS)
def test_masks_in_bfloat16_on_the_cpu_give_the_result_and_gradients_of_float32(mask, whole):
    results = []
    for low in (False, True):
        model, x = attention(), draw(B, 30, D)
        nn.init.normal_(model.out.bias)
        if low and whole:
            model, x = model.bfloat16(), x.bfloat16()
        x.requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=low and not whole):
            out = model(x, mask)
        assert out.dtype == (torch.bfloat16 if low else torch.float32)
        out.float().square().sum().backward()
        gradients = [x.grad, *(p.grad for p in model.parameters())]
        results.append([t.detach().float() for t in (out, *gradients)])
    for exact, low in zip(*results):
        assert low.isfinite().all()
        assert (exact - low).abs().max() < 0.03 * exact.abs().max()  # 2^-8 a rounding
    some = torch.ones(B, 30).bool() if mask is None else mask.any(dim=-1).expand(B, 30)
    for out, x_grad, *_ in results:  # who has no key gets the bias alone
        assert_close(out[~some], model.out.bias.float().expand_as(out)[~some], atol=0.01, rtol=0.01)
        empty = ~some.any(dim=1)
        assert (x_grad[empty] == 0).all()


# properties


def test_the_weights_of_each_query_sum_to_one_and_are_zero_where_it_may_not_look():
    q, k, v = queries_keys_values()
    mask = causal_mask(T, S)
    _, weights = scaled_dot_product_attention(q, k, v, mask)
    assert_close(weights.sum(-1), torch.ones(B, H, T))
    assert (weights[:, :, ~mask] == 0).all() and (weights[:, :, mask] > 0).all()


def test_a_row_with_no_key_gives_zeros_and_finite_gradients():
    q, k, v = (t.requires_grad_() for t in queries_keys_values())
    mask = torch.ones(T, S, dtype=torch.bool)
    mask[1] = False
    out, weights = scaled_dot_product_attention(q, k, v, mask)
    assert (out[:, :, 1] == 0).all() and (weights[:, :, 1] == 0).all()
    assert (out[:, :, 0] != 0).all()
    out.square().sum().backward()
    assert all(t.grad.isfinite().all() for t in (q, k, v))
    assert (q.grad[:, :, 1] == 0).all()


def test_heads_without_a_key_give_the_output_bias_and_finite_gradients():
    model, x = attention(), draw(B, T, D).requires_grad_()
    nn.init.normal_(model.out.bias)
    mask = padding_mask([T, 0, 2], T)  # the second sequence is empty
    out = model(x, mask)
    assert_close(out[1], model.out.bias.expand(T, D))
    assert (model.weights(x, mask)[1] == 0).all()
    out.square().sum().backward()
    assert x.grad.isfinite().all() and (x.grad[1] == 0).all()
    assert all(p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("mask", ["causal", causal_mask(T), banded_mask(T, 3)])
def test_the_future_cannot_change_the_past(mask):
    model, x = attention(Rotary(D // H)), draw(B, T, D)
    before = model(x, mask)
    for t in range(1, T):
        changed = x.clone()
        changed[:, t:] = 100 * draw(B, T - t, D, seed=t)
        assert_close(model(changed, mask)[:, :t], before[:, :t])
        assert not torch.allclose(model(changed, mask)[:, t:], before[:, t:])


def test_a_banded_query_is_blind_to_what_lies_behind_its_band():
    model, x = attention(), draw(B, T, D)
    changed = x.clone()
    changed[:, 0] = 100.0
    before, after = (model(y, banded_mask(T, 2)) for y in (x, changed))
    assert_close(before[:, 2:], after[:, 2:])
    assert not torch.allclose(before[:, 1], after[:, 1])


def test_padding_does_not_change_what_the_real_tokens_get():
    model, x = attention(), draw(1, T, D)
    padded = torch.cat([x, 100 * draw(1, 3, D, seed=1)], dim=1)
    out = model(padded, padding_mask([T], T + 3))
    assert_close(out[:, :T], model(x))


def test_without_a_mask_shuffled_positions_give_the_shuffled_output():
    model, x, order = attention(), draw(B, T, D), torch.tensor([3, 0, 4, 1, 2])
    assert_close(model(x[:, order]), model(x)[:, order])
    turned = attention(Rotary(D // H))  # with positions the order counts
    assert not torch.allclose(turned(x[:, order]), turned(x)[:, order])


@pytest.mark.parametrize("mask", [None, "causal", padding_mask([5, 2, 1], T)])
def test_the_weights_shown_are_those_that_the_output_uses(mask):
    model, x = attention(Rotary(D // H)), draw(B, T, D)
    heads = model.weights(x, mask) @ model.project(x)[2]  # [B, H, T, K]
    assert_close(model.out(heads.transpose(1, 2).flatten(2)), model(x, mask))
    assert not model.weights(x, mask).requires_grad


def test_large_scores_give_no_overflow():
    q, k, v = (1000 * t for t in queries_keys_values())
    out, weights = scaled_dot_product_attention(q, k, v)
    assert out.isfinite().all()
    assert_close(weights.sum(-1), torch.ones(B, H, T))


def test_dropout_acts_in_training_only():
    model, x = attention(dropout=0.5), draw(B, T, D)
    assert_close(model(x), attention()(x), rtol=0, atol=0)
    model.train()
    assert not torch.allclose(model(x), model(x))


# refuses


def test_queries_and_keys_of_different_width_are_refused():
    q, k, v = queries_keys_values()
    with pytest.raises(ValueError, match="queries are 4 wide but keys are 3: project both"):
        scaled_dot_product_attention(q, k[..., :3], v)


def test_a_key_without_a_value_is_refused():
    q, k, v = queries_keys_values()
    with pytest.raises(ValueError, match="there are 7 keys but 6 values: give every key one"):
        scaled_dot_product_attention(q, k, v[..., :6, :])


@pytest.mark.parametrize("dtype", [torch.float32, torch.int64])
def test_a_mask_that_is_not_bool_is_refused(dtype):
    q, k, v = queries_keys_values()
    said = f"the mask is {dtype}, not torch.bool: give True where a query may look"
    with pytest.raises(ValueError, match=said):
        scaled_dot_product_attention(q, k, v, causal_mask(T, S).to(dtype))
    with pytest.raises(ValueError, match=said):
        attention()(draw(B, T, D), causal_mask(T).to(dtype))


def test_masks_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="5 queries but only 3 keys: every query needs its own"):
        causal_mask(5, 3)
    with pytest.raises(ValueError, match="a sequence has 9 tokens but the padded size is 8: pad"):
        padding_mask([2, 9], 8)
    with pytest.raises(ValueError, match="a band of width 0 leaves nothing to look at: use at"):
        banded_mask(4, 0)
    with pytest.raises(ValueError, match="mask 'casual' is unknown: give a bool tensor"):
        attention()(draw(B, T, D), "casual")


@pytest.mark.parametrize("heads", [0, -1, 3, 16])
def test_a_width_that_the_heads_cannot_share_is_refused(heads):
    with pytest.raises(ValueError, match=f"a width of 8 cannot be shared by {heads} heads: make"):
        MultiHeadAttention(D, heads)


# learns


def test_attention_learns_to_find_the_marked_position():
    model = attention().train()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    losses = []
    for step in range(250):
        x = draw(32, T, D, seed=step)
        marked = draw(32, T, seed=-step - 1).argmax(dim=1)
        x[..., 0] = F.one_hot(marked, T).float()
        wanted = x[torch.arange(32), marked][:, None]  # every position asks for that vector
        loss = (model(x) - wanted)[..., 1:].square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] > 0.9  # the plain mean of the values would stay above 0.75
    assert sum(losses[-10:]) / 10 < 0.1


def test_weights_refuse_a_mask_that_forward_refuses():
    attention, x = MultiHeadAttention(8, 2), torch.zeros(1, 3, 8)
    for look in (attention, attention.weights):
        with pytest.raises(ValueError, match="mask 'casual' is unknown: give a bool tensor"):
            look(x, "casual")
