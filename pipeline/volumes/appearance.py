"""What splats of volumes look like: the one way in which training objects, and samples beside them, are described."""

from jaxtyping import Float
from torch import Tensor

from gen3d.pipeline.objects.views import ring_cameras
from gen3d.priors.multiview.views import draw
from gen3d.priors.perceptual import Lpips
from gen3d.priors.volume.looks import described
from gen3d.renderers.gaussians import Gaussians

AWAY = 1.8  # distance of cameras that see the whole grid
PIXELS = 64
FITTED = 0.28  # width of a pixel of the pictures that volumes are fitted to, in cells: 64 of them for 16 nodes, an object of usual shape


def appearance(splats: Gaussians, lpips: Lpips, backend: str = "auto") -> Float[Tensor, " d"]:
    """The description of one object that fills the grid of volumes, from eight sides over white."""
    seen = draw(splats, ring_cameras(PIXELS, distance=AWAY), backend=backend)
    return described(lpips, seen.rgb.clamp(0, 1).cpu())
