"""The torch rasterizer: any device, float32 and float64. The oracle of the fast backends, and what draws without them.

Every view becomes one flat list of (pixel, splat) pairs, sorted by pixel and then by depth. Transmittance is a running sum
of log(1 - alpha) along that list, so a picture needs no loop over pixels, splats or tiles.
"""

from dataclasses import fields, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from gen3d.renderers.cameras import Cameras
from gen3d.renderers.gaussians import Gaussians
from gen3d.renderers.projection import Ellipses, facing_normals, project, view_colours, visible
from gen3d.renderers.rendering import RasterSettings, Rendering

PAIRS_PER_BAND = 4_000_000  # about one gigabyte while a band of rows is drawn


def unavailable() -> str | None:
    """Always available."""
    return None


def supports(gaussians: Gaussians) -> bool:
    """Any device, float32 and float64."""
    return gaussians.means.dtype in (torch.float32, torch.float64)


def rasterize(
    gaussians: Gaussians,
    cameras: Cameras,
    background: Float[Tensor, "b v 3"],
    channels: frozenset[str],
    settings: RasterSettings,
    screen_offsets: Float[Tensor, "b v n 2"] | None,
) -> Rendering:
    """Draw every view of every scene, one after another."""
    scenes = []
    for scene in range(background.shape[0]):
        splats = Gaussians(*(getattr(gaussians, f.name)[scene] for f in fields(gaussians)))
        views = []
        for view in range(background.shape[1]):
            camera = replace(
                cameras,
                world_to_camera=cameras.world_to_camera[scene, view, None],
                intrinsics=cameras.intrinsics[scene, view, None].detach(),
            )
            offsets = None if screen_offsets is None else screen_offsets[scene, view]
            views.append(_draw_view(splats, camera, background[scene, view], channels, settings, offsets))
        scenes.append(_stack(views))
    return _stack(scenes)


def _stack(renderings: list[Rendering]) -> Rendering:
    drawn = [f.name for f in fields(Rendering) if getattr(renderings[0], f.name) is not None]
    return replace(renderings[0], **{name: torch.stack([getattr(r, name) for r in renderings]) for name in drawn})


def _draw_view(
    gaussians: Gaussians,
    cameras: Cameras,
    background: Float[Tensor, " 3"],
    channels: frozenset[str],
    settings: RasterSettings,
    offsets: Float[Tensor, "n 2"] | None,
) -> Rendering:
    with torch.no_grad():
        everything = _shifted(project(gaussians, cameras, settings), offsets, settings)
        seen = visible(gaussians, everything, cameras, settings)
        radii = torch.where(seen[:, None], everything.radii, 0).int()
        seen = seen.nonzero()[:, 0]
        seen = seen[everything.depths[seen].argsort(stable=True)]
    splats = gaussians.select(seen)
    ellipses = _shifted(project(splats, cameras, settings), None if offsets is None else offsets.index_select(0, seen), settings)
    features = [view_colours(splats, cameras.positions[0]), torch.ones_like(ellipses.depths)[:, None]]
    if "depth" in channels:
        features.append(ellipses.depths[:, None])
    if "normal" in channels:
        features.append(facing_normals(splats, cameras.positions[0]))
    sums, median = blend(ellipses, torch.cat(features, 1), cameras.width, cameras.height, settings)
    rgb, alpha, *rest = sums.split([f.shape[1] for f in features], -1)
    return Rendering(
        rgb=rgb + (1 - alpha) * background,
        alpha=alpha[..., 0],
        radii=radii,
        depth=(rest.pop(0) / torch.where(alpha > 0, alpha, 1))[..., 0] if "depth" in channels else None,
        median_depth=median if "median_depth" in channels else None,
        normal=rest.pop(0) if "normal" in channels else None,
    )


def _shifted(ellipses: Ellipses, offsets: Float[Tensor, "n 2"] | None, settings: RasterSettings) -> Ellipses:
    if offsets is None:
        return ellipses
    if settings.absgrad:
        return replace(ellipses, centres=ellipses.centres + offsets.detach(), nudges=offsets - offsets.detach())
    return replace(ellipses, centres=ellipses.centres + offsets)


def blend(
    ellipses: Ellipses, features: Float[Tensor, "n f"], width: int, height: int, settings: RasterSettings
) -> tuple[Float[Tensor, "h w f"], Float[Tensor, "h w"]]:
    """Σ w f over the splats of each pixel, w = alpha · transmittance, and the median depth.

    Args:
        ellipses: visible splats, nearest first.
        features: what to sum.
        width: pixels.
        height: pixels.
        settings: thresholds.

    A picture with many pairs is drawn in bands of rows, each computed again in the backward pass, so that memory stays bounded.
    """
    bands = _bands(ellipses, width, height)
    tensors = [getattr(ellipses, f.name) for f in fields(ellipses)]

    def draw(top: int, bottom: int, features: Tensor, *tensors: Tensor) -> tuple[Tensor, Tensor]:
        return _blend_rows(Ellipses(*tensors), features, width, top, bottom, settings)

    if len(bands) == 1:
        return draw(0, height, features, *tensors)
    parts = [checkpoint(draw, top, bottom, features, *tensors, use_reentrant=False) for top, bottom in bands]
    return torch.cat([sums for sums, _ in parts]), torch.cat([median for _, median in parts])


@torch.no_grad()
def _boxes(ellipses: Ellipses, width: int, top: int, bottom: int) -> tuple[Int[Tensor, "n 2"], Int[Tensor, "n 2"]]:
    """First pixel and number of pixels, x and y, of each splat's box inside rows `top` to `bottom`."""
    low, high = ellipses.centres.new_tensor([0, top]), ellipses.centres.new_tensor([width, bottom])
    first = (ellipses.centres - ellipses.extents - 0.5).ceil().clamp(low, high).long()
    end = ((ellipses.centres + ellipses.extents - 0.5).floor() + 1).clamp(low, high).long()
    return first, (end - first).clamp_min(0)


@torch.no_grad()
def _bands(ellipses: Ellipses, width: int, height: int) -> list[tuple[int, int]]:
    """Row ranges that cover the picture with about `PAIRS_PER_BAND` pairs each."""
    first, size = _boxes(ellipses, width, 0, height)
    if int(size.prod(1).sum()) <= PAIRS_PER_BAND:
        return [(0, height)]
    begin, widths = first[:, 1], size[:, 0]
    change = size.new_zeros(height + 1).index_add(0, begin, widths).index_add(0, begin + size[:, 1], -widths)
    pairs = change[:height].cumsum(0).cumsum(0)
    starts = [0, *((pairs // PAIRS_PER_BAND).diff().nonzero()[:, 0] + 1).tolist()]
    return list(zip(starts, [*starts[1:], height], strict=True))


def _blend_rows(
    ellipses: Ellipses, features: Tensor, width: int, top: int, bottom: int, settings: RasterSettings
) -> tuple[Float[Tensor, "rows w f"], Float[Tensor, "rows w"]]:
    splat, pixel = _pairs(ellipses, width, top, bottom, settings)
    shape = (bottom - top, width)
    alpha = _alphas(ellipses, splat, pixel, width, top, settings)
    transmittance = _transmittance(alpha, pixel)
    weights = (alpha * transmittance).to(features.dtype)
    sums = features.new_zeros(shape[0] * width, features.shape[1])
    sums = sums.index_add(0, pixel, weights[:, None] * features.index_select(0, splat))
    with torch.no_grad():
        middle = (transmittance > 0.5) & (transmittance * (1 - alpha.double()) <= 0.5)
        median = features.new_zeros(shape[0] * width)
        median[pixel[middle]] = ellipses.depths[splat[middle]]
    return sums.unflatten(0, shape), median.unflatten(0, shape)


@torch.no_grad()
def _pairs(ellipses: Ellipses, width: int, top: int, bottom: int, settings: RasterSettings) -> tuple[Int[Tensor, " p"], Int[Tensor, " p"]]:
    """Splat and pixel of everything that is blended, by pixel and then nearest first."""
    first, size = _boxes(ellipses, width, top, bottom)
    counts = size.prod(1)
    splat = torch.repeat_interleave(counts)
    step = torch.arange(len(splat), device=splat.device) - (counts.cumsum(0) - counts)[splat]
    columns = size[splat, 0]
    pixel = (first[splat, 1] - top + step // columns) * width + first[splat, 0] + step % columns
    alpha = _alphas(ellipses, splat, pixel, width, top, settings)
    kept = (alpha >= settings.alpha_min).nonzero()[:, 0]
    pixel, order = pixel[kept].sort(stable=True)
    kept = kept[order]
    splat, alpha = splat[kept], alpha[kept]
    # Transmittance only falls, so whatever lies behind a splat that ends a pixel fails the same test.
    alive = _transmittance(alpha, pixel) * (1 - alpha.double()) > settings.transmittance_min
    return splat[alive], pixel[alive]


def _alphas(ellipses: Ellipses, splat: Tensor, pixel: Tensor, width: int, top: int, settings: RasterSettings) -> Float[Tensor, " p"]:
    """Clamped alpha of each pair; its gradient is zero above the clamp."""
    shapes = torch.cat([ellipses.centres, ellipses.conics, ellipses.opacities[:, None]], 1).index_select(0, splat)
    x, y, xx, xy, yy, opacity = shapes.unbind(1)
    if ellipses.nudges is not None:
        nudge_x, nudge_y = _EachPixel.apply(ellipses.nudges, splat).unbind(1)
        x, y = x + nudge_x, y + nudge_y
    dx, dy = x - (pixel % width + 0.5), y - (pixel // width + (top + 0.5))
    power = -0.5 * (xx * dx * dx + yy * dy * dy) - xy * dx * dy
    return (opacity * power.clamp_max(0).exp()).clamp_max(settings.alpha_max)


def _transmittance(alpha: Float[Tensor, " p"], pixel: Int[Tensor, " p"]) -> Float[Tensor, " p"]:
    """What is left of the light in front of each pair, float64: the product of 1 - alpha over earlier pairs of its pixel."""
    logs = torch.log1p(-alpha.double().clamp_max(1 - 1e-12))
    before = logs.cumsum(0) - logs
    return (before - before.index_select(0, torch.searchsorted(pixel, pixel))).exp()


class _EachPixel(torch.autograd.Function):
    """Rows by index, once for every pair; backwards the magnitudes of the pairs' gradients add up."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, index: Tensor) -> Tensor:
        ctx.save_for_backward(index)
        ctx.shape = rows.shape
        return rows.index_select(0, index)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (index,) = ctx.saved_tensors
        return gradient.new_zeros(ctx.shape).index_add(0, index, gradient.abs()), None
