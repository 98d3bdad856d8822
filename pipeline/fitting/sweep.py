"""Points from photos with cameras and nothing else: a plane sweep (Collins 1996) with normalised cross-correlation.

Coarse on purpose: the points only have to be better places to start from than random ones.
"""

from collections.abc import Container, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from gen3d.pipeline.scenes.scene import View
from gen3d.renderers.cameras import Cameras
from gen3d.renderers.mesh import PointCloud
from gen3d.renderers.projection import unproject, world_to_camera

SIDE = 192  # pixels of the longest side
DEPTHS = 128
NEAREST, FARTHEST = 0.25, 4.0  # of the distance to the subject
NEIGHBOURS, BEST = 4, 2  # photos compared with, and how many of them must agree
MOST_PHOTOS = 24  # that are swept; enough to cover a scene
BASELINES = (3.0, 45.0)  # degrees between two photos as the subject sees them
WINDOW = 7
LEAST_CORRELATION = 0.75
DEPTH_TOLERANCE = 0.02


@dataclass(frozen=True, slots=True)
class _Small:
    """A photo at the size of the sweep."""

    color: Float[Tensor, "h w 3"]
    counts: Bool[Tensor, "h w"]  # False where any of what the pixel is made of is masked
    camera: Cameras

    @property
    def grey(self) -> Float[Tensor, "1 1 h w"]:
        """Mean of the colours, as a batch of one for torch's image functions."""
        return self.color.mean(-1)[None, None]


def sweep_points(views: Sequence[View], focus: Float[Tensor, " 3"], *, count: int, seed: int) -> PointCloud:
    """Points on which several photos agree; there may be few or none.

    Args:
        views: photos of a scene that stands still.
        focus: the point they look at, scene units.
        count: the most points that are returned, drawn at random.
        seed: of the draw.
    """
    small = [_shrunk(view) for view in views]
    chosen = sorted({index * len(small) // MOST_PHOTOS for index in range(MOST_PHOTOS)} & set(range(len(small)))) or [0]
    neighbours = {index: _neighbours(index, small, range(len(small)), focus) for index in chosen}
    depths = {index: _depth_map(small[index], [small[i] for i in neighbours[index]], focus) for index in chosen if neighbours[index]}
    points, colors = [torch.zeros(0, 3)], [torch.zeros(0, 3)]
    for index, (depth, sure) in depths.items():
        world = unproject(depth, small[index].camera)
        # Where photos are dense the closest ones were not swept, so those that confirm are chosen anew.
        others = _neighbours(index, small, depths, focus)
        confirmed = sum((_confirmed(world, small[i].camera, *depths[i]) for i in others), torch.zeros(depth.shape))
        kept = sure & (confirmed >= 1)
        points.append(world[kept])
        colors.append(small[index].color[kept])
    cloud, shades = torch.cat(points), torch.cat(colors)
    order = torch.randperm(len(cloud), generator=torch.Generator().manual_seed(seed))[:count]
    return PointCloud(cloud[order], shades[order])


def _shrunk(view: View) -> _Small:
    scale = min(1.0, SIDE / max(view.camera.width, view.camera.height))
    width, height = max(WINDOW, round(view.camera.width * scale)), max(WINDOW, round(view.camera.height * scale))
    image = view.over().permute(2, 0, 1)[None]
    small = functional.interpolate(image, (height, width), mode="bilinear", antialias=True)[0].permute(1, 2, 0)
    ignored = torch.zeros(image.shape[2:]) if view.mask is None else (view.mask <= 127).float()
    counts = functional.interpolate(ignored[None, None], (height, width), mode="bilinear", antialias=True)[0, 0] == 0
    return _Small(small, counts, view.camera.resized(width, height))


def _neighbours(index: int, small: Sequence[_Small], among: Container[int], focus: Float[Tensor, " 3"]) -> list[int]:
    """Photos that see the subject from a little to the side, the closest first."""
    directions = functional.normalize(torch.cat([photo.camera.positions for photo in small]) - focus, dim=-1)
    forward = torch.cat([photo.camera.forward for photo in small])
    angles = torch.rad2deg((directions @ directions[index]).clamp(-1, 1).acos())
    usable = (angles > BASELINES[0]) & (angles < BASELINES[1]) & (forward @ forward[index] > 0)
    return [i for i in angles.argsort().tolist() if usable[i] and i in among][:NEIGHBOURS]


def _depth_map(photo: _Small, others: Sequence[_Small], focus: Float[Tensor, " 3"]) -> tuple[Float[Tensor, "h w"], Bool[Tensor, "h w"]]:
    """The depth at which each pixel looks most alike in the other photos, and where that is convincing."""
    distance = float((photo.camera.positions[0] - focus).norm())
    depths = 1 / torch.linspace(1 / (NEAREST * distance), 1 / (FARTHEST * distance), DEPTHS)
    scores = torch.stack([_correlations(photo, other, depths) for other in others])
    score = scores.topk(min(BEST, len(others)), 0).values.mean(0)
    best, index = score.max(0)
    inner = (index > 0) & (index < DEPTHS - 1)
    return depths[index], photo.counts & inner & (best > LEAST_CORRELATION)


def _correlations(photo: _Small, other: _Small, depths: Float[Tensor, " d"]) -> Float[Tensor, "d h w"]:
    """Zero-mean normalised cross-correlation of windows, for each depth; -1 outside the other photo."""
    width, height = other.camera.width, other.camera.height
    planes = torch.stack([unproject(depth.expand(photo.color.shape[:2]), photo.camera) for depth in depths])
    pixels, ahead = _project(planes, other.camera)
    grid = pixels / pixels.new_tensor([width, height]) * 2 - 1
    warped = functional.grid_sample(other.grey.expand(len(depths), 1, -1, -1), grid, align_corners=False)
    inside = ahead & (grid.abs() < 1).all(-1)
    here = photo.grey
    mean_a, mean_b = _blur(here), _blur(warped)
    variance_a, variance_b = _blur(here * here) - mean_a**2, _blur(warped * warped) - mean_b**2
    covariance = _blur(here * warped) - mean_a * mean_b
    # Windows without texture correlate with anything; the small constant makes them unconvincing.
    correlation = covariance / (variance_a.clamp_min(0) * variance_b.clamp_min(0) + 1e-8).sqrt()
    return torch.where(inside, correlation[:, 0], -1.0)


def _blur(image: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b 1 h w"]:
    half = WINDOW // 2
    rows = functional.avg_pool2d(image, (WINDOW, 1), 1, (half, 0), count_include_pad=False)
    return functional.avg_pool2d(rows, (1, WINDOW), 1, (0, half), count_include_pad=False)


def _project(points: Float[Tensor, "*b 3"], camera: Cameras) -> tuple[Float[Tensor, "*b 2"], Bool[Tensor, "*b"]]:
    """Pixels of world points, and which of them lie ahead."""
    local = world_to_camera(points, camera)
    ahead = local[..., 2] > 1e-6
    return (local @ camera.intrinsics[0].mT)[..., :2] / local[..., 2:].clamp_min(1e-6), ahead


def project(points: Float[Tensor, "*b 3"], camera: Cameras) -> tuple[Bool[Tensor, "*b"], Int[Tensor, "*b"], Int[Tensor, "*b"]]:
    """Whether each point lies in the picture of a single camera, and its pixel row and column (clamped into it)."""
    pixels, ahead = _project(points, camera)
    size = pixels.new_tensor([camera.width, camera.height])
    visible = ahead & ((pixels >= 0) & (pixels < size)).all(-1)
    column, row = pixels.clamp(min=pixels.new_zeros(2), max=size - 1).long().unbind(-1)
    return visible, row, column


def _confirmed(
    world: Float[Tensor, "h w 3"], camera: Cameras, depth: Float[Tensor, "h2 w2"], sure: Bool[Tensor, "h2 w2"]
) -> Float[Tensor, "h w"]:
    """1 where another photo's depth map puts a surface at the same place."""
    inside, row, column = project(world, camera)
    expected = world_to_camera(world, camera)[..., 2]
    return (inside & sure[row, column] & ((depth[row, column] / expected - 1).abs() < DEPTH_TOLERANCE)).float()
