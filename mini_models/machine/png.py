"""PNG: pictures that a model has drawn, in a file that is large enough to look at.

Shapes   N images, C channels (1 or 3), S side; images [N, C, S, S] with values in 0..1
"""

import math
from pathlib import Path

import torch
from PIL import Image, PngImagePlugin
from torch import Tensor

from mini_models.machine.files import whole

LEAST_SIDE = 256  # pixels of a picture in the file: the models draw 32, too few to look at


def sheet(images: Tensor) -> Tensor:
    """Images side by side in rows, as near to a square as they fill: [C, rows S, columns S]."""
    n, C, S, _ = images.shape
    columns = math.ceil(math.sqrt(n))
    rows = math.ceil(n / columns)
    page = torch.ones(rows * columns, C, S, S)
    page[:n] = images
    page = page.unflatten(0, (rows, columns))  # [rows, columns, C, S, S]
    return page.permute(2, 0, 3, 1, 4).reshape(C, rows * S, columns * S)


def refuse_name(path: Path) -> None:
    """Raise ValueError unless the name is one for a PNG file."""
    if path.suffix.lower() != ".png":
        raise ValueError(f"{path} is no name for a picture: give one that ends in .png")


def write_png(path: Path, images: Tensor, prompt: str | None = None) -> None:
    """A sheet of images, large enough to look at, with the prompt as its description."""
    refuse_name(path)
    times = max(1, LEAST_SIDE // images.shape[-1])
    page = sheet(images.detach().cpu().clamp(0, 1)).mul(255).round().to(torch.uint8)
    page = page.repeat_interleave(times, 1).repeat_interleave(times, 2)
    page = page.expand(3, -1, -1).permute(1, 2, 0).contiguous().numpy()
    facts = PngImagePlugin.PngInfo()
    if prompt is not None:
        facts.add_itxt("Description", prompt)
    with whole(path) as part:
        Image.fromarray(page).save(part, format="PNG", pnginfo=facts)
