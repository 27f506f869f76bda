"""Fashion: ten thousand small pictures of clothes, for networks that see and draw.

Shapes   N images, 28 x 28 points
Source   Xiao et al. 2017, arXiv:1708.07747; mini_models/corpora/README.md says what we carry of it
"""

from functools import cache

import torch
from torch import Tensor

from mini_models import corpora
from mini_models.machine.files import digest

CLOTHES = (  # the classes, in English and in Chinese
    ("T-shirt/top", "T恤/上衣"),
    ("Trouser", "裤子"),
    ("Pullover", "套头衫"),
    ("Dress", "连衣裙"),
    ("Coat", "外套"),
    ("Sandal", "凉鞋"),
    ("Shirt", "衬衫"),
    ("Sneaker", "运动鞋"),
    ("Bag", "包"),
    ("Ankle boot", "短靴"),
)


@cache
def fashion_mnist(part: str = "all") -> tuple[Tensor, Tensor]:
    """The 10,000 test images of Fashion-MNIST, 1,000 of each class.

    Args:
        part: "all"; "train", 8,000 of them; or "held_out", the other 2,000. In each of the two
            the classes come by turns, so that its first 10 n images are n of each class.
    Returns: images float32 [N, 1, 28, 28], black 0 to white 1, and classes int64 [N], which are
        places in CLOTHES.
    Raises: ValueError if there is no such part.
    """
    if part not in ("all", "train", "held_out"):
        raise ValueError(f"there is no part {part!r}: choose one of all, train, held_out")
    if part == "all":  # IDX: 16 bytes about the images, 8 about the labels, then a byte a number
        images, labels = _bytes("fashion_images.idx.xz"), _bytes("fashion_labels.idx.xz")
        return images[16:].view(-1, 1, 28, 28) / 255, labels[8:].long()
    images, labels = fashion_mnist()
    rows = labels.argsort(stable=True).view(len(CLOTHES), -1)  # [10, 1000]
    rows = (rows[:, :800] if part == "train" else rows[:, 800:]).T.flatten()
    return images[rows], labels[rows]


def _bytes(name: str) -> Tensor:
    return torch.frombuffer(bytearray(corpora.read(name)), dtype=torch.uint8)


@cache
def fashion_sha256() -> str:
    """What tells these pictures and classes from others, in hexadecimal digits."""
    return digest(*(t.numpy().tobytes() for t in fashion_mnist()))
