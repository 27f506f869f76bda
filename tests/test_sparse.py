"""Tests of mini_models.sparse: each mask against a slow loop over rows and columns of a picture."""

import pytest
import torch

from mini_models.attention import causal_mask
from mini_models.sparse import column_mask, convolutional_mask, row_mask, stream_masks

SIZES = [(1, 1), (6, 4), (3, 5), (11, 8)]  # text, grid


def slowly(text, grid, may_look):
    """may_look((row, column) of the query, of the key), asked of every pair of image tokens."""
    n = text + grid**2
    mask = torch.zeros(n, n, dtype=torch.bool)
    for query in range(n):
        for key in range(query + 1):  # never ahead
            if key < text:
                mask[query, key] = True  # all of the text that is there
            else:
                where = [divmod(place - text, grid) for place in (query, key)]
                mask[query, key] = may_look(*where)
    return mask


# agrees with an independent implementation


@pytest.mark.parametrize("text, grid", SIZES)
def test_along_rows_a_token_sees_back_to_the_one_above_it(text, grid):
    def may_look(query, key):
        same_row = query[0] == key[0]
        from_above_on = query[0] == key[0] + 1 and key[1] >= query[1]
        return same_row or from_above_on

    assert torch.equal(row_mask(text, grid), slowly(text, grid, may_look))


@pytest.mark.parametrize("text, grid", SIZES)
def test_along_columns_a_token_sees_its_column(text, grid):
    expected = slowly(text, grid, lambda query, key: query[1] == key[1])
    assert torch.equal(column_mask(text, grid), expected)


@pytest.mark.parametrize("text, grid", SIZES)
@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_around_a_token_sees_a_square_that_wraps_at_the_edges(text, grid, kernel):
    reach = kernel // 2

    def may_look(query, key):
        for up in range(reach + 1):
            for aside in range(-reach, reach + 1):
                row, column = query[0] - up, query[1] + aside
                around, column = divmod(column, grid)  # beyond the edge: the next or last row
                if (row + around, column) == key:
                    return True
        return False

    assert torch.equal(convolutional_mask(text, grid, kernel), slowly(text, grid, may_look))


def test_the_picture_of_the_papers_figure_has_five_tokens_in_a_row_and_five_around():
    for mask in (row_mask(6, 4), convolutional_mask(6, 4, 3)):
        inner = mask[6 + 10, 6:]  # third row, third column: no edge is near
        assert inner.sum() == 5
    assert row_mask(6, 4)[16, 6:].nonzero().flatten().tolist() == [6, 7, 8, 9, 10]
    assert convolutional_mask(6, 4, 3)[16, 6:].nonzero().flatten().tolist() == [5, 6, 7, 9, 10]
    assert column_mask(6, 4)[16, 6:].nonzero().flatten().tolist() == [2, 6, 10]


# properties


@pytest.mark.parametrize("text, grid", SIZES)
@pytest.mark.parametrize("n_layers", [1, 2, 5])
@pytest.mark.parametrize("pattern", ["sparse", "dense"])
def test_no_layer_looks_ahead_and_all_see_themselves_and_the_text(pattern, text, grid, n_layers):
    masks = stream_masks(pattern, n_layers, text, grid, 3)
    assert len(masks) == n_layers
    ahead = ~causal_mask(text + grid**2)
    for mask in masks:
        assert not (mask & ahead).any()
        assert mask.diagonal().all() and mask[text:, :text].all()
        assert torch.equal(mask[:text, :text], causal_mask(text))


def test_layers_come_in_the_papers_order():
    around = convolutional_mask(4, 5, 3)
    kinds = {"row": row_mask(4, 5), "column": column_mask(4, 5), "around": around}
    order = [
        next(name for name, kind in kinds.items() if torch.equal(kind, mask))
        for mask in stream_masks("sparse", 8, 4, 5, 3)
    ]
    assert order == ["row", "column", "row", "row", "row", "column", "row", "around"]
    assert torch.equal(stream_masks("sparse", 1, 4, 5, 3)[0], around)


@pytest.mark.parametrize("text, grid", SIZES)
def test_a_row_and_a_column_reach_every_earlier_token(text, grid):
    two = row_mask(text, grid).float() @ column_mask(text, grid).float()
    assert torch.equal(two > 0, causal_mask(text + grid**2))


def test_dense_is_causal():
    for mask in stream_masks("dense", 3, 4, 3, 3):
        assert torch.equal(mask, causal_mask(13))


# refuses


@pytest.mark.parametrize("kernel", [0, 4, -1])
def test_a_square_without_a_middle_is_refused(kernel):
    with pytest.raises(ValueError, match=f"a side of {kernel} has no middle: give an odd number"):
        convolutional_mask(2, 4, kernel)
    with pytest.raises(ValueError, match="no middle"):
        stream_masks("sparse", 4, 2, 4, kernel)
