"""Where an object is, as a smooth volume: the distance of every node to the nearest splat (GVGEN's Gaussian distance field)."""

import torch
from jaxtyping import Float
from scipy.spatial import cKDTree
from torch import Tensor

from gen3d.priors.volume.volume import FAINT, OFFSET, OPACITY, GaussianVolume, nodes

FARTHEST = 0.15  # that is told apart


def distance_field(volume: GaussianVolume) -> Float[Tensor, "1 n n n"]:
    """Distances of one object's nodes to the nearest centre of a splat that is something, from [0, FARTHEST] to [-1, 1].

    Args:
        volume: of one object; without any splat all of it is far.
    """
    size = volume.size
    flat, places = volume.values.flatten(1).T, nodes(volume.size).to(volume.values)
    held = flat[:, OPACITY] > FAINT
    centres = (places + flat[:, OFFSET])[held]
    if not len(centres):
        return torch.ones(1, size, size, size).to(places)
    found, _ = cKDTree(centres.cpu().numpy()).query(places.cpu().numpy(), distance_upper_bound=FARTHEST)  # beyond: infinite
    distance = torch.from_numpy(found).to(places).clamp(max=FARTHEST)
    return (2 * distance / FARTHEST - 1).reshape(1, size, size, size)
