"""Reading and writing files so that nothing is half-written and nothing huge is swallowed."""

import errno
import functools
import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gen3d.errors import BadInput, Gen3DError

GIBIBYTE = 1024**3
# What can be wrong with the place that is written to; any other error comes from the code that makes the content.
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}
FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}
NO_SUCH_PLACE = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG}
OF_THE_TARGET = FULL | FORBIDDEN | NO_SUCH_PLACE
TEMPORARY = re.compile(r"\..*-[a-z0-9_]{8}(\.\w+)?")  # what mkstemp makes of the prefix and suffix below


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary name beside `path`; it becomes `path` when the block ends well, and vanishes otherwise.

    Raises:
        Gen3DError: the disk is full or the folder cannot be written. Other errors of the block pass unchanged.
    """
    target = Path(path)
    temporary = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # The suffix stays, because writers such as Pillow and ffmpeg choose the format by it.
        handle, name = tempfile.mkstemp(prefix=f".{target.stem}-", suffix=target.suffix, dir=target.parent)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        temporary.chmod(0o666 & ~_umask())
        os.replace(temporary, target)
        temporary = None
    except OSError as error:
        if error.errno not in OF_THE_TARGET:
            raise
        raise Gen3DError(f"could not write {target}: {error.strerror}; {_remedy(error)}") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _remedy(error: OSError) -> str:
    return "free some space" if error.errno in FULL else "choose another place"


def sweep(folder: Path) -> None:
    """Remove what `atomic_path` left in a folder when its process was killed; nobody else may be writing there."""
    if not folder.is_dir():
        return
    for file in [each for each in folder.iterdir() if TEMPORARY.fullmatch(each.name) and each.is_file()]:
        file.unlink(missing_ok=True)


@functools.cache
def _umask() -> int:
    """The process's file mode mask: mkstemp makes private files, results should follow the user's habit.

    It can only be read by setting it, and for that moment all threads create files with the other one: hence once.
    """
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def write_bytes(path: str | Path, content: bytes) -> None:
    """Write `content` to `path` in one step."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: str | Path, content: str) -> None:
    """Write `content` as UTF-8 to `path` in one step."""
    write_bytes(path, content.encode())


def write_json(path: str | Path, content: Any) -> None:
    """Write `content` as indented JSON to `path` in one step; a non-finite number is an error, not `NaN`."""
    write_text(path, json.dumps(content, indent=1, allow_nan=False) + "\n")


def read_bytes(path: str | Path, *, limit: int = 4 * GIBIBYTE) -> bytes:
    """Read a whole file of at most `limit` bytes.

    Raises:
        BadInput: the file is missing, empty, not a file, unreadable or larger than `limit`.
    """
    source = Path(path)
    try:
        if not source.is_file():
            kind = "is a folder" if source.is_dir() else "does not exist"
            raise BadInput(f"{source} {kind}; give the path of a file")
        size = source.stat().st_size
        if size == 0:
            raise BadInput(f"{source} is empty (0 bytes); write or download it again")
        if size > limit:
            raise BadInput(f"{source} has {size:,} bytes and at most {limit:,} are read; give a smaller file")
        return source.read_bytes()
    except OSError as error:
        raise BadInput(f"{source} cannot be read: {error.strerror or error}; check the path and its permissions") from error


def read_json(path: str | Path, *, limit: int = GIBIBYTE // 4) -> Any:
    """Read a JSON file.

    Raises:
        BadInput: the file cannot be read or is not JSON in UTF-8.
    """
    try:
        return json.loads(read_bytes(path, limit=limit))
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{path} is not valid JSON: {error}; write or download it again") from error


def sha256(path: str | Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
