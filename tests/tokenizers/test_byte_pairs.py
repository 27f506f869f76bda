"""Tests of mini_models.tokenizers.byte_pairs: token for token equal to the tokenizers library."""

import json
import random
from collections import Counter
from itertools import pairwise

import pytest
from strings import STRINGS, random_strings
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from mini_models import corpora
from mini_models.data import shakespeare, tang_quatrains
from mini_models.tokenizers import ByteLevelBPE
from mini_models.tokenizers.pieces import GPT2_PIECES, byte_alphabet, byte_order, merge_pair

PLAYS, POEMS = shakespeare()[:60_000], "\n".join(p.text for p in tang_quatrains()[:400])
TEXTS = {
    "English": PLAYS,
    "Chinese": POEMS,
    "repeats": "aaaa aaa aa abab ababab bbaa " * 20,
    "a few words": "low low low low lower lower newest newest newest widest",
}


@pytest.fixture(scope="module")
def gpt2():
    return ByteLevelBPE.gpt2()


@pytest.fixture(scope="module")
def gpt2_theirs():
    """GPT-2's tokenizer in the tokenizers library, from the same file of merges."""
    lines = corpora.read("gpt2_merges.txt.xz").decode().split("\n")
    merges = [tuple(line.split()) for line in lines[1:] if line]
    tokens = [*letters_of_gpt2(), *("".join(m) for m in merges), "<|endoftext|>"]
    theirs = Tokenizer(models.BPE({t: i for i, t in enumerate(tokens)}, merges))
    theirs.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    theirs.decoder = decoders.ByteLevel()
    return theirs


def letters_of_gpt2():
    """bytes_to_unicode of OpenAI's release: what prints stands for itself, in order."""
    known = {}
    for span in ("!~", "¡¬", "®ÿ"):
        known |= {b: chr(b) for b in range(ord(span[0]), ord(span[1]) + 1)}
    rest = [b for b in range(256) if b not in known]
    return list((known | {b: chr(256 + i) for i, b in enumerate(rest)}).values())


def slow_merges(text, n):
    """Byte-pair encoding as the paper defines it: count all pairs anew for every merge."""
    letter = dict(zip(byte_order(), byte_alphabet()))
    ids = {c: i for i, c in enumerate(byte_alphabet())}
    words = Counter(tuple(letter[b] for b in p.encode()) for p in GPT2_PIECES.findall(text))
    merges = []
    while len(merges) < n:
        counts = Counter()
        for word, times in words.items():
            for pair in pairwise(word):
                counts[pair] += times
        if not counts:
            break
        best = min(counts, key=lambda p: (-counts[p], ids[p[0]], ids[p[1]]))
        merges.append(best)
        ids.setdefault("".join(best), len(ids))
        joined = Counter()
        for word, times in words.items():
            joined[tuple(merge_pair(list(word), best, "".join(best)))] += times
        words = joined
    return merges


# agrees with an independent implementation


@pytest.mark.parametrize("name", STRINGS)
def test_gpt_2s_tokens_are_those_of_the_tokenizers_library(gpt2, gpt2_theirs, name):
    assert gpt2.encode(STRINGS[name]) == gpt2_theirs.encode(STRINGS[name]).ids


def test_gpt_2s_tokens_are_equal_on_random_strings_plays_and_poems(gpt2, gpt2_theirs):
    for text in [*random_strings(3000), PLAYS, POEMS]:
        assert gpt2.encode(text) == gpt2_theirs.encode(text).ids, text[:80]


def test_gpt_2s_vocabulary_has_its_known_places(gpt2):
    assert gpt2.vocab_size == 50257
    assert gpt2.encode("Hello, world!") == [15496, 11, 995, 0]
    assert gpt2.tokens[50256] == "<|endoftext|>" and gpt2.decode([50256]) == "<|endoftext|>"


def test_broken_bytes_decode_as_in_the_tokenizers_library(gpt2, gpt2_theirs):
    draw = random.Random(0)
    for _ in range(300):
        ids = [draw.randrange(50256) for _ in range(6)]
        assert gpt2.decode(ids) == gpt2_theirs.decode(ids)


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("vocab_size", [257, 300, 700])
def test_trained_merges_are_those_of_the_tokenizers_library(name, vocab_size):
    theirs = Tokenizer(models.BPE())
    theirs.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    theirs.train_from_iterator([TEXTS[name]], trainer)
    merges = [tuple(m) for m in json.loads(theirs.to_str())["model"]["merges"]]
    ours = ByteLevelBPE.train(TEXTS[name], vocab_size)
    assert ours.merges == merges
    assert ours.vocab_size == theirs.get_vocab_size()
    for text in STRINGS.values():
        expected = theirs.encode(text).tokens
        assert [ours.tokens[i] for i in ours.encode(text)] == expected


@pytest.mark.parametrize("name", TEXTS)
def test_trained_merges_are_those_of_counting_anew_each_time(name):
    text = TEXTS[name][:4000]
    assert ByteLevelBPE.train(text, 256 + 60).merges == slow_merges(text, 60)


def test_two_merges_that_give_the_same_token_share_its_id():
    merges = [("b", "c"), ("a", "bc"), ("a", "b"), ("ab", "c")]
    ours = ByteLevelBPE(merges)
    assert ours.tokens[256:] == ["bc", "abc", "ab"]
    theirs = Tokenizer(models.BPE({t: i for i, t in enumerate(ours.tokens)}, merges))
    for text in ("abc", "aabcc", "abab", "bcabcab"):
        assert ours.encode(text) == theirs.encode(text).ids


# properties


@pytest.mark.parametrize("name", STRINGS)
def test_decoding_what_gpt_2_encodes_gives_the_text_back(gpt2, name):
    assert gpt2.decode(gpt2.encode(STRINGS[name])) == STRINGS[name]


def test_decoding_gives_back_any_text_whatever_it_was_trained_on(gpt2):
    small = ByteLevelBPE.train("one small text", 270)
    for text in [*random_strings(500), POEMS]:
        for tokenizer in (gpt2, small):
            assert tokenizer.decode(tokenizer.encode(text)) == text


def test_more_merges_never_need_more_tokens():
    lengths = [len(ByteLevelBPE.train(PLAYS, n).encode(PLAYS)) for n in (256, 280, 400, 900)]
    assert lengths[0] == len(PLAYS.encode())
    assert lengths == sorted(lengths, reverse=True) and lengths[-1] < 0.5 * lengths[0]


def test_a_smaller_vocabulary_learns_the_first_of_the_same_merges():
    large = ByteLevelBPE.train(PLAYS, 500).merges
    assert ByteLevelBPE.train(PLAYS, 300).merges == large[:44]


def test_no_merge_reaches_over_the_edge_of_a_piece():
    pieces = GPT2_PIECES.findall(PLAYS)
    assert "".join(pieces) == PLAYS
    for token in ByteLevelBPE.train(PLAYS, 900).tokens[256:]:
        assert "Ġ" not in token[1:] or set(token) <= set("ĠĊ"), token


def test_typed_special_tokens_are_plain_text(gpt2):
    assert 50256 not in gpt2.encode("<|endoftext|>")
    assert gpt2.decode([50256]) == "<|endoftext|>"


def test_several_texts_are_trained_on_as_one_collection():
    both = ByteLevelBPE.train(["low low", "lower"], 260)
    assert both.merges[:2] == [("l", "o"), ("lo", "w")]


def test_training_stops_when_there_is_nothing_left_to_join():
    assert ByteLevelBPE.train("ab ab", 1000).vocab_size < 262


# refuses


@pytest.mark.parametrize("wrong", [-1, 50257, 99999])
def test_an_id_outside_the_vocabulary_is_refused(wrong, gpt2):
    with pytest.raises(ValueError, match=f"id {wrong} is outside the vocabulary of 50257 tokens"):
        gpt2.decode([0, wrong])


@pytest.mark.parametrize("texts", ["", [], ["", ""]])
def test_training_on_nothing_is_refused(texts):
    with pytest.raises(ValueError, match="the texts are empty: there is nothing to learn merges"):
        ByteLevelBPE.train(texts, 300)


def test_a_vocabulary_too_small_to_begin_with_is_refused():
    with pytest.raises(ValueError, match="vocab_size is 255: the bytes alone need 256"):
        ByteLevelBPE.train("abc", 255)


def test_half_a_character_is_refused(gpt2):
    with pytest.raises(ValueError, match=r"character 2 is '\\ud83d', half of a character: decode"):
        gpt2.encode("ab\ud83d")


# learns


def test_merges_learned_from_plays_shorten_a_play_not_seen_and_chinese_stays_in_bytes():
    bpe = ByteLevelBPE.train(PLAYS, 1000)
    unseen = shakespeare()[-20_000:]
    assert len(bpe.encode(unseen)) < 0.5 * len(unseen)
    assert len(bpe.encode(POEMS)) > 0.9 * len(POEMS.encode())
    assert " the" in [bpe.decode([i]) for i in range(256, 1000)]
