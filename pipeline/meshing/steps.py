"""How long the steps of a job take, and how much memory."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from gen3d.pipeline.manifest import peak_memory
from gen3d.pipeline.progress import Progress


class Steps:
    """Times steps, tells the progress of each, and keeps the figures.

    Attributes:
        seconds: by step.
        memory_mib: largest resident memory of the process up to the end of each step.
    """

    def __init__(self, progress: Progress) -> None:
        self.seconds: dict[str, float] = {}
        self.memory_mib: dict[str, int] = {}
        self._progress = progress

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Time the block as the step `name`."""
        self._progress.start(name, 1)
        begin = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - begin, 2)
        self.memory_mib[name] = peak_memory().get("main", 0)
        self._progress.advance(1, seconds=self.seconds[name], memory_mib=self.memory_mib[name])
        self._progress.finish()
