"""Tests of mini_models.data.film_reviews: what was meant is fetched, and cut in two."""

import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from mini_models.data.film_reviews import ARCHIVE, CLEAR, film_reviews, rated_reviews


@pytest.fixture(scope="module")
def archive():
    """The archive in the cache; fetched once if it is not there."""
    rated_reviews()
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "mini_models" / "vaderSentiment-0.5.zip"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache folder, and reviews that are not remembered."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    rated_reviews.cache_clear()
    yield tmp_path / "mini_models"
    rated_reviews.cache_clear()


def key(text):
    return re.sub(r"[\W_]", "", text.lower())


# agrees with an independent count


def test_the_sentences_are_as_many_as_the_paper_says(archive):
    """Hutto and Gilbert 2014, section 4.1: 10,605 sentences."""
    reviews = rated_reviews()
    assert len(reviews) == 10_605
    assert all(text.strip() and -4 <= rating <= 4 for text, rating in reviews)
    assert min(r for _, r in reviews) < -3 and max(r for _, r in reviews) > 3


def test_the_classes_are_the_signs_of_clear_ratings_counted_again(archive):
    train, held_out = film_reviews()
    clear, seen = [], set()
    for text, rating in rated_reviews():
        if abs(rating) > CLEAR and key(text) not in seen:
            seen.add(key(text))
            clear.append((text, "good" if rating > 0 else "bad"))
    assert sorted((t.text, t.label) for t in train + held_out) == sorted(clear)
    assert len(held_out) == len(clear) // 5
    for part in (train, held_out):
        assert 0.45 < sum(t.label == "good" for t in part) / len(part) < 0.55


# properties


def test_no_text_is_on_both_sides_but_for_case_and_punctuation(archive):
    train, held_out = film_reviews()
    assert {key(t.text) for t in train}.isdisjoint(key(t.text) for t in held_out)


def test_the_cut_is_the_same_every_time(archive):
    assert film_reviews() == film_reviews()
    text = "\n".join(t.text for t in film_reviews()[1])
    assert hashlib.sha256(text.encode()).hexdigest().startswith("c8debeea4cc5")


def test_a_stricter_rule_keeps_fewer_and_none_that_the_looser_one_leaves_out(archive):
    loose, strict = ({t.text for part in film_reviews(clear=c) for t in part} for c in (0.5, 2.0))
    assert strict < loose and len(strict) < len(loose) / 2


def test_what_is_in_the_cache_is_not_fetched_again(archive, cache, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("pip was called")

    monkeypatch.setattr(subprocess, "run", refuse)
    cache.mkdir()
    shutil.copy(archive, cache)
    assert len(rated_reviews()) == 10_605


def test_what_is_fetched_is_moved_into_the_cache_whole(archive, cache, monkeypatch):
    def pip(command, **_):
        assert command[1:4] == ["-m", "pip", "download"] and command[-1] == ARCHIVE
        shutil.copy(archive, command[command.index("--dest") + 1])
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", pip)
    assert len(rated_reviews()) == 10_605
    assert [p.name for p in cache.iterdir()] == [archive.name]


# refuses


def test_another_archive_is_refused_by_its_path(archive, cache):
    cache.mkdir()
    data = bytearray(archive.read_bytes())
    data[1000] ^= 1
    (cache / archive.name).write_bytes(data)
    with pytest.raises(
        ValueError, match=r"vaderSentiment-0.5.zip is not the archive of .*: delete"
    ):
        rated_reviews()


@pytest.mark.parametrize(
    "stderr, said",
    [
        ("WARNING: retrying\nERROR: no network\n", r"\(ERROR: no network\)"),
        ("", "pip said nothing"),
    ],
)
def test_without_a_network_it_says_what_pip_said_and_what_to_do(cache, monkeypatch, stderr, said):
    def pip(command, **_):
        return subprocess.CompletedProcess(command, 1, "", stderr)

    monkeypatch.setattr(subprocess, "run", pip)
    with pytest.raises(ValueError, match=said + r".*connect to the network, or put"):
        rated_reviews()
    assert not list(Path(cache).iterdir())


# learns


def test_words_tell_good_from_bad_far_better_than_chance(archive):
    from mini_models.experiments.baselines import linear_text

    train, held_out = film_reviews()
    assert 0.80 < linear_text(train, held_out)["accuracy"] < 0.83
