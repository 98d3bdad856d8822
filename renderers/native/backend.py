"""The native rasterizer: C++ kernels for float32 splats on a CPU, with gradients."""

from ctypes import byref
from dataclasses import astuple, dataclass, fields, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from gen3d.errors import BadInput
from gen3d.renderers.cameras import Cameras
from gen3d.renderers.gaussians import Gaussians
from gen3d.renderers.native.library import Frame, Gradients, ImageGradients, Images, Settings, Splats, View, failure, load
from gen3d.renderers.projection import facing_normals
from gen3d.renderers.rendering import RasterSettings, Rendering

LARGEST_SIDE = 32_768  # pixels; the kernels count rows in 16 bits
FEATURE_COUNTS = (0, 1, 4)  # what the kernels are compiled for


def unavailable() -> str | None:
    """Why the kernels cannot run here, as one sentence; None when they can."""
    return failure()


def supports(gaussians: Gaussians) -> bool:
    """float32 on a CPU."""
    return gaussians.means.dtype == torch.float32 and gaussians.means.device.type == "cpu"


def build_info() -> str:
    """Which build is active and how many threads it uses, for people; or why there is none."""
    return failure() or f"{load().instructions}, {torch.get_num_threads()} threads"


def rasterize(
    gaussians: Gaussians,
    cameras: Cameras,
    background: Float[Tensor, "b v 3"],
    channels: frozenset[str],
    settings: RasterSettings,
    screen_offsets: Float[Tensor, "b v n 2"] | None,
) -> Rendering:
    """Draw every view of every scene, one after another, on `torch.get_num_threads()` threads.

    The result and its gradients are the same bits for any number of threads.

    Raises:
        BadInput: an image side is longer than 32,768 pixels.
        OutOfMemory: the workspace does not fit.
        ValueError: settings for which the kernels' arithmetic is not defined.
    """
    _check(cameras, settings)
    features = _features(gaussians, cameras, channels)
    tensors = (*(getattr(gaussians, f.name) for f in fields(gaussians)), cameras.world_to_camera, background, features, screen_offsets)
    job = _Job(
        width=cameras.width,
        height=cameras.height,
        intrinsics=cameras.intrinsics.detach().contiguous(),
        settings=Settings(*astuple(settings)),
        median="median_depth" in channels,
        recording=torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors),
    )
    rgb, alpha, radii, drawn, median = _Rasterize.apply(job, *tensors)
    depth = normal = None
    if "depth" in channels:
        depth = drawn[..., 0] / torch.where(alpha > 0, alpha, 1)
    if "normal" in channels:
        normal = drawn[..., -3:] if "depth" in channels else drawn[..., :3]
    return Rendering(rgb=rgb, alpha=alpha, radii=radii, depth=depth, median_depth=median, normal=normal)


def _check(cameras: Cameras, settings: RasterSettings) -> None:
    if max(cameras.width, cameras.height) > LARGEST_SIDE:
        raise BadInput(f"the image is {cameras.width}x{cameras.height}; a side has at most {LARGEST_SIDE:,} pixels: draw it smaller")
    if not (settings.near >= 0 and settings.eps2d > 0 and 0 < settings.alpha_min <= settings.alpha_max < 1):
        raise ValueError(f"{settings}: near must be at least 0, eps2d above 0, and 0 < alpha_min <= alpha_max < 1")


def _features(gaussians: Gaussians, cameras: Cameras, channels: frozenset[str]) -> Float[Tensor, "b v n f"] | None:
    """Depth and normal of each splat in each view, which the kernels blend like colours."""
    parts = []
    if "depth" in channels:
        axis = cameras.world_to_camera[..., 2, :]
        parts.append((gaussians.means @ axis[..., :3].mT + axis[..., None, :, 3]).mT[..., None])
    if "normal" in channels:
        views = background_shape = cameras.shape[-1]
        del background_shape
        spread = Gaussians(*(getattr(gaussians, f.name)[:, None].expand(-1, views, *[-1] * (getattr(gaussians, f.name).ndim - 1)) for f in fields(gaussians)))
        parts.append(facing_normals(spread, cameras.positions))
    if not parts:
        return None
    together = torch.cat(parts, -1)
    wanted = next(count for count in FEATURE_COUNTS if count >= together.shape[-1])
    return torch.nn.functional.pad(together, (0, wanted - together.shape[-1]))


@dataclass(frozen=True, slots=True)
class _Job:
    """What a call needs besides differentiable tensors."""

    width: int
    height: int
    intrinsics: Float[Tensor, "b v 3 3"]
    settings: Settings
    median: bool
    recording: bool  # a backward pass will follow
