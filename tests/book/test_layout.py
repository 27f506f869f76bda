"""The order of the package, by folder: a wing imports only from the wings before it.

What stands at the top are the words of the book (attention, bert, gan, …). Everything else lives
in folders; `ORDER` says which of them may build on which.
"""

import ast
from collections import defaultdict
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import mini_models

PACKAGE = Path(mini_models.__file__).parent
TESTS = PACKAGE.parent / "tests"
CHAPTERS = PACKAGE.parent / "notebooks"
ORDER = (
    *("corpora", "machine", "tokenizers", "data", "concepts", "trained"),
    *("recipes", "experiments", "__main__"),
)
# which wing a folder or a module at the top belongs to, where it is neither its own nor a concept
WINGS = {"zoo": "trained", "pretrained": "trained"}
FACES = ("tokenizers", "data", "data.shapes", "decoding", "finetune")  # hand names on, no more
MODULE_LINES, FUNCTION_LINES, ROOMS = 250, 40, 14
# each module of these wings is a run by itself, with settings and a way in of the same names
RUNS = ("recipes", "experiments")
# what a chapter is called, where no module of the package has that name
WORDS = {"feed_forward": "layers", "training": "train", "finetuning": "finetune"}


def modules(package: Path) -> dict[str, Path]:
    """Every module by its dotted name within the package, a folder's face by the folder's."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def wing(name: str) -> str:
    first = name.split(".")[0]
    return WINGS.get(first, first if first in ORDER else "concepts")


def imports(tree: ast.Module, name: str, known) -> set[str]:
    """The modules that a module imports, wherever in it the import stands; a wrong one as it is."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {a.name for a in node.names if a.name.split(".")[0] == "mini_models"}
        elif isinstance(node, ast.ImportFrom):
            home = node.module or ""
            if node.level:  # from . import x, as seen from a module of that depth
                above = ["mini_models", *name.split(".")][: -node.level]
                home = ".".join([*above, *([home] if home else [])])
            if home.split(".")[0] == "mini_models":
                for alias in node.names:  # a module of the folder, or a name out of the module
                    whole = f"{home}.{alias.name}"
                    inside = whole.removeprefix("mini_models.") in known
                    found.add(whole if inside or home == "mini_models" else home)
    return {other.removeprefix("mini_models.") for other in found} - {"mini_models"}


def definitions(tree: ast.Module) -> set[str]:
    """Public names that a module defines at its left edge: classes, functions and constants."""
    found = set()
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {n.id for t in targets for n in ast.walk(t) if isinstance(n, ast.Name)}
    return {name for name in found if not name.startswith("_")}


def lines_of_code(function: ast.FunctionDef) -> int:
    """From the def to the last line, but for the docstring."""
    first = function.body[0]
    said = first.end_lineno - first.lineno + 1 if ast.get_docstring(function) else 0
    return function.end_lineno - function.lineno + 1 - said


def faults(package: Path) -> list[str]:
    """What in a package breaks the order of its wings, is named twice, or is too long."""
    known = modules(package)
    trees = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in known.items()}
    graph = {name: imports(tree, name, known) for name, tree in trees.items()}
    found = [fault for name, others in graph.items() for fault in _arrows(name, others, known)]
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        found.append("a circle: " + " -> ".join(error.args[1]))
    for name, tree in trees.items():
        if name in FACES and any(not isinstance(n, ast.Expr | ast.ImportFrom) for n in tree.body):
            found.append(f"{name} is a face: it hands names on and defines nothing")
        n = len(known[name].read_text(encoding="utf-8").splitlines())
        found += [f"{name} has {n} lines, over {MODULE_LINES}"] if n > MODULE_LINES else []
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef) and lines_of_code(node) > FUNCTION_LINES:
                found.append(f"{name}.{node.name} has {lines_of_code(node)} lines")
    return found + _twins(trees) + _crowds(known)


def _arrows(name: str, others: set[str], known) -> list[str]:
    found = []
    for other in sorted(others):
        if other not in known:
            found.append(f"{name} imports {other}, which is not there")
        elif ORDER.index(wing(other)) > ORDER.index(wing(name)):
            found.append(f"{name} imports {other}: {wing(name)} comes before {wing(other)}")
        elif other != name and {name, other} <= kinds_of_recipes(known):
            found.append(f"{name} imports {other}: no kind of recipe needs another")
    return found


def kinds_of_recipes(known) -> set[str]:
    """The modules of recipes that list some of them."""
    return {
        name for name, path in known.items()
        if name.startswith("recipes.") and "RECIPES = {" in path.read_text(encoding="utf-8")
    }  # fmt: skip


def _twins(trees) -> list[str]:
    """Names that mean one thing here and another there."""
    homes = defaultdict(set)
    for name, tree in trees.items():
        for defined in definitions(tree):
            homes[defined].add(name)
    found = []
    for defined, where in sorted(homes.items()):
        wings = {wing(name) for name in where}
        if len(where) > 1 and not (len(wings) == 1 and wings <= set(RUNS)):
            found.append(f"{defined} is defined in {' and in '.join(sorted(where))}")
    return found


def _crowds(known) -> list[str]:
    rooms = defaultdict(set)
    for name in known:
        folder, _, room = name.rpartition(".")
        rooms[folder].add(room)
    return [
        f"{folder} has {len(inside)} rooms, over {ROOMS}"
        for folder, inside in rooms.items() if folder and len(inside) > ROOMS
    ]  # fmt: skip


def test_arrows_run_one_way_names_mean_one_thing_and_modules_are_short():
    assert faults(PACKAGE) == []


@pytest.mark.parametrize("path", sorted(CHAPTERS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_the_word_of_a_chapter_is_a_module_or_a_folder(path):
    word = path.stem[3:]
    assert WORDS.get(word, word) in modules(PACKAGE)


def test_tests_mirror_the_package():
    """tests/a/test_b.py tests mini_models/a/b.py; test_init.py a face; the book has its own."""
    known, found = modules(PACKAGE), set()
    for path in TESTS.rglob("test_*.py"):
        folder, name = path.relative_to(TESTS).parent, path.stem.removeprefix("test_")
        if folder.parts[:1] != ("book",):
            parts = [*folder.parts, *([] if name == "init" else [name])]
            found.add(".".join(parts).replace("main", "__main__"))
    assert found - known.keys() == {"checkpoints"}  # of what the package ships
    faces = {name for name, path in known.items() if path.name == "__init__.py"}
    assert known.keys() - found <= faces


@pytest.fixture
def package(tmp_path):
    """A package without a fault: each module empty but for its docstring."""
    for path in modules(PACKAGE).values():
        copy = tmp_path / path.relative_to(PACKAGE)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text('"""Empty."""\n')
    assert faults(tmp_path) == []
    return tmp_path


@pytest.mark.parametrize(
    "path, text, said",
    [
        (
            "gpt.py",
            "from mini_models.zoo import load",
            "gpt imports zoo: concepts comes before trained",
        ),
        ("gpt.py", "from mini_models import zoo", "gpt imports zoo: concepts comes before trained"),
        (
            "data/texts.py",
            "def f():\n    from mini_models.attention import x",
            "data.texts imports attention: data comes before concepts",
        ),
        (
            "machine/files.py",
            "from ..tokenizers import words",
            "machine.files imports tokenizers.words: machine comes before tokenizers",
        ),
        (
            "recipes/training_run.py",
            "import mini_models.experiments.gan_ring",
            "recipes.training_run imports experiments.gan_ring: recipes comes before experiments",
        ),
        (
            "zoo.py",
            "from mini_models.nowhere import x",
            "zoo imports nowhere, which is not there",
        ),
        ("zoo.py", "from mini_models import gtp", "zoo imports gtp, which is not there"),
        (
            "__main__.py",
            "from mini_models.data import nothing\nimport mini_models.data.nothing",
            "__main__ imports data.nothing, which is not there",
        ),
        ("gpt.py", "import mini_models.gpt", "a circle: gpt -> gpt"),
        ("data/__init__.py", "x = 1", "data is a face: it hands names on and defines nothing"),
        ("viz.py", "import torch\n" * 251, "viz has 251 lines, over 250"),
        ("viz.py", "def f():\n    '''Say.'''\n" + "    1\n" * 40, "viz.f has 41 lines"),
    ],
)
def test_a_planted_fault_is_found(package, path, text, said):
    (package / path).write_text(text)
    assert faults(package) == [said]


def test_a_recipe_that_imports_another_kinds_recipe_is_found(package):
    for kind in ("gpt", "bert"):
        (package / "recipes" / f"{kind}.py").write_text("RECIPES = {\n}")
    text = "from mini_models.recipes.gpt import RECIPES as others\nRECIPES = {\n}"
    (package / "recipes" / "bert.py").write_text(text)
    said = "recipes.bert imports recipes.gpt: no kind of recipe needs another"
    assert faults(package) == [said]


def test_a_circle_through_other_modules_is_found(package):
    (package / "layers.py").write_text("from mini_models.attention import x")
    (package / "attention.py").write_text("from . import transformer")
    (package / "transformer.py").write_text("from .layers import x")
    [said] = faults(package)
    assert said.startswith("a circle: ") and {"layers", "attention"} <= set(said.split())


def test_twin_names_are_found_but_not_the_settings_of_runs(package):
    (package / "bert.py").write_text("class BERT:\n    pass")
    (package / "scaling.py").write_text("BERT = {}")
    for run in ("ring", "dvae"):
        (package / "experiments" / f"{run}.py").write_text("STEPS = 1\ndef run(say):\n    pass")
    assert faults(package) == ["BERT is defined in bert and in scaling"]
    (package / "gpt.py").write_text("STEPS = 1")
    said = "STEPS is defined in experiments.dvae and in experiments.ring and in gpt"
    assert faults(package)[1] == said


def test_a_folder_that_grows_too_large_is_found(package):
    for i in range(20):
        (package / "machine" / f"room_{i}.py").write_text("")
    [said] = faults(package)
    assert said.startswith("machine has 2") and said.endswith("rooms, over 14")
