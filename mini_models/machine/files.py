"""Files: written whole or not at all, and told apart by a digest."""

import contextlib
import hashlib
import os
from pathlib import Path


@contextlib.contextmanager
def whole(path):
    """A name to write under, which becomes `path` when all is written; its folder is made.

    Whoever reads `path` meanwhile, or after a write that failed, finds what was there before.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def write_whole(path, data: bytes | str) -> None:
    """Bytes, or a text as UTF-8, as a file that is there `whole` or not at all."""
    with whole(path) as part:
        part.write_bytes(data.encode() if isinstance(data, str) else data)


def digest(*parts: bytes | str) -> str:
    """What tells these data from others: SHA-256 of all parts, one behind the other, in hex."""
    found = hashlib.sha256()
    for part in parts:
        found.update(part.encode() if isinstance(part, str) else part)
    return found.hexdigest()
