"""The network that comes with the package."""

from pathlib import Path

from gen3d.priors.multiview.pretrained import Model, with_parts
from gen3d.priors.multiview.weights import load_network
from gen3d.priors.shipped import weight_file

SHIPPED = "dsplats-nano.safetensors"


def shipped_model(weights: str | Path = "") -> Model:
    """The network of a file, or the shipped one, with what belongs to it.

    Raises:
        MissingWeights: this build ships none.
        BadInput: the file is no network.
    """
    return with_parts(load_network(network_file(weights)))


def network_file(weights: str | Path = "") -> Path:
    """The file itself.

    Raises:
        MissingWeights: this build ships none.
    """
    return weight_file(weights, SHIPPED, "dsplats", "--weights")
