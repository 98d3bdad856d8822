"""What a verb hands back: facts for machines, text for people."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Report:
    """The outcome of a verb.

    Attributes:
        facts: what `--json` prints, in one line.
        text: what is printed otherwise.
        exit_code: 0, unless the verb's answer is a failure: a check that did not pass.
        silent: print nothing: another process of the same job tells.
    """

    facts: dict[str, Any]
    text: str
    exit_code: int = 0
    silent: bool = False


def json_line(facts: dict[str, Any]) -> str:
    """The facts in one line of standard JSON; numbers that it cannot hold become null."""
    return json.dumps(_plain(facts), allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value


def table(rows: Sequence[Sequence[Any]], header: Sequence[str] = ()) -> str:
    """Rows in columns as wide as their longest cell."""
    cells = [[str(cell) for cell in row] for row in ([header, *rows] if header else rows)]
    if not cells:
        return ""
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
    return "\n".join(lines)


def short(path: Path) -> str:
    """The path as a user would type it: relative where it lies below the working folder."""
    absolute = path.absolute()
    return str(absolute.relative_to(Path.cwd())) if absolute.is_relative_to(Path.cwd()) else str(absolute)
