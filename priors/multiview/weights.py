"""Multiview networks as files."""

import json
from dataclasses import asdict
from pathlib import Path

from gen3d.priors.multiview.network import MultiviewNetwork
from gen3d.priors.multiview.settings import MultiviewSettings
from gen3d.priors.network_files import built, read_network, write_network

FORMAT = "gen3d-multiview-1"
MAKER = "gen3d train dsplats"


def save_network(network: MultiviewNetwork, path: str | Path, *, bits: int = 8) -> None:
    """Write a network and its settings in one step; see `write_network`."""
    told = {"format": FORMAT, "settings": json.dumps(asdict(network.settings)), "unet": json.dumps(network.config)}
    write_network(network.state_dict(), told, path, bits=bits)


def load_network(path: str | Path) -> MultiviewNetwork:
    """A network from a file, on the CPU, in float32, ready to be used.

    Raises:
        BadInput: it is no such file, or its tensors are not those of its settings.
    """
    tensors, told = read_network(path, FORMAT, MAKER)

    def make() -> MultiviewNetwork:
        return MultiviewNetwork(MultiviewSettings(**json.loads(told["settings"])), json.loads(told.get("unet", "null")))

    return built(make, tensors, path)
