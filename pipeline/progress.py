"""How a job tells what it is doing, without knowing who listens."""

from typing import Protocol


class Progress(Protocol):
    """A listener. The command line draws a bar; tests and libraries pass `Silent()`."""

    def start(self, stage: str, total: int) -> None:
        """A stage of `total` steps begins."""

    def advance(self, step: int, **figures: float) -> None:
        """`step` steps of the stage are done; `figures` are worth showing: loss, splats, psnr."""

    def finish(self) -> None:
        """The stage is complete."""

    def note(self, message: str) -> None:
        """A sentence for the user and the log."""


class Silent:
    """Listens to nothing."""

    def start(self, stage: str, total: int) -> None:
        """Ignore."""

    def advance(self, step: int, **figures: float) -> None:
        """Ignore."""

    def finish(self) -> None:
        """Ignore."""

    def note(self, message: str) -> None:
        """Ignore."""
