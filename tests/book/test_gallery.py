"""Tests of tools/gallery.py: the page shows what the models draw, and nothing else."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import gallery
from mini_models import zoo
from mini_models.zoo import drawn_by

PAGE = gallery.BOOK / "gallery.md"


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """The gallery's folder, moved, so that the book's own stays as it is."""
    (tmp_path / "gallery").mkdir()
    monkeypatch.setattr(gallery, "BOOK", tmp_path)
    return tmp_path


def test_every_picture_of_the_page_is_there_and_no_other():
    shown = set(re.findall(r"\]\(gallery/([\w-]+\.png)\)", PAGE.read_text(encoding="utf-8")))
    assert shown == {path.name for path in (gallery.BOOK / "gallery").iterdir()}


def test_every_model_that_draws_has_its_place_on_the_page():
    files = {path.name.split(".")[0].rstrip("0123456789-") for path in
             (gallery.BOOK / "gallery").iterdir()}  # fmt: skip
    painters = [n for n in zoo.names() if hasattr(zoo.load(n)[0], "draw")]
    assert set(painters) <= files | {"gan-fashion"} and len(painters) >= 4


def test_a_row_of_the_page_is_drawn_again_as_it_stands_there(elsewhere):
    row = gallery.of_prompts("dalle-emoji", ["cat face"], nearest=True).splitlines()[-1]
    assert row in PAGE.read_text(encoding="utf-8")
    ours, theirs = (
        torch.from_numpy(np.array(Image.open(home / "dalle-emoji-0.png")))
        for home in (elsewhere / "gallery", Path(PAGE).parent / "gallery")
    )
    assert ours.shape == theirs.shape  # another CPU may draw another word
    assert (ours == theirs).float().mean() > 0.5


def test_a_strip_holds_the_pictures_in_rows(elsewhere):
    images = torch.rand(5, 3, 1, 1).expand(5, 3, 32, 32)  # no more colours than a file may have
    saved = Image.open(elsewhere / gallery.strip("five", torch.cat([images, images[:3]])))
    assert saved.size == (4 * 34 * gallery.TIMES, 2 * 34 * gallery.TIMES)
    first = (
        torch.tensor(saved.convert("RGB").getpixel((2 * gallery.TIMES, 2 * gallery.TIMES))) / 255
    )
    assert torch.allclose(first, images[0, :, 1, 1], atol=1.5 / 255)


def test_the_prompts_of_emoji_can_be_drawn():
    model, tokenizer = zoo.load("dalle-emoji")
    for prompt in gallery.LEARNED[:1] + gallery.COMPOSED[1:2]:
        assert drawn_by(model, tokenizer, prompt, 1, torch.Generator()).shape == (1, 3, 32, 32)
