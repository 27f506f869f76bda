"""Tests of mini_models.data.fashion: the pictures are Fashion-MNIST's, and its parts share none."""

import hashlib
import lzma
import re

import pytest
import torch

from mini_models.corpora import CORPORA
from mini_models.data import fashion_mnist
from mini_models.data.fashion import CLOTHES

README = (CORPORA / "README.md").read_text(encoding="utf-8")


def digests(images):
    return {hashlib.sha256(image.numpy().tobytes()).digest() for image in images}


# agrees with an independent count


@pytest.mark.parametrize("name, numbers", [("images", 10_000 * 28 * 28), ("labels", 10_000)])
def test_the_files_are_those_that_the_corpora_describe(name, numbers):
    data = lzma.decompress((CORPORA / f"fashion_{name}.idx.xz").read_bytes())
    begins, ends = re.search(rf"`fashion_{name}.*?sha256[^`]*`(\w+)…(\w+)`", README).groups()
    digest = hashlib.sha256(data).hexdigest()
    assert digest.startswith(begins) and digest.endswith(ends), digest
    assert data[:2] == b"\0\0" and data[2] == 8  # IDX: unsigned bytes
    sizes = [int.from_bytes(data[4 + 4 * i : 8 + 4 * i]) for i in range(data[3])]
    assert sizes == ([10_000, 28, 28] if name == "images" else [10_000])
    assert len(data) == 4 + 4 * len(sizes) + numbers


def test_there_are_a_thousand_pictures_of_each_of_ten_kinds_of_clothes():
    images, labels = fashion_mnist()
    assert images.shape == (10_000, 1, 28, 28) and images.dtype == torch.float32
    assert labels.dtype == torch.int64 and labels.bincount().tolist() == [1000] * 10
    assert len(CLOTHES) == 10 and CLOTHES[9] == ("Ankle boot", "短靴")
    assert images.min() == 0 and images.max() == 1
    assert len(digests(images)) == 10_000


def test_trousers_have_two_legs_and_boots_a_sole():
    images, labels = fashion_mnist()
    trousers, boots = (images[labels == n].mean(dim=(0, 1)) for n in (1, 9))
    foot = trousers[24]  # between the legs it is dark
    assert foot[14] < 0.5 * foot[11] and foot[14] < 0.5 * foot[17]
    assert boots[20:24].mean() > 2 * boots[:4].mean()


# property


def test_the_parts_share_no_picture_and_together_are_all():
    train, held_out = fashion_mnist("train")[0], fashion_mnist("held_out")[0]
    assert len(train) == 8000 and len(held_out) == 2000
    assert digests(train) | digests(held_out) == digests(fashion_mnist()[0])
    assert digests(train).isdisjoint(digests(held_out))


@pytest.mark.parametrize("part", ["train", "held_out"])
def test_in_each_part_the_classes_come_by_turns_with_their_pictures(part):
    images, labels = fashion_mnist(part)
    assert labels.view(-1, 10).tolist() == [list(range(10))] * (len(labels) // 10)
    everything, classes = fashion_mnist()
    known = {image.numpy().tobytes(): int(c) for image, c in zip(everything, classes)}
    assert [known[image.numpy().tobytes()] for image in images] == labels.tolist()


# refuses


def test_an_unknown_part_is_refused():
    with pytest.raises(ValueError, match="no part 'test': choose one of all, train, held_out"):
        fashion_mnist("test")
