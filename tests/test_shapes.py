"""Tests of mini_models.shapes: one scene, its captions and its picture say the same."""

import pytest
import torch

from mini_models.shapes import SPLITS, Scene, Thing, caption, draw, parse, scenes

EVERYTHING = [scene for split in SPLITS for scene in scenes(split)]


def test_every_caption_is_read_back_in_both_languages_and_from_both_objects():
    for scene in EVERYTHING:
        for language in ("en", "zh"):
            for turned in (False, True):
                assert parse(caption(scene, language, turned)) == scene


def test_pictures_depend_on_the_seed_alone():
    some = EVERYTHING[::500]
    images = draw(some, torch.Generator().manual_seed(3))
    assert images.shape == (len(some), 3, 32, 32) and images.dtype == torch.float32
    assert images.min() >= 0 and images.max() <= 1
    assert torch.equal(images, draw(some, torch.Generator().manual_seed(3)))
    assert not torch.equal(images, draw(some, torch.Generator().manual_seed(4)))


def test_a_word_that_the_grammar_lacks_is_refused():
    with pytest.raises(ValueError, match="'tiny' is not a size: choose one of small, large"):
        Thing("tiny", "red", "circle")
    with pytest.raises(ValueError, match="'a cat' is no caption: say it as"):
        parse("a cat")
    with pytest.raises(ValueError, match="give both or neither"):
        Scene(Thing("small", "red", "circle"), "left of")
