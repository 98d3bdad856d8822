"""Several processes that fit the same splats: sums over all of them, and Lightning's pieces to run them."""

import socket

import torch
from lightning.fabric.plugins.environments import LightningEnvironment
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor
from torch import distributed as dist


def process_count() -> int:
    """Number of processes of this fit."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def process_rank() -> int:
    """This process's number, from 0."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def sum_over_processes(*tensors: Tensor) -> list[Tensor]:
    """Each tensor summed over all processes, in one message; the tensors themselves when there is one process."""
    if process_count() == 1:
        return list(tensors)
    flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
    dist.all_reduce(flat)
    parts = flat.split([tensor.numel() for tensor in tensors])
    return [part.view_as(tensor) for part, tensor in zip(parts, tensors, strict=True)]


def leave_processes() -> None:
    """Stop being one of several processes, so that this one can go on alone."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class LocalProcesses(LightningEnvironment):
    """Processes of this machine that are started before their trainers, each knowing its place.

    The first is the caller's own process, so that its progress, signals and results need no transport.
    """

    def __init__(self, rank: int, count: int, port: int) -> None:
        super().__init__()
        self._rank, self._count, self._port = rank, count, port

    @property
    def creates_processes_externally(self) -> bool:
        """The trainer must not start any."""
        return True

    @property
    def main_address(self) -> str:
        """This machine."""
        return "127.0.0.1"

    @property
    def main_port(self) -> int:
        """Where the first process listens."""
        return self._port

    def world_size(self) -> int:
        """Number of processes."""
        return self._count

    def set_world_size(self, size: int) -> None:
        """It is known from the start."""

    def global_rank(self) -> int:
        """This process's number."""
        return self._rank

    def set_global_rank(self, rank: int) -> None:
        """It is known from the start."""

    def local_rank(self) -> int:
        """The same: all processes are on this machine."""
        return self._rank

    def node_rank(self) -> int:
        """There is one machine."""
        return 0


class ReplicatedStrategy(DDPStrategy):
    """Processes that hold equal copies and share gradients themselves.

    The number of splats changes, which DistributedDataParallel's fixed buckets do not allow, so the module stays bare.
    """

    def configure_ddp(self) -> None:
        """Leave the module unwrapped."""
