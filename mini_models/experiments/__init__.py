"""Experiments: what is too long for a chapter, each repeated by one command.

`python -m mini_models measure NAME` runs one and writes its numbers as JSON. Those that the book
shows are in mini_models/experiments/results; the chapter runs a slice again, and both must agree.
"""

import importlib
import json
from pathlib import Path
from types import ModuleType

from mini_models.machine.files import write_whole

RESULTS = Path(__file__).parent / "results"
# each is a module, whose run(say) calls say(text) as it goes and returns what json can store
EXPERIMENTS = ("dvae", "finetuning", "gan-ring", "in-context", "matching", "pretraining", "scaling")


def module_of(name: str) -> ModuleType:
    """An experiment's module, imported only now. Raises ValueError if there is none."""
    if name not in EXPERIMENTS:
        known = ", ".join(EXPERIMENTS)
        raise ValueError(f"there is no measurement {name!r}: choose one of {known}")
    return importlib.import_module(f"{__name__}.{name.replace('-', '_')}")


def repeat(name: str, out: Path, say=print) -> None:
    """Run an experiment and write its results to `out`. Raises ValueError if there is none."""
    found = module_of(name).run(say)
    write_whole(out, json.dumps(found, indent=1, ensure_ascii=False) + "\n")


def results(name: str) -> dict:
    """What an experiment found when it was last run for the book.

    Raises: ValueError if nothing is stored under that name.
    """
    path = RESULTS / f"{name}.json"
    if not path.is_file():
        raise ValueError(f"there are no results {name!r}: choose one of {', '.join(EXPERIMENTS)}")
    return json.loads(path.read_text(encoding="utf-8"))
