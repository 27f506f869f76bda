"""Outlines: six shapes, each as the distance of any place from its edge.

Source   a signed distance is negative inside a shape, so half a pixel less than it is the share of
         the pixel that the shape covers, between 0 and 1: edges are smooth, and no pixel is cut
Derived  notebooks/13_text_to_image_gan.ipynb
"""

import math

import torch
from torch import Tensor

SHAPES = ("circle", "square", "triangle", "ring", "cross", "heart")


def distance(shape: str, x: Tensor, y: Tensor, r: Tensor) -> Tensor:
    """Pixels from the outline of a shape, negative inside it.

    Args:
        shape: one of SHAPES.
        x, y: places seen from its centre, in pixels; y points down.
        r: half its width and half its height, in pixels.
    """
    a, b = x.abs(), y.abs()
    if shape == "circle":
        return (x * x + y * y).sqrt() - r
    if shape == "square":
        return torch.maximum(a, b) - r
    if shape == "triangle":  # from (0, -r) down to (±r, r)
        return torch.maximum(y - r, (2 * a - y - r) / math.sqrt(5))
    if shape == "ring":  # a quarter of the width thick
        return ((x * x + y * y).sqrt() - 0.75 * r).abs() - 0.25 * r
    if shape == "cross":  # two bars, a third of the width thick
        lying, standing = torch.maximum(a - r, b - r / 3), torch.maximum(a - r / 3, b - r)
        return torch.minimum(lying, standing)
    if shape == "heart":  # two discs side by side, and their tangents down to (0, r)
        discs = ((a - r / 2) ** 2 + (y + r / 2) ** 2).sqrt() - r / 2
        tip = torch.maximum((4 * a + 3 * y - 3 * r) / 5, (a - 3 * y - 1.5 * r) / math.sqrt(10))
        return torch.minimum(discs, tip)
    raise ValueError(f"{shape!r} is not a shape: choose one of {', '.join(SHAPES)}")


def coverage(shape: str, x: Tensor, y: Tensor, r: Tensor) -> Tensor:
    """The share of the pixel around each place that a shape covers, from 0 to 1; as `distance`."""
    return (0.5 - distance(shape, x, y, r)).clamp(0, 1)
