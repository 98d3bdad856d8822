"""One process at a time in a folder."""

import errno
import os
from pathlib import Path

from gen3d.errors import UsageError

LOCK = ".lock"


def lock_folder(folder: Path) -> int | None:
    """Keep other processes out of a folder until the lock is released; the kernel releases that of a process that is killed.

    The file stays, because removing it would let a third process lock another file of the same name.

    Returns:
        what `release` takes; None where files cannot be locked, as on Windows and some network drives.

    Raises:
        UsageError: somebody works in the folder.
        OSError: the folder cannot be written.
    """
    try:
        import fcntl
    except ImportError:
        return None
    handle = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(handle)
        if error.errno in (errno.EAGAIN, errno.EACCES):
            raise UsageError(f"another gen3d works in {folder}; wait until it ends, or stop it first") from error
        return None
    return handle


def release(lock: int | None) -> None:
    """Let others in."""
    if lock is not None:
        os.close(lock)
