"""Networks as files: safetensors that say what they are, matrices in 8 bits where small files are wanted."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from gen3d.errors import BadInput, UsageError
from gen3d.files import atomic_path

STEP = ".step"  # what the name of a row's scale ends with
Module = TypeVar("Module", bound=nn.Module)


def write_network(tensors: Mapping[str, Tensor], told: Mapping[str, str], path: str | Path, *, bits: int = 8) -> None:
    """Write a network in one step.

    Args:
        tensors: its state.
        told: what the file says of itself; `format` among it.
        path: a .safetensors file.
        bits: of matrices, 8 or 16; 8 with a scale for each row, other tensors in 16 bits.

    Raises:
        ValueError: bits is another number.
    """
    if bits not in (8, 16):
        raise ValueError(f"weights of {bits} bits are asked for; choose 8 or 16")
    stored: dict[str, Tensor] = {}
    for name, value in tensors.items():
        if value.ndim > 1 and bits == 8:
            stored[name], stored[name + STEP] = quantised(value)
        else:
            stored[name] = value.detach().half().cpu().contiguous()
    with atomic_path(Path(path)) as temporary:
        save_file(stored, temporary, dict(told))


def read_network(path: str | Path, known: str, maker: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The state of a network in float32, and what its file says of itself.

    Args:
        path: of the file.
        known: the format that is read.
        maker: the command that writes such files, for what is said of others.

    Raises:
        BadInput: it is no such file.
    """
    try:
        with safe_open(path, "pt") as file:
            told = file.metadata() or {}
            if told.get("format") != known:
                raise BadInput(f"{path} holds {told.get('format', 'something')} and {known} is read; give a file that {maker} wrote")
            stored = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  it is no dictionary
    except (SafetensorError, OSError) as error:
        raise BadInput(f"{path} cannot be read as weights: {error}; give a file that {maker} wrote") from error
    return {name: restored(stored, name) for name in stored if not name.endswith(STEP)}, told


def built(make: Callable[[], Module], tensors: Mapping[str, Tensor], path: str | Path) -> Module:
    """A network with its tensors, ready to be used. It is made only when they fit: few bytes of settings can ask for all memory.

    Args:
        make: builds it as the settings in its file say.
        tensors: its state.
        path: of the file.

    Raises:
        BadInput: the settings cannot be, or the tensors are not those of the settings.
    """
    try:
        with torch.device("meta"):
            wanted = {name: value.shape for name, value in make().state_dict().items()}
        if other := sorted({*wanted.items()} ^ {(name, value.shape) for name, value in tensors.items()}):
            raise ValueError(f"{other[0][0]} and {len(other) - 1} more")
        network = make()
        network.load_state_dict(tensors)
    except (UsageError, ValueError, RuntimeError, TypeError, KeyError, AttributeError) as error:
        raise BadInput(f"{path} cannot be read as weights: its settings and its tensors contradict each other ({error})") from error
    return network.eval()


def quantised(value: Tensor) -> tuple[Tensor, Tensor]:
    """A matrix of 8-bit numbers and the step of each row, in 32 bits: half precision is coarse where rows are tiny."""
    rows = value.detach().float().cpu().flatten(1)
    step = (rows.abs().amax(1) / 127).clamp_min(1e-30)
    numbers = (rows / step[:, None]).round().clamp(-127, 127).to(torch.int8)
    return numbers.reshape(value.shape), step


def restored(stored: Mapping[str, Tensor], name: str) -> Tensor:
    """A tensor in float32, its rows scaled if they were in 8 bits."""
    value = stored[name].float()
    if name + STEP not in stored:
        return value
    return value * stored[name + STEP].float().reshape(-1, *(1,) * (value.ndim - 1))
