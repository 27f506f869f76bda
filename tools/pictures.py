"""Do two pictures show the same? Yes, if they do so when made small: then the font, the smoothing
of edges and a few more pixels no longer matter, but what is drawn, and where, does."""

import base64
import io

import numpy as np
from PIL import Image

GRID = 16  # pixels on a side of what is compared


def seen(png: str) -> np.ndarray:
    """What a picture (base64) shows from afar, [GRID, GRID, 3], without its mean colour."""
    picture = Image.open(io.BytesIO(base64.b64decode(png))).convert("RGBA")
    page = Image.new("RGBA", picture.size, "white")
    page.alpha_composite(picture)
    small = page.convert("RGB").resize((GRID, GRID), Image.Resampling.BOX)
    pixels = np.asarray(small, dtype=float)
    return pixels - pixels.mean(axis=(0, 1))


def distance(one: str, other: str) -> float:
    """1 less the correlation of what two pictures show: 0 for the same, 1 for unlike ones."""
    a, b = seen(one), seen(other)
    both = np.sqrt((a**2).sum() * (b**2).sum())
    return 1 - (a * b).sum() / both if both else float((a != b).any())


def shape(png: str) -> float:
    """The width of a picture divided by its height."""
    width, height = Image.open(io.BytesIO(base64.b64decode(png))).size
    return width / height
