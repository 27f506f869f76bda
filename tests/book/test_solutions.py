"""The code of every solution is run, alone, in its chapter; what it is said to print, it prints."""

import os
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

import notebooks
from solutions import CODE, SOLUTION, solutions

ROOT = Path(__file__).resolve().parents[2]
CHAPTERS = sorted((ROOT / "notebooks").glob("*.ipynb"))

SOLVED = {  # the solution of an exercise with that label
    "prints": "Count.\n\n```python\nprint(beans + 1)\n```\n\n```text\n4\n```\n\nOne more.",
    "in-two-steps": "```python\nn = beans\n```\nThen\n```python\nprint(n)\n```\n```text\n3\n```",
    "says-nothing": "```python\nprint(beans)\n```\n\nThree.",
    "renames": "```python\nbeans, spoon = 5, 1\nprint(doubled())\n```\n\n```text\n10\n```",
    "after-renaming": "```python\nprint(doubled())\n```\n\n```text\n6\n```",
    "leans": "```python\nprint(spoon)\n```",
    "fails": "```python\nprint(peas)\n```",
    "is-wrong": "```python\nprint(beans)\n```\n\n```text\n4\n```",
    "is-silent": "```python\nbeans\n```\n\n```text\n3\n```",
    "in-words": "Three.",
}
TRUE = ["prints", "in-two-steps", "says-nothing", "renames", "after-renaming"]
FALSE = {
    "leans": "NameError(.|\n)*name 'spoon' is not defined",
    "fails": "Solution ex-fails: Cell execution caused an exception(.|\n)*'peas' is not defined",
    "is-wrong": "Solution ex-is-wrong: Cell outputs differ(.|\n)*'4\\\\n' == '3\\\\n'",
    "is-silent": "Missing output fields from running code: {'stdout'}",
}


@pytest.fixture(scope="module")
def said(tmp_path_factory) -> dict[str, str]:
    """What is said of each solution, "" of those that pass."""
    folder = tmp_path_factory.mktemp("solutions")
    path, report = folder / "chapter.ipynb", folder / "report.xml"
    code = new_code_cell("beans = 3\n\ndef doubled():\n    return 2 * beans", id="beans")
    texts = [
        f"````{{solution}} ex-{name}\n:class: dropdown\n\n{solution}\n````"
        for name, solution in SOLVED.items()
    ]
    cells = [code, *(new_markdown_cell(text, id=name) for text, name in zip(texts, SOLVED))]
    nbformat.write(new_notebook(cells=cells), path)
    notebooks.run(path)
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
    return {case.get("name"): "".join(case.itertext()) for case in cases}


@pytest.mark.parametrize("name", TRUE)
def test_a_sound_solution_passes(said, name):
    assert not said[f"Solution ex-{name}"]


@pytest.mark.parametrize("name, words", FALSE.items(), ids=FALSE)
def test_a_faulty_solution_is_found_named_and_explained(said, name, words):
    found = said[f"Solution ex-{name}"]
    assert re.search(words, found), found


def test_only_solutions_with_code_are_run(said):
    named = {name.removeprefix("Solution ex-") for name in said}
    assert named == {"Cell 0", *TRUE, *FALSE} == {"Cell 0", *SOLVED} - {"in-words"}


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_no_code_of_a_chapters_solutions_is_overlooked(path):
    notebook = nbformat.read(path, 4)
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    bodies = [body for _, _, body in SOLUTION.findall(text)]
    assert len(bodies) == text.count("{solution}") and solutions(notebook)
    for body in bodies:  # nothing fenced or indented but python, and what it prints
        assert not re.search("^(```|    )", CODE.sub("", body), re.MULTILINE), body
