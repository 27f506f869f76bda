"""Tests of mini_models.tokenizers and pieces: token for token equal to the tokenizers library."""

import json
import random
from collections import Counter
from itertools import pairwise

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from tokenizers import normalizers as norms
from transformers import BertTokenizer

from mini_models import corpora
from mini_models.data import shakespeare, tang_quatrains
from mini_models.tokenizers import ByteLevelBPE, CharTokenizer, WordPiece
from mini_models.tokenizers.pieces import (
    GPT2_PIECES,
    Pairs,
    basic_words,
    byte_alphabet,
    byte_order,
    merge_pair,
)

STRINGS = {
    "plain": "To be, or not to be: that is the question.",
    "contractions": "I'll say we've can't didn't it's THEY'RE I'd I'm 'tis o'clock ''s 'S",
    "Chinese": "床前明月光，疑是地上霜。举头望明月，低头思故乡。",
    "mixed scripts": "Привет мир! 你好 world שלום नमस्ते こんにちは 한국어 ğüşiöç",
    "emoji": "👍🏽 👨‍👩‍👧‍👦 🇨🇳 ❤️ 🤖🤖🤖",
    "whitespace runs": "a  b   c \t d\n\n\ne \r\n  f   ",
    "only spaces": "     ",
    "other spaces": "a\u00a0b\u2003c\u3000d\u200be\u2028f",
    "numbers": "3.14159, 1,000,000 ²³ ½ ٣ 0x1F 2020-05-28",
    "code": "def f(x):\n    return {'a': x**2, \"b\": [1, 2]}  # ok?\n",
    "marks": "!!! ... --- ??!! «quoted» “curly” ‘single’ $9.99 #tag @user a_b ~^`|",
    "accents": "café cafe\u0301 naïve Å A\u030a ﬁ Straße İstanbul",
    "long word": "antidisestablishmentarianism" * 5,
    "odd characters": "\x00\x07\x7f\ufffd\ue000\ufeff￾",
    "rare Chinese": "𠮷𡃁㐀豈䶵龘",
    "one letter": "a",
    "special": "<|endoftext|> [MASK] [CLS]",
    "nothing": "",
}
PLAYS, POEMS = shakespeare()[:60_000], "\n".join(p.text for p in tang_quatrains()[:400])
TEXTS = {
    "English": PLAYS,
    "Chinese": POEMS,
    "repeats": "aaaa aaa aa abab ababab bbaa " * 20,
    "a few words": "low low low low lower lower newest newest newest widest",
}


def random_strings(n, seed=0):
    """Strings of letters, marks, spaces and characters of many scripts.

    They are of scripts long complete: two libraries may know different versions of Unicode.
    """
    draw = random.Random(seed)
    scripts = [*range(0x600), *range(0x3040, 0xA000), *range(0xAC00, 0xD7A4)]
    some = [
        *"abcdefgXYZ 0123456789'  \n\t.,!?-~$^`|+<=>",
        *"éüñ你好月光ёжあ가𝔘🙂🙏🏽\u0301\u200d\u00a0",
    ]
    for _ in range(n):
        yield "".join(
            draw.choice(some) if draw.random() < 0.9 else chr(draw.choice(scripts))
            for _ in range(draw.randrange(40))
        )


@pytest.fixture(scope="module")
def gpt2():
    return ByteLevelBPE.gpt2()


@pytest.fixture(scope="module")
def bert():
    return WordPiece.bert_uncased()


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


@pytest.fixture(scope="module")
def bert_theirs(tmp_path_factory):
    path = tmp_path_factory.mktemp("bert") / "vocab.txt"
    path.write_bytes(corpora.read("bert_uncased_vocab.txt.xz"))
    words = path.read_text(encoding="utf-8").split("\n")[:-1]
    return BertTokenizer(vocab={word: i for i, word in enumerate(words)}, do_lower_case=True)


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


@pytest.mark.parametrize("name", STRINGS)
def test_berts_tokens_are_those_of_transformers(bert, bert_theirs, name):
    assert bert.encode(STRINGS[name]) == bert_theirs.encode(STRINGS[name], add_special_tokens=False)


def test_berts_tokens_are_equal_on_random_strings_plays_and_poems(bert, bert_theirs):
    for text in [*random_strings(1500), PLAYS, POEMS]:
        expected = bert_theirs.encode(text, add_special_tokens=False, verbose=False)
        assert bert.encode(text) == expected, text[:80]


def test_the_words_of_bert_are_those_of_the_tokenizers_library():
    clean = norms.BertNormalizer(lowercase=True)
    cut = pre_tokenizers.BertPreTokenizer()
    for text in [*STRINGS.values(), *random_strings(1500)]:
        words = [w for w, _ in cut.pre_tokenize_str(clean.normalize_str(text))]
        assert basic_words(text) == words, text


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


def test_the_byte_alphabet_is_gpt_2s():
    assert byte_alphabet() == letters_of_gpt2()
    assert set(byte_alphabet()) == set(pre_tokenizers.ByteLevel.alphabet())
    assert sorted(byte_order()) == list(range(256))
    letter = dict(zip(byte_order(), byte_alphabet()))
    assert letter[ord("a")] == "a" and letter[ord(" ")] == "Ġ" and letter[ord("\n")] == "Ċ"


def test_characters_are_numbered_in_their_sorted_order():
    text = "hello world"
    places = {c: i for i, c in enumerate(sorted(set(text)))}
    assert CharTokenizer.train(text).encode(text) == [places[c] for c in text]


# properties


@pytest.mark.parametrize("name", STRINGS)
def test_decoding_what_gpt_2_encodes_gives_the_text_back(gpt2, name):
    assert gpt2.decode(gpt2.encode(STRINGS[name])) == STRINGS[name]


def test_decoding_gives_back_any_text_whatever_it_was_trained_on(gpt2):
    small = ByteLevelBPE.train("one small text", 270)
    chars = CharTokenizer.train([*random_strings(500), POEMS])
    for text in random_strings(500):
        for tokenizer in (gpt2, small, chars):
            assert tokenizer.decode(tokenizer.encode(text)) == text
    assert chars.decode(chars.encode(POEMS)) == POEMS


def test_a_word_piece_text_comes_back_in_lower_case_and_spaced(bert):
    assert bert.decode(bert.encode("The Tokenizer, said: unaffable!")) == (
        "the token ##izer , said : una ##ffa ##ble !".replace(" ##", "")
    )


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


def test_typed_special_tokens_are_plain_text_for_gpt_2_and_themselves_for_bert(gpt2, bert):
    assert 50256 not in gpt2.encode("<|endoftext|>")
    assert bert.encode("a [MASK] b[SEP]") == [1037, 103, 1038, 102]


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


@pytest.mark.parametrize(
    "make",
    [
        lambda: CharTokenizer.train("你好, wörld\n"),
        lambda: ByteLevelBPE.train("low lower lowest 你好", 270),
        lambda: ByteLevelBPE([("a", "b")], ["<|endoftext|>"]),
        lambda: WordPiece.train("low lower lowest 你好", 30),
    ],
    ids=["characters", "bytes", "bytes and a special token", "word pieces"],
)
def test_what_is_saved_loads_as_it_was(tmp_path, make):
    tokenizer, path = make(), tmp_path / "tokenizer.json"
    tokenizer.save(path)
    loaded = type(tokenizer).load(path)
    assert vars(loaded).keys() == vars(tokenizer).keys()
    assert loaded._arguments() == tokenizer._arguments()
    assert loaded.vocab_size == tokenizer.vocab_size
    assert loaded.encode("wörld") == tokenizer.encode("wörld")
    assert [p.name for p in tmp_path.iterdir()] == ["tokenizer.json"]


def test_a_failed_write_leaves_the_old_file_whole(tmp_path, monkeypatch):
    path = tmp_path / "tokenizer.json"
    CharTokenizer("abc").save(path)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OSError, match="No space"):
        CharTokenizer("abcdef").save(path)
    assert CharTokenizer.load(path).characters == ["a", "b", "c"]


def test_a_vocabulary_of_one_token_a_line_is_read(tmp_path, bert):
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join(bert.tokens) + "\n", encoding="utf-8")
    assert WordPiece.from_vocab(path).tokens == bert.tokens
    assert bert.vocab_size == 30522


def test_several_texts_are_trained_on_as_one_collection_and_a_limit_keeps_the_frequent():
    assert CharTokenizer.train(["ab", "bc"]).characters == ["a", "b", "c"]
    assert CharTokenizer.train("aaabbc", vocab_size=2).characters == ["a", "b"]
    both = ByteLevelBPE.train(["low low", "lower"], 260)
    assert both.merges[:2] == [("l", "o"), ("lo", "w")]


def test_training_stops_when_there_is_nothing_left_to_join():
    assert ByteLevelBPE.train("ab ab", 1000).vocab_size < 262
    tokens = WordPiece.train("ab ab", 1000).tokens
    assert tokens[5:] == ["##b", "a", "ab"]
    assert WordPiece.train("ab", 1000).tokens[5:] == ["##b", "a"]  # met once only


# refuses


def test_characters_outside_the_alphabet_are_named():
    with pytest.raises(ValueError, match="2 characters are not in this alphabet of 3: 'd' 'e'; re"):
        CharTokenizer("abc").encode("abcde")


@pytest.mark.parametrize("wrong", [-1, 3, 99])
def test_an_id_outside_the_vocabulary_is_refused(wrong, gpt2, bert):
    with pytest.raises(ValueError, match=f"id {wrong} is outside the vocabulary of 3 tokens"):
        CharTokenizer("abc").decode([0, wrong])
    with pytest.raises(ValueError, match="id 50257 is outside the vocabulary of 50257 tokens"):
        gpt2.decode([50257])
    with pytest.raises(ValueError, match="id -1 is outside the vocabulary of 30522 tokens"):
        bert.decode([-1])


def test_an_alphabet_with_a_character_twice_is_refused():
    with pytest.raises(ValueError, match="the alphabet names a character twice: give each of"):
        CharTokenizer("abca")


@pytest.mark.parametrize("texts", ["", [], ["", ""]])
def test_training_on_nothing_is_refused(texts):
    for kind in (CharTokenizer, ByteLevelBPE, WordPiece):
        with pytest.raises(ValueError, match="the texts are empty: there is no"):
            kind.train(texts, 300)


def test_a_vocabulary_too_small_to_begin_with_is_refused():
    with pytest.raises(ValueError, match="vocab_size is 255: the bytes alone need 256"):
        ByteLevelBPE.train("abc", 255)
    said = "vocab_size is 7, but special tokens and characters need 8"
    with pytest.raises(ValueError, match=said):
        WordPiece.train("abc", 7)


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


def test_half_a_character_is_refused(gpt2, bert):
    for tokenizer in (gpt2, bert):
        with pytest.raises(ValueError, match=r"character 2 is '\\ud83d', half of a character: de"):
            tokenizer.encode("ab\ud83d")


def test_a_file_that_holds_something_else_is_refused(tmp_path):
    path = tmp_path / "tokenizer.json"
    CharTokenizer("abc").save(path)
    with pytest.raises(ValueError, match="holds a CharTokenizer: load it with CharTokenizer.load"):
        ByteLevelBPE.load(path)
    for text in ("", "{}", "[1]", '{"kind": "Char', "\x00"):
        path.write_text(text)
        with pytest.raises(ValueError, match="holds no tokenizer: give a file that save"):
            CharTokenizer.load(path)


# learns


def test_merges_learned_from_plays_shorten_a_play_not_seen_and_chinese_stays_in_bytes():
    bpe = ByteLevelBPE.train(PLAYS, 1000)
    unseen = shakespeare()[-20_000:]
    assert len(bpe.encode(unseen)) < 0.5 * len(unseen)
    assert len(bpe.encode(POEMS)) > 0.9 * len(POEMS.encode())
    assert " the" in [bpe.decode([i]) for i in range(256, 1000)]


def test_word_pieces_find_endings_that_words_share():
    words = ["walk", "talk", "jump", "play", "look"]
    text = " ".join(w + ending for w in words for ending in ("", "ing", "ed") for _ in range(3))
    pieces = WordPiece.train(text, 60)
    assert "##ing" in pieces.tokens or "##ng" in pieces.tokens
    assert len(pieces.encode("looking")) < len("looking")
