"""Points into pictures, as torch's grid_sample wants them."""

from jaxtyping import Float
from torch import Tensor

from gen3d.renderers.cameras import Cameras


def project_points(points: Float[Tensor, "n 3"], cameras: Cameras) -> tuple[Float[Tensor, "v n 2"], Float[Tensor, "v n"]]:
    """Places in the pictures of views `[v]`, from -1 to 1 across and down them, and depths in scene units.

    Places of points behind a camera mean nothing.
    """
    pose = cameras.world_to_camera
    inside = points @ pose[:, :3, :3].mT + pose[:, None, :3, 3]
    depth = inside[..., 2]
    pixels = (inside / depth[..., None].clamp_min(1e-9)) @ cameras.intrinsics.mT
    return 2 * pixels[..., :2] / pixels.new_tensor([cameras.width, cameras.height]) - 1, depth
