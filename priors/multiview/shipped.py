"""The network that comes with the package."""

from importlib import resources

from gen3d.errors import MissingWeights
from gen3d.priors.multiview.pretrained import Model, with_parts
from gen3d.priors.multiview.weights import load_network

SHIPPED = "dsplats-nano.safetensors"


def shipped_model(weights: str = "") -> Model:
    """The network of a file, or the shipped one, with what belongs to it.

    Raises:
        MissingWeights: this build ships none.
        BadInput: the file is no network.
    """
    if weights:
        return with_parts(load_network(weights))
    place = resources.files("gen3d.priors") / "weights" / SHIPPED
    with resources.as_file(place) as path:
        if not path.is_file():
            raise MissingWeights(f"this build has no {SHIPPED}; train one with gen3d train dsplats and give it with --weights")
        return with_parts(load_network(path))
