"""How many threads the kernels use, apart from torch's own."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch

_COUNT: ContextVar[int | None] = ContextVar("kernel_threads", default=None)


def thread_count() -> int:
    """Threads of the next kernel call: what `kernel_threads` says, else as many as torch uses."""
    return _COUNT.get() or torch.get_num_threads()


@contextmanager
def kernel_threads(count: int) -> Iterator[None]:
    """Give the kernels `count` threads inside the block, whatever torch uses for itself."""
    token = _COUNT.set(count)
    try:
        yield
    finally:
        _COUNT.reset(token)
