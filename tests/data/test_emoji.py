"""Tests of mini_models.emoji: the pictures, what they are called, and what is held out."""

import json
import lzma
import random
from collections import Counter

import numpy as np
import pytest
import torch

from mini_models.corpora import CORPORA
from mini_models.data.emoji import (
    EMOJI_SPLITS,
    Drawings,
    Emoji,
    _families,
    caption_of,
    drawings,
    emoji_split,
)

LION = Emoji("🦁", "animals-nature", "Lion", "狮子", ("face", "Leo", "Lion"), ("狮子", "脸"))


def unpacked(name: str) -> bytes:
    with lzma.open(CORPORA / name) as file:
        return file.read()


def pixels(pictures: Drawings) -> set[bytes]:
    return {image.numpy().tobytes() for image in pictures.images}


# agrees with the files, read another way


def test_each_picture_is_where_the_file_has_it():
    raw = np.frombuffer(unpacked("emoji_images.rgb.xz"), np.uint8)
    raw = raw.reshape(-1, 32, 32, 3)  # row, column, colour
    pictures = drawings()
    assert pictures.images.shape == (3149, 3, 32, 32) and pictures.images.dtype == torch.uint8
    for n, y, x, colour in [(0, 3, 9, 0), (1587, 30, 2, 1), (1588, 16, 16, 2), (3148, 8, 20, 0)]:
        assert pictures.images[n, colour, y, x] == raw[n, y, x, colour]
    assert (pictures.images.permute(0, 2, 3, 1).numpy() == raw).all()


def test_each_concept_has_the_pictures_that_the_file_says():
    lines = unpacked("emoji_captions.jsonl.xz").decode().splitlines()
    said = [(row["char"], style) for row in map(json.loads, lines) for style in row["styles"]]
    pictures = drawings()
    assert sorted(said) == sorted((e.char, s) for e, s in zip(pictures.emoji, pictures.styles))
    assert Counter(pictures.styles) == {"noto": 1588, "fluent": 1561} and len(set(said)) == 3149


def test_pictures_show_what_they_are_called():
    pictures, means = drawings(), {}
    for row, one in enumerate(pictures.emoji):
        r, g, b = pictures.images[row, :, 8:24, 8:24].float().mean((1, 2)).tolist()
        means[one.en, pictures.styles[row]] = (r, g, b)
    for style in ("noto", "fluent"):
        r, g, b = means["red heart", style]
        assert r > g + 80 and r > b + 80
        r, g, b = means["green heart", style]
        assert g > r + 40 and g > b + 40
        r, g, b = means["yellow heart", style]
        assert min(r, g) > b + 80
    corners = pictures.images[:, :, [0, 0, -1, -1], [0, -1, 0, -1]].float()
    assert (corners > 250).float().mean() > 0.95  # on white


# properties


def test_names_and_keywords_are_there_in_both_languages():
    concepts = set(drawings().emoji)
    assert len(concepts) == 1588
    for field in ("char", "en", "zh"):
        assert len({getattr(one, field) for one in concepts}) == 1588  # no two share a name
    assert all(one.en_keywords and one.zh_keywords and one.group for one in concepts)
    cat = next(one for one in concepts if one.en == "cat")
    assert (cat.char, cat.zh, cat.group) == ("🐈", "猫", "animals-nature")
    assert "pet" in cat.en_keywords and "宠物" in cat.zh_keywords


def test_floats_go_from_0_to_white_1():
    images = drawings().only(range(20)).floats()
    assert images.dtype == torch.float32 and images.max() == 1 and 0 <= images.min() < 0.2
    assert torch.equal((images * 255).round().byte(), drawings().images[:20])


def test_only_keeps_picture_concept_and_style_together():
    few = drawings().only([1700, 3])
    assert len(few) == 2 and few.styles == ("fluent", "noto")
    assert few.emoji == (drawings().emoji[1700], drawings().emoji[3])
    assert torch.equal(few.images, drawings().images[[1700, 3]])


def test_every_picture_is_in_one_split():
    splits = [emoji_split(name) for name in EMOJI_SPLITS]
    assert [len(split) for split in splits] == [2677, 152, 320]
    found = [(one, style) for split in splits for one, style in zip(split.emoji, split.styles)]
    assert sorted(found, key=str) == sorted(zip(drawings().emoji, drawings().styles), key=str)


def test_held_out_concepts_are_not_in_training_and_held_out_drawings_are_in_another_style():
    train, drawings, concepts = (emoji_split(name) for name in EMOJI_SPLITS)
    known = set(train.emoji)
    assert known.isdisjoint(concepts.emoji) and known.issuperset(drawings.emoji)
    assert set(drawings.styles) == {"fluent"}
    in_training = set(zip(train.emoji, train.styles))
    assert all((one, "noto") in in_training for one in drawings.emoji)
    assert in_training.isdisjoint((one, "fluent") for one in drawings.emoji)


def test_no_picture_of_one_split_is_one_of_another():
    train, drawings, concepts = (pixels(emoji_split(name)) for name in EMOJI_SPLITS)
    assert train.isdisjoint(drawings) and train.isdisjoint(concepts)
    assert drawings.isdisjoint(concepts)
    assert len(pixels(drawings())) == 3144  # there are five that repeat another


def test_the_same_done_by_a_man_and_by_a_woman_is_in_one_split():
    for name in EMOJI_SPLITS[1:]:
        held = {(one.en, s) for one, s in zip(emoji_split(name).emoji, emoji_split(name).styles)}
        everything = {(one.en, s) for one, s in zip(drawings().emoji, drawings().styles)}
        pairs = [(en.removeprefix("woman "), s) for en, s in held if en.startswith("woman ")]
        others = {(f"man {doing}", s) for doing, s in pairs} & everything
        assert len(others) > 3 and others <= held


def test_a_family_is_all_that_share_a_picture_or_a_name_one_after_another():
    names = ("man cook", "baker", "cat", "woman cook", "chef", "woman: cat")
    those = tuple(Emoji(str(n), "", name, name, (), ()) for n, name in enumerate(names))
    images = torch.arange(6, dtype=torch.uint8).view(6, 1, 1, 1).expand(6, 3, 32, 32).clone()
    images[4], images[1] = images[0], images[3]  # the chef is the man, the baker the woman
    family = _families(Drawings(images, those, ("noto",) * 6))
    assert len({family[n] for n in "0134"}) == 1 and family["2"] == family["5"] != family["0"]


def test_a_caption_without_draws_is_the_name_in_lower_case():
    assert caption_of(LION, "en") == "lion" and caption_of(LION, "zh") == "狮子"
    assert {caption_of(one, "en") for one in drawings().emoji} == {
        one.en.lower() for one in drawings().emoji
    }


def test_half_of_the_captions_in_training_are_the_name_and_the_others_list_keywords():
    draws = random.Random(0)
    said = Counter(caption_of(LION, "en", draws) for _ in range(4000))
    assert 0.46 < said["lion"] / 4000 < 0.54
    keywords = ["face", "leo", "face, leo", "leo, face"]  # two, for the name is none of them
    assert set(said) == {"lion", *keywords, *(f"lion, {k}" for k in keywords)}
    led = sum(n for text, n in said.items() if text.startswith("lion, "))
    assert 0.22 < led / 4000 < 0.28
    assert set(caption_of(LION, "zh", draws) for _ in range(99)) == {"狮子", "脸", "狮子，脸"}


def test_captions_in_training_have_at_most_the_name_and_three_keywords():
    draws, one = random.Random(1), next(e for e in drawings().emoji if e.en == "grinning face")
    said = {caption_of(one, "en", draws) for _ in range(500)}
    parts = [text.split(", ") for text in said]
    assert max(map(len, parts)) == 4 and min(map(len, parts)) == 1
    assert all(set(words) <= {one.en, *one.en_keywords} for words in parts)
    assert all(len(set(words)) == len(words) for words in parts)
    assert all(words[0] == one.en for words in parts if len(words) == 4)


def test_a_concept_whose_only_keyword_is_its_name_is_called_that():
    one = Emoji("x", "g", "Lion", "狮子", ("Lion",), ("狮子",))
    assert {caption_of(one, "zh", random.Random(i)) for i in range(50)} == {"狮子"}


# refuses


def test_another_split_is_refused():
    with pytest.raises(ValueError, match="'test' is not a split: choose one of train, drawings, c"):
        emoji_split("test")


def test_another_language_is_refused():
    with pytest.raises(ValueError, match="'fr' is no language of the captions: choose en or zh"):
        caption_of(LION, "fr")
