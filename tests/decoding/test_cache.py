"""Tests of mini_models.decoding.cache: against the model that it reads with, and plain products."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.testing import assert_close

from mini_models.decoding import cache as package
from mini_models.decoding.cache import KeyValueCache
from mini_models.transformer import Transformer

B, T, D, H, L, V = 2, 6, 16, 4, 3, 7


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def stack(**options):
    """A transformer whose every weight, biases and norms included, is drawn at random."""
    torch.manual_seed(0)
    model = Transformer(L, D, H, **options).eval()
    for p in model.parameters():
        nn.init.normal_(p, std=0.3)
    return model


def without_onednn(monkeypatch):
    """As if torch had been built without it."""
    monkeypatch.setattr(package, "ONEDNN", False)


def with_onednn(monkeypatch):
    """As if every product were large enough for it; where torch was built without it, skip."""
    if not package.ONEDNN:
        pytest.skip("this torch has no oneDNN")
    monkeypatch.setattr(package, "WORTH_ONEDNN", 1)


def many_cores(monkeypatch):
    """As if on a machine of four cores, and every matrix were large enough to share out."""
    monkeypatch.setattr("torch.get_num_threads", lambda: 4)
    monkeypatch.setattr(package, "WORTH_SHARING", 1)


# agrees with an independent implementation


@pytest.mark.parametrize("sizes", [[1] * T, [2, 4], [5, 1], [1, 2, 3], [T]])
@pytest.mark.parametrize("options", [{}, {"rotary": True}, {"activation": "relu", "d_ff": 20}])
@pytest.mark.parametrize("batch", [1, B])
@pytest.mark.parametrize("prepare", [many_cores, without_onednn, with_onednn])
def test_what_it_reads_piece_by_piece_equals_the_whole(options, sizes, batch, prepare, monkeypatch):
    prepare(monkeypatch)
    model, x, head = stack(**options), draw(batch, T, D), draw(V, D)
    cache = KeyValueCache(model, head, len(x), T)
    parts = [cache.read(part) for part in x.split(sizes, dim=1)]
    assert_close(torch.cat(parts, dim=1), model(x, "causal") @ head.T)
    assert cache.length == T


@pytest.mark.parametrize("rows, columns", [(8, 5), (6, 3), (29, 4), (67, 3), (1, 1)])
@pytest.mark.parametrize("transposed", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("prepare", [many_cores, without_onednn, with_onednn])
def test_a_product_in_another_form_is_the_same_product(
    rows, columns, transposed, dtype, prepare, monkeypatch
):
    """In a block whose feed-forward is `rows` wide, with biases, and in the head, without."""
    prepare(monkeypatch)
    torch.manual_seed(0)
    model = Transformer(1, columns, 1, d_ff=rows).to(dtype).eval()
    for p in model.parameters():
        nn.init.normal_(p, std=0.3)
        # column by column, as the weights of our models are stored, or row by row
        p.data = p.data.T.contiguous().T if transposed and p.ndim == 2 else p.data.contiguous()
    head = draw(rows, columns).to(dtype)
    if transposed:
        head = head.T.contiguous().T
    exact = {} if dtype == torch.float32 else {"atol": 0.05, "rtol": 0.05}
    for x in (draw(1, 1, columns, seed=2), draw(3, 2, columns, seed=3)):
        x = x.to(dtype)
        expected = F.linear(model(x, "causal"), head)
        assert_close(KeyValueCache(model, head, len(x), 2).read(x), expected, **exact)


@pytest.mark.parametrize("sizes", [[1] * T, [2, 4], [5, 1], [T]])
@pytest.mark.parametrize("batch", [1, B])
def test_with_a_mask_for_each_layer_it_equals_the_model_with_those_masks(sizes, batch):
    masks = (draw(L, T, T, seed=4) > 0).tril() | torch.eye(T, dtype=torch.bool)
    model, x, head = stack(), draw(batch, T, D), draw(V, D)
    expected = model(x, list(masks)) @ head.T
    assert not torch.allclose(expected, model(x, "causal") @ head.T)
    cache = KeyValueCache(model, head, batch, T, masks)
    assert_close(torch.cat([cache.read(part) for part in x.split(sizes, dim=1)], 1), expected)


# properties


def test_it_holds_the_keys_and_values_read_so_far():
    model, x = stack(), draw(B, T, D)
    cache = KeyValueCache(model, draw(V, D), B, T + 2)
    cache.read(x)
    assert cache.buffer.shape == (L, 2, B, H, T + 2, D // H)
    first = model.blocks[0]
    _, keys, values = first.attention.project(first.norm1(x))
    assert_close(cache.buffer[0, 0, :, :, :T], keys)
    assert_close(cache.buffer[0, 1, :, :, :T], values)


def test_it_is_as_precise_as_the_model():
    model = stack().bfloat16()
    cache = KeyValueCache(model, draw(V, D).bfloat16(), 1, T)
    assert cache.buffer.dtype == torch.bfloat16
    assert cache.read(draw(1, 2, D).bfloat16()).dtype == torch.bfloat16


def test_it_records_no_gradient():
    cache = KeyValueCache(stack(), draw(V, D).requires_grad_(), 1, T)
    for part in draw(1, T, D).requires_grad_().split(2, dim=1):
        assert not cache.read(part).requires_grad


def test_a_matrix_is_cut_into_equal_parts_for_the_cores_that_it_can_keep_busy(monkeypatch):
    without_onednn(monkeypatch)
    monkeypatch.setattr(package, "WORTH_SHARING", 16)
    product, parts = torch.baddbmm, []

    def counted(start, x, cut):
        parts.append(len(cut))
        return product(start, x, cut)

    monkeypatch.setattr("torch.baddbmm", counted)

    def parts_of_the_head(rows, columns, cores):
        monkeypatch.setattr("torch.get_num_threads", lambda: cores)
        KeyValueCache(Transformer(1, columns, 1), draw(rows, columns), 1, 1).read(
            draw(1, 1, columns)
        )
        return parts[-1]

    assert parts_of_the_head(1, 16, cores=16) == 1
    assert parts_of_the_head(64, 1, cores=16) == 4  # a core for each 16 numbers
    assert parts_of_the_head(6400, 16, cores=16) == 16
    assert parts_of_the_head(50257, 16, cores=16) == 29  # the next that divides GPT-2's vocabulary
    assert parts_of_the_head(65537, 16, cores=16) == 1  # a prime
    assert parts_of_the_head(6400, 16, cores=192) == 64  # as many as are worth it, on any machine


def test_after_going_back_it_reads_as_if_it_had_never_gone_on():
    model, x, other, head = stack(), draw(B, T, D), draw(B, T, D, seed=9), draw(V, D)
    cache = KeyValueCache(model, head, B, T)
    cache.read(x[:, :2])
    cache.read(other[:, 2:5])
    cache.rewind(2)
    assert_close(cache.read(x[:, 2:]), (model(x, "causal") @ head.T)[:, 2:])


def test_sequences_that_change_places_take_what_they_have_read_along():
    model, x, head = stack(), draw(B, T, D), draw(V, D)
    rows = torch.tensor([B - 1, 0, B - 1][:B])
    cache = KeyValueCache(model, head, B, T)
    cache.read(x[:, :3])
    cache.reorder(rows)
    expected = (model(x[rows], "causal") @ head.T)[:, 3:]
    assert_close(torch.cat([cache.read(part) for part in x[rows, 3:].split(1, dim=1)], 1), expected)


# refuses


def test_more_positions_than_there_is_room_for_are_refused():
    cache = KeyValueCache(stack(), draw(V, D), B, T)
    cache.read(draw(B, 4, D))
    with pytest.raises(ValueError, match="7 positions do not fit in a cache of 6"):
        cache.read(draw(B, 3, D))
    assert cache.length == 4


def test_going_back_to_what_was_never_read_is_refused():
    cache = KeyValueCache(stack(), draw(V, D), B, T)
    cache.read(draw(B, 3, D))
    for length in (4, -1):
        with pytest.raises(
            ValueError, match=f"3 positions were read: there is no going to {length}"
        ):
            cache.rewind(length)


def test_post_norm_blocks_are_refused():
    with pytest.raises(ValueError, match="post-norm"):
        KeyValueCache(stack(pre_norm=False), draw(V, D), B, T)
