"""Tests of mini_models.machine.png: a sheet shows every image in its place, and a file keeps it."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch.testing import assert_close

from mini_models.machine import png

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


# properties


@pytest.mark.parametrize("n, rows, columns", [(1, 1, 1), (3, 2, 2), (5, 2, 3), (12, 3, 4)])
def test_places_without_an_image_stay_white(n, rows, columns):
    page = png.sheet(torch.zeros(n, 1, 2, 2))
    assert page.shape == (1, 2 * rows, 2 * columns)
    assert int((page == 1).sum()) == 4 * (rows * columns - n)


def test_grey_images_and_values_beyond_the_range_can_be_written(tmp_path):
    png.write_png(tmp_path / "a.png", torch.tensor([-1.0, 2.0]).view(1, 1, 1, 2).expand(1, 1, 2, 2))
    with Image.open(tmp_path / "a.png") as file:
        assert file.getextrema() == ((0, 255),) * 3


# refuses


def test_a_name_for_another_kind_of_file_is_refused_and_nothing_is_written(tmp_path):
    with pytest.raises(ValueError, match=r"a\.jpg is no name for a picture.*\.png"):
        png.write_png(tmp_path / "a.jpg", torch.zeros(1, 3, 4, 4))
    assert not list(tmp_path.iterdir())
