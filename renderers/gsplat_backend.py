"""The gsplat package on CUDA: its `rasterization` behind gen3d's conventions. Values are trusted to be finite here."""

import functools
import importlib
from dataclasses import fields
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from gen3d.optional import how_to_install, require
from gen3d.renderers import reference
from gen3d.renderers.cameras import Cameras
from gen3d.renderers.gaussians import Gaussians
from gen3d.renderers.projection import facing_normals, view_colours
from gen3d.renderers.rendering import RasterSettings, Rendering

BUILT_IN = {"alpha_max": 0.999, "alpha_min": 1 / 255, "transmittance_min": 1e-4, "frustum_margin": 0.3}  # constants of its kernels
PLACES = ("batch_ids", "camera_ids", "gaussian_ids")
DENSE_LIMIT = 4_000_000  # splats x views; the dense mode copies the harmonics for every view, nearly a gigabyte at degree 3


@functools.cache
def unavailable() -> str | None:
    """Why gsplat cannot run here; the first call may compile its kernels, which takes minutes."""
    if not torch.cuda.is_available():
        return "PyTorch sees no CUDA device"
    try:
        kernels = importlib.import_module("gsplat.cuda._backend")._C
    except ImportError as error:
        return f"the package gsplat did not import ({_first_line(error)}); {how_to_install('cuda')}"
    except Exception as error:  # a failing build raises whatever the compiler's driver raises
        return f"the kernels of gsplat did not build ({_first_line(error)}); check nvcc against the CUDA version of PyTorch"
    if kernels is None:
        return "gsplat found no CUDA toolkit to build its kernels; install nvcc and set CUDA_HOME"
    return None


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def supports(gaussians: Gaussians) -> bool:
    """CUDA and float32."""
    return gaussians.means.is_cuda and gaussians.means.dtype == torch.float32


def rasterize(
    gaussians: Gaussians,
    cameras: Cameras,
    background: Float[Tensor, "b v 3"],
    channels: frozenset[str],
    settings: RasterSettings,
    screen_offsets: Float[Tensor, "b v n 2"] | None,
) -> Rendering:
    """Draw every view of every scene in one call; the median depth comes from the torch reference.

    Raises:
        ValueError: a setting differs from a constant of gsplat's kernels, or `screen_offsets` is not zero.
    """
    _check(settings, screen_offsets)
    if gaussians.count == 0:
        return reference.rasterize(gaussians, cameras, background, channels, settings, screen_offsets)
    splats = Gaussians(*(getattr(gaussians, f.name).contiguous() for f in fields(gaussians)))
    means, caught = splats.means, list[Tensor]()
    wants_offsets = screen_offsets is not None and screen_offsets.requires_grad and torch.is_grad_enabled()
    if wants_offsets:
        means = _OffsetGradient.apply(means, screen_offsets, caught)
    colours, behind = splats.sh, background
    if "normal" in channels:
        per_view = Gaussians(*(getattr(splats, f.name).unsqueeze(1) for f in fields(splats)))
        colours = torch.cat([f(per_view, cameras.positions) for f in (view_colours, facing_normals)], -1)
        behind = torch.nn.functional.pad(background, (0, 3))
    drawn, alpha, info = require("gsplat", extra="cuda", purpose="drawing on CUDA").rasterization(
        means,
        splats.quats,
        splats.scales,
        splats.opacities,
        colours,
        cameras.world_to_camera,
        cameras.intrinsics.detach(),
        cameras.width,
        cameras.height,
        near_plane=settings.near,
        far_plane=settings.far,
        eps2d=settings.eps2d,
        sh_degree=None if "normal" in channels else splats.degree,
        packed=background.shape[:2].numel() * splats.count > DENSE_LIMIT,
        backgrounds=behind,
        render_mode="RGB+ED" if "depth" in channels else "RGB",
        rasterize_mode="antialiased" if settings.antialias else "classic",
        absgrad=settings.absgrad and wants_offsets,
    )
    shape = (*background.shape[:2], splats.count, 2)
    if wants_offsets:
        _catch(info, caught, shape, settings.absgrad)
    median = None
    if "median_depth" in channels:
        with torch.no_grad():
            median = reference.rasterize(gaussians, cameras, background, frozenset({"median_depth"}), settings, None).median_depth
    return Rendering(
        rgb=drawn[..., :3],
        alpha=alpha[..., 0],
        radii=_unpacked(info["radii"], info, shape).int(),
        depth=drawn[..., -1] if "depth" in channels else None,
        median_depth=median,
        normal=drawn[..., 3:6] if "normal" in channels else None,
    )


def _check(settings: RasterSettings, screen_offsets: Tensor | None) -> None:
    for name, value in BUILT_IN.items():
        if getattr(settings, name) != value:
            raise ValueError(f"{name} is {getattr(settings, name)}; gsplat's kernels fix it at {value}, so draw with backend='reference'")
    if screen_offsets is not None and bool(screen_offsets.any()):
        raise ValueError("screen_offsets has values other than 0; gsplat only returns their gradient, so draw with backend='reference'")


def _catch(info: dict[str, Any], caught: list[Tensor], shape: tuple[int, ...], absgrad: bool) -> None:
    """Let the gradient of the projected centres end up in `caught`.

    A hook that kept the centres, or all of `info`, would keep itself and the graph alive for ever, so it gives them up when
    it is called: with `absgrad` a graph can be walked once.
    """
    places = {name: info[name] for name in PLACES}
    centres = [info["means2d"]] if absgrad else []

    def hook(gradient: Tensor) -> None:
        caught.append(_unpacked(centres.pop().absgrad if absgrad else gradient, places, shape))

    info["means2d"].register_hook(hook)


def _unpacked(values: Tensor, info: dict[str, Any], shape: tuple[int, ...]) -> Float[Tensor, "b v n 2"]:
    """The rows of gsplat's packed mode at their places, 0 elsewhere; dense results as they are."""
    if info["gaussian_ids"] is None:
        return values
    places = tuple(info[name].long() for name in PLACES)
    return values.new_zeros(shape).index_put(places, values)


class _OffsetGradient(torch.autograd.Function):
    """The means unchanged, and a second way out for the gradient of the projected centres.

    gsplat takes no offsets on the screen. Their gradient is the one of its intermediate `means2d`, which a hook puts
    into `caught` before the backward pass gets down to here.
    """

    @staticmethod
    def forward(ctx: Any, means: Tensor, offsets: Tensor, caught: list[Tensor]) -> Tensor:
        ctx.caught = caught
        return means.view_as(means)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor | None, None]:
        return gradient, ctx.caught.pop() if ctx.caught else None, None
