"""Tests of mini_models.data.squad: files are read as they are or refused, and answers are
scored as SQuAD's own scripts score them."""

import copy
import json
import random
import string
from itertools import groupby

import pytest
from torch.testing import assert_close

from mini_models.data.squad import (
    Question,
    read_squad,
    squad_exact,
    squad_f1,
    squad_scores,
    write_squad,
)

CONTEXT = "Anna put a silver watch behind the old mill. Ben saw the mill."
FILE = {
    "version": "v2.0",
    "data": [
        {
            "title": "Mills",
            "paragraphs": [
                {
                    "context": CONTEXT,
                    "qas": [
                        {
                            "id": "one",
                            "question": "What did Anna put behind the mill?",
                            "answers": [
                                {"text": "a silver watch", "answer_start": 9},
                                {"text": "watch", "answer_start": 18},
                            ],
                            "is_impossible": False,
                        },
                        {
                            "id": "two",
                            "question": "Who found the watch?",
                            "answers": [],
                            "plausible_answers": [{"text": "Ben", "answer_start": 45}],
                            "is_impossible": True,
                        },
                    ],
                }
            ],
        },
        {
            "paragraphs": [
                {
                    "context": "水车在河边。Où ? Là.",
                    "qas": [
                        {
                            "id": "three",
                            "question": "水车在哪里？",
                            "answers": [{"text": "河边", "answer_start": 3}],  # as in version 1.1
                        }
                    ],
                }
            ]
        },
    ],
}
PARTS = [
    *("a", "an", "the", "The", "A", "watch", "Watch", "anthem", "mill", "mill", "it's", "(a)"),
    *("", "-", "...", "a.", "an,the", "“the”", "a–b", "the—old", "café", "CAFÉ", "ﬁne", "İ", "ß"),
    *(
        "水车",
        "，",
        "the水",
        "$5.00",
        "5",
        "a_b",
        "\u00a0",
        "\u3000",
        "\n",
        "\t",
        "٣",
        "é",
        "e\u0301",
    ),
    *("a\u0301", "x²", "\u200b", "😀", "the😀", "the-mill", "O'Neil", "U.S.", "Ⅻ"),
]


def random_text(draw: random.Random) -> str:
    return draw.choice(["", " ", "  "]).join(draw.choices(PARTS, k=draw.randrange(7)))


# agrees with what the papers and the official scripts define, written another way


def tokens(text: str) -> list[str]:
    """Runs of letters and digits are words, of which three do not count; no regular expression."""
    kept = "".join(filter(lambda c: c not in set(string.punctuation), text.lower()))
    runs = ["".join(run) for _, run in groupby(kept, str.isalnum)]
    return "".join(" " if run in ("a", "an", "the") else run for run in runs).split()


def counted_f1(given: list[str], truth: list[str]) -> float:
    """Precision and recall, word by word."""
    if not given or not truth:
        return float(given == truth)
    left, shared = list(truth), 0
    for word in given:
        if word in left:
            left.remove(word)
            shared += 1
    precision, recall = shared / len(given), shared / len(truth)
    return 2 * precision * recall / (precision + recall) if shared else 0.0


def test_scores_are_those_of_version_2_on_thousands_of_nasty_texts():
    draw, seen = random.Random(0), {"0": 0, "between": 0, "1": 0, "empty": 0}
    for _ in range(8000):
        given = random_text(draw)
        answers = [random_text(draw) for _ in range(draw.randrange(4))]
        if draw.random() < 0.3:
            words = given.split()
            answers.append(" ".join(draw.sample(words, len(words))))
        truths = [t for t in map(tokens, answers) if t] or [[]]
        exact = max(float(tokens(given) == t) for t in truths)
        f1 = max(counted_f1(tokens(given), t) for t in truths)
        assert squad_exact(given, answers) == exact, (given, answers)
        assert_close(squad_f1(given, answers), f1, atol=1e-12, rtol=0, msg=repr((given, answers)))
        seen["0" if f1 == 0 else "1" if f1 == 1 else "between"] += 1
        seen["empty"] += not tokens(given) and f1 == 1
    assert min(seen.values()) > 200, seen


@pytest.mark.parametrize(
    "given, answers, exact, f1",
    [
        ("A silver watch!", ["a silver watch", "watch"], 1, 1),
        ("the watch", ["a silver watch", "the watch behind"], 0, 2 / 3),
        ("behind the old mill", ["behind the mill"], 0, 0.8),
        ("mill mill", ["mill"], 0, 2 / 3),  # a word counts as often as both have it
        ("anthem", ["them"], 0, 0),  # articles are words, not parts of words
        ("", [], 1, 1),
        ("the", [], 1, 1),  # nothing is left of it
        ("mill", [], 0, 0),
        ("", ["mill"], 0, 0),
        ("", ["The", "mill"], 0, 0),  # an answer of which nothing is left does not count
        ("", ["The"], 1, 1),
        ("The", ["A"], 1, 1),
    ],
)
def test_scores_by_hand(given, answers, exact, f1):
    assert squad_exact(given, answers) == exact
    assert_close(squad_f1(given, answers), float(f1))


def test_both_versions_of_the_format_are_read(tmp_path):
    path = tmp_path / "squad.json"
    path.write_text(json.dumps(FILE))
    one, two, three = read_squad(path)
    assert one == Question(
        "one",
        "What did Anna put behind the mill?",
        CONTEXT,
        (("a silver watch", 9), ("watch", 18)),
    )
    assert two.answers == () and two.context == CONTEXT and two.texts == []
    assert three.context[3:5] == "河边" == three.texts[0]


# properties


def test_what_is_written_is_read_back(tmp_path):
    draw = random.Random(2)
    contexts = ["So “it” was, 水车 🙂.\r\n", *(f"{random_text(draw)} word {i}" for i in range(40))]
    questions = []
    for i, context in enumerate(contexts):
        for k in range(draw.randrange(1, 4)):
            spans = [sorted(draw.sample(range(len(context) + 1), 2)) for _ in range(k)]
            answers = [(context[a:b], a) for a, b in spans if context[a:b].strip()]
            questions.append(Question(f"{i}-{k}", f"{random_text(draw)}?", context, tuple(answers)))
    write_squad(tmp_path / "new.json", questions)
    assert read_squad(tmp_path / "new.json") == questions
    assert [path.name for path in tmp_path.iterdir()] == ["new.json"]  # no temporary file
    told = json.loads((tmp_path / "new.json").read_text("utf-8"))
    assert len(told["data"][0]["paragraphs"]) == len(contexts)


def test_a_mean_is_over_questions_and_its_parts_by_hand():
    questions = [
        Question("a", "What?", CONTEXT, (("a silver watch", 9), ("watch", 18))),
        Question("b", "Where?", CONTEXT, (("behind the old mill", 24),)),
        Question("c", "Why?", CONTEXT, ()),
        Question("d", "Who?", CONTEXT, (("Anna", 0),)),
    ]
    given = {"a": "watch", "b": "old mill", "c": "because", "d": "ANNA.", "e": "more"}
    assert squad_scores(given, questions) == {"exact": 0.5, "f1": (1 + 0.8 + 0 + 1) / 4}


# refuses


def damaged(*path, **changes):
    """The file with a change at the end of a path; a key given None is taken away."""
    told = copy.deepcopy(FILE)
    place = told
    for step in path:
        place = place[step]
    for key, value in changes.items():
        if value is None:
            del place[key]
        else:
            place[key] = value
    return told


AT = ("data", 0, "paragraphs", 0)
ROW = r"data\[0\]\.paragraphs\[0\]\.qas\[0\] \(id one\)"
ANSWER = (*AT, "qas", 0, "answers", 0)


@pytest.mark.parametrize(
    "told, said",
    [
        ([1], r"the file is '\[1\]': give an object with the key 'data'"),
        ({}, "the file lacks 'data': give it a list"),
        ({"data": []}, "holds no question"),
        (damaged(data={}), r"the file.data is '\{\}': give a list"),
        (damaged("data", 0, paragraphs=None), r"data\[0\] lacks 'paragraphs': give it a list"),
        (
            damaged(*AT, context=None),
            r"^data\[0\]\.paragraphs\[0\] lacks 'context': give it a text",
        ),
        (damaged(*AT, context=" "), ROW + ": its context is empty: write it"),
        (damaged(*AT, qas=None), r"^data\[0\]\.paragraphs\[0\] lacks 'qas'"),
        (damaged(*AT, qas=["who"]), r"qas\[0\] is 'who': give an object with the key 'id'"),
        (damaged(*AT, "qas", 0, id=None), r"^data\[0\]\.paragraphs\[0\]\.qas\[0\] lacks 'id'"),
        (damaged(*AT, "qas", 0, id=7), r"qas\[0\]\.id is '7': give a text"),
        (damaged(*AT, "qas", 0, id=""), r"qas\[0\] \(id \): its id is empty"),
        (damaged(*AT, "qas", 0, question=None), ROW + " lacks 'question'"),
        (damaged(*AT, "qas", 0, question="\n"), ROW + ": its question is empty"),
        (damaged(*AT, "qas", 0, answers=None), ROW + " lacks 'answers': give it a list"),
        (damaged(*AT, "qas", 0, answers=[]), ROW + " has 0 answers and is_impossible False: give"),
        (
            damaged(*AT, "qas", 1, is_impossible=None),
            r"qas\[1\] \(id two\) has 0 answers and is_im",
        ),
        (damaged(*AT, "qas", 0, is_impossible=True), ROW + " has 2 answers and is_impossible True"),
        (
            damaged(*AT, "qas", 1, id="one"),
            r"qas\[1\] has the id 'one' of data\[0\]\.paragraphs\[0\]\.qas\[0\]: give each",
        ),
        (damaged(*ANSWER, text=None), ROW + r"\.answers\[0\] lacks 'text'"),
        (damaged(*ANSWER, text=""), ROW + ": an answer is empty: copy its words"),
        (
            damaged(*ANSWER, answer_start=None),
            ROW + r"\.answers\[0\] lacks 'answer_start': give it",
        ),
        (damaged(*ANSWER, answer_start="9"), r"\.answer_start is '9': give a whole number"),
        (damaged(*ANSWER, answer_start=9.0), r"\.answer_start is '9.0': give a whole number"),
        (damaged(*ANSWER, answer_start=True), r"\.answer_start is 'True': give a whole number"),
        (
            damaged(*ANSWER, answer_start=-5),
            ROW + ": .* begins at -5, outside the context of 62 ch",
        ),
        (
            damaged(*ANSWER, answer_start=62),
            ROW + ": .* begins at 62, outside the context of 62 ch",
        ),
        (
            damaged(*ANSWER, answer_start=8),
            ROW + ": at character 8 stands ' a silver watc', not the answer 'a silver watch'; "
            "set answer_start to where it stands: 9$",
        ),
        (damaged(*ANSWER, text="mill"), "at character 9 stands 'a si', .* it stands: 39 or 57$"),
        (
            damaged(*ANSWER, text="a clock"),
            "stands 'a silve', .* the context does not hold it: copy",
        ),
    ],
)
def test_a_fault_in_a_file_is_told_by_its_row(tmp_path, told, said):
    path = tmp_path / "squad.json"
    path.write_text(json.dumps(told))
    with pytest.raises(ValueError, match=said):
        read_squad(path)


def test_a_missing_place_given_as_null_is_refused(tmp_path):
    told = damaged(*ANSWER, answer_start=9)
    told["data"][0]["paragraphs"][0]["qas"][0]["answers"][0]["answer_start"] = None
    (tmp_path / "squad.json").write_text(json.dumps(told))
    with pytest.raises(
        ValueError, match=ROW + r"\.answers\[0\]\.answer_start is 'None': give a wh"
    ):
        read_squad(tmp_path / "squad.json")


@pytest.mark.parametrize(
    "data, said", [(b'{"data": [', "is not JSON .*: mend it"), (b"\xff\xfe{", "is not UTF-8")]
)
def test_what_is_no_json_is_refused(tmp_path, data, said):
    (tmp_path / "squad.json").write_bytes(data)
    with pytest.raises(ValueError, match=said):
        read_squad(tmp_path / "squad.json")


def test_writing_what_could_not_be_read_is_refused_and_leaves_the_old_file(tmp_path):
    path = tmp_path / "squad.json"
    question = Question("a", "Who?", CONTEXT, (("Anna", 0),))
    write_squad(path, [question])
    before = path.read_bytes()
    with pytest.raises(ValueError, match="two questions have the id 'a': give at least one"):
        write_squad(path, [question, question])
    with pytest.raises(ValueError, match="no row: give at least one question"):
        write_squad(path, [])
    with pytest.raises(ValueError, match="surrogates not allowed"):
        write_squad(path, [Question("b", "Who?", "half \ud83d", ())])
    assert path.read_bytes() == before and len(list(tmp_path.iterdir())) == 1


def test_scoring_refuses_what_has_no_score():
    questions = [Question(i, "Who?", CONTEXT, (("Anna", 0),)) for i in "abc"]
    with pytest.raises(ValueError, match="1 of 3 questions have no text .* the first is 'b'"):
        squad_scores({"a": "", "c": ""}, questions)
    with pytest.raises(ValueError, match="2 of 3 questions have no text .* the first is 'a'"):
        squad_scores({"a": None, "b": ""}, questions)
    with pytest.raises(ValueError, match="no question to score"):
        squad_scores({}, [])
    with pytest.raises(ValueError, match="the single text 'Anna': give a list"):
        squad_exact("Anna", "Anna")
    with pytest.raises(ValueError, match="the single text 'Anna': give a list"):
        squad_f1("Anna", "Anna")


def test_a_byte_order_mark_is_no_part_of_the_json(tmp_path):
    path = tmp_path / "squad.json"
    write_squad(path, [Question("1", "Who?", "Ann sings.", (("Ann", 0),))])
    plain = read_squad(path)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert read_squad(path) == plain
