"""Tests of mini_models.words: captions become ids and come back."""

import pytest

from mini_models.words import WordTokenizer

TEXTS = ["a small red circle", "一个红色小圆形", "grinning face with big eyes", "大眼睛的笑脸"]


@pytest.mark.parametrize("text", TEXTS)
def test_decode_after_encode_is_identity(text):
    words = WordTokenizer.train(TEXTS)
    assert words.decode(words.encode(text)) == text


def test_an_unknown_word_is_refused_and_the_known_ones_are_listed():
    words = WordTokenizer.train("a red circle")
    with pytest.raises(ValueError, match="'cat' in 'a cat' is not among the 3 words .*: a, circle"):
        words.encode("a cat")
