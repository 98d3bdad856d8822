"""What may be learned of the photos beside the scene: small camera corrections and each photo's exposure."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gen3d.pipeline.paths import focus_point
from gen3d.renderers.cameras import Cameras, stacked


class CameraCorrections(nn.Module):
    """A small rigid motion of the world in front of each training camera, identity at the start.

    Rotation vectors in radians, about the point that the cameras look at: about any other they would do much the same as
    translations; and translations in units of the scene's extent. The mean over all cameras is taken out: it would turn the
    whole scene away from the cameras that are not corrected.

    Args:
        cameras: of the photos, one view each.
        extent: of the scene, scene units.
    """

    centre: Tensor

    def __init__(self, cameras: Sequence[Cameras], extent: float) -> None:
        super().__init__()
        self.motions = nn.Parameter(torch.zeros(len(cameras), 6))
        self.register_buffer("centre", focus_point(stacked(cameras)).float(), persistent=False)
        self.extent = extent

    def forward(self, cameras: Cameras, index: int) -> Cameras:
        """The corrected camera of photo `index`."""
        motion = self.motions[index] - self.motions.detach().mean(0)
        motion = rigid_motion(motion[:3], motion[3:] * self.extent, self.centre)
        return Cameras(cameras.world_to_camera @ motion, cameras.intrinsics, cameras.width, cameras.height)


class Exposures(nn.Module):
    """A gain and an offset for each training photo and colour, identity at the start."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.log_gains = nn.Parameter(torch.zeros(count, 3))
        self.offsets = nn.Parameter(torch.zeros(count, 3))

    def forward(self, image: Float[Tensor, "*b 3"], alpha: Float[Tensor, "*b"], index: int) -> Float[Tensor, "*b 3"]:
        """A render over black as the camera of photo `index` would have exposed it, where it covers something.

        The mean over all photos is taken out, so that the scene itself keeps the average exposure and held-out photos
        are judged without any.
        """
        gain = (self.log_gains[index] - self.log_gains.detach().mean(0)).exp()
        return image * gain + alpha[..., None] * (self.offsets[index] - self.offsets.detach().mean(0))


def rigid_motion(rotation: Float[Tensor, " 3"], translation: Float[Tensor, " 3"], centre: Float[Tensor, " 3"]) -> Float[Tensor, "4 4"]:
    """The rotation of a rotation vector (radians) about a centre, then a translation; differentiable at zero."""
    zero = torch.zeros((), dtype=rotation.dtype, device=rotation.device)
    x, y, z = rotation.unbind()
    skew = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero]).view(3, 3)
    matrix = torch.linalg.matrix_exp(skew)
    top = torch.cat([matrix, (translation + centre - matrix @ centre)[:, None]], 1)
    return torch.cat([top, torch.stack([zero, zero, zero, zero + 1])[None]])
