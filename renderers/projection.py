"""From splats in the world to ellipses on the screen: the projective half of EWA splatting, in torch."""

from dataclasses import dataclass, fields

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from gen3d.renderers import harmonics
from gen3d.renderers.cameras import Cameras
from gen3d.renderers.gaussians import Gaussians
from gen3d.renderers.quaternions import quaternion_to_matrix
from gen3d.renderers.rendering import RasterSettings

LARGEST_RADIUS = 1e9  # pixels; keeps the int32 radii of splats that fill the view from overflowing


@dataclass(frozen=True, slots=True)
class Ellipses:
    """Splats as one view sees them.

    Attributes:
        centres: projected means `[n, 2]` in pixels.
        conics: inverse screen covariances `[n, 3]`: xx, xy, yy, in 1/pixels².
        opacities: `[n]`, with the antialiasing compensation if it is on.
        depths: distances along the optical axis `[n]`, scene units.
        extents: half sizes `[n, 2]` in pixels of the boxes where alpha reaches `alpha_min`; no gradient. NaN where it never does.
        nudges: zeros `[n, 2]` added to the centres pixel by pixel, to see how hard each pixel pulls; or None.
    """

    centres: Float[Tensor, "n 2"]
    conics: Float[Tensor, "n 3"]
    opacities: Float[Tensor, " n"]
    depths: Float[Tensor, " n"]
    extents: Float[Tensor, "n 2"]
    nudges: Float[Tensor, "n 2"] | None = None

    @property
    def radii(self) -> Float[Tensor, "n 2"]:
        """The extents in whole pixels, 0 where nothing is visible."""
        return self.extents.ceil().nan_to_num(0).clamp(0, LARGEST_RADIUS)


def project(gaussians: Gaussians, cameras: Cameras, settings: RasterSettings) -> Ellipses:
    """Project splats `[n]` into one view (a `Cameras` of shape `[1]`), with the equations of gsplat 1.5.3.

    Zwicker et al. 2001, "EWA volume splatting", equation 31, with the local affine approximation at the clamped direction
    of Kerbl et al. 2023. The determinants come from the factor of the covariance, which loses no digits for needles.
    """
    pose, points = cameras.world_to_camera[0], world_to_camera(gaussians.means, cameras)
    depths = points[:, 2]
    centres = points[:, :2] / depths[:, None] * _focal(cameras) + _principal(cameras)
    axes = quaternion_to_matrix(gaussians.quats) * gaussians.scales[:, None, :]
    across, down = (jacobians(points, cameras, settings.frustum_margin) @ (pose[:3, :3] @ axes)).unbind(1)
    xx, xy, yy = (across * across).sum(-1), (across * down).sum(-1), (down * down).sum(-1)
    sharp = torch.linalg.cross(across, down).square().sum(-1)
    blurred = sharp + settings.eps2d * (xx + yy + settings.eps2d)
    variances = torch.stack([xx, yy], -1) + settings.eps2d
    conics = torch.stack([variances[:, 1], -xy, variances[:, 0]], -1) / blurred[:, None]
    opacities = gaussians.opacities
    if settings.antialias:
        opacities = opacities * (sharp / blurred).sqrt()
    with torch.no_grad():
        extents = (2 * variances * (opacities / settings.alpha_min).log()[:, None]).sqrt()
    return Ellipses(centres, conics, opacities, depths, extents)


def unproject(depth: Float[Tensor, "h w"], camera: Cameras) -> Float[Tensor, "h w 3"]:
    """World points of the depth map, along the optical axis in scene units, of one view (a `Cameras` of shape `[1]`)."""
    rows, columns = torch.meshgrid(torch.arange(camera.height) + 0.5, torch.arange(camera.width) + 0.5, indexing="ij")
    rays = torch.stack([columns, rows, torch.ones_like(rows)], -1) @ torch.linalg.inv(camera.intrinsics[0]).mT
    pose = camera.world_to_camera[0]
    return (rays * depth[..., None] - pose[:3, 3]) @ pose[:3, :3]


def world_to_camera(points: Float[Tensor, "*b 3"], cameras: Cameras) -> Float[Tensor, "*b 3"]:
    """World points in the frame of one view."""
    pose = cameras.world_to_camera[0]
    return points @ pose[:3, :3].mT + pose[:3, 3]


def jacobians(points: Float[Tensor, "n 3"], cameras: Cameras, margin: float) -> Float[Tensor, "n 2 3"]:
    """Derivatives of the pixel position by the camera-space position.

    The direction is clamped to `margin` half-widths outside the image, because the affine approximation of splats
    beside the camera would smear them over the whole picture.
    """
    focal, principal = _focal(cameras), _principal(cameras)
    size = points.new_tensor([cameras.width, cameras.height])
    slack = margin * 0.5 * size / focal
    depths = points[:, 2:]
    slopes = (points[:, :2] / depths).clamp(-principal / focal - slack, (size - principal) / focal + slack)
    return torch.cat([torch.diag_embed(focal / depths), -(focal * slopes / depths)[..., None]], -1)


@torch.no_grad()
def visible(gaussians: Gaussians, ellipses: Ellipses, cameras: Cameras, settings: RasterSettings) -> Bool[Tensor, " n"]:
    """Which splats touch the picture: finite, between near and far, opaque enough, box inside the image.

    Gradients must never flow through the others: an infinite or NaN intermediate would turn their zero gradient into NaN.
    """
    finite = torch.stack([getattr(gaussians, f.name)[..., None].flatten(1).isfinite().all(1) for f in fields(gaussians)]).all(0)
    turned = gaussians.quats.norm(dim=-1) > 1e-12
    near_enough = (ellipses.depths >= settings.near) & (ellipses.depths <= settings.far)
    sound = ellipses.conics.isfinite().all(-1) & (ellipses.opacities >= settings.alpha_min)
    size, radii = ellipses.centres.new_tensor([cameras.width, cameras.height]), ellipses.radii
    inside = (ellipses.centres + radii > 0) & (ellipses.centres - radii < size) & (radii > 0)
    return finite & turned & near_enough & sound & inside.all(-1)


def view_colours(gaussians: Gaussians, positions: Float[Tensor, "*b 3"]) -> Float[Tensor, "*b n 3"]:
    """Colours of splats `[*b, n]` seen from optical centres whose shape broadcasts with `*b`."""
    directions = torch.nn.functional.normalize(gaussians.means - positions[..., None, :], dim=-1)
    return harmonics.evaluate(gaussians.sh, directions)


def facing_normals(gaussians: Gaussians, positions: Float[Tensor, "*b 3"]) -> Float[Tensor, "*b n 3"]:
    """Shortest axes of splats `[*b, n]` in the world, turned to optical centres whose shape broadcasts with `*b`."""
    shortest = gaussians.scales.argmin(-1)[..., None, None].expand(*gaussians.scales.shape, 1)
    normals = quaternion_to_matrix(gaussians.quats).gather(-1, shortest)[..., 0]
    away = (normals * (gaussians.means - positions[..., None, :])).sum(-1, keepdim=True) > 0
    return torch.where(away, -normals, normals)


def _focal(cameras: Cameras) -> Float[Tensor, " 2"]:
    return cameras.intrinsics[0, :2, :2].diagonal()


def _principal(cameras: Cameras) -> Float[Tensor, " 2"]:
    return cameras.intrinsics[0, :2, 2]
