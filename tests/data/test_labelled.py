"""Tests of mini_models.data.labelled: files are read as they are, or their row is named."""

import random

import pytest

from mini_models.data.labelled import Labelled, Tagged, read_labelled, read_tagged, renamed


@pytest.fixture
def file(tmp_path):
    """Writes a text to a file and gives its path."""

    def write(text: str, encoding: str = "utf-8"):
        path = tmp_path / "given.txt"
        path.write_bytes(text.encode(encoding))
        return path

    return write


def names_by_brute_force(tags) -> set[tuple[int, int, str]]:
    """Every stretch is tried: its tags are of one kind, B- stands at most first, and neither side
    can be added to it."""
    found = set()
    for start in range(len(tags)):
        for end in range(start + 1, len(tags) + 1):
            kinds = {tag[2:] for tag in tags[start:end]}
            one = "O" not in tags[start:end] and len(kinds) == 1
            inner = all(tag[0] == "I" for tag in tags[start + 1 : end])
            if not (one and inner):
                continue
            kind = kinds.pop()
            before = tags[start - 1] if start else "O"
            begins = tags[start][0] == "B" or before == "O" or before[2:] != kind
            ends = end == len(tags) or tags[end] != f"I-{kind}"
            if begins and ends:
                found.add((start, end, kind))
    return found


# agrees with an independent implementation


def test_names_are_those_that_trying_every_stretch_finds():
    draw = random.Random(0)
    for _ in range(300):
        tags = tuple(draw.choices(["O", "B-PER", "I-PER", "B-LOC", "I-LOC"], k=7))
        assert Tagged(("x",) * 7, tags).entities == names_by_brute_force(tags), tags


def test_names_are_found_as_by_hand():
    words = ("Romeo", "saw", "Mark", "Antony", "Caesar", ".")
    tags = ("B-PER", "O", "B-PER", "I-PER", "B-PER", "O")
    assert Tagged(words, tags).entities == {(0, 1, "PER"), (2, 4, "PER"), (4, 5, "PER")}


# properties


def test_texts_and_classes_come_back_as_they_were_written(file):
    path = file("a fine film\tgood\nno, not that\tbad\n")
    assert read_labelled(path) == [Labelled("a fine film", "good"), Labelled("no, not that", "bad")]


def test_sentences_come_back_as_they_were_written(file):
    one = Tagged(("Romeo", "'s", "man"), ("B-PER", "O", "O"))
    two = Tagged(("Peace", "#", "!"), ("O", "O", "O"))
    text = "".join(
        "# play: none\n" + "".join(f"{w}\t{t}\n" for w, t in zip(s.words, s.tags)) + "\n\n"
        for s in (one, two)
    )
    assert read_tagged(file(text)) == [one, two]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_ends_of_lines_and_a_byte_order_mark_are_no_part_of_the_text(file, end, encoding):
    assert read_labelled(file(f"good{end.join([chr(9) + 'yes', ''])}", encoding)) == [
        Labelled("good", "yes")
    ]
    assert read_tagged(file(f"# by hand{end}Ann B-PER{end}", encoding)) == [
        Tagged(("Ann",), ("B-PER",))
    ]


def test_a_rare_separator_within_a_text_begins_no_row(file):
    assert read_labelled(file("one\u2028two\x85three\tgood\n")) == [
        Labelled("one\u2028two\x85three", "good")
    ]


def test_the_last_sentence_needs_no_blank_line_behind_it(file):
    assert len(read_tagged(file("a O\n\nb O"))) == 2


# refuses


@pytest.mark.parametrize(
    "text, said",
    [
        ("fine\tgood\n\tbad\n", r"row 2: the text is empty; write it or delete the row"),
        ("fine\tgood\n\nbad\tbad\n", r"row 2: the text is empty"),
        ("fine good\n", r"row 1: 'fine good' is no text, tab and class"),
        ("fine\t \n", r"row 1: .* is no text, tab and class"),
        ("fine\tgood\na\tb\tc\n", r"row 2: 'a\\tb\\tc' is no text, tab and class"),
        ("\n \n", "is empty: there is nothing to learn from"),
    ],
)
def test_a_faulty_file_of_texts_is_refused_by_its_row(file, text, said):
    with pytest.raises(ValueError, match=said):
        read_labelled(file(text))


@pytest.mark.parametrize(
    "text, said",
    [
        ("a O\nb\n", r"row 2: 'b' is no word and tag; the tag is O, or B- or I-"),
        ("a b O\n", r"row 1: 'a b O' is no word and tag"),
        ("a O\n\nb PER\n", r"row 3: 'b PER' is no word and tag"),
        ("a B-\n", r"row 1: 'a B-' is no word and tag"),
        ("a E-PER\n", r"row 1: 'a E-PER' is no word and tag"),
        ("", "is empty: there is nothing to learn from"),
    ],
)
def test_a_faulty_file_of_tags_is_refused_by_its_row(file, text, said):
    with pytest.raises(ValueError, match=said):
        read_tagged(file(text))


@pytest.mark.parametrize("read", [read_labelled, read_tagged])
def test_another_encoding_is_refused(file, read):
    with pytest.raises(ValueError, match="is not UTF-8 .*: save it in that encoding"):
        read(file("café\tO\n", "latin-1"))


@pytest.mark.parametrize("words, tags", [((), ()), (("a",), ("O", "O")), (("a", "b"), ("O",))])
def test_each_word_needs_a_tag(words, tags):
    with pytest.raises(ValueError, match=f"has {len(words)} words and {len(tags)} tags"):
        Tagged(words, tags)


def test_renamed_words_are_those_with_a_tag_and_no_others():
    sentences = [Tagged(("O", "Romeo", "Montague"), ("O", "B-PER", "I-PER"))] * 200
    changed = [s for s in renamed(sentences) if s.words != sentences[0].words]
    assert 70 < len(changed) < 130 and renamed(sentences) == renamed(sentences)
    assert all(s.words[0] == "O" and s.tags == sentences[0].tags for s in changed)
    assert len({s.words[1] for s in changed}) > 60 and all(s.words[1].istitle() for s in changed)
    assert renamed(sentences, share=0) == sentences
