"""Film reviews: sentences of critics with the mean rating of some twenty readers.

The sentences are not ours to give: pip fetches the archive that holds them when they are first
asked for, and they stay in the user's cache folder.

Source   Pang and Lee 2005, arXiv:cs/0506075, the sentences; Hutto and Gilbert 2014, "VADER", ICWSM,
         section 4.1, the ratings
"""

import io
import os
import random
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from functools import cache
from pathlib import Path

from mini_models.data.labelled import Labelled
from mini_models.machine.files import digest

ARCHIVE = "vaderSentiment==0.5"  # its source archive; later ones leave the reviews out
SHA256 = "5d97c37f3ef6e24eef331122e055dbedafeb6a56abfce0608b326701116ea49a"
INNER = "vaderSentiment-0.5/additional_resources/hutto_ICWSM_2014.tar.gz"
TABLE = "hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt"
CLEAR = 1.0  # on the scale from -4 to 4: nearer to 0 than this, readers hardly agree on a side


@cache
def rated_reviews() -> tuple[tuple[str, float], ...]:
    """10,605 sentences, each with its mean rating from -4 (most negative) to 4.

    Raises: ValueError if the archive is not in the cache and cannot be fetched, or is another one.
    """
    with zipfile.ZipFile(_archive()) as outer:
        inner = io.BytesIO(outer.read(INNER))
    with tarfile.open(fileobj=inner) as archive:
        text = archive.extractfile(TABLE).read().decode("utf-8")
    rows = [line.split("\t") for line in text.splitlines()]
    return tuple((review, float(rating)) for _, rating, review in rows)


def film_reviews(held_out: float = 0.2, clear: float = CLEAR):
    """Sentences that readers found good or bad, and others to measure on; the same cut every time.

    Args:
        held_out: the share to measure on.
        clear: leave out sentences whose mean rating is within this distance of 0.
    Returns: (train, held_out), two lists of `Labelled` whose label is "good" or "bad"; no text
        stands in both, but for case and punctuation.
    """
    kept = {}  # of sentences that differ in case and punctuation alone, the first
    for review, rating in rated_reviews():
        if abs(rating) > clear:
            key = "".join(filter(str.isalnum, review.lower()))
            kept.setdefault(key, Labelled(review, "good" if rating > 0 else "bad"))
    reviews = list(kept.values())
    random.Random(0).shuffle(reviews)
    n = int(len(reviews) * held_out)
    return reviews[n:], reviews[:n]


def _archive() -> Path:
    """The archive in the cache folder; fetched first if it is not there."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    path = Path(home) / "mini_models" / "vaderSentiment-0.5.zip"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            os.replace(_fetched(folder), path)
    if digest(path.read_bytes()) != SHA256:
        raise ValueError(f"{path} is not the archive of {ARCHIVE}: delete it and try again")
    return path


def _fetched(folder: str) -> Path:
    """Have pip fetch the source archive into a folder, without building or installing it."""
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    how = ["--no-deps", "--no-binary", ":all:", "--no-build-isolation", "--dest", folder]
    done = subprocess.run([*pip, *how, ARCHIVE], capture_output=True, text=True)
    found = list(Path(folder).glob("*.zip"))
    if not found:
        last = (done.stderr.strip().splitlines() or ["pip said nothing"])[-1]
        raise ValueError(
            f"the film reviews could not be fetched ({last}): connect to the network, or put the "
            f"source archive of {ARCHIVE} into the folder mini_models of your cache folder "
            "(XDG_CACHE_HOME, or .cache at home)"
        )
    return found[0]
