"""Tests of mini_models.tokenizers.pieces: texts are cut as others cut them, pairs counted right."""

import random
from collections import Counter
from itertools import pairwise

import pytest
import torch
from strings import STRINGS, random_strings
from tokenizers import normalizers as norms
from tokenizers import pre_tokenizers

from mini_models.tokenizers.pieces import (
    GPT2_PIECES,
    Pairs,
    as_texts,
    basic_words,
    byte_alphabet,
    byte_order,
    look_up,
    merge_pair,
    refuse_surrogates,
    word_spans,
)


def letters_of_gpt2():
    """bytes_to_unicode of OpenAI's release: what prints stands for itself, in order."""
    known = {}
    for span in ("!~", "¡¬", "®ÿ"):
        known |= {b: chr(b) for b in range(ord(span[0]), ord(span[1]) + 1)}
    rest = [b for b in range(256) if b not in known]
    return list((known | {b: chr(256 + i) for i, b in enumerate(rest)}).values())


# agrees with an independent implementation


def test_the_words_of_bert_are_those_of_the_tokenizers_library():
    clean = norms.BertNormalizer(lowercase=True)
    cut = pre_tokenizers.BertPreTokenizer()
    for text in [*STRINGS.values(), *random_strings(1500)]:
        words = [w for w, _ in cut.pre_tokenize_str(clean.normalize_str(text))]
        assert basic_words(text) == words, text


def test_the_pieces_of_gpt_2_are_those_of_the_tokenizers_library():
    cut = pre_tokenizers.ByteLevel(add_prefix_space=False)
    for text in [*STRINGS.values(), *random_strings(1500)]:
        found = [text[a:b] for _, (a, b) in cut.pre_tokenize_str(text)]
        assert GPT2_PIECES.findall(text) == found, text


def test_the_byte_alphabet_is_gpt_2s():
    assert byte_alphabet() == letters_of_gpt2()
    assert set(byte_alphabet()) == set(pre_tokenizers.ByteLevel.alphabet())
    assert sorted(byte_order()) == list(range(256))
    letter = dict(zip(byte_order(), byte_alphabet()))
    assert letter[ord("a")] == "a" and letter[ord(" ")] == "Ġ" and letter[ord("\n")] == "Ċ"


# properties


def test_the_counts_of_pairs_stay_right_while_pairs_are_merged():
    draw = random.Random(0)
    words = Counter(
        tuple(draw.choice("aab") for _ in range(draw.randrange(1, 9))) for _ in range(60)
    )
    pairs = Pairs(words)
    for step in range(10):
        pair = max(pairs.counts, key=lambda p: (pairs.counts[p], p))
        before = pairs.counts.copy()
        changed = pairs.merge(pair, "".join(pair))
        counted, alone = Counter(), Counter()
        for symbols, n in pairs.words:
            for symbol in symbols:
                alone[symbol] += n
            for other in pairwise(symbols):
                counted[other] += n
        assert +pairs.counts == counted, step
        assert +pairs.symbols == alone
        moved = {p for p in counted.keys() | +before if counted[p] != before[p]}
        assert moved - {pair} <= changed


def test_pairs_are_merged_from_left_to_right():
    assert merge_pair(list("aaaaa"), ("a", "a"), "aa") == ["aa", "aa", "a"]
    assert merge_pair(list("abcab"), ("a", "b"), "ab") == ["ab", "c", "ab"]
    assert merge_pair([], ("a", "b"), "ab") == []


def test_the_spans_of_words_are_where_the_words_stand():
    for text in [*STRINGS.values(), *random_strings(500)]:
        spans = word_spans(text)
        assert all(a < b for a, b in spans) and spans == sorted(spans)
        assert all(b <= c for (_, b), (c, _) in pairwise(spans))
        assert [w for a, b in spans for w in basic_words(text[a:b])] == basic_words(text), text
    assert word_spans("Tom's 明月") == [(0, 3), (3, 4), (4, 5), (6, 7), (7, 8)]


def test_one_text_counts_as_a_list_of_one():
    assert as_texts("ab") == ["ab"] and as_texts(iter(["a", "b"])) == ["a", "b"]


# refuses


def test_half_a_character_is_refused_by_its_place():
    refuse_surrogates("🙂 whole")
    with pytest.raises(ValueError, match=r"character 1 is '\\udc00', half of a character: decode"):
        refuse_surrogates("a\udc00")


def test_an_id_without_a_token_is_refused():
    assert look_up(["a", "b"], torch.tensor([1, 0, 1])) == ["b", "a", "b"]
    for wrong in (-1, 2):
        with pytest.raises(ValueError, match=f"id {wrong} is outside the vocabulary of 2 tokens"):
            look_up(["a", "b"], [0, wrong])
