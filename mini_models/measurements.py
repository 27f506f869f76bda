"""Measurements: experiments too long for a chapter, each repeated by one command.

`python -m mini_models measure NAME` runs one and writes its numbers as JSON. Those that the book
shows are in mini_models/results; the chapter runs a slice again, and both must agree.
"""

import json
import os
from pathlib import Path

from mini_models import dvae_rates, finetuning, in_context, matching, power_law, pretraining, ring

RESULTS = Path(__file__).parent / "results"

# each: a function of say(text), called as it goes, that returns what json can store
MEASUREMENTS = {
    "dvae": dvae_rates.measure,
    "finetuning": finetuning.measure,
    "gan-ring": ring.measure,
    "in-context": in_context.measure,
    "matching": matching.measure,
    "pretraining": pretraining.measure,
    "scaling": power_law.measure,
}


def names() -> list[str]:
    return sorted(MEASUREMENTS)


def measure(name: str, out: Path, say=print) -> None:
    """Run a measurement and write its results to `out`. Raises ValueError if there is none."""
    if name not in MEASUREMENTS:
        raise ValueError(f"there is no measurement {name!r}: choose one of {', '.join(names())}")
    found = MEASUREMENTS[name](say)
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_name(out.name + ".part")
    part.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(part, out)


def results(name: str) -> dict:
    """What a measurement found when it was last run for the book.

    Raises: ValueError if nothing is stored under that name.
    """
    path = RESULTS / f"{name}.json"
    if not path.is_file():
        raise ValueError(f"there are no results {name!r}: choose one of {', '.join(names())}")
    return json.loads(path.read_text(encoding="utf-8"))
