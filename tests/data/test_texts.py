"""Tests of mini_models.data.texts: plays and poems are what they are said to be, and cut once."""

from collections import Counter

import pytest

from mini_models.corpora import CORPORA
from mini_models.data import Poem, other_plays, shakespeare, split, tang_quatrains
from mini_models.data.texts import LONGEST_LINE, longest_line, split_lines

README = (CORPORA / "README.md").read_text(encoding="utf-8")


# agrees with an independent count


def test_the_plays_are_the_text_that_the_corpora_describe():
    text = shakespeare()
    assert len(text) == 1_165_338 and len(set(text)) == 65
    assert "1,165,338 characters, 65 different ones" in README
    assert "\nROMEO:\n" in text and "But, soft!" in text


def test_the_other_plays_have_the_same_characters_and_share_no_long_line_with_what_is_held_out():
    assert len(other_plays()) == 2_989_446
    assert set(other_plays()) <= set(shakespeare())
    held_out = {line for line in split(shakespeare())[1].splitlines() if len(line) > 30}
    assert len(held_out) > 1000 and held_out.isdisjoint(other_plays().splitlines())


def test_every_quatrain_has_four_lines_of_the_length_of_its_form():
    poems = tang_quatrains()
    assert len(poems) == len(set(poems)) == 13_884
    length = {"五绝": 5, "七绝": 7}
    assert Counter(p.form for p in poems).keys() == length.keys()
    for poem in poems:
        assert [len(line) for line in poem.lines] == [length[poem.form]] * 4, poem
        assert poem.title and poem.author and "\n" not in poem.text
    assert sum(p.author == "李白" for p in poems) > 30


# properties


@pytest.mark.parametrize("share", [0.1, 0.25])
def test_a_text_is_cut_once_and_its_end_is_held_out(share):
    train_text, held_out = split(shakespeare(), share)
    assert train_text + held_out == shakespeare()
    assert len(held_out) == int(share * len(shakespeare()))
    assert split(shakespeare(), share) == (train_text, held_out)


def test_no_poem_held_out_shares_a_line_with_one_trained_on():
    train_poems, held_out = split(tang_quatrains())
    lines = {line for poem in held_out for line in poem.lines}
    assert len(held_out) == 1388
    assert not [poem for poem in train_poems if lines & set(poem.lines)]
    assert 12_000 < len(train_poems) <= 13_884 - 1388
    assert split(tang_quatrains()) == (train_poems, held_out)
    assert set(train_poems) | set(held_out) <= set(tang_quatrains())
    assert {p.form for p in held_out} == {"五绝", "七绝"}  # both, however the file is sorted


def test_a_variant_of_a_held_out_poem_is_not_trained_on():
    poems = [Poem("五绝", f"{i}", "", f"甲{i}，乙{i}，丙{i // 2}，丁{i}。") for i in range(40)]
    train_poems, held_out = split(poems, 0.25)
    assert len(held_out) == 10
    left_out = [p for p in poems if p not in train_poems and p not in held_out]
    shared = {p.lines[2] for p in held_out}
    assert left_out and all(p.lines[2] in shared for p in left_out)
    assert len(train_poems) == 30 - len(left_out)


def test_the_lines_of_a_poem_come_without_marks():
    poem = Poem("五绝", "静夜思", "李白", "床前明月光，疑是地上霜。举头望明月，低头思故乡。")
    assert poem.lines == ["床前明月光", "疑是地上霜", "举头望明月", "低头思故乡"]
    assert Poem("", "", "", "一？ 二！三；四：五、").lines == list("一二三四五")


def test_blank_lines_and_spaces_around_lines_do_not_count():
    assert split_lines("\n a \n\n" + "b\n" * 9, lines=True) == ("\n".join("a" + "b" * 8), "b")


# refuses


@pytest.mark.parametrize("share", [0, 1, -0.1, 1.5, 10])
def test_a_share_that_is_none_is_refused(share):
    with pytest.raises(ValueError, match=f"held_out is {share}: give a share between 0 and 1"):
        split("some text", share)


def test_a_line_too_long_for_a_text_of_its_own_is_refused_and_the_longest_is_measured():
    assert longest_line("a\nabc\nab") == 3
    assert longest_line("长" * LONGEST_LINE) == LONGEST_LINE
    with pytest.raises(ValueError, match="a line of the text has 513 characters; in this recipe"):
        longest_line("长" * (LONGEST_LINE + 1))


def test_a_text_too_short_to_cut_is_refused():
    with pytest.raises(ValueError, match="the text has 19 characters: that is too little"):
        split_lines("x" * 19, lines=False)
    with pytest.raises(ValueError, match="the text has 9 lines: this recipe needs at least 10"):
        split_lines("a\n" * 9, lines=True)


def test_a_line_ends_at_a_line_feed_alone():
    lines = [f"line {i} \u2028\x0c\x85 goes on" for i in range(20)]
    train, held_out = split_lines("\n".join(lines), lines=True)
    assert (train + "\n" + held_out).split("\n") == lines
