"""Progress on the terminal: a bar where there is one, a line every few seconds elsewhere, and always the log."""

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self, TextIO

EVERY = 5.0  # seconds between two lines


class Bar:
    """The command line's `Progress`; a context manager that leaves the terminal as it was.

    Args:
        log: takes a line of text, such as `Run.log`.
        quiet: show nothing; the log is still written.
        stream: the terminal; standard error when None.
        clock: seconds.
    """

    def __init__(
        self,
        *,
        log: Callable[[str], None] | None = None,
        quiet: bool = False,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._log = log
        self._quiet = quiet
        self._stream = sys.stderr if stream is None else stream
        self._clock = clock
        self._bar: Any = None
        self._stage, self._total, self._step = "", 0, 0
        self._began: tuple[int, float] | None = None
        self._last_line = 0.0
        self._figures: dict[str, float] = {}

    def __enter__(self) -> Self:
        if not self._quiet and self._stream.isatty():
            self._bar = _rich_bar(self._stream)
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()

    def start(self, stage: str, total: int) -> None:
        """A stage of `total` steps begins."""
        self._stage, self._total, self._step, self._figures, self._began = stage, total, 0, {}, None
        self._last_line = self._clock()
        if self._bar is not None:
            self._task = self._bar.add_task(stage, total=total or None, figures="")

    def advance(self, step: int, **figures: float) -> None:
        """`step` steps are done."""
        now = self._clock()
        self._step = step
        self._figures |= figures
        # A resumed stage starts in the middle: only the steps since then tell the speed.
        self._began = self._began or (step, now)
        if self._bar is not None:
            self._bar.update(self._task, completed=step, figures=describe(self._figures))
        if now - self._last_line >= EVERY:
            self._last_line = now
            self._line(self._state(now))

    def finish(self) -> None:
        """The stage is complete."""
        if self._bar is not None:
            self._bar.update(self._task, completed=self._total, visible=False)
        self._line(f"{self._stage} done {describe(self._figures)}".rstrip())

    def note(self, message: str) -> None:
        """A sentence for the user and the log."""
        if self._log is not None:
            self._log(message)
        if self._bar is not None:
            self._bar.console.print(f"note: {message}", markup=False, highlight=False)
        elif not self._quiet:
            print(f"note: {message}", file=self._stream, flush=True)

    def _line(self, text: str) -> None:
        if self._log is not None:
            self._log(text)
        if not self._quiet and self._bar is None:
            print(text, file=self._stream, flush=True)

    def _state(self, now: float) -> str:
        first, began = self._began or (0, now)
        text = f"{self._stage} {self._step}/{self._total} {describe(self._figures)}".rstrip()
        if self._step > first:
            left = (now - began) * (self._total - self._step) / (self._step - first)
            text += f", {int(left) // 60}:{int(left) % 60:02d} left"
        return text


def describe(figures: dict[str, float]) -> str:
    """Figures in words: counts with thousands separators, the rest with four digits."""
    return " ".join(f"{name} {value:,}" if isinstance(value, int) else f"{name} {value:.4g}" for name, value in figures.items())


def _rich_bar(stream: TextIO) -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[figures]}"),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=Console(file=stream), transient=True, redirect_stdout=False, redirect_stderr=False)
