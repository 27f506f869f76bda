"""Tests of mini_models.corpora: the files are those that their description tells of."""

import hashlib
import lzma
import re

import pytest

from mini_models.corpora import CORPORA, LANGUAGES, read

README = (CORPORA / "README.md").read_text(encoding="utf-8")


# agrees with an independent count


@pytest.mark.parametrize(
    "name", ["shakespeare.txt.xz", "gpt2_merges.txt.xz", "bert_uncased_vocab.txt.xz"]
)
def test_a_text_has_the_digest_that_its_description_gives(name):
    begins, ends = re.search(rf"`{name}`.*?sha256[^`]*`(\w+)…(\w+)`", README).groups()
    digest = hashlib.sha256(lzma.decompress((CORPORA / name).read_bytes())).hexdigest()
    assert digest.startswith(begins) and digest.endswith(ends), digest


def test_the_corpora_fit_their_budget():
    assert sum(path.stat().st_size for path in CORPORA.iterdir()) < 14_000_000


# properties


def test_what_is_packed_is_read_unpacked_and_what_is_not_as_it_is():
    packed = (CORPORA / "shakespeare.txt.xz").read_bytes()
    assert read("shakespeare.txt.xz") == lzma.decompress(packed) != packed
    assert read("names_gold.txt") == (CORPORA / "names_gold.txt").read_bytes()
    assert read("names_gold.txt").decode().startswith("#")


def test_every_file_of_the_folder_can_be_read_and_has_a_row_in_its_description():
    names = [path.name for path in CORPORA.iterdir() if path.is_file()]
    for name in names:
        assert read(name), name
        assert name in ("README.md", "__init__.py") or f"`{name}`" in README, name
    assert len(names) > 10


def test_pictures_have_captions_in_two_languages():
    assert LANGUAGES == ("en", "zh")


# refuses


def test_a_file_that_is_not_there_is_refused_with_what_to_do():
    with pytest.raises(ValueError, match="there is no plays.txt among the corpora: install mini_m"):
        read("plays.txt")
