"""Free splats brought to the nodes of a grid, moving as little as can be (GaussianCube's organiser, Zhang et al. 2024, 2403.19655).

The plan is exact within blocks of the grid; which block a splat belongs to is decided from the whole down, halving the grid and giving
each half the splats on its side, as far as it has nodes for them.
"""

import torch
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from gen3d.priors.volume.volume import GaussianVolume, nodes
from gen3d.renderers.gaussians import Gaussians

BLOCK = 512  # nodes whose plan is exact


def organised(splats: Gaussians, size: int) -> GaussianVolume:
    """The volume of one object's splats; nodes that get none hold nothing.

    Args:
        splats: of degree 0, within the grid, at most one for each node.
        size: nodes along a side.

    Raises:
        ValueError: there are more splats than nodes.
    """
    if splats.count > size**3:
        raise ValueError(f"there are {splats.count:,} splats and {size**3:,} nodes; fit with a smaller cap, or take a larger grid")
    return GaussianVolume.of_splats(splats, plan(splats.means, nodes(size)), size)


def plan(points: Float[Tensor, "m 3"], places: Float[Tensor, "n 3"]) -> Int[Tensor, " m"]:
    """A place of its own for each point, with a small sum of squared distances; exact where there are no more than `BLOCK` places."""
    homes = torch.full((len(points),), -1)
    _assign(torch.arange(len(points)), torch.arange(len(places)), points, places, homes)
    return homes


def _assign(mine: Tensor, theirs: Tensor, points: Tensor, places: Tensor, homes: Tensor) -> None:
    """Give the points `mine` homes among the places `theirs`."""
    if not len(mine):
        return
    if len(theirs) <= BLOCK:
        rows, columns = linear_sum_assignment(torch.cdist(points[mine], places[theirs]).square().double().numpy())
        homes[mine[torch.from_numpy(rows)]] = theirs[torch.from_numpy(columns)]
        return
    extent = places[theirs].amax(0) - places[theirs].amin(0)
    axis = int(extent.argmax())
    ordered = theirs[places[theirs, axis].argsort(stable=True)]
    middle = len(ordered) // 2
    border = (places[ordered[middle - 1], axis] + places[ordered[middle], axis]) / 2
    queue = mine[points[mine, axis].argsort(stable=True)]
    # As many as lie below the border, no more than there are places there, and no fewer than do not fit above it.
    below = int((points[queue, axis] < border).sum())
    below = max(min(below, middle), len(queue) - (len(ordered) - middle))
    _assign(queue[:below], ordered[:middle], points, places, homes)
    _assign(queue[below:], ordered[middle:], points, places, homes)
