"""Tests of mini_models.data.person_names: plays are told apart, no name of the test is ever learned
from, and the gold set is drawn and tagged as its file says."""

import random
import re
from collections import Counter
from functools import cache

import pytest
from sklearn.feature_extraction import DictVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, precision_score, recall_score
from sklearn.pipeline import make_pipeline

from mini_models import corpora
from mini_models.data import other_plays, shakespeare
from mini_models.data.labelled import Tagged
from mini_models.data.person_names import (
    ABBREVIATED,
    FIRST_LINES,
    HEADING,
    HELD_OUT_PLAYS,
    LONGEST,
    ROLES,
    SHORTEST,
    SPEECH_SENTENCE_END,
    WORD_OR_MARK,
    gold,
    plays,
    silver,
    speakers_of,
)
from mini_models.experiments.baselines import word_features


def names_in(sentences) -> list[str]:
    return [" ".join(s.words[a:b]) for s in sentences for a, b, _ in sorted(s.entities)]


@cache
def said_in(title: str) -> list[list[tuple[str, bool]]]:
    """The sentences of a play, line by line: each word, and whether it is the first of its line or
    of the sentence."""
    found = []
    for speech in HEADING.sub("", plays()[title]).split("\n\n"):
        for part in SPEECH_SENTENCE_END.split(speech):
            words = [
                (m.group(), not line[: m.start()].strip(" '\"(-"))
                for line in part.split("\n")
                for m in WORD_OR_MARK.finditer(line)
            ]
            stray = any(word.isupper() and len(word) > 2 for word, _ in words)  # a heading
            if SHORTEST <= len(words) <= LONGEST and not stray:
                found.append(words)
    return found


def scored(truth, found, score) -> float:
    """A score of whole names, by scikit-learn: each name that either side has is a yes or no."""
    have = [{(i, *e) for i, s in enumerate(side) for e in s.entities} for side in (truth, found)]
    either = sorted(have[0] | have[1])
    return score([e in have[0] for e in either], [e in have[1] for e in either])


def play_of_each() -> list[str]:
    return re.findall(r"^# play: (\w+)$", corpora.read("names_gold.txt").decode(), flags=re.M)


def large(word: str, first: bool) -> bool:
    """A capital that is due neither to the line nor to the word I."""
    return word[0].isupper() and not first and word not in ("I", "O") and word[:2] != "I'"


# agrees with an independent implementation


def test_the_people_who_give_a_play_its_title_speak_in_it_and_in_no_other():
    titles = {  # of a play, and a speaker whom no other play has
        "coriolanus": "CORIOLANUS",
        "cymbeline": "CYMBELINE",
        "romeo_and_juliet": "ROMEO",
        "antony_and_cleopatra": "CLEOPATRA",
        "troilus_and_cressida": "CRESSIDA",
        "macbeth": "MACBETH",
        "othello": "OTHELLO",
        "pericles": "PERICLES",
        "timon_of_athens": "TIMON",
        "tempest": "PROSPERO",
        "taming_of_the_shrew": "PETRUCHIO",
        "winters_tale": "LEONTES",
        "merchant_of_venice": "SHYLOCK",
        "measure_for_measure": "ISABELLA",
        "much_ado_about_nothing": "BENEDICK",
        "as_you_like_it": "ROSALIND",
        "alls_well_that_ends_well": "PAROLLES",
        "comedy_of_errors": "DROMIO OF EPHESUS",
        "loves_labours_lost": "HOLOFERNES",
        "two_gentlemen_of_verona": "PROTEUS",
        "titus_andronicus": "TAMORA",
        "julius_caesar": "CALPURNIA",
        "twelfth_night": "MALVOLIO",
        "king_john": "KING JOHN",
        "henry_viii": "WOLSEY",
        "henry_v": "FLUELLEN",
        "henry_vi_part_1": "TALBOT",
        "henry_vi_part_2": "CADE",
        "henry_vi_part_3": "LADY GREY",
        "henry_iv_part_1": "GLEND",
        "henry_iv_part_2": "SILENCE",
        "merry_wives_of_windsor": "MRS. FORD",
        "richard_ii": "AUMERLE",
        "richard_iii": "CATESBY",
    }
    assert titles.keys() == plays().keys()
    for title, who in titles.items():
        where = [t for t, text in plays().items() if f"\n\n{who}:\n" in text]
        assert where == [title], (who, where)


def test_the_plays_together_are_the_two_texts():
    together = "\n\n".join(plays().values())
    assert together.split() == [*shakespeare().split(), *other_plays().split()]
    for line in FIRST_LINES.values():
        assert together.count(line) == 1, line


def test_silver_labels_agree_with_gold_in_what_they_find_and_miss_who_never_speaks():
    by_words = {s.words: s for s in silver("held_out")}
    found = [by_words[s.words] for s in gold()]
    assert scored(gold(), found, precision_score) > 0.97
    assert 0.75 < scored(gold(), found, recall_score) < 0.9
    missed = [
        " ".join(s.words[a:b]) for s, f in zip(gold(), found) for a, b, _ in s.entities - f.entities
    ]
    assert {"Apollo", "Orsino", "Pythagoras"} <= set(missed)


# properties


def test_no_name_of_the_gold_set_or_of_a_speaker_held_out_is_ever_learned_from():
    learned = {word.lower() for s in silver("train") for word in s.words}
    assert len(learned) > 8000
    tested = {word.lower() for name in names_in(gold()) for word in name.split()}
    assert len(tested) > 90 and learned.isdisjoint(tested)
    for title in HELD_OUT_PLAYS:
        assert learned.isdisjoint(speakers_of(title)), title


def test_no_sentence_is_on_both_sides():
    learned = {s.words for s in silver("train")}
    assert learned.isdisjoint(s.words for s in gold())
    ours = {s.words for s in silver("held_out")}
    assert len(learned & ours) < 0.01 * len(learned)  # such as "What says my lord?"


def test_the_sentences_to_learn_from_are_as_many_as_said():
    train = silver("train")
    named = sum(bool(s.entities) for s in train)
    assert 4_000 < len(train) < 10_000 and len(train) == 2 * named
    assert all(4 <= len(s.words) <= 40 for s in train + silver("held_out"))
    assert silver("train") == train  # drawn the same way every time


def test_the_gold_set_is_drawn_as_its_file_says():
    draw, seen, drawn = random.Random(0), set(), []
    for title in HELD_OUT_PLAYS:
        pool = []
        for sentence in said_in(title):
            words = tuple(word for word, _ in sentence)
            if words not in seen:
                seen.add(words)
                pool.append((words, any(large(*word) for word in sentence)))
        chosen = draw.sample([p for p in pool if p[1]], 48)
        chosen += draw.sample([p for p in pool if p not in chosen], 32)
        drawn += [words for words, _ in sorted(chosen, key=pool.index)]
    assert [s.words for s in gold()] == drawn
    assert Counter(play_of_each()) == dict.fromkeys(HELD_OUT_PLAYS, 80)


def test_the_gold_set_keeps_its_rules():
    found = Counter(names_in(gold()))
    assert found.total() == 244  # as its file says
    assert {"Mark Antony", "Legion", "Partlet", "Jack", "Maria"} <= found.keys()
    for never in ("God", "Fortune", "Tybalts", "Capulets", "Montagues", "Friar John", "Fife"):
        assert never not in found
    for title, sentence in zip(play_of_each(), gold()):
        if sentence.words[:2] == ("Sicilia", "cannot"):
            assert title == "winters_tale" and names_in([sentence]) == ["Sicilia", "Bohemia"]
        assert {kind for *_, kind in sentence.entities} <= {"PER"}
        assert not any(s == "'s" and t != "O" for s, t in zip(sentence.words, sentence.tags))


def test_words_are_split_so_that_names_stand_alone():
    assert WORD_OR_MARK.findall("Romeo's man, o'er-tir'd--is't Brutus' or Ague-cheek's?") == [
        *("Romeo", "'s", "man", ",", "o'er-tir'd", "--", "is't", "Brutus", "'", "or"),
        *("Ague-cheek", "'s", "?"),
    ]


def test_a_role_is_no_name_and_a_name_that_is_a_common_word_must_be_large_within_a_line():
    ford = speakers_of("merry_wives_of_windsor")
    assert ford["ford"] and not ford["falstaff"] and "host" not in ford
    assert "servant" not in speakers_of("romeo_and_juliet")  # never large within a line
    assert "king" not in speakers_of("henry_v")  # always large, but a role
    assert speakers_of("merry_wives_of_windsor")["page"] and "anne" in ford
    tags = {" ".join(s.words): s.tags for s in silver("train")}
    assert tags["Mistress Anne Page ?"] == ("O", "B-PER", "I-PER", "O")
    assert "where is Anne\nPage; by gar" in plays()["merry_wives_of_windsor"]
    [line] = [tags[said] for said in tags if "bring me where is Anne Page ;" in said]
    assert line[7:10] == ("B-PER", "O", "O")  # Page, first in its line, may be any page
    duke = tags["For shame , come down ; he made thee Duke of York ."]
    assert set(duke) == {"O"} and "York" in names_in(silver("train"))


def test_the_tags_of_plays_held_out_follow_from_the_headings():
    small = {word for title in plays() for said in said_in(title) for word, _ in said
             if word[0].islower()}  # fmt: skip
    everywhere = {name for title in plays() if title not in ABBREVIATED for name in
                  speakers_of(title)} - small  # fmt: skip
    found = iter(silver("held_out"))
    for title in HELD_OUT_PLAYS:
        own = speakers_of(title)
        for said in said_in(title):
            names = []
            for i, (word, first) in enumerate(said):
                large, key = word[0].isupper(), word.lower()
                a_name = (
                    key in own and not (own[key] and first) or key not in own and key in everywhere
                )
                of_a_place = i > 1 and said[i - 1][0] == "of" and said[i - 2][0].lower() in ROLES
                names.append(large and a_name and not of_a_place)
            tags = ["O" if not name else "I-PER" if i and names[i - 1] else "B-PER"
                    for i, name in enumerate(names)]  # fmt: skip
            sentence = next(found)
            assert sentence.words == tuple(word for word, _ in said)
            assert sentence.tags == tuple(tags), sentence
    assert next(found, None) is None


def test_who_speaks_in_one_play_is_known_in_the_others_too():
    assert "hector" not in speakers_of("coriolanus")
    spoken = {tuple(word for word, _ in said) for said in said_in("coriolanus")}
    assert "Hector" in names_in(s for s in silver("train") if s.words in spoken)


def test_a_play_with_short_headings_gives_nothing_to_learn_from():
    assert "fal" in speakers_of(*ABBREVIATED) and "falstaff" not in speakers_of(*ABBREVIATED)
    spoken = [tuple(word for word, _ in said) for title in ABBREVIATED for said in said_in(title)]
    long = {words for words in spoken if len(words) > 9}
    assert len(long) > 500 and long.isdisjoint(s.words for s in silver("train"))


# refuses


def test_an_unknown_split_or_play_is_refused():
    with pytest.raises(ValueError, match="split is 'test': take 'train' or 'held_out'"):
        silver("test")
    with pytest.raises(ValueError, match="there is no play 'hamlet': take one of coriolanus, "):
        speakers_of("hamlet")


# learns


def test_a_linear_model_finds_unseen_names_and_more_of_them_with_capitals():
    scores = {}
    for cased in (True, False):
        model = make_pipeline(
            DictVectorizer(), LogisticRegression(max_iter=1000, class_weight="balanced")
        )
        train = silver("train")
        model.fit(
            [f for s in train for f in word_features(s.words, cased)],
            [tag for s in train for tag in s.tags],
        )
        found = [
            Tagged(s.words, tuple(model.predict(word_features(s.words, cased)))) for s in gold()
        ]
        scores[cased] = scored(gold(), found, f1_score)
    assert 0.75 < scores[True] < 0.87 and 0.55 < scores[False] < 0.68, scores
