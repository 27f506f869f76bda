"""Tests of mini_models.emoji_data: batches of drawings with captions, and their tokenizer."""

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from mini_models.data.emoji import (
    COMMA,
    EMOJI_TEXT_LENGTH,
    EMOJI_VOCABULARY,
    EmojiBatches,
    drawings,
    emoji_split,
    emoji_tokenizer,
    fitting,
    moved,
)

SEVERAL = ", ".join(["face"] * 20)  # more keywords than fit


# agrees with moving by hand


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
    first, second = batches._rows[0][0], batches._rows[1][0]
    everything = list(range(len(emoji_split("train"))))
    assert sorted(first.tolist()) == everything == sorted(second.tolist())
    assert first.tolist() != second.tolist()


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
    assert not torch.equal(EmojiBatches(8, 0)._rows[0][0], EmojiBatches(8, 1)._rows[0][0])


def test_the_same_picture_comes_with_another_caption_and_place_in_another_epoch():
    n = len(emoji_split("train"))
    batches = EmojiBatches(n)
    (first,), (second,) = batches._rows[0], batches._rows[1]
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


# refuses


def test_a_caption_of_a_reader_that_is_too_long_is_refused():
    n = len(emoji_tokenizer().encode(SEVERAL))
    with pytest.raises(
        ValueError, match=f"has {n} tokens, more than {EMOJI_TEXT_LENGTH}: shorten it"
    ):
        emoji_tokenizer().encode_batch([SEVERAL], EMOJI_TEXT_LENGTH)
