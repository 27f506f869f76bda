"""Tests of mini_models.data.prose: pairs are read back from their ids, and each is what it says."""

import pytest
import torch

from mini_models.data import documents, split_documents
from mini_models.data.prose import Document, PairBatches, paragraphs, sentences
from mini_models.tokenizers import SPECIAL, WordPiece

PAD, CLS, SEP = 0, 2, 3


def toy(lengths, words=5, kinds=("a", "b")):
    """Documents in which every word of every sentence is another, and their tokenizer.

    Sentence s of document d has 1 to `words` words; a word says where it stands.
    """
    docs, tokens = [], list(SPECIAL)
    for d, n in enumerate(lengths):
        texts = []
        for s in range(n):
            row = [f"d{d}s{s}w{w}" for w in range(1 + (d + s) % words)]
            tokens += row
            texts.append(" ".join(row))
        docs.append(Document(kinds[d % len(kinds)], f"document {d}", tuple(texts)))
    return docs, WordPiece(tokens)


def places(tokenizer, ids):
    """(document, sentence, word) of each id."""
    numbers = tokenizer.decode(ids).replace("d", " ").replace("s", " ").replace("w", " ").split()
    return [tuple(map(int, numbers[i : i + 3])) for i in range(0, len(numbers), 3)]


def passages(row):
    """The ids between [CLS], [SEP] and [SEP]; fails if the form is another."""
    row = row.tolist()
    first_sep = row.index(SEP)
    end = row.index(SEP, first_sep + 1)
    assert row[0] == CLS and row.count(SEP) == 2 and row.count(CLS) == 1
    assert not any(row[end + 1 :]) and PAD not in row[: end + 1]
    return row[1:first_sep], row[first_sep + 1 : end], end + 1


def whole(docs, place):
    """How many words the sentence of a place has."""
    return len(docs[place[0]].sentences[place[1]].split())


@pytest.fixture(scope="module")
def pairs():
    docs, tokenizer = toy([9, 14, 3, 22, 2, 17])
    batches = PairBatches(docs, tokenizer, 24, 16, seed=3)
    found = []
    for step in range(40):
        ids, segments, attend, elsewhere = batches[step]
        for row, told in zip(ids, elsewhere.tolist()):
            a, b, _ = passages(row)
            found.append((places(tokenizer, a), places(tokenizer, b), told))
    return docs, found


# agrees with an independent implementation


def test_a_passage_is_a_run_of_words_of_one_document(pairs):
    docs, found = pairs
    order = {}  # the words of each document in turn
    for d, doc in enumerate(docs):
        order[d] = [
            (d, s, w) for s, text in enumerate(doc.sentences) for w in range(len(text.split()))
        ]
    for a, b, _ in found:
        for passage in (a, b):
            words = order[passage[0][0]]
            start = words.index(passage[0])
            assert words[start : start + len(passage)] == passage


def test_a_second_passage_that_follows_begins_where_the_first_ends(pairs):
    docs, found = pairs
    for a, b, told in found:
        if not told:
            (d, s, w), (d2, s2, w2) = a[-1], b[0]
            assert d == d2 and w == whole(docs, a[-1]) - 1 and (s2, w2) == (s + 1, 0)


def test_one_from_elsewhere_begins_a_sentence_of_another_document_of_the_same_kind(pairs):
    docs, found = pairs
    strays = [(a, b) for a, b, told in found if told]
    for a, b in strays:
        assert a[0][0] != b[0][0] and b[0][2] == 0
        assert docs[a[0][0]].kind == docs[b[0][0]].kind
    assert len({b[0][0] for _, b in strays}) == len(docs)  # and every document lends some
    assert len({b[0][:2] for _, b in strays}) > 40  # of the 67 sentences, not only first ones


def test_half_of_the_second_passages_are_from_elsewhere(pairs):
    docs, tokenizer = toy([9, 14, 3, 22, 2, 17])
    batches = PairBatches(docs, tokenizer, 12, 250)
    told = torch.cat([batches[step][3] for step in range(16)])
    assert abs(told.sum() - 2000) < 4.5 * 4000**0.5 / 2


def test_an_epoch_begins_once_at_every_sentence_but_the_last_of_a_document():
    docs, tokenizer = toy([9, 14, 3, 22, 2, 17], words=1)
    starts = sum(len(doc.sentences) - 1 for doc in docs)  # 61
    batches = PairBatches(docs, tokenizer, 10, 1)
    orders = []
    for epoch in range(2):
        first = []
        for step in range(epoch * starts, (epoch + 1) * starts):
            a, _, _ = passages(batches[step][0][0])
            first.append(places(tokenizer, a)[0][:2])
        expected = [(d, s) for d, doc in enumerate(docs) for s in range(len(doc.sentences) - 1)]
        assert sorted(first) == expected and first != expected
        orders.append(first)
    assert orders[0] != orders[1]
    sizes = {1: 61, 2: 30, 60: 1, 61: 1, 100: 1}  # pairs in a batch, whole batches in an epoch
    assert {n: len(PairBatches(docs, tokenizer, 10, n)) for n in sizes} == sizes


def test_the_text_is_cut_into_sentences_where_a_reader_would():
    text = (
        "Mr. Starbuck and Dr. J. B. Bunger met. “Call me Ishmael.” He paid $3.50! Why? "
        "(No. 7 was first.) She left... in 1851. 'Aye!' cried he. It ended?” Then more"
    )
    assert sentences(text) == (
        "Mr. Starbuck and Dr. J. B. Bunger met.",
        "“Call me Ishmael.”",
        "He paid $3.50!",
        "Why?",
        "(No. 7 was first.)",
        "She left... in 1851.",
        "'Aye!' cried he.",
        "It ended?”",
        "Then more",
    )
    assert sentences("  one  ") == ("one",) and sentences("") == ()


# properties


def test_the_documents_are_the_ones_that_are_said_to_be_there():
    docs = documents()
    assert [sum(doc.kind == kind for doc in docs) for kind in ("address", "chapter")] == [79, 135]
    assert {doc.kind for doc in docs} == {"address", "chapter"}
    assert sum(len(doc.sentences) for doc in docs) > 20_000
    assert any("Call me Ishmael." in doc.sentences for doc in docs)
    assert all(s == s.strip() and s for doc in docs for s in doc.sentences)


def test_no_sentence_that_is_held_out_is_in_a_document_to_learn_from():
    train_docs, held = split_documents(documents())
    ours = {s for doc in train_docs for s in doc.sentences}
    theirs = {s for doc in held for s in doc.sentences}
    assert not ours & theirs
    assert [sum(d.kind == kind for d in held) for kind in ("address", "chapter")] == [7, 13]
    assert not {d.title for d in held if d.kind == "chapter"} & {
        d.title for d in train_docs if d.kind == "chapter"
    }
    everything = {s for doc in documents() for s in doc.sentences}
    assert len(everything - ours - theirs) < 0.02 * len(everything)  # alone between two cuts


def test_a_document_ends_where_a_sentence_was_left_out_so_that_neighbours_are_neighbours():
    together = {
        (doc.kind, doc.title, a, b)
        for doc in documents()
        for a, b in zip(doc.sentences, doc.sentences[1:])
    }
    for doc in split_documents(documents())[0]:
        assert len(doc.sentences) > 1
        for a, b in zip(doc.sentences, doc.sentences[1:]):
            assert (doc.kind, doc.title, a, b) in together


def test_the_cut_is_the_same_every_time_and_grows_with_the_share():
    docs, _ = toy([4] * 20)
    assert split_documents(docs) == split_documents(docs)
    assert [len(split_documents(docs, share)[1]) for share in (0.1, 0.5, 0.9)] == [2, 10, 18]
    small, large = (split_documents(docs, share)[1] for share in (0.1, 0.5))
    assert all(doc in large for doc in small)


@pytest.mark.parametrize("context_length", [8, 9, 16, 31])
def test_every_pair_has_two_passages_and_fits(context_length):
    docs, tokenizer = toy([9, 14, 3, 22, 2, 17], words=12)
    batches = PairBatches(docs, tokenizer, context_length, 32)
    full = 0
    for step in range(8):
        ids, segments, attend, elsewhere = batches[step]
        assert ids.shape == segments.shape == attend.shape == (32, context_length)
        assert ids.dtype == segments.dtype == elsewhere.dtype == torch.int64
        assert attend.dtype == torch.bool and torch.equal(attend, ids != PAD)
        assert set(elsewhere.tolist()) <= {0, 1}
        for row, segment, seen in zip(ids, segments, attend):
            a, b, end = passages(row)
            assert a and b and len(a) <= (context_length - 3) // 2
            assert int(seen.sum()) == end
            zeros = len(a) + 2
            expected = [0] * zeros + [1] * (len(b) + 1) + [0] * (context_length - end)
            assert segment.tolist() == expected
            full += end == context_length
    assert full > 8 * 32 / 4


def test_a_step_gives_the_same_pairs_every_time_and_a_seed_others():
    docs, tokenizer = toy([9, 14, 3, 22])
    a, b = (PairBatches(docs, tokenizer, 16, 8) for _ in range(2))
    late = [t.clone() for t in a[30]]
    for step in (0, 7, 30):
        for one, other in zip(a[step], b[step]):
            assert torch.equal(one, other)
    assert all(torch.equal(one, other) for one, other in zip(late, a[30]))
    assert not torch.equal(a[0][0], a[1][0])
    other = PairBatches(docs, tokenizer, 16, 8, seed=1)
    assert not torch.equal(a[0][0], other[0][0])
    told, told_otherwise = ([int(x[i][3][0]) for i in range(30)] for x in (a, other))
    assert told != told_otherwise  # the first that each step draws


def test_a_first_passage_too_long_keeps_its_end_and_a_second_its_beginning():
    docs, tokenizer = toy([3, 3], words=1, kinds=("a",))
    long = [" ".join(f"d{d}s{s}w{w}" for w in range(20)) for d in range(2) for s in range(3)]
    docs = [Document("a", "", tuple(long[:3])), Document("a", "", tuple(long[3:]))]
    tokenizer = WordPiece([*SPECIAL, *" ".join(long).split()])
    ids, _, attend, elsewhere = PairBatches(docs, tokenizer, 15, 32)[0]
    assert attend.all()
    for row in ids:
        a, b, _ = passages(row)
        assert [w for *_, w in places(tokenizer, a)] == [14, 15, 16, 17, 18, 19]
        assert [w for *_, w in places(tokenizer, b)] == [0, 1, 2, 3, 4, 5]


# refuses


@pytest.mark.parametrize("share", [0, 1, -0.1, 1.5])
def test_a_share_that_is_none_is_refused(share):
    with pytest.raises(ValueError, match=f"held_out is {share}: give a share between 0 and 1"):
        split_documents(documents(), share)


def test_too_few_documents_to_hold_one_out_are_refused():
    docs, _ = toy([3, 3, 3])
    with pytest.raises(ValueError, match="3 documents are too few to hold out 0.1 of each kind"):
        split_documents(docs)


def test_a_context_without_room_is_refused():
    docs, tokenizer = toy([4, 4, 4, 4])
    with pytest.raises(ValueError, match="7 tokens have no room for two passages: give 8 or more"):
        PairBatches(docs, tokenizer, 7, 2)


@pytest.mark.parametrize("lengths", [[], [4], [4, 4], [4, 4, 4]])
def test_one_document_of_a_kind_is_refused(lengths):
    docs, tokenizer = toy(lengths)
    with pytest.raises(ValueError, match="needs at least two documents of each kind"):
        PairBatches(docs, tokenizer, 16, 2)


def test_a_text_of_few_paragraphs_is_refused():
    with pytest.raises(ValueError, match="the text has 1 paragraphs of two sentences or more"):
        paragraphs("One sentence. Another sentence.\n\nAlone.")


# learns


def test_in_real_text_there_is_something_to_learn_passages_that_follow_share_more_words():
    _, held = split_documents(documents())
    ids, segments, attend, elsewhere = PairBatches(held, WordPiece.bert_uncased(), 96, 600)[0]
    rare = ids.flatten().bincount(minlength=30522) < 60
    shared = torch.tensor(
        [
            len(
                set(row[seen & (s == 0) & rare[row]].tolist())
                & set(row[(s == 1) & rare[row]].tolist())
            )
            for row, s, seen in zip(ids, segments, attend)
        ]
    )
    follow, stray = shared[elsewhere == 0], shared[elsewhere == 1]
    above = (follow[:, None] > stray).double() + 0.5 * (follow[:, None] == stray).double()
    assert above.mean() > 0.6  # 0.5 if they shared no more than strays do
