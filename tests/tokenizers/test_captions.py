"""Tests of mini_models.tokenizers.captions: captions in any language become ids and come back."""

import json

import pytest
import torch

from mini_models.tokenizers import ByteLevelBPE, CaptionTokenizer

LEARNED = [
    *("grinning face", "sleeping face", "cat face", "face with tears", "cat", "cat, face, pet"),
    *("睡着的脸", "猫脸", "猫", "哭笑不得的脸", "猫，脸，宠物"),
] * 2
TEXTS = [
    *("a sleeping cat", "一只猫在睡觉", "Grinning FACE", "t恤", "flag: Côte d’Ivoire", "don't"),
    *("ON! arrow", "“free” button", "два кота", "😀", "x  y", "1st place medal", "A型血，OK！"),
]


@pytest.fixture(scope="module")
def tokenizer():
    return CaptionTokenizer.train(LEARNED, 300)


# agrees with the byte-pair encoding under it


def test_ids_are_those_of_the_byte_pair_encoding_moved_up_by_one(tokenizer):
    bpe = ByteLevelBPE.train([f" {t}" if t.isascii() else t for t in LEARNED], 299)
    assert tokenizer.merges == bpe.merges and tokenizer.vocab_size == bpe.vocab_size + 1 == 300
    assert tokenizer.encode("Sleeping cat") == [i + 1 for i in bpe.encode(" sleeping cat")]
    assert tokenizer.encode("猫睡着") == [i + 1 for i in bpe.encode("猫睡着")]


def test_agrees_with_the_tokenizers_library(tokenizer):
    library = pytest.importorskip("tokenizers")
    model = library.models.BPE(
        vocab={token: i for i, token in enumerate(tokenizer.bpe.tokens)}, merges=tokenizer.merges
    )
    other = library.Tokenizer(model)
    other.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
    for text in ("sleeping cat with tears", "angry face"):
        assert [i - 1 for i in tokenizer.encode(text)] == other.encode(f" {text}").ids
    assert [i - 1 for i in tokenizer.encode("猫，睡着")] == other.encode("猫，睡着").ids


# properties


@pytest.mark.parametrize("text", TEXTS)
def test_decode_after_encode_is_the_text_in_lower_case(tokenizer, text):
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text.lower() and min(ids) > 0
    assert tokenizer.encode(f"  {text.upper()}\n") == tokenizer.encode(text.upper().lower())


def test_a_word_has_the_same_ids_wherever_it_stands(tokenizer):
    for first, second in (("cat", "face"), ("face", "cat")):
        together = tokenizer.encode(f"{first} {second}")
        assert together == tokenizer.encode(first) + tokenizer.encode(second)
    assert len(tokenizer.encode("face")) == 1
    chinese = tokenizer.encode("脸，猫")
    assert chinese[: len(tokenizer.encode("脸"))] == tokenizer.encode("脸")
    assert chinese[-len(tokenizer.encode("猫")) :] == tokenizer.encode("猫")


def test_a_batch_is_padded_behind_and_comes_back(tokenizer):
    ids = tokenizer.encode_batch(TEXTS, 40)
    assert ids.shape == (len(TEXTS), 40) and ids.dtype == torch.int64 and tokenizer.pad == 0
    for row, text in zip(ids, TEXTS):
        n = len(tokenizer.encode(text))
        assert row[:n].tolist() == tokenizer.encode(text) and (row[n:] == 0).all()
        assert tokenizer.decode(row) == text.lower()
    assert tokenizer.encode_batch([], 3).shape == (0, 3)
    assert tokenizer.decode([*tokenizer.encode("cat"), 0, *tokenizer.encode("face")]) == "cat"


def test_the_merges_go_through_json_and_rebuild_the_tokenizer(tokenizer):
    again = CaptionTokenizer(json.loads(json.dumps(tokenizer.merges)))
    assert again.merges == tokenizer.merges and again.vocab_size == tokenizer.vocab_size
    assert [again.encode(t) for t in TEXTS] == [tokenizer.encode(t) for t in TEXTS]


def test_no_merges_leave_the_bytes():
    tokenizer = CaptionTokenizer([])
    assert tokenizer.vocab_size == 257 and len(tokenizer.encode("猫")) == 3
    assert CaptionTokenizer.train("a b", 257).merges == []  # one text is a list of one


# refuses


def test_a_caption_that_is_too_long_is_refused(tokenizer):
    n = len(tokenizer.encode("angry cat"))
    said = f"'angry cat' has {n} tokens, more than {n - 1}: shorten it"
    with pytest.raises(ValueError, match=said):
        tokenizer.encode_batch(["cat", "angry cat"], n - 1)
    assert tokenizer.encode_batch(["angry cat"], n).all()


@pytest.mark.parametrize("text", ["", "  \n"])
def test_an_empty_caption_is_refused(tokenizer, text):
    with pytest.raises(ValueError, match="has 0 tokens: say what the picture shows"):
        tokenizer.encode_batch(["cat", text], 5)


@pytest.mark.parametrize("i", [-1, 300, 1000])
def test_an_id_outside_the_vocabulary_is_refused(tokenizer, i):
    with pytest.raises(ValueError, match=f"id {i} is outside the vocabulary of 300 ids"):
        tokenizer.decode([1, i])


def test_a_vocabulary_without_room_for_the_bytes_is_refused():
    with pytest.raises(ValueError, match="vocab_size is 256: the bytes and the padding need 257"):
        CaptionTokenizer.train(LEARNED, 256)


@pytest.mark.parametrize("texts", [[], "", ["", " "]])
def test_no_captions_are_refused(texts):
    with pytest.raises(ValueError, match="the texts are empty"):
        CaptionTokenizer.train(texts, 300)
