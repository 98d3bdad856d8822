"""Drawing splats: one function, three backends, the same numbers."""

import functools
import importlib
import math
import warnings
from collections.abc import Collection
from dataclasses import dataclass, fields, replace
from typing import Protocol

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gen3d.renderers.cameras import Cameras
from gen3d.renderers.gaussians import Gaussians

CHANNELS = frozenset({"rgb", "alpha", "depth", "median_depth", "normal"})
BACKENDS: dict[str, str] = {
    "gsplat": "gen3d.renderers.gsplat_backend",
    "native": "gen3d.renderers.native.backend",
    "reference": "gen3d.renderers.reference",
}


@dataclass(frozen=True, slots=True)
class RasterSettings:
    """The conventions that every backend shares; the defaults are gsplat 1.5.3's.

    Attributes:
        near: splats closer than this (scene units along the axis) are not drawn.
        far: splats further than this are not drawn.
        eps2d: added to the diagonal of the screen covariance, pixels²; a splat covers at least about a pixel.
        alpha_max: a splat's alpha is clamped here.
        alpha_min: smaller alphas are skipped.
        transmittance_min: a pixel stops before a splat that would leave no more than this.
        frustum_margin: the Jacobian is taken at x/z clamped to this many half-widths outside the image (0.3: gsplat's 1.3·tan).
        antialias: scale opacity by sqrt(det before / det after eps2d) (Mip-Splatting).
        absgrad: the gradient of `screen_offsets` adds up magnitudes over pixels (Ye et al. 2024, AbsGS), so that the pulls of a
            fine texture to all sides do not cancel. A statistic then, no longer a derivative.
    """

    near: float = 0.01
    far: float = 1e10
    eps2d: float = 0.3
    alpha_max: float = 0.999
    alpha_min: float = 1 / 255
    transmittance_min: float = 1e-4
    frustum_margin: float = 0.3
    antialias: bool = False
    absgrad: bool = False


@dataclass(frozen=True, slots=True)
class Rendering:
    """Pictures of splats; fields that were not asked for are None.

    Attributes:
        rgb: display-referred sRGB over the background `[*b, v, h, w, 3]`; not clamped from above.
        alpha: coverage `[*b, v, h, w]` in [0, 1].
        radii: half sizes in pixels `[*b, v, n, 2]` of each splat's box on the screen, 0 where it is not drawn; int32.
        depth: expected depth along the optical axis `[*b, v, h, w]`, Σ w z / Σ w, 0 where alpha is 0.
        median_depth: depth of the splat at which transmittance falls to one half, 0 where it never does; no gradient.
        normal: Σ w n `[*b, v, h, w, 3]` with n the splat's shortest axis in the world, turned to the camera.
    """

    rgb: Float[Tensor, "*b v h w 3"]
    alpha: Float[Tensor, "*b v h w"]
    radii: Int[Tensor, "*b v n 2"]
    depth: Float[Tensor, "*b v h w"] | None = None
    median_depth: Float[Tensor, "*b v h w"] | None = None
    normal: Float[Tensor, "*b v h w 3"] | None = None

    def batched(self, batch_shape: torch.Size) -> "Rendering":
        """The same pictures with the flat first axis unfolded to `batch_shape`."""
        unfold = {f.name: t.reshape(*batch_shape, *t.shape[1:]) for f in fields(self) if (t := getattr(self, f.name)) is not None}
        return replace(self, **unfold)


class Backend(Protocol):
    """A module that draws. The front door has checked and flattened everything: one batch axis `b`, one view axis `v`."""

    def unavailable(self) -> str | None:
        """Why this backend cannot run here, as one sentence; None when it can."""

    def supports(self, gaussians: Gaussians) -> bool:
        """Whether it takes this device and dtype."""

    def rasterize(
        self,
        gaussians: Gaussians,  # [b, n]
        cameras: Cameras,  # [b, v], same device and dtype
        background: Float[Tensor, "b v 3"],
        channels: frozenset[str],
        settings: RasterSettings,
        screen_offsets: Float[Tensor, "b v n 2"] | None,
    ) -> Rendering:
        """Draw every view of every scene."""


def rasterize(
    gaussians: Gaussians,
    cameras: Cameras,
    *,
    background: Float[Tensor, "... 3"] | None = None,
    channels: Collection[str] = ("rgb", "alpha"),
    settings: RasterSettings | None = None,
    screen_offsets: Float[Tensor, "*b v n 2"] | None = None,
    backend: str = "auto",
) -> Rendering:
    """Draw splats by EWA splatting (Zwicker et al. 2001; Kerbl et al. 2023), front to back.

    Gradients reach every tensor of `gaussians`, `world_to_camera`, `background` and `screen_offsets`, not the intrinsics.

    Args:
        gaussians: splats `[*b, n]`.
        cameras: views `[*b, v]`; a batch shape that broadcasts with the splats' is enough.
        background: colour behind the splats, broadcast to `[*b, v, 3]`; black when None.
        channels: any of rgb, alpha, depth, median_depth, normal; rgb and alpha are always drawn.
        settings: the conventions; None for the defaults.
        screen_offsets: zeros added to the projected centres, in pixels: their `.grad` is the densification statistic.
        backend: gsplat, native, reference, or auto: gsplat on CUDA, native for float32 on a CPU, reference for the rest.

    Raises:
        ValueError: shapes, channels or the backend's name break a rule.
        RuntimeError: the backend that was named cannot run here.
    """
    if unknown := set(channels) - CHANNELS:
        raise ValueError(f"the channels {sorted(unknown)} are not known; choose from {', '.join(sorted(CHANNELS))}")
    batch = torch.broadcast_shapes(gaussians.batch_shape, cameras.shape[:-1])
    if 0 in (*batch, cameras.shape[-1]):
        raise ValueError(f"there is nothing to draw: batch shape {tuple(batch)}, {cameras.shape[-1]} views; give at least one of each")
    views, count, flat = cameras.shape[-1], gaussians.count, math.prod(batch)
    splats = Gaussians(
        *(
            tensor.expand(*batch, *tensor.shape[len(gaussians.batch_shape) :]).reshape(flat, *tensor.shape[len(gaussians.batch_shape) :])
            for tensor in (getattr(gaussians, f.name) for f in fields(gaussians))
        )
    )
    seen = replace(
        cameras.to(gaussians.means),
        world_to_camera=cameras.world_to_camera.to(gaussians.means).expand(*batch, views, 4, 4).reshape(flat, views, 4, 4),
        intrinsics=cameras.intrinsics.to(gaussians.means).expand(*batch, views, 3, 3).reshape(flat, views, 3, 3),
    )
    behind = gaussians.means.new_zeros(3) if background is None else background.to(gaussians.means)
    behind = behind.expand(*batch, views, 3).reshape(flat, views, 3)
    if screen_offsets is not None:
        wanted = (*batch, views, count, 2)
        if tuple(screen_offsets.shape) != wanted:
            raise ValueError(f"screen_offsets has shape {tuple(screen_offsets.shape)}; these splats and views ask for {wanted}")
        screen_offsets = screen_offsets.reshape(flat, views, count, 2)
    module = _choose(backend, splats)
    with torch.autocast(gaussians.means.device.type, enabled=False):  # half precision would move splats by pixels
        drawn = module.rasterize(splats, seen, behind, frozenset(channels), settings or RasterSettings(), screen_offsets)
    return drawn.batched(batch)


def backend_name(gaussians: Gaussians) -> str:
    """The backend that `auto` takes for these splats."""
    preferred = "gsplat" if gaussians.means.is_cuda else "native"
    module = load_backend(preferred)
    if not module.supports(gaussians):
        return "reference"
    if reason := module.unavailable():
        _warn_once(f"the {preferred} rasterizer is not used: {reason}; the slower torch reference draws instead")
        return "reference"
    return preferred


@functools.cache
def _warn_once(message: str) -> None:
    warnings.warn(message, stacklevel=4)


def load_backend(name: str) -> Backend:
    """Import a backend by name.

    Raises:
        ValueError: the name is not known.
    """
    if name not in BACKENDS:
        raise ValueError(f"the rasterizer backend {name!r} is not known; choose auto, {', '.join(BACKENDS)}")
    return importlib.import_module(BACKENDS[name])


def _choose(name: str, gaussians: Gaussians) -> Backend:
    module = load_backend(backend_name(gaussians) if name == "auto" else name)
    if reason := module.unavailable():
        raise RuntimeError(f"the {name} rasterizer cannot run here: {reason}; pass backend='auto' to use what can")
    if not module.supports(gaussians):
        given = f"{gaussians.means.dtype} on {gaussians.means.device}"
        raise RuntimeError(f"the {name} rasterizer does not take {given}; pass backend='reference' and float32 or float64 splats")
    return module
