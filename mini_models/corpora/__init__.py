"""Corpora: the texts and pictures that come with the book, and the one function that opens them.

README.md, beside this file, says where each comes from and on what terms.
"""

import lzma
from pathlib import Path

CORPORA = Path(__file__).parent
LANGUAGES = ("en", "zh")  # in which pictures have captions


def read(name: str) -> bytes:
    """What a file of this folder holds, unpacked if its name ends in .xz.

    Raises: ValueError if there is no such file.
    """
    path = CORPORA / name
    if not path.is_file():
        raise ValueError(f"there is no {name} among the corpora: install mini_models again")
    data = path.read_bytes()
    return lzma.decompress(data) if path.suffix == ".xz" else data
