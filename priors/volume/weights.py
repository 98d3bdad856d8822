"""Volume networks as files."""

import json
from dataclasses import asdict
from pathlib import Path

from gen3d.priors.network_files import built, read_network, write_network
from gen3d.priors.volume.network import VolumeNetwork
from gen3d.priors.volume.settings import VolumeNetworkSettings

FORMAT = "gen3d-volume-1"
MAKER = "gen3d train gvgen-field or gvgen-attributes"


def save_network(network: VolumeNetwork, path: str | Path, *, bits: int = 8) -> None:
    """Write a network and its shapes in one step; see `write_network`."""
    shape = {"inputs": network.inputs, "outputs": network.outputs, "kind": network.kind}
    told = {"format": FORMAT, "settings": json.dumps(asdict(network.settings)), "shape": json.dumps(shape)}
    write_network(network.state_dict(), told, path, bits=bits)


def load_network(path: str | Path) -> VolumeNetwork:
    """A network from a file, on the CPU, in float32, ready to be used.

    Raises:
        BadInput: it is no such file, or its tensors are not those of its settings.
    """
    tensors, told = read_network(path, FORMAT, MAKER)

    def make() -> VolumeNetwork:
        return VolumeNetwork(VolumeNetworkSettings(**json.loads(told["settings"])), **json.loads(told["shape"]))

    return built(make, tensors, path)
