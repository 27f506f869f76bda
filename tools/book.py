"""Build the site into _build/html. Any warning, or any formula that cannot be read, is a failure.

python tools/book.py
"""

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def build(root: Path = ROOT) -> int:
    """Run Jupyter Book on a folder; return its exit status."""
    html = root / "_build" / "html"
    shutil.rmtree(html, ignore_errors=True)  # else a page that is gone would stay
    # -W warnings are errors, -n dangling references are warnings, --keep-going reports them all
    command = ["jupyter-book", "build", "--all", "-W", "-n", "--keep-going", "--quiet", str(root)]
    command[0] = str(Path(sys.executable).with_name(command[0]))
    status = subprocess.run(command).returncode
    if status:
        shutil.rmtree(html, ignore_errors=True)  # nothing half built remains
        print("The book was not built; the warnings above say why.", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(build())
