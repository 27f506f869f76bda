"""Tests of mini_models.tokenizers.words: captions become ids and come back, in two languages."""

import pytest
import torch

from mini_models.data.shapes import SPLITS, caption, scenes
from mini_models.tokenizers import WordTokenizer
from mini_models.tokenizers.words import split_words

TEXTS = [
    *("a small red circle left of a large blue square", "grinning face with big eyes"),
    *(
        "一个红色小圆形在一个蓝色大方形左边",
        "大眼睛的笑脸",
        "flag: côte d’ivoire",
        "1st place medal",
    ),
    *(
        "上箭头",
        "keycap: #",
        "“free” button",
        "旗：中国",
        "a型血",
        "man: light skin tone, red hair",
    ),
]


# agrees with splitting by hand


@pytest.mark.parametrize(
    "text, words",
    [
        ("a small red circle", ["a", "small", "red", "circle"]),
        ("  A  Small\tRED circle\n", ["a", "small", "red", "circle"]),
        ("一个红色小圆形", list("一个红色小圆形")),
        ("旗：中国", list("旗：中国")),
        ("A型血", ["a", "型", "血"]),
        ("OK！", ["ok", "！"]),
        ("red圆circle", ["red", "圆", "circle"]),
        ("", []),
        ("flag: Côte d’Ivoire", ["flag:", "côte", "d’ivoire"]),
    ],
)
def test_words_are_what_spaces_and_chinese_characters_part(text, words):
    assert split_words(text) == words


def test_ids_are_places_in_the_sorted_vocabulary_from_one():
    tokenizer = WordTokenizer.train(["b a", "a c", "圆"])
    assert tokenizer.words == ["a", "b", "c", "圆"] and tokenizer.vocab_size == 5
    assert tokenizer.encode("c 圆 A") == [3, 4, 1] and tokenizer.pad == 0
    assert tokenizer.decode([3, 4, 1]) == "c圆a"
    assert WordTokenizer.train("b a").words == ["a", "b"]  # one text is a list of one


# properties


@pytest.mark.parametrize("text", TEXTS)
def test_decode_after_encode_is_identity(text):
    tokenizer = WordTokenizer.train(TEXTS)
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_every_caption_of_shapes_comes_back():
    texts = [
        caption(scene, language, turned)
        for split in SPLITS
        for scene in scenes(split)[::7]
        for language in ("en", "zh")
        for turned in (False, True)
    ]
    tokenizer = WordTokenizer.train(texts)
    assert [tokenizer.decode(tokenizer.encode(text)) for text in texts] == texts


def test_a_batch_is_padded_behind_and_comes_back():
    tokenizer = WordTokenizer.train(TEXTS)
    ids = tokenizer.encode_batch(TEXTS, 20)
    assert ids.shape == (len(TEXTS), 20) and ids.dtype == torch.int64
    for row, text in zip(ids, TEXTS):
        n = len(tokenizer.encode(text))
        assert row[:n].tolist() == tokenizer.encode(text) and (row[n:] == tokenizer.pad).all()
        assert tokenizer.decode(row) == text
    assert tokenizer.encode_batch([""], 3).tolist() == [[0, 0, 0]]
    assert tokenizer.encode_batch([], 3).shape == (0, 3)


def test_the_vocabulary_rebuilds_the_tokenizer():
    tokenizer = WordTokenizer.train(TEXTS)
    again = WordTokenizer(tokenizer.words)
    assert again.words == tokenizer.words
    assert [again.encode(t) for t in TEXTS] == [tokenizer.encode(t) for t in TEXTS]


# refuses


def test_an_unknown_word_is_refused_and_the_known_ones_are_listed():
    tokenizer = WordTokenizer.train("a red circle")
    said = "'a cat sat' has words .* 'cat', 'sat'; known are these 3: a, circle, red$"
    with pytest.raises(ValueError, match=said):
        tokenizer.encode("a cat sat")
    many = WordTokenizer.train(" ".join(f"word{i:03}" for i in range(150)))
    with pytest.raises(ValueError, match="word098, word099 and 50 more$"):
        many.encode("cat")


@pytest.mark.parametrize("i", [-1, 4, 100])
def test_an_id_outside_the_vocabulary_is_refused(i):
    with pytest.raises(ValueError, match=f"id {i} is outside the vocabulary of 4 ids"):
        WordTokenizer.train("a red circle").decode([1, i])


def test_a_text_that_is_too_long_is_refused():
    with pytest.raises(ValueError, match="'a red circle' has 3 words, more than 2: shorten it"):
        WordTokenizer.train("a red circle").encode_batch(["a red circle"], 2)


@pytest.mark.parametrize(
    "words, said",
    [
        (["a", "b", "a"], "a word stands twice among 3: give each of them once"),
        (["a", "red circle"], "'red circle' is no single word in lower case"),
        (["a", "Red"], "'Red' is no single word in lower case"),
        (["圆形"], "'圆形' is no single word in lower case"),
    ],
)
def test_a_vocabulary_that_is_none_is_refused(words, said):
    with pytest.raises(ValueError, match=said):
        WordTokenizer(words)


def test_texts_without_a_word_are_refused():
    with pytest.raises(ValueError, match="the texts are empty: there is no word to learn"):
        WordTokenizer.train(["", "  "])
