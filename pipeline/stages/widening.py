"""Splats that were made for coarse pictures, for fine ones."""

from dataclasses import replace

from gen3d.renderers.gaussians import Gaussians
from gen3d.renderers.rendering import RasterSettings

SQUARE = 1 / 12  # variance of a pixel's place on its square, in pixels^2


def as_drawn(splats: Gaussians, pixel: float) -> Gaussians:
    """Splats as wide as what they show in pictures with pixels of this width.

    A rasterizer widens all splats by about half a pixel, so that a network never sees how thin its own are; in finer pictures they would
    be needles. Of that width the pixels of its pictures, each a mean over a square, have a part themselves.

    Args:
        splats: in any frame.
        pixel: width of the pixels at the splats, in the same.
    """
    return replace(splats, scales=(splats.scales.square() + (RasterSettings().eps2d - SQUARE) * pixel**2).sqrt())
