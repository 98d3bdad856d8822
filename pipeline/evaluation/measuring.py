"""Seconds and memory of a piece of work."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from gen3d.pipeline.manifest import peak_memory

STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class Usage:
    """What some work took.

    Attributes:
        seconds: of all of it together.
        memory_mib: largest resident memory of the process while it ran, and of its GPU memory where torch uses one.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self.memory_mib: dict[str, int] = {}

    @contextmanager
    def measuring(self) -> Iterator[None]:
        """Add what the block takes."""
        _forget_peaks()
        start = time.perf_counter()
        yield
        _wait_for_gpu()
        self.seconds += time.perf_counter() - start
        for name, value in _peaks().items():
            self.memory_mib[name] = max(value, self.memory_mib.get(name, 0))


def _forget_peaks() -> None:
    """Begin anew with the largest memory, where the system can: Linux does (man 5 proc), others keep that of the whole process."""
    with suppress(OSError):
        RESET.write_text("5")
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()


def _peaks() -> dict[str, int]:
    peaks = peak_memory()
    with suppress(OSError, StopIteration, ValueError, IndexError):
        line = next(line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM"))
        peaks["main"] = int(line.split()[1]) // 1024
    return peaks


def _wait_for_gpu() -> None:
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.synchronize()
