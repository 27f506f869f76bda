"""Tests of mini_models.transformer: equal to torch's encoder and BERT's, pre-norm and post-norm."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.testing import assert_close
from transformers import BertConfig, BertModel

from mini_models.attention import causal_mask, padding_mask
from mini_models.layers import sinusoidal_positions
from mini_models.transformer import Block, Transformer, init_weights

B, T, D, H, L, WIDE = 3, 6, 8, 2, 3, 20
BLOCK = {
    "self_attn.in_proj_": "attention.qkv.",
    "self_attn.out_proj.": "attention.out.",
    "linear1.": "feed_forward.inner.",
    "linear2.": "feed_forward.outer.",
    "norm1.": "norm1.",
    "norm2.": "norm2.",
}


def draw(*shape, dtype=torch.float32, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def shaken(model):
    """The model with every parameter drawn anew, so that no bias is 0 and no norm is 1."""
    for i, p in enumerate(model.parameters()):
        p.data = draw(*p.shape, seed=i) * 0.3 + (p.ndim == 1)
    return model.eval()


def stack(**options):
    return shaken(Transformer(L, D, H, WIDE, **options))


def torchs(ours, pre_norm, activation):
    """torch's own encoder with our weights."""
    layer = nn.TransformerEncoderLayer(
        D, H, WIDE, activation=activation, batch_first=True, norm_first=pre_norm
    )
    last = nn.LayerNorm(D) if pre_norm else None
    theirs = nn.TransformerEncoder(layer, L, last, enable_nested_tensor=False)
    names = {}
    for name in theirs.state_dict():
        mine = name.replace("layers.", "blocks.")
        for other, own in BLOCK.items():
            mine = mine.replace(f".{other}", f".{own}")
        names[name] = ours.state_dict()[mine]
    assert len(names) == len(ours.state_dict())
    theirs.load_state_dict(names)
    return theirs.eval()


# agrees with an independent implementation


@pytest.mark.parametrize("mask", [None, causal_mask(T), padding_mask([6, 3, 1], T)])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
@pytest.mark.parametrize("pre_norm", [True, False])
def test_the_stack_equals_torchs_encoder(pre_norm, activation, mask):
    ours = stack(pre_norm=pre_norm, activation=activation)
    x = draw(B, T, D)
    hidden = None if mask is None else ~mask.expand(B, T, T).repeat_interleave(H, 0)
    assert_close(ours(x, mask), torchs(ours, pre_norm, activation)(x, hidden), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("pre_norm", [True, False])
def test_the_gradients_of_the_stack_equal_those_of_torchs(pre_norm):
    ours = stack(pre_norm=pre_norm, activation="gelu")
    theirs, slopes = torchs(ours, pre_norm, "gelu"), []
    for model in (ours, theirs):
        x = draw(B, T, D).requires_grad_()
        (model(x) * draw(B, T, D, seed=1)).sum().backward()
        slopes.append(x.grad)
    assert_close(*slopes, atol=1e-5, rtol=1e-4)
    norms = [sum(p.grad.square().sum() for p in m.parameters()) for m in (ours, theirs)]
    assert_close(*norms, rtol=1e-4, atol=0)


def test_the_post_norm_stack_equals_the_encoder_of_bert():
    sizes = {"hidden_size": D, "num_hidden_layers": L, "num_attention_heads": H}
    config = BertConfig(vocab_size=11, intermediate_size=WIDE, layer_norm_eps=1e-12, **sizes)
    bert = shaken(BertModel(config, add_pooling_layer=False))
    ours = Transformer(L, D, H, WIDE, pre_norm=False, eps=1e-12).eval()
    for block, theirs in zip(ours.blocks, bert.encoder.layer):
        three = theirs.attention.self.query, theirs.attention.self.key, theirs.attention.self.value
        block.attention.qkv.weight.data = torch.cat([linear.weight for linear in three])
        block.attention.qkv.bias.data = torch.cat([linear.bias for linear in three])
        block.attention.out.load_state_dict(theirs.attention.output.dense.state_dict())
        block.norm1.load_state_dict(theirs.attention.output.LayerNorm.state_dict())
        block.feed_forward.inner.load_state_dict(theirs.intermediate.dense.state_dict())
        block.feed_forward.outer.load_state_dict(theirs.output.dense.state_dict())
        block.norm2.load_state_dict(theirs.output.LayerNorm.state_dict())
    ids = torch.arange(B * T).view(B, T) % 11
    lengths = torch.tensor([6, 4, 1])
    seen = torch.arange(T) < lengths[:, None]
    expected = bert(ids, attention_mask=seen.long()).last_hidden_state
    out = ours(bert.embeddings(ids), padding_mask(lengths, T))
    assert_close(out[seen], expected[seen], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("pre_norm", [True, False])
def test_the_gradients_of_a_block_equal_finite_differences(pre_norm):
    block = shaken(Block(D, H, WIDE, pre_norm)).double()
    x = draw(2, 3, D, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: block(x, causal_mask(3)), x)


# properties


@pytest.mark.parametrize("pre_norm", [True, False])
@pytest.mark.parametrize("rotary", [True, False])
def test_the_future_cannot_change_the_past(pre_norm, rotary):
    model, x = stack(pre_norm=pre_norm, rotary=rotary), draw(B, T, D)
    before = model(x, "causal")
    for t in range(1, T):
        changed = torch.cat([x[:, :t], 10 * draw(B, T - t, D, seed=t)], dim=1)
        assert_close(model(changed, "causal")[:, :t], before[:, :t])


def test_a_pre_norm_block_whose_writers_are_zero_passes_its_input_on():
    block, x = shaken(Block(D, H)), draw(B, T, D)
    for linear in (block.attention.out, block.feed_forward.outer):
        nn.init.zeros_(linear.weight)
        nn.init.zeros_(linear.bias)
    assert_close(block(x), x)


def test_post_norm_ends_in_normal_vectors_and_pre_norm_adds_a_norm_for_that():
    for pre_norm in (True, False):
        out = Transformer(L, D, H, pre_norm=pre_norm)(draw(B, T, D))
        assert_close(out.mean(-1), torch.zeros(B, T))
        assert_close(out.var(-1, correction=0), torch.ones(B, T), atol=1e-3, rtol=0)
    names = dict(Transformer(L, D, H, pre_norm=False).named_modules())
    assert isinstance(names["norm"], nn.Identity)


def test_without_rotary_or_mask_the_stack_does_not_know_the_order():
    x, order = draw(B, T, D), torch.tensor([3, 0, 5, 4, 1, 2])
    model = stack()
    assert_close(model(x[:, order]), model(x)[:, order])
    assert not torch.allclose(stack(rotary=True)(x[:, order]), stack(rotary=True)(x)[:, order])


def test_the_feed_forward_is_four_times_as_wide_if_no_width_is_given():
    assert Block(D, H).feed_forward.inner.out_features == 4 * D
    assert Block(D, H, WIDE).feed_forward.inner.out_features == WIDE


def test_all_blocks_share_one_rotary_table_that_may_grow():
    model = shaken(Transformer(L, D, H, rotary=True, context_length=4))
    assert len({id(block.attention.rotary) for block in model.blocks}) == 1
    assert_close(model(draw(B, T, D)), shaken(Transformer(L, D, H, rotary=True))(draw(B, T, D)))


def test_dropout_acts_in_training_only():
    model, x = stack(dropout=0.2), draw(B, T, D)
    assert_close(model(x), stack()(x))
    model.train()
    assert not torch.allclose(model(x), model(x))


def test_first_weights_are_those_of_gpt_2():
    torch.manual_seed(0)
    model = nn.ModuleDict({"t": Transformer(8, 64, 4), "e": nn.Embedding(500, 64)})
    init_weights(model, n_layers=8)
    for name, p in model.named_parameters():
        writes = name.endswith(("attention.out.weight", "feed_forward.outer.weight"))
        if p.ndim == 2:
            std = 0.02 / math.sqrt(16) if writes else 0.02
            assert p.std().item() == pytest.approx(std, rel=0.06), name
            assert abs(p.mean().item()) < 0.05 * std + 1e-3, name
        else:
            assert (p == float("norm" in name and "weight" in name)).all(), name


def test_first_weights_keep_the_stream_as_large_in_deep_stacks_as_in_shallow_ones():
    def added(n_layers):
        torch.manual_seed(0)
        model = Transformer(n_layers, 64, 4)
        init_weights(model, n_layers, std=0.2)
        x, ends = draw(4, 16, 64), []
        model.norm.register_forward_pre_hook(lambda _, args: ends.append(args[0]))
        model(x)
        return (ends[0] - x).std().item()

    assert 0.6 < added(32) / added(2) < 1.6  # without the division: four times


def test_linear_weights_are_stored_column_by_column_and_no_value_depends_on_that():
    model = Transformer(1, D, H)
    init_weights(model, 1)
    weights = [m.weight for m in model.modules() if isinstance(m, nn.Linear)]
    assert len(weights) == 4 and all(w.T.is_contiguous() for w in weights)
    x = draw(B, T, D)
    before = model(x)
    for w in weights:
        w.data = w.data.contiguous()
    assert_close(model(x), before)


# refuses


def test_sizes_and_names_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="a width of 8 cannot be shared by 3 heads"):
        Transformer(L, D, 3)
    with pytest.raises(ValueError, match="activation 'silu' is unknown: choose one of relu"):
        Block(D, H, activation="silu")
    with pytest.raises(ValueError, match="heads are 3 wide: rotary positions need an even width"):
        Transformer(L, 6, 2, rotary=True)
    with pytest.raises(ValueError, match="mask 'padding' is unknown"):
        stack()(draw(B, T, D), "padding")


# learns


@pytest.mark.parametrize(
    "pre_norm, mask, low, high",
    # a causal query cannot know the later half: it guesses that, (log 8) / 2 on the whole
    [(True, None, 0, 0.1), (False, None, 0, 0.1), (True, "causal", 0.9, 1.3)],
)
def test_a_small_stack_learns_to_reverse_what_it_may_read(pre_norm, mask, low, high):
    torch.manual_seed(0)
    model, tokens = Transformer(1, 32, 2, pre_norm=pre_norm), nn.Embedding(8, 32)
    head, positions = nn.Linear(32, 8), 2 * sinusoidal_positions(T, 32)
    parameters = [p for m in (model, tokens, head) for p in m.parameters()]
    optimizer, losses = torch.optim.Adam(parameters, lr=3e-3), []
    for step in range(200):
        draws = torch.Generator().manual_seed(step)
        ids = torch.randint(8, (32, T), generator=draws)  # new ones each time: nothing to recite
        logits = head(model(tokens(ids) + positions, mask))
        loss = F.cross_entropy(logits.flatten(0, 1), ids.flip(1).flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] > 1.9  # chance is log 8 = 2.08
    assert low <= sum(losses[-10:]) / 10 < high
