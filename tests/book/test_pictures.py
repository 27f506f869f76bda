"""A stored picture must show what its cell draws; a stored output of any kind must still come."""

import base64
import io
import os
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook
from PIL import Image

import notebooks
import pictures

ROOT = Path(__file__).resolve().parents[2]
SINE = """from mini_models.viz import np, plt
x = np.linspace(0, 6, 200)
plt.plot(x, np.sin(x))
plt.xlabel("steps")
plt.show()"""
COSINE = SINE.replace("sin(", "cos(")
BARS = SINE.replace("plot(x, np.sin(x))", "bar(range(4), [3, 1, 4, 1])")
FALL = SINE.replace("np.sin(x)", "np.exp(-x)")
NOISY_FALL = FALL.replace("np.exp(-x)", "np.exp(-1.05 * x) + 0.01 * np.sin(40 * x)")
LATE_FALL = SINE.replace("np.sin(x)", "1 / (1 + np.exp(4 * x - 10))")
PLAIN = SINE.replace("plt.plot", 'plt.rcParams["font.family"] = "DejaVu Serif"\nplt.plot').replace(
    "np.sin(x))", "np.sin(x), antialiased=False)"
)
SAVED = SINE.replace(
    "plt.show()",
    """plt.savefig("sine.png", dpi=110)
plt.close()
from IPython.display import Image
Image("sine.png")""",
)
ROUND = 'from PIL import Image\nImage.radial_gradient("L").resize((200, 100))'
LIVE = "nbval-ignore-output"

CELLS = {  # what a cell did when its outputs were stored, what it does now, its tags
    "as-it-was": (SINE, SINE),
    "finer": (SAVED, SAVED.replace("dpi=110", "dpi=170")),
    "another-font": (SINE, PLAIN),
    "retrained": (FALL, NOISY_FALL, LIVE),
    "timed": ("print(0.1)", "print(0.2)", LIVE),
    "stale": (COSINE, SINE),
    "swapped-one": (BARS, COSINE),
    "swapped-other": (COSINE, BARS),
    "live-swapped-one": (FALL, LATE_FALL, LIVE),
    "live-swapped-other": (LATE_FALL, FALL, LIVE),
    "another-shape": (ROUND, ROUND.replace("200, 100", "200, 120"), LIVE),
    "deleted": ("None", SINE),
    "live-deleted": ("None", SINE, LIVE),
    "live-deleted-text": ("None", "print(0.1)", LIVE),
    "live-gone": (SINE, "None", LIVE),
    "one-of-two-deleted": (BARS, BARS + "\n" + SINE, LIVE),
}
TRUE = ["as-it-was", "finer", "another-font", "retrained", "timed"]
AWAY = r"cell {0}, picture 1, is \d\.\d+ from the stored one, over 0\.05: look at it, and"
KINDS = "cell {0} stores .* and now gives .*: run `make notebooks`"
FALSE = {
    "stale": AWAY,
    "swapped-one": AWAY,
    "swapped-other": AWAY,
    "live-swapped-one": "nearer to what is stored as live-swapped-other, picture 1: look at it",
    "live-swapped-other": "nearer to what is stored as (live-swapped-one|retrained), picture 1",
    "another-shape": "is 1.67 times as wide as high, the stored one 2.00 times: look at it",
    "deleted": KINDS,
    "live-deleted": KINDS,
    "live-deleted-text": KINDS,
    "live-gone": KINDS,
    "one-of-two-deleted": KINDS,
}


@pytest.fixture(scope="module")
def said(tmp_path_factory) -> dict[str, str]:
    """What is said of each cell, "" of those that pass."""
    folder = tmp_path_factory.mktemp("pictures")
    path, report = folder / "chapter.ipynb", folder / "report.xml"
    cells = [new_code_cell(stored, id=name) for name, (stored, *_) in CELLS.items()]
    nbformat.write(new_notebook(cells=cells), path)
    notebooks.run(path)
    notebook = nbformat.read(path, 4)
    for cell in notebook.cells:
        _, cell.source, *cell.metadata["tags"] = CELLS[cell.id]
    nbformat.write(notebook, path)
    options = ["-p", "conftest", "-p", "no:cacheprovider", "--nbval", f"--junitxml={report}"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, path],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tools")])},
        capture_output=True,
        text=True,
    )
    assert report.exists(), done.stdout + done.stderr
    cases = ElementTree.parse(report).iter("testcase")
    return {name: "".join(case.itertext()) for name, case in zip(CELLS, cases, strict=True)}


@pytest.mark.parametrize("name", TRUE)
def test_what_shows_the_same_passes(said, name):
    assert not said[name]


@pytest.mark.parametrize("name, words", FALSE.items(), ids=FALSE)
def test_what_shows_something_else_is_found_named_and_explained(said, name, words):
    assert re.search(words.format(name), said[name]), said[name]


def test_every_cell_is_one_or_the_other():
    assert [*TRUE, *FALSE] == [*CELLS]


def test_pictures_without_anything_on_them_can_be_compared():
    Image.new("RGB", (8, 8), "white").save(file := io.BytesIO(), "PNG")
    blank = base64.b64encode(file.getvalue()).decode()
    assert pictures.distance(blank, blank) == 0
