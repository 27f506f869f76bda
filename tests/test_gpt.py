"""Tests of mini_models.gpt: equal to GPT-2 of transformers, blind to the future, and it learns."""

import dataclasses
import math

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close
from transformers import GPT2Config, GPT2LMHeadModel

from mini_models.decoding import generate
from mini_models.gpt import (
    GPT,
    GPT2_LARGE,
    GPT2_MEDIUM,
    GPT2_SMALL,
    GPT2_XL,
    GPT3_175B,
    POSITIONS,
    GPTConfig,
    gpt_loss,
)
from mini_models.layers import sinusoidal_positions

SMALL = GPTConfig(vocab_size=11, context_length=12, n_layers=3, n_heads=2, d_model=8)
THEIRS = {  # our names, and those of transformers
    "blocks": "h",
    "norm1": "ln_1",
    "attention.qkv": "attn.c_attn",
    "attention.out": "attn.c_proj",
    "norm2": "ln_2",
    "feed_forward.inner": "mlp.c_fc",
    "feed_forward.outer": "mlp.c_proj",
    "transformer.norm.": "transformer.ln_f.",
    "tokens.": "transformer.wte.",
    "positions.": "transformer.wpe.",
}


def gpt(seed=0, **changes):
    """A small GPT none of whose parameters is 0 or 1, in eval mode."""
    torch.manual_seed(seed)
    model = GPT(dataclasses.replace(SMALL, **changes)).eval()
    for p in model.parameters():
        p.data += 0.2 * torch.randn_like(p)
    return model


def ids(rows=3, length=12, seed=0):
    return torch.randint(11, (rows, length), generator=torch.Generator().manual_seed(seed))


def gpt2_with_weights_of(ours: GPT) -> GPT2LMHeadModel:
    c, weights = ours.config, {}
    for name, value in ours.state_dict().items():
        linear = "attention" in name or "feed_forward" in name  # transformers stores [in, out]
        for mine, other in THEIRS.items():
            name = name.replace(mine, other)
        weights[f"{name}.weight" if name.endswith(("wte", "wpe")) else name] = (
            value.T if linear and value.ndim == 2 else value
        )
    config = GPT2Config(
        vocab_size=c.vocab_size, n_positions=c.context_length, n_embd=c.d_model,
        n_layer=c.n_layers, n_head=c.n_heads, n_inner=c.d_ff,
    )  # fmt: skip
    theirs = GPT2LMHeadModel(config).eval()
    found = theirs.load_state_dict(weights, strict=False)
    assert found.missing_keys == ["lm_head.weight"] and not found.unexpected_keys  # it is tied
    return theirs


def shifted(row):
    return row[:, :-1], row[:, 1:]


# agrees with an independent implementation


@pytest.mark.parametrize("d_ff", [None, 20])
def test_the_logits_and_the_loss_equal_those_of_gpt_2(d_ff):
    ours = gpt(d_ff=d_ff)
    theirs, x = gpt2_with_weights_of(ours), ids()
    expected = theirs(x, labels=x)
    assert_close(ours(x), expected.logits, atol=1e-5, rtol=1e-5)
    assert_close(gpt_loss(ours, shifted(x)), expected.loss)


def test_the_gradients_equal_those_of_gpt_2():
    ours = gpt()
    theirs, x = gpt2_with_weights_of(ours), ids()
    gpt_loss(ours, shifted(x)).backward()
    theirs(x, labels=x).loss.backward()
    first, last = ours.transformer.blocks[0], ours.transformer.blocks[-1]
    others = theirs.transformer
    for mine, other in [
        (ours.tokens.weight.grad, others.wte.weight),  # from both its uses
        (ours.positions.weight.grad, others.wpe.weight),
        (first.attention.qkv.weight.grad.T, others.h[0].attn.c_attn.weight),
        (last.feed_forward.outer.weight.grad.T, others.h[-1].mlp.c_proj.weight),
    ]:
        assert_close(mine, other.grad, atol=1e-6, rtol=1e-4)


def test_the_loss_is_the_mean_surprise_of_each_target():
    model, (x, y) = gpt(), shifted(ids())
    surprises = []
    for scores, targets in zip(model(x).tolist(), y.tolist()):
        for row, target in zip(scores, targets):
            surprises.append(math.log(sum(math.exp(s) for s in row)) - row[target])
    assert gpt_loss(model, (x, y)).item() == pytest.approx(sum(surprises) / len(surprises))
    y = y.clone()
    y[0, 3:] = y[2] = -100  # not counted
    kept = surprises[:3] + surprises[11:22]
    assert gpt_loss(model, (x, y)).item() == pytest.approx(sum(kept) / len(kept))


def test_gradients_equal_finite_differences():
    torch.manual_seed(0)
    model = GPT(GPTConfig(5, 4, n_layers=1, n_heads=2, d_model=4)).double()
    x = torch.tensor([[1, 4, 0, 1]])

    def logits(embedding):
        return torch.func.functional_call(model, {"tokens.weight": embedding}, x)

    table = torch.randn(5, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(logits, table)


def test_sinusoidal_positions_are_added_to_the_embeddings():
    model, plain, x = gpt(positions="sinusoidal"), gpt(positions="none"), ids()
    plain.load_state_dict(model.state_dict())
    stream = 8**0.5 * plain.tokens(x) + sinusoidal_positions(12, 8)
    expected = F.linear(plain.transformer(stream, "causal"), plain.tokens.weight)
    assert_close(model(x), expected)


def test_rotary_positions_act_from_the_second_token_on_and_have_no_weights():
    rotary, plain, x = gpt(positions="rotary"), gpt(positions="none"), torch.arange(11)[None]
    plain.load_state_dict(rotary.state_dict())
    assert_close(rotary(x)[:, 0], plain(x)[:, 0])
    assert (rotary(x)[:, 1:] - plain(x)[:, 1:]).abs().amax(dim=-1).min() > 1e-3


@pytest.mark.parametrize(
    "config, millions",
    [(GPT2_SMALL, 124), (GPT2_MEDIUM, 355), (GPT2_LARGE, 774), (GPT2_XL, 1558)],
)
def test_the_published_sizes_have_their_published_parameters(config, millions):
    with torch.device("meta"):
        model = GPT(config)
    assert round(sum(p.numel() for p in model.parameters()) / 1e6) == millions
    assert GPT3_175B.d_model // GPT3_175B.n_heads == 128  # Brown et al. 2020, table 2.1


# properties


@pytest.mark.parametrize("positions", POSITIONS)
def test_the_future_cannot_change_the_past(positions):
    model, x = gpt(positions=positions), ids()
    before = model(x)
    for t in range(1, 12):
        changed = torch.cat([x[:, :t], ids(length=12 - t, seed=t)], dim=1)
        assert_close(model(changed)[:, :t], before[:, :t])


@pytest.mark.parametrize("positions", POSITIONS)
@pytest.mark.parametrize("sizes", [[1] * 12, [7, 5], [5, 1, 1, 5], [12]])
def test_the_cache_changes_nothing(positions, sizes):
    model, x = gpt(positions=positions), ids()
    cache = model.new_cache(3)
    parts = [model(part, cache) for part in x.split(sizes, dim=1)]
    assert_close(torch.cat(parts, dim=1), model(x))


def test_a_row_does_not_depend_on_the_others():
    model, x = gpt(), ids()
    assert_close(model(x)[1:2], model(x[1:2]))


@pytest.mark.parametrize("positions", ["learned", "sinusoidal", "rotary"])
def test_the_same_tokens_in_another_order_are_another_text(positions):
    x = torch.tensor([[1, 2, 3, 4], [2, 1, 3, 4]])
    first, second = gpt(positions=positions)(x)[:, -1]
    assert not torch.allclose(first, second, atol=1e-3)


def test_the_head_is_the_embedding_itself():
    model = gpt()
    names = [name for name, p in model.named_parameters() if 11 in p.shape]
    assert names == ["tokens.weight"]
    x = ids() % 10  # without token 10
    before = model(x)
    model.tokens.weight.data[10] *= 2
    assert_close(model(x)[..., 10], 2 * before[..., 10])
    assert_close(model(x)[..., :10], before[..., :10])


def test_a_fresh_model_is_as_unsure_as_can_be():
    torch.manual_seed(0)
    loss = gpt_loss(GPT(SMALL), shifted(ids()))
    assert loss.item() == pytest.approx(math.log(11), abs=0.05)


def test_the_loss_is_taken_in_single_precision():
    model = gpt().bfloat16()
    loss = gpt_loss(model, shifted(ids()))
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(gpt_loss(gpt(), shifted(ids())).item(), rel=0.05)


def test_dropout_acts_in_training_only():
    model, x = gpt(dropout=0.2), ids()
    assert_close(model(x), gpt()(x))
    model.train()
    assert not torch.allclose(model(x), model(x))
    streams = []
    model.transformer.register_forward_pre_hook(lambda _, args: streams.append(args[0]))
    model(x)  # GPT-2 drops from the embeddings too
    assert 0.1 < (streams[0] == 0).float().mean() < 0.3


def test_a_config_cannot_be_changed_by_mistake():
    with pytest.raises(dataclasses.FrozenInstanceError):
        GPTConfig().n_layers = 3


# refuses


@pytest.mark.parametrize("name", ["vocab_size", "context_length", "n_layers", "n_heads", "d_model"])
@pytest.mark.parametrize("value", [0, -4])
def test_a_size_below_one_is_refused(name, value):
    with pytest.raises(ValueError, match=f"{name} is {value}: it must be at least 1"):
        GPTConfig(**{name: value})


def test_unknown_names_are_refused_with_the_known_ones():
    known = "learned, sinusoidal, rotary, none"
    with pytest.raises(ValueError, match=f"positions 'alibi' is unknown: choose one of {known}"):
        GPTConfig(positions="alibi")
    with pytest.raises(ValueError, match="activation 'silu' is unknown: choose one of relu, gelu"):
        GPT(GPTConfig(activation="silu"))


def test_a_width_that_the_heads_cannot_share_is_refused():
    with pytest.raises(ValueError, match="a width of 64 cannot be shared by 5 heads"):
        GPT(GPTConfig(n_heads=5))


@pytest.mark.parametrize("positions", POSITIONS)
def test_a_text_longer_than_the_context_is_refused(positions):
    model = gpt(positions=positions)
    with pytest.raises(ValueError, match="13 tokens do not fit in a context of 12: cut the ids"):
        model(ids(length=13))
    cache = model.new_cache(3)
    model(ids(length=9), cache)
    with pytest.raises(ValueError, match="13 tokens do not fit in a context of 12"):
        model(ids(length=4), cache)


# learns


@pytest.mark.parametrize("positions", POSITIONS)
def test_a_gpt_learns_a_row_by_heart_and_writes_it(positions):
    torch.manual_seed(0)
    model = GPT(dataclasses.replace(SMALL, d_model=16, n_layers=2, positions=positions))
    row = torch.tensor([[0, 7, 7, 3, 1, 7, 9, 4, 7, 2, 5, 8]])  # 7 has three successors
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for step in range(160):
        loss = gpt_loss(model, shifted(row))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step == 0:
            assert loss.item() > 2.2
    assert loss.item() < 0.1
    assert torch.equal(generate(model, row[:, :1], 11, temperature=0), row)
