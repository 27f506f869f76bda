"""Tests of mini_models.tokenizers.characters: each character is a token, and comes back."""

import pytest
from strings import STRINGS, random_strings

from mini_models.tokenizers import CharTokenizer

# agrees with an independent implementation


def test_characters_are_numbered_in_their_sorted_order():
    text = "hello world"
    places = {c: i for i, c in enumerate(sorted(set(text)))}
    assert CharTokenizer.train(text).encode(text) == [places[c] for c in text]


# properties


def test_decoding_gives_back_any_text_of_the_alphabet():
    texts = [*STRINGS.values(), *random_strings(500)]
    tokenizer = CharTokenizer.train(texts)
    for text in texts:
        assert tokenizer.decode(tokenizer.encode(text)) == text
        assert len(tokenizer.encode(text)) == len(text)


def test_several_texts_are_trained_on_as_one_collection_and_a_limit_keeps_the_frequent():
    assert CharTokenizer.train(["ab", "bc"]).characters == ["a", "b", "c"]
    assert CharTokenizer.train("aaabbc", vocab_size=2).characters == ["a", "b"]
    assert CharTokenizer.train("aaabbc", vocab_size=2).vocab_size == 2


# refuses


def test_characters_outside_the_alphabet_are_named():
    with pytest.raises(ValueError, match="2 characters are not in this alphabet of 3: 'd' 'e'; re"):
        CharTokenizer("abc").encode("abcde")


def test_an_alphabet_with_a_character_twice_is_refused():
    with pytest.raises(ValueError, match="the alphabet names a character twice: give each of"):
        CharTokenizer("abca")


@pytest.mark.parametrize("wrong", [-1, 3, 99])
def test_an_id_outside_the_vocabulary_is_refused(wrong):
    with pytest.raises(ValueError, match=f"id {wrong} is outside the vocabulary of 3 tokens"):
        CharTokenizer("abc").decode([0, wrong])


@pytest.mark.parametrize("texts", ["", [], ["", ""]])
def test_training_on_nothing_is_refused(texts):
    with pytest.raises(ValueError, match="the texts are empty: there is no character to learn"):
        CharTokenizer.train(texts, 300)
