"""Networks as files: safetensors with their settings inside, matrices in 8 bits where small files are wanted."""

import json
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from gen3d.errors import BadInput
from gen3d.files import atomic_path
from gen3d.priors.multiview.network import MultiviewNetwork
from gen3d.priors.multiview.settings import MultiviewSettings

FORMAT = "gen3d-multiview-1"
STEP = ".step"  # what the name of a row's scale ends with


def save_network(network: MultiviewNetwork, path: str | Path, *, bits: int = 8) -> None:
    """Write a network in one step.

    Args:
        network: to write.
        path: a .safetensors file.
        bits: of matrices, 8 or 16; 8 with a scale for each row, other tensors in 16 bits.

    Raises:
        ValueError: bits is another number.
    """
    if bits not in (8, 16):
        raise ValueError(f"weights of {bits} bits are asked for; choose 8 or 16")
    tensors: dict[str, Tensor] = {}
    for name, value in network.state_dict().items():
        if value.ndim > 1 and bits == 8:
            tensors[name], tensors[name + STEP] = quantised(value)
        else:
            tensors[name] = value.detach().half().cpu().contiguous()
    with atomic_path(Path(path)) as temporary:
        told = {"format": FORMAT, "settings": json.dumps(asdict(network.settings)), "unet": json.dumps(network.config)}
        save_file(tensors, temporary, told)


def load_network(path: str | Path) -> MultiviewNetwork:
    """A network from a file, on the CPU, in float32, ready to be used.

    Raises:
        BadInput: it is no such file, or its tensors are not those of its settings.
    """
    try:
        with safe_open(path, "pt") as file:
            told = file.metadata() or {}
            if told.get("format") != FORMAT:
                raise BadInput(f"{path} is not a multiview network of gen3d; give a file that gen3d train dsplats wrote")
            stored = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  it is no dictionary
        network = MultiviewNetwork(MultiviewSettings(**json.loads(told["settings"])), json.loads(told.get("unet", "null")))
        network.load_state_dict({name: restored(stored, name) for name in stored if not name.endswith(STEP)})
    except (SafetensorError, OSError, ValueError, RuntimeError, TypeError, KeyError) as error:
        raise BadInput(f"{path} cannot be read as a multiview network: {error}; download or train it again") from error
    return network.eval()


def quantised(value: Tensor) -> tuple[Tensor, Tensor]:
    """A matrix of 8-bit numbers and the step of each row, in 16 bits."""
    rows = value.detach().float().cpu().flatten(1)
    step = (rows.abs().amax(1) / 127).clamp_min(1e-7).half()
    numbers = (rows / step.float()[:, None]).round().clamp(-127, 127).to(torch.int8)
    return numbers.reshape(value.shape), step


def restored(stored: dict[str, Tensor], name: str) -> Tensor:
    """A tensor in float32, its rows scaled if they were in 8 bits."""
    value = stored[name].float()
    if name + STEP not in stored:
        return value
    return value * stored[name + STEP].float().reshape(-1, *(1,) * (value.ndim - 1))
