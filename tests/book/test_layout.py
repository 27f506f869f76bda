"""The order of the package: each module imports only from floors below its own, and stays small."""

import ast
from pathlib import Path

import pytest

import mini_models

PACKAGE = Path(mini_models.__file__).parent
FLOOR = {
    "__init__": 0,
    "attention": 0,
    "beam": 0,
    "devices": 0,
    "documents": 0,
    "eight_bits": 0,
    "emoji": 0,
    "fashion": 0,
    "film_reviews": 1,
    "labelled": 0,
    "layers": 0,
    "outlines": 0,
    "pictures": 0,
    "pieces": 0,
    "pretrained": 0,
    "processes": 0,
    "rules": 0,
    "sparse": 0,
    "speculative": 0,
    "task": 0,
    "viz": 0,
    "words": 0,
    "cache": 1,
    "decoding": 1,
    "fidelity": 1,
    "in_context": 1,
    "optimizers": 1,
    "shapes": 1,
    "squad": 1,
    "tokenizers": 1,
    "transformer": 1,
    "weights": 1,
    "captions": 2,
    "clip": 2,
    "dvae": 2,
    "gan": 2,
    "gpt": 2,
    "masking": 2,
    "oracle": 2,
    "shapes_data": 2,
    "stories": 2,
    "train": 2,
    "bert": 3,
    "dalle": 3,
    "data": 3,
    "examples": 3,
    "matching_data": 3,
    "ring": 3,
    "text_to_image_gan": 3,
    "vq": 3,
    "convert": 4,
    "emoji_data": 4,
    "finetune": 4,
    "names_data": 4,
    "scaling": 4,
    "minilm": 5,
    "zoo": 5,
    "image_recipes": 6,
    "clip_recipes": 7,
    "shapes_recipes": 7,
    "text_recipes": 6,
    "bert_recipes": 7,
    "finetuning": 7,
    "power_law": 7,
    "dalle_recipes": 8,
    "dvae_rates": 9,
    "recipes": 9,
    "matching": 10,
    "pretraining": 10,
    "runs": 10,
    "measurements": 11,
    "__main__": 12,
}
MODULE_LINES, FUNCTION_LINES = 250, 40
LONGER = {  # lines, and why it is one idea all the same
    "tokenizers": (330, "three tokenizers that share their saving, loading and refusals"),
}


def imported(tree: ast.Module) -> set[str]:
    """The modules of this package that a module imports, wherever in it the import stands."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            home = "mini_models" if node.level else node.module
            home = f"{home}.{node.module}" if node.level and node.module else home
            inside = home == "mini_models"  # from mini_models import zoo
            names = [f"{home}.{alias.name}" for alias in node.names] if inside else [home]
        else:
            continue
        found |= {name.split(".")[1] for name in names if name.startswith("mini_models.")}
    return found


def lines_of_code(function: ast.FunctionDef) -> int:
    """From the def to the last line, but for the docstring."""
    first = function.body[0]
    said = first.end_lineno - first.lineno + 1 if ast.get_docstring(function) else 0
    return function.end_lineno - function.lineno + 1 - said


def faults(package: Path) -> list[str]:
    """What in a package breaks the order of the floors, or is too long."""
    found = []
    modules = {path.stem: path for path in sorted(package.glob("*.py"))}
    for name in sorted(modules.keys() ^ FLOOR.keys()):
        where = "has no floor: give it one" if name in modules else "has a floor but no file"
        found.append(f"{name} {where}")
    for name, path in modules.items():
        text = path.read_text(encoding="utf-8")
        tree = ast.parse(text)
        for other in sorted(imported(tree)):
            if FLOOR.get(other, 9) >= FLOOR.get(name, 9):
                found.append(f"{name} imports {other}, which is not below it")
        most, _ = LONGER.get(name, (MODULE_LINES, ""))
        if len(text.splitlines()) > most:
            found.append(f"{name} has {len(text.splitlines())} lines, over {most}")
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef) and lines_of_code(node) > FUNCTION_LINES:
                found.append(f"{name}.{node.name} has {lines_of_code(node)} lines")
    return found


def test_every_module_has_a_floor_imports_only_from_below_it_and_is_short():
    assert faults(PACKAGE) == []


def test_only_modules_that_need_it_may_be_longer():
    for name, (most, reason) in LONGER.items():
        lines = len((PACKAGE / f"{name}.py").read_text(encoding="utf-8").splitlines())
        assert MODULE_LINES < lines <= most <= lines + 20 and len(reason.split()) > 5, name


@pytest.fixture
def package(tmp_path):
    """A package without a fault: each module empty but for its docstring."""
    for name in FLOOR:
        (tmp_path / f"{name}.py").write_text('"""Empty."""\n')
    assert faults(tmp_path) == []
    return tmp_path


@pytest.mark.parametrize(
    "name, text, said",
    [
        ("gpt", "from mini_models.zoo import load", "gpt imports zoo, which is not below it"),
        ("gpt", "from mini_models import zoo", "gpt imports zoo, which is not below it"),
        ("gpt", "import mini_models.gpt", "gpt imports gpt, which is not below it"),
        ("gpt", "from .convert import x", "gpt imports convert, which is not below it"),
        ("gpt", "from . import scaling", "gpt imports scaling, which is not below it"),
        (
            "layers",
            "def f():\n    from mini_models.attention import x",
            "layers imports attention, which is not below it",
        ),
        ("viz", "import torch\n" * 251, "viz has 251 lines, over 250"),
        ("viz", "def f():\n    '''Say.'''\n" + "    1\n" * 40, "viz.f has 41 lines"),
        ("utils", "", "utils has no floor: give it one"),
    ],
)
def test_a_planted_fault_is_found(package, name, text, said):
    (package / f"{name}.py").write_text(text)
    assert faults(package) == [said]


def test_a_module_that_is_gone_and_one_from_nowhere_are_found(package):
    (package / "viz.py").unlink()
    (package / "zoo.py").write_text("from mini_models.nowhere import x")
    assert faults(package) == [
        "viz has a floor but no file",
        "zoo imports nowhere, which is not below it",
    ]


def test_imports_from_below_and_from_elsewhere_are_allowed(package):
    text = (
        "import torch\nfrom mini_models.gpt import GPT\nfrom mini_models import attention, data\n"
    )
    (package / "zoo.py").write_text(text)
    assert faults(package) == []
