"""Run, clean, check and publish the chapters.

python tools/notebooks.py run FILE …      execute in place and store the outputs
python tools/notebooks.py clean FILE …    tidy metadata, ids and the set-up cell
python tools/notebooks.py check FILE …    is each chapter as it must be?
python tools/notebooks.py stamp --address A --commit C SRC DST
    a copy whose first cell installs mini_models from that repository and commit
"""

import argparse
import re
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from chapter_rules import CELL_METADATA, METADATA, faults, faults_between, setup_source
from mini_models.machine.files import whole


def write(notebook, path: Path) -> None:
    """Whole or not at all, so that an interrupted run leaves the old notebook."""
    with whole(path) as part:
        nbformat.write(notebook, part)


def tidy(notebook) -> None:
    """Keep only the metadata that the book uses, name nameless cells, renew the set-up cell."""
    notebook.metadata = {k: v for k, v in notebook.metadata.items() if k in METADATA}
    notebook.metadata["kernelspec"] = {
        "display_name": "Python 3", "language": "python", "name": "python3"
    }  # fmt: skip
    notebook.metadata["language_info"] = {"name": "python"}
    notebook.nbformat_minor = 5
    taken = set()
    for cell in notebook.cells:
        cell.metadata = {k: v for k, v in cell.metadata.items() if k in CELL_METADATA}
        cell["id"] = readable_id(cell, taken)
        taken.add(cell["id"])
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    if code and "mini_models" in code[0].source and "SOURCE" in code[0].source:
        code[0].source = setup_source()
        code[0].metadata["tags"] = ["remove-cell"]


def readable_id(cell, taken: set) -> str:
    """The cell's id if it is made of words, else one from the first words of the cell."""
    old = cell.get("id", "")
    generated = re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f-]+)?", old)
    if old and not generated and old not in taken and re.fullmatch(r"[a-z][a-z0-9-]{2,63}", old):
        return old
    words = re.findall(r"[a-z]+", cell.source.lower())[:4] or ["empty"]
    base = name = "-".join(words)[:48].ljust(3, "x")
    number = 2
    while name in taken:
        name, number = f"{base}-{number}", number + 1
    return name


def run(path: Path) -> float:
    """Execute a chapter in place; return the seconds it took. Raises CellExecutionError."""
    notebook = nbformat.read(path, 4)
    tidy(notebook)
    start = time.perf_counter()
    resources = {"metadata": {"path": str(path.parent)}}
    client = NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources=resources, coalesce_streams=True
    )
    client.execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # time stamps
    write(notebook, path)
    return time.perf_counter() - start


def stamp(source: Path, target: Path, address: str, commit: str) -> None:
    """Copy a chapter so that, alone, its first cell installs mini_models from address@commit.

    What the site keeps closed until the reader opens it, the copy keeps closed too.

    Args:
        address: of the repository, such as https://github.com/OWNER/NAME or file:///a/folder.
    """
    notebook = nbformat.read(source, 4)
    where = f"git+{address.removesuffix('.git')}" if "://" in address else address
    first = next(cell for cell in notebook.cells if cell.cell_type == "code")
    if 'SOURCE = ""' not in first.source:
        raise ValueError(f"{source.name} has no set-up cell to fill in: run clean first")
    first.source = first.source.replace('SOURCE = ""', f'SOURCE = "{where}@{commit}"')
    for cell in notebook.cells:
        if "hide-output" in cell.metadata.get("tags", []):
            cell.metadata["jupyter"] = {"outputs_hidden": True}  # as JupyterLab calls it
    write(notebook, target)


def main(argv=None) -> int:
    form = argparse.RawTextHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("run", "clean", "check"):
        commands.add_parser(name).add_argument("notebooks", nargs="+", type=Path)
    stamping = commands.add_parser("stamp")
    stamping.add_argument("--address", required=True)
    stamping.add_argument("--commit", required=True)
    stamping.add_argument("source", type=Path)
    stamping.add_argument("target", type=Path)
    args = parser.parse_args(argv)
    if args.command == "stamp":
        stamp(args.source, args.target, args.address, args.commit)
        return 0
    failed = 0
    for path in args.notebooks:
        if args.command == "run":
            try:
                print(f"{path}: {run(path):.0f} s", flush=True)
            except CellExecutionError as error:
                print(f"{path}: stopped, and is left as it was\n{error}", file=sys.stderr)
                failed = 1
        elif args.command == "clean":
            notebook = nbformat.read(path, 4)
            tidy(notebook)
            write(notebook, path)
        else:
            found = faults(path)
            print("\n".join(found) if found else f"{path.name}: as it should be")
            failed |= bool(found)
    if args.command == "check" and (found := faults_between(args.notebooks)):
        print("\n".join(found))
        failed = 1
    return failed


if __name__ == "__main__":
    sys.exit(main())
