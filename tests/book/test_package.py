"""What pip installs: the wheel and the source archive hold every module and every data file."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILD = (
    "from setuptools import build_meta\n"
    "print(build_meta.build_wheel('dist'), build_meta.build_sdist('dist'))"
)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """What was said while both were built, from a copy without anything built before; the names of
    the files in the wheel and in the archive."""
    copy = tmp_path_factory.mktemp("build") / "copy"
    unwanted = [line.strip("/") for line in (ROOT / ".gitignore").read_text().split()]
    names = [".git", "notebooks", "book", "tests", *unwanted]
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(*names))
    env = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}  # it warns of it
    command = [sys.executable, "-c", BUILD]
    done = subprocess.run(command, cwd=copy, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (wheel,), (archive,) = (copy / "dist").glob("*.whl"), (copy / "dist").glob("*.tar.gz")
    with tarfile.open(archive) as file:
        inside = {name.partition("/")[2] for name in file.getnames()}
    return done.stdout + done.stderr, set(zipfile.ZipFile(wheel).namelist()), inside


def test_the_wheel_and_the_archive_hold_every_file_of_the_package(built):
    _, wheel, archive = built
    files = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "mini_models").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert len(files) > 130
    assert files - wheel == set() and files - archive == set()
    folders = {name.split("/")[0] for name in wheel}
    assert {f for f in folders if not f.endswith(".dist-info")} == {"mini_models"}


def test_they_are_built_without_a_warning(built):
    said, *_ = built
    lines = [line for line in said.splitlines() if "warning" in line.lower() or "****" in line]
    assert lines == []
