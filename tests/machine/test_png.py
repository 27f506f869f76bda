"""Tests of mini_models.pictures: a sheet shows every image in its place, and a file keeps it."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch.testing import assert_close

from mini_models.gan import GAN, GANConfig
from mini_models.machine import png
from mini_models.zoo import drawn_by


@pytest.fixture
def painter():
    torch.manual_seed(0)
    return GAN(GANConfig(latent=4, image_size=8, width=4)).eval()


class Reader(torch.nn.Module):
    """Paints an image in the grey of its prompt's only word."""

    class config:
        text_length = 2

    def draw(self, ids, generator=None):
        return ids[:, :1, None, None].expand(-1, 3, 4, 4) / 4


class Words:
    words = ["black", "white"]

    def encode_batch(self, texts, length):
        return torch.tensor([[self.words.index(t), 0][:length] for t in texts])


# agrees with an independent implementation


def test_a_sheet_of_four_is_two_rows_of_two():
    a, b, c, d = images = torch.rand(4, 3, 5, 5)
    by_hand = torch.cat([torch.cat([a, b], 2), torch.cat([c, d], 2)], 1)
    assert_close(png.sheet(images), by_hand)


def test_a_file_holds_the_image_each_pixel_a_square(tmp_path):
    image = torch.rand(1, 3, 8, 8)
    png.write_png(tmp_path / "new" / "a.png", image, "a 红 prompt")
    with Image.open(tmp_path / "new" / "a.png") as file:
        assert file.text["Description"] == "a 红 prompt"
        seen = torch.tensor(np.array(file)).permute(2, 0, 1) / 255
    assert seen.shape == (3, 256, 256)
    assert_close(seen[:, ::32, ::32], image[0], atol=0.5 / 255 + 1e-6, rtol=0)
    assert torch.equal(seen, seen[:, ::32, ::32].repeat_interleave(32, 1).repeat_interleave(32, 2))
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["a.png"]


# property


@pytest.mark.parametrize("n, rows, columns", [(1, 1, 1), (3, 2, 2), (5, 2, 3), (12, 3, 4)])
def test_places_without_an_image_stay_white(n, rows, columns):
    page = png.sheet(torch.zeros(n, 1, 2, 2))
    assert page.shape == (1, 2 * rows, 2 * columns)
    assert int((page == 1).sum()) == 4 * (rows * columns - n)


def test_the_same_seed_draws_the_same_and_a_model_without_text_needs_no_prompt(painter):
    a, b, c = (
        drawn_by(painter, None, None, 3, torch.Generator().manual_seed(s)) for s in (1, 1, 2)
    )
    assert a.shape == (3, 1, 8, 8) and a.min() >= 0 and a.max() <= 1
    assert torch.equal(a, b) and not torch.equal(a, c)


def test_a_model_that_reads_draws_its_prompt():
    images = drawn_by(Reader(), Words(), "white", 2)
    assert_close(images, torch.full((2, 3, 4, 4), 0.25))


def test_grey_images_and_values_beyond_the_range_can_be_written(tmp_path):
    png.write_png(tmp_path / "a.png", torch.tensor([-1.0, 2.0]).view(1, 1, 1, 2).expand(1, 1, 2, 2))
    with Image.open(tmp_path / "a.png") as file:
        assert file.getextrema() == ((0, 255),) * 3


# refuses


def test_a_prompt_too_many_and_one_too_few_are_refused(painter):
    with pytest.raises(ValueError, match="reads no text: draw without a prompt"):
        drawn_by(painter, None, "a cat", 1)
    for prompt in (None, " "):
        with pytest.raises(ValueError, match="there is no prompt.*in these words: black white"):
            drawn_by(Reader(), Words(), prompt, 1)


def test_a_name_for_another_kind_of_file_is_refused_and_nothing_is_written(tmp_path):
    with pytest.raises(ValueError, match=r"a\.jpg is no name for a picture.*\.png"):
        png.write_png(tmp_path / "a.jpg", torch.zeros(1, 3, 4, 4))
    assert not list(tmp_path.iterdir())
