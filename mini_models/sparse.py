"""Sparse: which earlier tokens a picture's token may look at, one pattern for each layer.

A picture has many tokens, and most of what a token needs to know lies above it or beside it. So
each layer shows it all of the caption, but only a few of the earlier image tokens: those of the
last row, those of its column, or those around it. Two layers together reach everywhere.

Shapes   T positions of text (the start included), g side of the grid, N = g² image tokens
Source   Ramesh et al. 2021, arXiv:2102.12092, section 2.2, appendix B.1 and figure 11; Child et al.
         2019, arXiv:1904.10509
Derived  notebooks/17_dalle.ipynb
"""

import torch
from torch import Tensor

PATTERNS = ("sparse", "dense")


def row_mask(text: int, grid: int) -> Tensor:
    """Each image token sees itself and the g before it, back to the one above; bool [T + N, T + N].

    Text is causal, and every image token sees all of it, in this and the other patterns.
    """
    return _around_text(text, _back(grid) <= grid)


def column_mask(text: int, grid: int) -> Tensor:
    """Each image token sees its column, down to itself; bool [T + N, T + N]."""
    return _around_text(text, _back(grid) % grid == 0)


def convolutional_mask(text: int, grid: int, kernel: int) -> Tensor:
    """Each image token sees those before it in a square around it; bool [T + N, T + N].

    As in a row, what goes beyond the edge of the picture wraps around to the next row.

    Args:
        kernel: side of the square, an odd number. Raises ValueError if it is not.
    """
    if kernel < 1 or kernel % 2 == 0:
        raise ValueError(f"a square with a side of {kernel} has no middle: give an odd number")
    reach, back = kernel // 2, _back(grid)
    near = torch.zeros_like(back, dtype=torch.bool)
    for up in range(reach + 1):
        near |= (back - up * grid).abs() <= reach
    return _around_text(text, near)


def stream_masks(pattern: str, n_layers: int, text: int, grid: int, kernel: int) -> list[Tensor]:
    """The mask of each layer, bool [T + N, T + N].

    "sparse" is DALL-E's order: the second of every four layers looks along columns, the last one
    around, all others along rows. "dense" is causal everywhere.
    """
    if pattern == "dense":
        return [_around_text(text, torch.ones(grid**2, grid**2, dtype=torch.bool))] * n_layers
    rows, columns = row_mask(text, grid), column_mask(text, grid)
    masks = [columns if i % 4 == 2 else rows for i in range(1, n_layers)]
    return [*masks, convolutional_mask(text, grid, kernel)]


def _back(grid: int) -> Tensor:
    """How many places each image token (a row) lies behind each other one, [N, N]."""
    place = torch.arange(grid**2)
    return place[:, None] - place


def _around_text(text: int, image: Tensor) -> Tensor:
    """The causal mask [T + N, T + N] of a text before a picture that looks at itself by `image`."""
    mask = torch.ones(text + len(image), text + len(image), dtype=torch.bool).tril()
    mask[text:, text:] &= image
    return mask
