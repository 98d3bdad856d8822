"""The results that a new run replaces: set aside until it has something of its own."""

import os
import shutil
from contextlib import suppress
from pathlib import Path

FOLDERS = ("inputs", "cameras", "checkpoints", "previews", "exports")
FILES = ("config.yaml", "metrics.json", "log.txt", "run.json")  # run.json moves last: where it is, the others are
EVALUATIONS = "metrics-*.json"
PREVIOUS = ".previous"


def taken(folder: Path) -> str | None:
    """The name of something in a folder that a run would write over, None where there is nothing."""
    return next((entry.name for entry in _entries(folder) if entry.is_file() or (entry.is_dir() and any(entry.iterdir()))), None)


def exist(folder: Path) -> bool:
    """Whether earlier results are set aside in a run folder."""
    return (folder / PREVIOUS / "run.json").is_file()


def set_aside(folder: Path) -> None:
    """Move the results of a run to where `restore` finds them: all, or none when something goes wrong.

    Raises:
        OSError: one cannot be moved.
    """
    previous = folder / PREVIOUS
    previous.mkdir(exist_ok=True)
    try:
        for entry in _entries(folder):
            if entry.exists():
                os.replace(entry, previous / entry.name)
    except BaseException:
        for entry in previous.iterdir():
            os.replace(entry, folder / entry.name)
        raise


def restore(folder: Path) -> bool:
    """Put earlier results in the place of the new ones; False when there are none, or they cannot be moved."""
    if not exist(folder):
        return False
    entries = [entry for entry in _entries(folder) if entry.name != "log.txt"]  # the log says why the new run ended
    with suppress(OSError):
        for entry in entries:
            _remove(entry)
        for entry in entries:
            if (folder / PREVIOUS / entry.name).exists():
                os.replace(folder / PREVIOUS / entry.name, entry)
        shutil.rmtree(folder / PREVIOUS, ignore_errors=True)
        return True
    return False


def forget(folder: Path) -> None:
    """Remove earlier results for good."""
    if exist(folder):
        shutil.rmtree(folder / PREVIOUS, ignore_errors=True)


def remove_results(folder: Path) -> None:
    """Remove the results of a run, not those that are set aside.

    Raises:
        OSError: one cannot be removed.
    """
    for entry in _entries(folder):
        _remove(entry)


def _entries(folder: Path) -> list[Path]:
    """What belongs to a run: in the folder, or set aside."""
    evaluations = {file.name for place in (folder, folder / PREVIOUS) for file in place.glob(EVALUATIONS)}
    return [folder / name for name in (*FOLDERS, *sorted(evaluations), *FILES)]


def _remove(entry: Path) -> None:
    if entry.is_dir():
        shutil.rmtree(entry)
    else:
        entry.unlink(missing_ok=True)
