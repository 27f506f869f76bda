"""The chapters keep the book's rules, their stored outputs are true, and each runs on its own."""

import json
import os
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

import chapter_rules
import notebooks

ROOT = Path(__file__).resolve().parents[2]
CHAPTERS = sorted((ROOT / "notebooks").glob("*.ipynb"))

# --- the rules, upon the real chapters


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_a_chapter_keeps_every_rule(path):
    assert not chapter_rules.faults(path)


def test_each_concept_is_derived_in_one_chapter_and_imported_in_all_others():
    assert not chapter_rules.faults_between(CHAPTERS)


def test_the_list_of_what_no_chapter_derives_names_only_what_there_is():
    assert set(chapter_rules.exported()) >= chapter_rules.PLUMBING


# --- the rules, upon faults planted in a sound chapter


EXERCISE = "```{{exercise}} Try\n:label: ex-{0}\nTry.\n```\n\n```{{solution}} ex-{0}\nSo.\n```"
DERIVED = "def causal_mask(T):\n    return torch.ones(T, T).bool().tril()"
AGREES = "import mini_models.attention as m\n\nassert causal_mask(3).equal(m.causal_mask(3))"


def text(name: str, source: str):
    return new_markdown_cell(source, id=name)


def code(name: str, source: str, *tags: str, outputs=()):
    cell = new_code_cell(source, id=name, outputs=list(outputs))
    cell.metadata["tags"] = list(tags)
    return cell


def chapter():
    """A chapter without a fault: it derives causal_mask, and compares it."""
    cells = [
        text("title", "# A tiny chapter\n\nWhat may a query see?"),
        code("set-up", chapter_rules.setup_source(), "remove-cell"),
        code("mask-derived", "import torch\n\n\n" + DERIVED),
        code("mask-agrees", AGREES, "agree"),
        text("exercises", "\n\n".join(EXERCISE.format(n) for n in "abc")),
        text("end", "## What we have now\n\n## Toy versus paper\n\n## Sources"),
    ]
    notebook = new_notebook(cells=cells)
    notebooks.tidy(notebook)
    return notebook


def number(notebook) -> None:
    """Count the code cells 1..n, as a run does."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for count, cell in enumerate(cells, 1):
        cell.execution_count = count


def save(notebook, folder: Path, name="02_attention") -> Path:
    path = folder / f"{name}.ipynb"
    path.write_text(nbformat.v4.writes(notebook))  # nbformat.write would mend some faults
    return path


def named(notebook, name: str):
    return next(cell for cell in notebook.cells if cell.id == name)


def test_a_sound_chapter_has_no_fault(tmp_path):
    notebook = chapter()
    number(notebook)
    assert chapter_rules.faults(save(notebook, tmp_path)) == []


def add(source="1 + 1", *tags, name="planted", outputs=()):
    """A plan to add one cell."""
    return lambda book: book.cells.append(code(name, source, *tags, outputs=outputs))


def replace(name, old, new):
    """A plan to change what one cell says."""

    def plant(book):
        cell = named(book, name)
        assert old in cell.source
        cell.source = cell.source.replace(old, new)

    return plant


def drop(name):
    """A plan to leave one cell out."""
    return lambda book: book.cells.remove(named(book, name))


def ask(*behind):
    """A plan to ask a question, with these cells behind it."""
    question = text("question", "**Before you run the next cell:** what will it say?")
    return lambda book: book.cells.extend([question, *behind])


def widget_state(book):
    book.metadata["widgets"] = {"state": {}}


def printed(words: str):
    return [new_output("stream", name="stdout", text=words)]


ERROR = new_output("error", ename="ValueError", evalue="no", traceback=[])
WARNING = new_output("stream", name="stderr", text="UserWarning: beware")
WIDGET = new_output("display_data", {"application/vnd.jupyter.widget-view+json": {}})
FIGURE = new_output("display_data", {"image/png": "iVBORw0KGgo="})
AGAIN = "class Block:\n    pass"
FAULTS = {  # what is planted, and what must be said of it
    "a stored error": (add(outputs=[ERROR]), "cell planted stores an error, ValueError: mend it"),
    "a warning": (add(outputs=[WARNING]), "cell planted stores a warning: mend its cause"),
    "a local path": (
        add(outputs=printed("in /home/ann/book/a.py")),
        "cell planted prints a path of one machine, '/home/ann/book/a.py': print something else",
    ),
    "an address in memory": (
        add(outputs=printed("<f at 0x7f0123456789>")),
        "cell planted prints an object's address, 'at 0x7f0123456789': print something else",
    ),
    "a widget": (
        add(outputs=[WIDGET]),
        "cell planted stores a widget: print text instead",
    ),
    "widget state": (widget_state, "stores widget state: run it again"),
    "an editor's metadata": (
        lambda book: book.metadata.update(colab={}),
        "has metadata of an editor: run tools/notebooks.py clean",
    ),
    "a line too long": (add("x = 1  # " + "x" * 70), "cell planted is 79 columns wide, over 72"),
    "a cell too long": (add("x = 1\n" * 16), "cell planted has 16 lines, over 15: make it two"),
    "a magic": (add("%timeit 1"), "cell planted is not plain Python: leave out magics"),
    "an unknown tag": (
        add("1", "skip"),
        "cell planted has the tag skip: use only agree, hide-input, hide-output, "
        "nbval-ignore-output, remove-cell",
    ),
    "an id of digits": (add(name="0f1e2d3c"), "cell 0f1e2d3c needs a unique id of words"),
    "an id of chance": (add(name="deadbeef"), "cell deadbeef needs a unique id of words"),
    "an id used twice": (add(name="mask-agrees"), "cell mask-agrees needs a unique id of words"),
    "a figure unexplained": (
        add(outputs=[FIGURE]),
        "cell planted draws a figure without alt text: describe it in mystnb.image.alt",
    ),
    "too big": (add(outputs=printed("x" * 400_000)), r"is 4\d\d,\d{3} bytes, over 400,000: draw"),
    "an ignored output": (
        add("1", "nbval-ignore-output"),
        "cell planted ignores its output and no assert follows it: assert a band",
    ),
    "a definition of another chapter": (
        add(AGAIN),
        r"cell planted defines Block again: import it from mini_models\.transformer",
    ),
    "a definition in disguise": (
        add("gelu = lambda x: x"),
        r"cell planted defines gelu again: import it from mini_models\.layers",
    ),
    "a second definition": (
        add("def causal_mask(T):\n    return None"),
        "cell planted defines causal_mask again: keep the one in cell mask-derived",
    ),
    "no agree cell": (
        drop("mask-agrees"),
        "cell mask-derived derives causal_mask, but no cell tagged agree compares it",
    ),
    "an agree cell without a comparison": (
        add("print(causal_mask(2))", "agree"),
        "cell planted is tagged agree but compares nothing: assert that both are equal",
    ),
    "another set-up cell": (
        replace("set-up", "best_device()", '"cpu"'),
        "the first code cell is not the set-up cell: run tools/notebooks.py clean",
    ),
    "a set-up cell on show": (
        lambda book: named(book, "set-up").metadata.update(tags=[]),
        "the set-up cell is not tagged remove-cell: run tools/notebooks.py clean",
    ),
    "an answer in the open": (
        ask(code("planted", "print(1)", outputs=printed("1"))),
        "cell planted answers cell question in the open: tag it hide-output",
    ),
    "a later answer in the open": (
        ask(code("trains", "x = 1"), code("planted", "print(x)", outputs=printed("1"))),
        "cell question asks, but its answer is in the open: tag that cell hide-output",
    ),
    "an answer closed behind the next heading": (
        ask(text("next", "## Next"), code("planted", "1", "hide-output", outputs=printed("1"))),
        "cell planted closes its output, but no question stands before it: ask one",
    ),
    "no title": (drop("title"), "does not begin with a title: make the first cell '# Name'"),
    "too few exercises": (
        replace("exercises", EXERCISE.format("a"), ""),
        "has 2 exercises: give at least three",
    ),
    "an exercise unsolved": (
        replace("exercises", "{solution} ex-b", "{note} ex-b"),
        "exercise ex-b has no solution",
    ),
    "no sources": (replace("end", "## Sources", ""), "has no section 'Sources': every chapter"),
}


@pytest.mark.parametrize("plant, said", FAULTS.values(), ids=FAULTS)
def test_a_planted_fault_is_found_named_and_explained(tmp_path, plant, said):
    notebook = chapter()
    plant(notebook)
    number(notebook)
    found = chapter_rules.faults(save(notebook, tmp_path))
    assert len(found) == 1 and re.search(f"^02_attention.ipynb: {said}", found[0]), found


def test_a_question_whose_answer_is_closed_or_shows_nothing_is_no_fault(tmp_path):
    notebook = chapter()
    shown = printed("1")
    ask(code("trains", "x = 1"), code("answer", "x", "hide-output", outputs=shown))(notebook)
    notebook.cells += [
        text("again", "**Before you run it:** is it 1?"),
        code("claim", "assert x == 1"),
    ]
    notebook.cells += [text("next", "## Next"), code("open", "x", outputs=shown)]
    number(notebook)
    assert chapter_rules.faults(save(notebook, tmp_path)) == []


def test_a_cell_that_was_not_run_and_one_run_out_of_order_are_found(tmp_path):
    notebook = chapter()
    number(notebook)
    cell = named(notebook, "mask-derived")
    for count in (None, 7):
        cell.execution_count = count
        (found,) = chapter_rules.faults(save(notebook, tmp_path))
        assert f"cell mask-derived was executed as number {count}, not 2: run the whole" in found


def test_a_file_that_is_no_notebook_is_found(tmp_path):
    path = tmp_path / "02_attention.ipynb"
    path.write_text("{")
    (found,) = chapter_rules.faults(path)
    assert "is not a readable notebook" in found and "restore it" in found


def test_a_concept_derived_in_two_chapters_or_in_none_is_found(tmp_path):
    one = save(chapter(), tmp_path)
    found = chapter_rules.faults_between([one])
    assert any(
        "MultiHeadAttention of mini_models.attention is derived in no chapter: "
        "derive it in 02_attention, or" in fault
        for fault in found
    )
    assert not any("causal_mask" in fault or "Block" in fault for fault in found)
    notebook = chapter()
    add("def check_mask(mask):\n    pass")(notebook)
    two = save(notebook, tmp_path, "03_feed_forward")
    found = chapter_rules.faults_between([one, two])
    both = "02_attention and 03_feed_forward"
    assert f"causal_mask is derived in {both}: import it in the second" in found
    assert "check_mask is derived in 03_feed_forward: remove it from PLUMBING" in found


def test_a_module_that_claims_a_chapter_which_derives_nothing_of_it_is_found(tmp_path):
    notebook = chapter()
    drop("mask-derived")(notebook)
    drop("mask-agrees")(notebook)
    found = chapter_rules.faults_between([save(notebook, tmp_path)])
    said = "02_attention derives nothing of mini_models.attention, whose line Derived names it"
    assert [fault for fault in found if fault.startswith(said)]
    found = chapter_rules.faults_between([save(chapter(), tmp_path)])
    assert not [fault for fault in found if "derives nothing" in fault]


# --- the tool


def test_check_prints_the_faults_and_fails(tmp_path, capsys):
    notebook = chapter()
    number(notebook)
    path = save(notebook, tmp_path, "07_elsewhere")
    assert notebooks.main(["check", str(path)]) == 1
    assert "07_elsewhere.ipynb: cell mask-derived defines causal_mask" in capsys.readouterr().out


def test_clean_mends_metadata_ids_and_the_set_up_cell(tmp_path):
    notebook = chapter()
    notebook.metadata["colab"] = {"name": "x"}
    cell = named(notebook, "mask-derived")
    cell["id"], cell.metadata["collapsed"] = "0f1e2d3c", True
    replace("set-up", "best_device()", '"cpu"')(notebook)
    number(notebook)
    path = save(notebook, tmp_path)
    assert len(chapter_rules.faults(path)) == 3
    assert notebooks.main(["clean", str(path)]) == 0
    assert chapter_rules.faults(path) == []
    assert named(nbformat.read(path, 4), "import-torch-def-causal").source == cell.source


def test_run_stores_the_outputs_and_the_counts(tmp_path):
    notebook = chapter()
    notebook.cells.append(code("sum", "print(causal_mask(3).sum().item())"))
    slow = "import time\n\nfor i in range(2):\n    print(i, flush=True)\n    time.sleep(0.5)"
    notebook.cells.append(code("slow", slow))
    path = save(notebook, tmp_path)
    assert notebooks.main(["run", str(path)]) == 0
    assert chapter_rules.faults(path) == []
    stored = nbformat.read(path, 4)
    assert named(stored, "sum").outputs[0].text == "6\n"
    assert [o.text for o in named(stored, "slow").outputs] == ["0\n1\n"]  # in one box


def test_a_run_that_fails_leaves_the_chapter_as_it_was(tmp_path, capsys):
    path = save(new_notebook(cells=[code("divide", "1 / 0")]), tmp_path)
    before = path.read_bytes()
    assert notebooks.main(["run", str(path)]) == 1
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]
    assert "is left as it was" in (said := capsys.readouterr().err) and "ZeroDivisionError" in said


def test_what_is_closed_on_the_site_is_closed_in_a_stamped_notebook_too(tmp_path):
    notebook = chapter()
    ask(code("answer", "print(1)", "hide-output", outputs=printed("1")))(notebook)
    target = tmp_path / "out.ipynb"
    notebooks.stamp(save(notebook, tmp_path), target, "https://example.org/a/b.git", "abc")
    stamped = nbformat.read(target, 4)
    nbformat.validate(stamped)
    closed = [c.id for c in stamped.cells if c.metadata.get("jupyter") == {"outputs_hidden": True}]
    assert closed == ["answer"] and named(stamped, "answer").outputs[0].text == "1"


def test_a_notebook_without_a_set_up_cell_cannot_be_stamped(tmp_path):
    path = save(new_notebook(cells=[code("one", "1")]), tmp_path)
    with pytest.raises(ValueError, match="has no set-up cell to fill in: run clean first"):
        notebooks.stamp(path, tmp_path / "out.ipynb", "https://example.org/a/b.git", "abc")


# --- the outputs are tests


def nbval(path: Path) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--nbval", path]
    return subprocess.run(command, cwd=path.parent, capture_output=True, text=True)


def test_nbval_passes_true_outputs_and_fails_a_false_one(tmp_path):
    cells = [code("sum", "1 + 1"), code("words", 'print("two")')]
    path = save(new_notebook(cells=cells), tmp_path)
    assert notebooks.main(["run", str(path)]) == 0
    done = nbval(path)
    assert done.returncode == 0 and "2 passed" in done.stdout, done.stdout
    notebook = nbformat.read(path, 4)
    named(notebook, "sum").outputs[0].data["text/plain"] = "3"
    nbformat.write(notebook, path)
    done = nbval(path)
    assert done.returncode == 1 and "1 failed, 1 passed" in done.stdout, done.stdout
    assert "Cell 0" in done.stdout


# --- a published notebook, alone


def new_repository(folder: Path) -> str:
    """A repository with one commit that holds what stands in this folder; its commit.

    Made from the working tree, so it is there in a clone, in an archive and amid changes alike.
    """
    unwanted = [line.strip("/") for line in (ROOT / ".gitignore").read_text().split()]
    shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(".git", *unwanted))
    git = ["git", "-C", folder, "-c", "user.name=A reader", "-c", "user.email=reader@example.org"]
    for step in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "A fork", "--no-gpg-sign"]):
        subprocess.run([*git, *step], check=True)
    done = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def new_environment(folder: Path) -> Path:
    """The Python of a fresh environment that has all that mini_models needs, but not mini_models.

    To install PyTorch again would take gigabytes and minutes. So the packages of the environment
    that runs this test are linked, one by one, into a folder that the new environment looks in.
    Left out are mini_models itself and the .pth files, by which an editable install is found. pip
    sees the linked packages as already there, and fetches only what builds mini_models.
    """
    venv.create(folder, with_pip=True)
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    linked = folder / "linked"
    linked.mkdir()
    for site in (Path(p) for p in sys.path if Path(p).name in ("site-packages", "dist-packages")):
        for package in site.iterdir():
            ours = re.match(r"(__editable__\W*)?mini[_-]models|__pycache__", package.name)
            if not ours and package.suffix != ".pth" and not (linked / package.name).exists():
                (linked / package.name).symlink_to(package)
    ask = "import sysconfig; print(sysconfig.get_path('purelib'))"
    home = subprocess.run([python, "-c", ask], check=True, capture_output=True, text=True).stdout
    (Path(home.strip()) / "linked.pth").write_text(f"{linked}\n")
    return python


def test_a_published_notebook_alone_installs_its_fork_and_runs(tmp_path):
    fork, alone = tmp_path / "fork", tmp_path / "alone"
    commit, python = new_repository(fork), new_environment(tmp_path / "fresh")
    alone.mkdir()
    published = alone / "02_attention.ipynb"
    source = fork / "notebooks" / published.name
    address = ["--address", f"file://{fork}", "--commit", commit]
    assert notebooks.main(["stamp", *address, str(source), str(published)]) == 0
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "JUPYTER", "GIT_"))}
    env |= {"PYTHONNOUSERSITE": "1", "OMP_NUM_THREADS": "1", "IPYTHONDIR": str(tmp_path / "none")}
    env["JUPYTER_DATA_DIR"] = env["IPYTHONDIR"]  # kernels of this user are not the reader's

    def run(*command):
        return subprocess.run(
            [python, *command], cwd=alone, env=env, capture_output=True, text=True
        )

    before = run("-c", "import mini_models")
    assert "No module named 'mini_models'" in before.stderr
    execute = "from nbclient.cli import main; main()"  # what the command jupyter execute does
    done = run("-c", execute, "--inplace", "--timeout=600", published.name)
    assert done.returncode == 0, done.stdout + done.stderr
    (record,) = (tmp_path / "fresh").rglob("mini_models-*.dist-info/direct_url.json")
    origin = json.loads(record.read_text())
    assert origin["url"] == f"file://{fork}" and origin["vcs_info"]["commit_id"] == commit
    cells = [c for c in nbformat.read(published, 4).cells if c.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
