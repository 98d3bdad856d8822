"""Where a fit runs, and how it shares a CPU's cores."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from gen3d.renderers.native.threads import kernel_threads

PARALLEL_FROM = 500_000  # splats from which torch's own threads shorten a step


@dataclass(frozen=True, slots=True)
class Machine:
    """Where a fit runs.

    Attributes:
        accelerator: cpu or cuda.
        devices: number of processes.
        backend: the rasterizer's name.
    """

    accelerator: str = "cpu"
    devices: int = 1
    backend: str = "auto"


@contextmanager
def sparing_threads(machine: Machine, splats: int) -> Iterator[None]:
    """Leave the cores of a CPU to the rasterizer's kernels.

    Tensors of up to some hundred thousand splats are too small for torch's helpers to be worth waiting for, above all
    on a busy machine.
    """
    if machine.accelerator != "cpu" or splats > PARALLEL_FROM:
        yield
        return
    count = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with kernel_threads(count):
            yield
    finally:
        torch.set_num_threads(count)
