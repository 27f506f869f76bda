"""Tests of mini_models.finetune.examples: what a BERT is given, and how its answers are read."""

import random

import pytest
import torch

from mini_models.data.labelled import Labelled, Tagged
from mini_models.data.person_names import gold
from mini_models.data.squad import Question
from mini_models.data.stories import stories
from mini_models.finetune.examples import answers_of, of_questions, of_texts, of_words, tags_of
from mini_models.tokenizers import WordPiece
from mini_models.tokenizers.pieces import word_spans

CLS, SEP = 101, 102
TAGS = ("O", "B-PER", "I-PER")
NASTY = [
    "Internationalization! Ünïcödé, 东京; naïve café (1987)?",
    "e\u0301tude \u0301 x\u0308\u0323y a\u200bb\u00adc \u00a0\u2003wide\u3000spaces",
    "page\x0cbreak \x1cfile\x85line\x0btab\ttab\r\nend \x00null\ufffd?",
    "水车在河边。Où ? Là. 中\u0301文\U0002f800 豈\uf900",
    "😀👩‍👩‍👧 Ελλάδα, ὀδυσσεύς; नमस्ते ؟ a\u1fefb İstanbul ßß ﬁne ①",
    "don't $5.00 a+b=c^2 `tick` <tag> | ~ _under_ \\back #hash @at",
    "x" * 101 + " " + "antidisestablishmentarianism" * 3,
    "",
    " \t\n",
]


@pytest.fixture(scope="module")
def tokenizer():
    return WordPiece.bert_uncased()


def words_of(examples, source):
    """Each word of a sentence that some window has a first piece of."""
    return {w for e in examples if e.source == source for w in e.places if w is not None}


# agrees with an independent implementation


def test_encoding_the_words_one_by_one_gives_the_tokens_of_the_text(tokenizer):
    draw = random.Random(0)
    kinds = [range(32, 127), range(0, 0x250), range(0x300, 0x3FF), range(0x1F00, 0x2070),
             range(0x3000, 0x3020), range(0x4E00, 0x4E40), range(0x2F800, 0x2F820)]  # fmt: skip
    drawn = ["".join(chr(draw.choice(draw.choice(kinds))) for _ in range(30)) for _ in range(300)]
    for text in NASTY + drawn:
        spans = word_spans(text)
        assert all(a < b for a, b in spans) and sorted(spans) == spans
        one_by_one = [i for a, b in spans for i in tokenizer.encode(text[a:b])]
        assert one_by_one == tokenizer.encode(text), repr(text)


def best_by_trying(examples, logits, questions, longest, may_refuse):
    """Every span of every window is tried, in loops."""
    found = {}
    for s, question in enumerate(questions):
        tried, none = [], []
        for example, (begins, ends) in zip(examples, logits.values()):
            if example.source != s:
                continue
            none.append(float(begins[0] + ends[0]))
            for first, start in enumerate(example.places):
                for last, end in enumerate(example.places):
                    if start and end and 0 <= last - first < longest:
                        score = float(begins[first] + ends[last])
                        tried.append((score, question.context[start[0] : end[1]]))
        score, text = max(tried)
        found[question.id] = "" if may_refuse and min(none) > score else text
    return found


@pytest.mark.parametrize("may_refuse", [False, True])
def test_an_answer_is_the_one_that_trying_every_span_of_every_window_finds(tokenizer, may_refuse):
    questions = stories("held_out", 6)
    examples = of_questions(questions, tokenizer, 40, overlap=8)
    assert len(examples) > 10
    for seed in range(4):
        torch.manual_seed(seed)
        # [CLS] is given some of the best scores, so that either answer occurs
        logits = {i: torch.randn(2, len(e.ids)) for i, e in enumerate(examples)}
        for z in logits.values():
            z[:, 0] += 2.5
        for longest in (1, 4, 30):
            found = answers_of(examples, list(logits.values()), questions, longest, may_refuse)
            assert found == best_by_trying(examples, logits, questions, longest, may_refuse)
        if may_refuse:
            assert "" in found.values() and any(found.values())


def test_tags_are_those_of_the_window_in_which_a_word_has_more_neighbours(tokenizer):
    draw, sentences = random.Random(0), []
    for n in (3, 30, 61):
        words = draw.choices(["Romeo", "antidisestablishmentarianism", "saw", ","], k=n)
        sentences.append(Tagged(tuple(words), ("O",) * n))
    examples = of_words(sentences, tokenizer, TAGS, 32)
    torch.manual_seed(0)
    logits = [torch.randn(len(e.ids), 3) for e in examples]
    found = tags_of(examples, logits, TAGS)
    for s, sentence in enumerate(sentences):
        for w in range(len(sentence.words)):
            seen = []
            for e, z in zip(examples, logits):
                here = [p for p in e.places if p is not None]
                if e.source == s and w in here:
                    neighbours = min(w - here[0], here[-1] - w)
                    seen.append((neighbours, TAGS[int(z[e.places.index(w)].argmax())]))
            assert found[s][w] == max(seen, key=lambda x: x[0])[1]


# properties


def test_a_text_has_cls_before_it_and_sep_behind_it(tokenizer):
    texts = [Labelled("a fine film", "good"), Labelled("no", "bad")]
    first, second = of_texts(texts, tokenizer, ("bad", "good"), 16)
    assert first.ids == [CLS, *tokenizer.encode("a fine film"), SEP]
    assert (first.target, second.target, first.source, second.source) == (1, 0, 0, 1)
    assert set(first.segment_ids) == {0} and len(first.segment_ids) == len(first.ids)
    assert len(of_texts(texts[:1], tokenizer, ("good",), 5)[0].ids) == 5  # it just fits


def test_a_word_is_labelled_at_its_first_piece_only(tokenizer):
    words, tags = ("Mark", "Antonius", "'s", "friend"), ("B-PER", "I-PER", "O", "O")
    (example,) = of_words([Tagged(words, tags)], tokenizer, TAGS, 32)
    pieces = [tokenizer.tokens[i] for i in example.ids]
    assert pieces == ["[CLS]", "mark", "anton", "##ius", "'", "s", "friend", "[SEP]"]
    assert example.target == [-100, 1, 2, -100, 0, -100, 0, -100]
    assert example.places == [None, 0, 1, None, 2, None, 3, None]


def test_a_word_of_which_nothing_is_left_is_unknown_and_has_a_label_all_the_same(tokenizer):
    (example,) = of_words([Tagged(("\u0301", "a"), ("O", "B-PER"))], tokenizer, TAGS, 8)
    assert [tokenizer.tokens[i] for i in example.ids] == ["[CLS]", "[UNK]", "a", "[SEP]"]
    assert example.target == [-100, 0, 1, -100]


@pytest.mark.parametrize("overlap", [0, 3, 16])
def test_every_word_is_in_a_window_and_windows_share_what_they_should(tokenizer, overlap):
    sentences = [s for s in gold() if len(s.words) > 25][:40]
    for T in (12, 20, 33, 64):
        examples = of_words(sentences, tokenizer, TAGS, T, overlap)
        assert max(len(e.ids) for e in examples) <= T
        for s, sentence in enumerate(sentences):
            assert words_of(examples, s) == set(range(len(sentence.words)))
        for one, other in zip(examples, examples[1:]):
            if one.source != other.source:
                continue
            a, b = ([p for p in e.places if p is not None] for e in (one, other))
            assert a[0] < b[0] <= a[-1] + 1 and b[-1] > a[0]
            shared = one.ids[1 + one.places[1:].index(b[0]) : -1] if b[0] in a else []
            assert len(shared) >= min(overlap, 1) and (
                len(shared) >= overlap or b[0] == a[0] + 1
            )  # "where there is room": the next window must begin later
        # what is asked of a word is the same in each of its windows
        truth = tags_of(examples, [perfect_tags(e) for e in examples], TAGS)
        assert truth == [s.tags for s in sentences]


def perfect_tags(example):
    logits = torch.zeros(len(example.ids), len(TAGS))
    for i, tag in enumerate(example.target):
        logits[i, tag if tag >= 0 else 2] = 1.0
    return logits


def perfect_places(example):
    """Logits that point at the target, and at [CLS] where a window does not hold the answer."""
    logits = torch.zeros(2, len(example.ids))
    sure = 9.0 if example.target != [0, 0] else 1.0
    logits[0, example.target[0]] = logits[1, example.target[1]] = sure
    return logits


def test_a_question_and_its_context_are_two_segments_and_the_target_is_the_answer(tokenizer):
    context = "Ann put a silver watch behind the mill."
    question = Question("one", "What did Ann put there?", context, (("a silver watch", 8),))
    (example,) = of_questions([question], tokenizer, 64)
    pieces = [tokenizer.tokens[i] for i in example.ids]
    cut = pieces.index("[SEP]") + 1
    assert pieces[0] == "[CLS]" and pieces[-1] == "[SEP]" and pieces.count("[SEP]") == 2
    assert example.segment_ids == [0] * cut + [1] * (len(pieces) - cut)
    first, last = example.target
    assert pieces[first : last + 1] == ["a", "silver", "watch"]
    assert [p is None for p in example.places] == [True] * cut + [False] * 9 + [True]


@pytest.mark.parametrize("T", [*range(24, 44), 50, 64, 96, 128, 512])
def test_an_answer_survives_the_windows_of_every_context_length(tokenizer, T):
    """Who points at each window's target gives every answer that is no longer than the overlap."""
    questions = stories("held_out", 40)
    examples = of_questions(questions, tokenizer, T)
    assert max(len(e.ids) for e in examples) <= T
    found = answers_of(examples, [perfect_places(e) for e in examples], questions)
    kept = 0
    for s, question in enumerate(questions):
        asked = len(tokenizer.encode(question.question))
        answer = tokenizer.encode(question.texts[0])
        if len(answer) <= (T - asked - 3) // 2:
            assert found[question.id] == question.texts[0]
            kept += 1
        windows = [e for e in examples if e.source == s]
        shown = {p for e in windows for p in e.places if p is not None}
        assert shown == set(word_spans(question.context))
    assert kept == 40 or T < 30 and kept > 25
    assert len(examples) > 60 if T < 44 else len(examples) == 40 or T < 128
    assert len(examples) < 40 * 12  # the next window begins about half a window later


def test_a_window_without_the_answer_points_at_cls(tokenizer):
    context = "Ann went home. " * 16 + "Ben sat in the mill."
    question = Question(
        "one", "Where did Ben sit?", context, (("the mill", context.index("the m")),)
    )
    examples = of_questions([question], tokenizer, 40, overlap=4)
    assert len(examples) > 2
    assert [e.target == [0, 0] for e in examples] == [True] * (len(examples) - 1) + [False]


def test_a_question_without_an_answer_points_at_cls_and_is_refused_if_that_may_be(tokenizer):
    question = Question("one", "Who?", "Ann went home.", ())
    examples = of_questions([question], tokenizer, 32)
    assert [e.target for e in examples] == [[0, 0]]
    logits = torch.zeros(2, len(examples[0].ids))
    logits[:, 0] = 1.0
    assert answers_of(examples, [logits], [question], may_refuse=True) == {"one": ""}
    assert answers_of(examples, [logits], [question])["one"]
    logits[:, 0] = -1.0
    assert answers_of(examples, [logits], [question], may_refuse=True)["one"]


def test_one_window_that_is_sure_outvotes_those_that_hold_no_answer(tokenizer):
    """[CLS] counts by the window in which it scores least, as in Google's run_squad.py."""
    context = "Ann went home. " * 8 + "Ben sat in the mill."
    question = Question(
        "one", "Where did Ben sit?", context, (("the mill", context.index("the m")),)
    )
    examples = of_questions([question], tokenizer, 40, overlap=4)
    logits = [perfect_places(e) for e in examples]
    for z in logits[:-1]:
        z[:, 0] = 20.0
    assert answers_of(examples, logits, [question], may_refuse=True) == {"one": "the mill"}


# refuses


@pytest.mark.parametrize(
    "texts, said",
    [
        ([("fine", "good"), ("", "bad")], r"row 2: the text '' has no token; leave it out"),
        ([("\u0301", "good")], r"row 1: the text .* has no token"),
        ([("fine", "great")], r"row 1: 'great' is unknown: choose one of bad, good"),
        ([("a", "good"), ("a b c d e f g", "bad")], r"row 2: 'a b c d e f g' has 9 tokens with "
         r"\[CLS\] and \[SEP\], and the context 8: shorten it"),
    ],
)  # fmt: skip
def test_a_text_that_cannot_be_learned_from_is_refused_by_its_row(tokenizer, texts, said):
    with pytest.raises(ValueError, match=said):
        of_texts([Labelled(*t) for t in texts], tokenizer, ("bad", "good"), 8)


def test_a_tag_that_is_unknown_or_a_word_without_room_is_refused_by_its_row(tokenizer):
    fine = Tagged(("a",), ("O",))
    with pytest.raises(ValueError, match="row 2: 'B-LOC' is unknown: choose one of O, B-PER, I-"):
        of_words([fine, Tagged(("Rome",), ("B-LOC",))], tokenizer, TAGS, 8)
    with pytest.raises(ValueError, match=r"row 2: a word of \d+ tokens has no room among 6"):
        of_words([fine, Tagged(("q" * 40,), ("O",))], tokenizer, TAGS, 8)


def planted(answer, start, context="Ann went home.", question="Who?"):
    """A question whose answer is elsewhere than it says, as no `Question` can be made."""
    made = Question("7", question, context, ())
    object.__setattr__(made, "answers", ((answer, start),))
    return made


@pytest.mark.parametrize(
    "question, said",
    [
        (planted("Ben", 0), r"row 1 \(id 7\): 'Ann' stands at 0, not the answer 'Ben'"),
        (planted("went", 9), r"row 1 \(id 7\): 'home' stands at 9, not the answer 'went'"),
        (planted(" ", 3), r"row 1 \(id 7\): the answer ' ' has no word; leave it out"),
        (Question("7", "why " * 30, "Ann.", ()), r"row 1 \(id 7\): a question of 30 tokens leaves "
         r"-1 of 32 for the context: shorten the question"),
        (Question("7", "\u0301", "Ann.", ()), r"row 1 \(id 7\): the question or its context has "
         r"no token; leave it out"),
        (Question("7", "Who?", "\u0301", ()), r"row 1 \(id 7\): .* has no token"),
        (Question("7", "Who?", "q" * 40, ()), r"row 1: a word of \d+ tokens has no room among 27"),
    ],
)  # fmt: skip
def test_a_question_that_cannot_be_learned_from_is_refused_by_its_row(tokenizer, question, said):
    with pytest.raises(ValueError, match=said):
        of_questions([question], tokenizer, 32)
