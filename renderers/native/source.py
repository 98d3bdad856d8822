"""The fingerprint of the C++ sources. setup.py compiles it into the libraries; library.py compares. Standard library only."""

import hashlib
from pathlib import Path


def source_hash(folder: Path) -> str | None:
    """A hash over names and contents of the C++ files in `folder`; None where there are none, as in an installed wheel."""
    files = sorted([*folder.glob("*.cpp"), *folder.glob("*.h")])
    if not files:
        return None
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.name.encode() + b"\0" + file.read_bytes().replace(b"\r\n", b"\n") + b"\0")
    return digest.hexdigest()[:16]
