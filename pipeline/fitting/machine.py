"""Where a fit runs, and how it shares a CPU's cores."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from gen3d.errors import UsageError
from gen3d.renderers.native.threads import kernel_threads
from gen3d.renderers.rendering import load_backend

ONLY_ON = {"gsplat": "cuda", "native": "cpu"}  # the reference draws anywhere
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


def choose_device(device: str, backend: str, note: Callable[[str], None] = warnings.warn) -> str:
    """The device, cpu or cuda, that is meant and can be had; auto takes a GPU only where gsplat can draw on it.

    Args:
        device: auto, cpu or cuda.
        backend: of `rasterize`.
        note: told why a GPU that is there is not used.

    Raises:
        UsageError: the device or the backend cannot be had here, or the backend cannot draw on the device.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise UsageError("the device is cuda and torch finds none here; choose --device cpu, or see gen3d doctor")
    if backend != "auto" and (reason := load_backend(backend).unavailable()):
        raise UsageError(f"the backend is {backend}, which cannot run here: {reason}, or choose --backend auto")
    only = ONLY_ON.get(backend)
    if only and device not in ("auto", only):
        raise UsageError(
            f"the backend is {backend}, which draws on {only} only, and the device is {device}; choose --device {only} or --backend auto"
        )
    if device != "auto" or only:
        return only or device
    if not torch.cuda.is_available():
        return "cpu"
    if reason := load_backend("gsplat").unavailable():
        note(f"the GPU is not used, because gsplat cannot draw on it: {reason}")
        return "cpu"
    return "cuda"


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
