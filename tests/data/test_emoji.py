"""Tests of mini_models.data.emoji: pictures, names and splits, and batches of them."""

import json
import lzma
import random
from collections import Counter

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from mini_models.corpora import CORPORA
from mini_models.data import emoji
from mini_models.data.emoji import (
    COMMA,
    EMOJI_SPLITS,
    EMOJI_TEXT_LENGTH,
    EMOJI_VOCABULARY,
    Drawings,
    Emoji,
    EmojiBatches,
    LabelledEmoji,
    caption_of,
    drawings,
    emoji_split,
    emoji_tokenizer,
    fitting,
    moved,
)

LION = Emoji("🦁", "animals-nature", "Lion", "狮子", ("face", "Leo", "Lion"), ("狮子", "脸"))


def unpacked(name: str) -> bytes:
    with lzma.open(CORPORA / name) as file:
        return file.read()


def pixels(pictures: Drawings) -> set[bytes]:
    return {image.numpy().tobytes() for image in pictures.images}


SEVERAL = ", ".join(["face"] * 20)  # more keywords than fit


# agrees with an independent implementation


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


@pytest.mark.parametrize("by", [(0, 0), (1, 1), (2, 0), (1, 2)])
def test_moved_images_are_those_that_numpy_cuts_out(by):
    images = drawings().images[:3]
    wide = np.pad(images.numpy(), ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=255)
    cut = wide[:, :, by[0] : by[0] + 32, by[1] : by[1] + 32]
    assert (moved(images, torch.tensor(by)[:, None].expand(2, 3)).numpy() == cut).all()


def test_each_image_moves_by_its_own():
    images = drawings().images[:2]
    out = moved(images, torch.tensor([[0, 1], [1, 2]]))
    assert torch.equal(out[0, :, 1:], images[0, :, :-1]) and (out[0, :, 0] == 255).all()
    assert torch.equal(out[1, :, :, :-1], images[1, :, :, 1:]) and (out[1, :, :, -1] == 255).all()


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
    train, others, concepts = (pixels(emoji_split(name)) for name in EMOJI_SPLITS)
    assert train.isdisjoint(others) and train.isdisjoint(concepts)
    assert others.isdisjoint(concepts)
    assert len(pixels(drawings())) == 3144  # there are five that repeat another


def test_the_same_done_by_a_man_and_by_a_woman_is_in_one_split():
    for name in EMOJI_SPLITS[1:]:
        held = {(one.en, s) for one, s in zip(emoji_split(name).emoji, emoji_split(name).styles)}
        everything = {(one.en, s) for one, s in zip(drawings().emoji, drawings().styles)}
        pairs = [(en.removeprefix("woman "), s) for en, s in held if en.startswith("woman ")]
        others = {(f"man {doing}", s) for doing, s in pairs} & everything
        assert len(others) > 3 and others <= held


def test_a_family_is_all_that_share_a_picture_or_a_name_one_after_another(monkeypatch):
    names = ("man cook {}", "baker {}", "cat {}", "woman cook {}", "chef {}", "woman: cat {}")
    n = 300  # families of cooks, and as many of cats
    called = [name.format(i) for i in range(n) for name in names]
    those = [Emoji(str(i), "", name, name, (), ()) for i, name in enumerate(called)]
    images = torch.arange(6 * n).view(-1, 1, 1, 1) // torch.tensor([1, 256, 65536]).view(3, 1, 1)
    images = (images % 256).byte().expand(-1, 3, 32, 32).clone()
    images[4::6], images[1::6] = images[0::6], images[3::6]  # the chef is the man, the baker she
    small = Drawings(images, tuple(those), ("noto",) * len(those))
    monkeypatch.setattr(emoji, "drawings", lambda: small)
    held_out = {one.char for one in emoji_split.__wrapped__("concepts").emoji}
    cooks = [{str(6 * i + k) in held_out for k in (0, 1, 3, 4)} for i in range(n)]
    cats = [{str(6 * i + k) in held_out for k in (2, 5)} for i in range(n)]
    assert all(len(family) == 1 for family in cooks + cats)
    assert sum(a != b for a, b in zip(cooks, cats)) > 0.05 * n  # a cat is no cook
    assert 0.05 < sum(True in family for family in cooks + cats) / (2 * n) < 0.16


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


def test_a_batch_has_pictures_from_0_to_1_and_captions_that_can_be_read():
    images, ids = EmojiBatches(64)[0]
    assert images.shape == (64, 3, 32, 32) and images.dtype == torch.float32
    assert images.min() >= 0 and images.max() == 1
    assert ids.shape == (64, EMOJI_TEXT_LENGTH) and ids.dtype == torch.int64
    texts = [emoji_tokenizer().decode(row) for row in ids]
    chinese = sum(any("\u4e00" <= c <= "\u9fff" for c in text) for text in texts)
    assert 16 < chinese < 48 and all(texts)  # both languages, about as often


def test_pictures_and_captions_belong_together():
    train, batches = emoji_split("train"), EmojiBatches(50, seed=2)
    rows = {}
    for row, image in enumerate(train.images):
        rows.setdefault(image[:, 1:-1, 1:-1].numpy().tobytes(), []).append(row)  # what stays
    for image, ids in zip(*batches[3]):
        whole = (image * 255).round().byte()
        cuts = [whole[:, y : y + 30, x : x + 30] for y in range(3) for x in range(3)]
        found = [train.emoji[r] for cut in cuts for r in rows.get(cut.numpy().tobytes(), [])]
        said = batches.tokenizer.decode(ids)
        names = [{one.en, *one.en_keywords, one.zh, *one.zh_keywords} for one in found]
        known = set().union(*names) if names else set()
        assert found and said.replace("，", ", ").split(", ")[-1] in {k.lower() for k in known}


def test_an_epoch_takes_each_picture_of_training_once():
    batches = EmojiBatches(len(emoji_split("train")), seed=1)
    first, second = batches.rows[0], batches.rows[1]
    everything = list(range(len(emoji_split("train"))))
    assert sorted(first) == everything == sorted(second)
    assert first != second


def test_the_same_step_is_the_same_batch_and_another_step_or_seed_another():
    one, again, other = EmojiBatches(8, seed=3), EmojiBatches(8, seed=3), EmojiBatches(8, seed=4)
    one[0]  # what came before does not matter
    for mine, theirs in zip(one[700], again[700]):
        assert_close(mine, theirs, rtol=0, atol=0)
    assert not torch.equal(one[1][0], one[2][0]) and not torch.equal(one[1][1], one[2][1])
    assert not torch.equal(one[1][0], other[1][0]) and not torch.equal(one[1][1], other[1][1])


def test_language_and_order_change_from_step_to_step_and_with_the_seed():
    def chinese(seed, step):
        text = emoji_tokenizer().decode(EmojiBatches(1, seed)[step][1][0])
        return any("\u4e00" <= c <= "\u9fff" for c in text)

    assert {chinese(0, step) for step in range(12)} == {True, False}
    assert {chinese(seed, 0) for seed in range(12)} == {True, False}
    assert EmojiBatches(8, 0).rows[0] != EmojiBatches(8, 1).rows[0]


def test_the_same_picture_comes_with_another_caption_and_place_in_another_epoch():
    n = len(emoji_split("train"))
    batches = EmojiBatches(n)
    first, second = (torch.tensor(batches.rows[step]) for step in (0, 1))
    (images, ids), (images_2, ids_2) = batches[0], batches[1]
    images, images_2 = images[first.argsort()], images_2[second.argsort()]
    same = (images == images_2).all(3).all(2).all(1).float().mean()
    assert 0.07 < same < 0.2  # one in nine stays
    ids, ids_2 = ids[first.argsort()], ids_2[second.argsort()]
    assert 0.1 < (ids == ids_2).all(1).float().mean() < 0.35


def test_the_tokenizer_reads_every_name_and_keyword_within_the_length():
    tokenizer = emoji_tokenizer()
    assert tokenizer.vocab_size == EMOJI_VOCABULARY
    for one in set(drawings().emoji):
        for text in (one.en, one.zh, *one.en_keywords, *one.zh_keywords):
            ids = tokenizer.encode(text)
            assert tokenizer.decode(ids) == text.lower() and len(ids) <= EMOJI_TEXT_LENGTH
    assert max(len(tokenizer.encode(one.en)) for one in drawings().emoji) < EMOJI_TEXT_LENGTH - 4


@pytest.mark.parametrize("text", ["a sleeping cat", "一只猫在睡觉", "不存在的词：龘"])
def test_the_tokenizer_reads_captions_that_no_emoji_has(text):
    tokenizer = emoji_tokenizer()
    assert tokenizer.decode(tokenizer.encode_batch([text], EMOJI_TEXT_LENGTH)[0]) == text


def test_the_tokenizer_learned_nothing_from_held_out_concepts():
    assert "shopping cart" in {one.en for one in emoji_split("concepts").emoji}
    assert len(emoji_tokenizer().encode("cart")) > 1  # with that concept, it would be one
    assert len(emoji_tokenizer().encode("face")) == 1


def test_keywords_that_do_not_fit_are_dropped_from_the_end():
    kept = fitting(SEVERAL, "en")
    n = len(emoji_tokenizer().encode(kept))
    assert EMOJI_TEXT_LENGTH - 2 < n <= EMOJI_TEXT_LENGTH and SEVERAL.startswith(f"{kept}, ")
    assert fitting(SEVERAL.replace(COMMA["en"], COMMA["zh"]), "zh", 1) == "face"
    assert fitting("cat, pet", "en") == "cat, pet"
    assert fitting(SEVERAL, "en", len(emoji_tokenizer().encode(SEVERAL))) == SEVERAL


def test_labelled_batches_repeat_and_differ_from_step_to_step():
    pairs = LabelledEmoji(16)
    for one, same in zip(pairs[3], LabelledEmoji(16)[3]):
        assert torch.equal(one, same)
    assert not torch.equal(pairs[3][1], pairs[4][1])


def test_the_labels_of_emoji_are_those_of_their_concepts():
    pairs, train = LabelledEmoji(64, seed=3), emoji_split("train")
    names = {}
    for step in range(3):
        for row, label in zip(pairs.pairs.rows[step], pairs[step][2].tolist()):
            assert names.setdefault(label, train.emoji[row]) == train.emoji[row]
    assert len(set(names.values())) == len(names)


# refuses


def test_another_split_is_refused():
    with pytest.raises(ValueError, match="'test' is not a split: choose one of train, drawings, c"):
        emoji_split("test")


def test_another_language_is_refused():
    with pytest.raises(ValueError, match="'fr' is no language of the captions: choose en or zh"):
        caption_of(LION, "fr")


def test_a_caption_of_a_reader_that_is_too_long_is_refused():
    n = len(emoji_tokenizer().encode(SEVERAL))
    with pytest.raises(
        ValueError, match=f"has {n} tokens, more than {EMOJI_TEXT_LENGTH}: shorten it"
    ):
        emoji_tokenizer().encode_batch([SEVERAL], EMOJI_TEXT_LENGTH)
