"""Tests of mini_models.tokenizers.wordpiece: token for token equal to BERT's own."""

import random
from collections import Counter
from itertools import pairwise

import pytest
from strings import STRINGS, random_strings
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import BertTokenizer

from mini_models import corpora
from mini_models.data import shakespeare, tang_quatrains
from mini_models.tokenizers import WordPiece
from mini_models.tokenizers.pieces import merge_pair

PLAYS, POEMS = shakespeare()[:60_000], "\n".join(p.text for p in tang_quatrains()[:400])


@pytest.fixture(scope="module")
def bert():
    return WordPiece.bert_uncased()


@pytest.fixture(scope="module")
def bert_theirs(tmp_path_factory):
    path = tmp_path_factory.mktemp("bert") / "vocab.txt"
    path.write_bytes(corpora.read("bert_uncased_vocab.txt.xz"))
    words = path.read_text(encoding="utf-8").split("\n")[:-1]
    return BertTokenizer(vocab={word: i for i, word in enumerate(words)}, do_lower_case=True)


# agrees with an independent implementation


@pytest.mark.parametrize("name", STRINGS)
def test_berts_tokens_are_those_of_transformers(bert, bert_theirs, name):
    assert bert.encode(STRINGS[name]) == bert_theirs.encode(STRINGS[name], add_special_tokens=False)


def test_berts_tokens_are_equal_on_random_strings_plays_and_poems(bert, bert_theirs):
    for text in [*random_strings(1500), PLAYS, POEMS]:
        expected = bert_theirs.encode(text, add_special_tokens=False, verbose=False)
        assert bert.encode(text) == expected, text[:80]


def test_word_pieces_are_the_longest_match_first():
    """Against the algorithm of Google's release, on a small vocabulary."""
    tokens = ["[UNK]", "un", "##aff", "##able", "##a", "##ff", "a", "##b", "ab", "abc", "##d"]
    ours = WordPiece(tokens)
    theirs = Tokenizer(models.WordPiece({t: i for i, t in enumerate(tokens)}, unk_token="[UNK]"))
    theirs.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    draw = random.Random(0)
    words = [
        "".join(draw.choice("abcdfunle") for _ in range(draw.randrange(1, 9))) for _ in "x" * 500
    ]
    for word in ["unaffable", "abd", "abcd", "a" * 100, "a" * 101, *words]:
        assert ours.encode(word) == theirs.encode(word).ids, word


def test_trained_word_pieces_are_those_of_scoring_all_pairs_anew():
    text = "low low low low low lower lower newest newest newest newest widest widest slow"
    words = {(w[0], *("##" + c for c in w[1:])): n for w, n in Counter(text.split()).items()}
    tokens = sorted({s for word in words for s in word})
    for _ in range(8):
        pairs, alone = Counter(), Counter()
        for word, n in words.items():
            alone.update({s: n * word.count(s) for s in set(word)})
            for pair in pairwise(word):
                pairs[pair] += n
        scores = {p: n / (alone[p[0]] * alone[p[1]]) for p, n in pairs.items() if n >= 2}
        best = max(scores, key=lambda p: (scores[p], pairs[p], p))
        tokens.append(best[0] + best[1][2:])
        words = {tuple(merge_pair(list(w), best, tokens[-1])): n for w, n in words.items()}
    assert WordPiece.train(text, 5 + len(tokens)).tokens[5:] == tokens


# properties


def test_a_word_piece_text_comes_back_in_lower_case_and_spaced(bert):
    assert bert.decode(bert.encode("The Tokenizer, said: unaffable!")) == (
        "the token ##izer , said : una ##ffa ##ble !".replace(" ##", "")
    )


def test_typed_special_tokens_are_themselves(bert):
    assert bert.encode("a [MASK] b[SEP]") == [1037, 103, 1038, 102]


def test_training_stops_when_there_is_nothing_left_to_join():
    tokens = WordPiece.train("ab ab", 1000).tokens
    assert tokens[5:] == ["##b", "a", "ab"]
    assert WordPiece.train("ab", 1000).tokens[5:] == ["##b", "a"]  # met once only


def test_a_vocabulary_of_one_token_a_line_is_read(tmp_path, bert):
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join(bert.tokens) + "\n", encoding="utf-8")
    assert WordPiece.from_vocab(path).tokens == bert.tokens
    assert bert.vocab_size == 30522


# refuses


@pytest.mark.parametrize(
    "tokens, said",
    [
        (["a", "b"], r"of 2 tokens, 2 of them different, without \[UNK\]: give each token once"),
        (["[UNK]", "a", "a"], r"of 3 tokens, 2 of them different, with \[UNK\]: give each token"),
    ],
)
def test_an_odd_vocabulary_of_word_pieces_is_refused(tokens, said):
    with pytest.raises(ValueError, match=said):
        WordPiece(tokens)


@pytest.mark.parametrize("wrong", [-1, 30522])
def test_an_id_outside_the_vocabulary_is_refused(wrong, bert):
    with pytest.raises(ValueError, match=f"id {wrong} is outside the vocabulary of 30522 tokens"):
        bert.decode([wrong])


@pytest.mark.parametrize("texts", ["", [], ["", ""]])
def test_training_on_nothing_is_refused(texts):
    with pytest.raises(ValueError, match="the texts are empty: there is nothing to learn pieces"):
        WordPiece.train(texts, 300)


def test_a_vocabulary_too_small_to_begin_with_is_refused():
    said = "vocab_size is 7, but special tokens and characters need 8"
    with pytest.raises(ValueError, match=said):
        WordPiece.train("abc", 7)


def test_half_a_character_is_refused(bert):
    with pytest.raises(ValueError, match=r"character 2 is '\\ud83d', half of a character: decode"):
        bert.encode("ab\ud83d")


# learns


def test_word_pieces_find_endings_that_words_share():
    words = ["walk", "talk", "jump", "play", "look"]
    text = " ".join(w + ending for w in words for ending in ("", "ing", "ed") for _ in range(3))
    pieces = WordPiece.train(text, 60)
    assert "##ing" in pieces.tokens or "##ng" in pieces.tokens
    assert len(pieces.encode("looking")) < len("looking")


def test_a_vocabulary_has_one_token_a_line_feed_and_no_other_line_ends_one(tmp_path):
    tokens = ["[PAD]", "[UNK]", "a", "\u2028", "b\u2028c", "\x0b", "\x85", "d"]
    for end in ("", "\n"):
        path = tmp_path / "vocab.txt"
        path.write_bytes(("\n".join(tokens) + end).encode())
        assert WordPiece.from_vocab(path).tokens == tokens
