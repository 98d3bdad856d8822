"""Camera paths for previews: around an object, and along the photos of a scene."""

import math
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from gen3d.renderers.cameras import Cameras, look_at, orbit, pinhole
from gen3d.renderers.gaussians import Gaussians

OPAQUE = 0.3  # fainter splats are often haze or floaters and say little about where the object is
TRIM = 0.02  # fraction of the splats that may lie outside on each side of each axis
MARGIN = 1.1  # room around the object on a turntable
SHARPNESS = 8.0  # of the kernel over azimuth: cameras within about 20 degrees decide height and distance of the path
FULL_CIRCLE_GAP = math.radians(100)  # photos that leave a larger gap do not go around, and the path swings instead


def robust_box(gaussians: Gaussians) -> tuple[Float[Tensor, " 3"], Float[Tensor, " 3"]]:
    """Lower and upper corner of the box that holds the opaque splats but for the outermost 2 % along each axis."""
    opaque = gaussians.opacities > OPAQUE
    means = gaussians.means[opaque] if bool(opaque.any()) else gaussians.means
    ordered = means.sort(0).values
    margin = int(TRIM * (len(ordered) - 1))
    return ordered[margin], ordered[len(ordered) - 1 - margin]


def turntable(
    box: tuple[Float[Tensor, " 3"], Float[Tensor, " 3"]],
    count: int,
    *,
    width: int = 512,
    height: int = 512,
    elevation: float = 15.0,
    fov: float = 40.0,
) -> Cameras:
    """One turn around an object, starting at its front, as near as its box stays in every picture.

    Args:
        box: lower and upper corner of the object in the world frame, such as `robust_box` of its splats.
        count: number of views; the one after the last would be the first again.
        width: pixels.
        height: pixels.
        elevation: degrees above the horizon.
        fov: field of view of the longer side in degrees.
    """
    if count < 1:
        raise ValueError(f"a turntable of {count} views is empty; at least 1 is needed")
    lower, upper = (corner.detach().cpu() for corner in box)
    tangent = torch.tensor([width, height]) / max(width, height) * math.tan(math.radians(fov) / 2)
    angles = torch.arange(count) * (360 / count)
    around = partial(
        orbit,
        angles,
        torch.full((count,), float(elevation)),
        fov=math.degrees(2 * math.atan(float(tangent[0]))),
        width=width,
        height=height,
        target=tuple(((lower + upper) / 2).tolist()),
    )
    turns = around(radius=1.0).world_to_camera[:, :3, :3]
    corners = (upper - lower) / 2 * torch.cartesian_prod(*[torch.tensor([-1.0, 1.0])] * 3)
    x_y, z = (corners @ turns.mT).split([2, 1], -1)
    # A corner is inside the picture when |x| / tangent <= distance + z.
    distance = float((x_y.abs() / tangent - z).max())
    return around(radius=MARGIN * distance or 1.0)


def focus_point(cameras: Cameras) -> Float[Tensor, " 3"]:
    """The point with the least sum of squared distances to all optical axes, float64.

    Σ (I - d dᵀ) p = Σ (I - d dᵀ) o over the centres o and directions d. Where parallel axes leave p open, a weak pull
    towards points in front of the cameras, as far away as the cameras are spread, decides.
    """
    origins, directions = cameras.positions.double(), cameras.forward.double()
    across = torch.eye(3, dtype=torch.float64, device=origins.device) - directions[:, :, None] * directions[:, None, :]
    centre = origins.mean(0)
    spread = (origins - centre).norm(dim=-1).mean().clamp_min(1e-6)
    ahead = centre + 3 * spread * torch.nn.functional.normalize(directions.mean(0), dim=0)
    pull = 1e-4 * len(origins)
    matrix = across.sum(0) + pull * torch.eye(3, dtype=torch.float64, device=origins.device)
    return torch.linalg.solve(matrix, (across @ origins[:, :, None]).sum(0)[:, 0] + pull * ahead)


def around_scene(cameras: Cameras, count: int) -> Cameras:
    """A smooth closed path near the cameras of a real scene.

    Azimuth, elevation and log-distance are taken about the focus point of the cameras, +Y up. Photos all around give a
    full turn, others a swing there and back over the arc they cover; elevation and distance follow the photos nearby (a
    kernel mean over azimuth). Cameras that look outwards, as in a room, keep doing so.

    Args:
        cameras: the photos' views `[v]`, at least one.
        count: number of views on the path.
    """
    if len(cameras.shape) != 1 or not cameras.shape[0] or count < 1:
        raise ValueError(f"cameras of shape {tuple(cameras.shape)} and {count} views make no path; give cameras [v] and a count above 0")
    focus = focus_point(cameras)
    offsets = cameras.positions.double() - focus
    inwards = -1.0 if float((offsets * cameras.forward.double()).sum(-1).mean()) > 0 else 1.0
    distances = offsets.norm(dim=-1).clamp_min(1e-9)
    azimuths = torch.atan2(offsets[:, 0], offsets[:, 2])
    elevations = (offsets[:, 1] / distances).clamp(-1, 1).asin()
    path = _azimuth_path(azimuths, count)
    steadiness = elevations.cos().clamp_min(1e-3).log()  # straight above, an azimuth means little
    weights = torch.softmax(SHARPNESS * (path[:, None] - azimuths).cos() + steadiness, -1)
    elevation, distance = weights @ elevations, (weights @ distances.log()).exp()
    outward = torch.stack([path.sin() * elevation.cos(), elevation.sin(), path.cos() * elevation.cos()], -1)
    eyes = focus + distance[:, None] * outward
    poses = look_at(eyes, eyes - inwards * outward).to(cameras.world_to_camera)
    focal = float(cameras.intrinsics[:, [0, 1], [0, 1]].median())
    matrix = pinhole(focal, cameras.width, cameras.height).to(poses)
    return Cameras(poses, matrix.expand(count, 3, 3), cameras.width, cameras.height)


def _azimuth_path(azimuths: Float[Tensor, " v"], count: int) -> Float[Tensor, " count"]:
    """Azimuths of a closed path over those that the cameras cover: a turn, or a swing between the ends."""
    ordered = azimuths.sort().values
    gaps = torch.cat([ordered[1:], ordered[:1] + 2 * math.pi]) - ordered
    widest = int(gaps.argmax())
    phase = torch.arange(count, dtype=azimuths.dtype, device=azimuths.device) * (2 * math.pi / count)
    if float(gaps[widest]) < FULL_CIRCLE_GAP:
        return ordered[0] + phase
    start = ordered[(widest + 1) % len(ordered)]
    arc = 2 * math.pi - gaps[widest]
    return start + arc * (1 - phase.cos()) / 2
