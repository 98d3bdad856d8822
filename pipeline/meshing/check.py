"""The check of a mesh file: read again, drawn from views that it was not made from, and compared with the splats."""

import math
from pathlib import Path

import torch

from gen3d.pipeline.formats.meshes import read_mesh
from gen3d.pipeline.meshing.pictures import SOLID, drawings
from gen3d.renderers.cameras import Cameras
from gen3d.renderers.gaussians import Gaussians
from gen3d.renderers.mesh_renderer import render_mesh
from gen3d.renderers.rendering import RasterSettings

WHITE = (1.0, 1.0, 1.0)
RAYS = 3  # along each side of a pixel


@torch.no_grad()
def render_back(
    path: str | Path,
    gaussians: Gaussians,
    cameras: Cameras,
    *,
    footprint: float = 0.0,
    raster: RasterSettings | None = None,
    outlined: bool = True,
    backend: str = "auto",
) -> float | None:
    """PSNR of a mesh file against the splats it was made from, dB, mean over views; None for a file without colours.

    Args:
        path: the file that was written.
        gaussians: unbatched splats in the world frame.
        cameras: views `[v]`.
        footprint: see `drawings`.
        raster: see `drawings`.
        outlined: the thing stands free: whole pictures over white are compared. Otherwise only what the mesh covers.
        backend: of `rasterize`.

    Raises:
        BadInput: the file cannot be read.
        MissingDependency: the package embreex is not installed.
    """
    mesh, behind, scores = read_mesh(path), torch.tensor(WHITE), []
    if mesh.texture is None and mesh.colors is None:
        return None
    drawn = drawings(gaussians, cameras, footprint=footprint, raster=raster, background=behind.to(gaussians.means), backend=backend)
    for view, splats in enumerate(drawn):
        back = render_mesh(mesh, cameras.select([view]).to("cpu"), background=behind, supersample=RAYS)
        counted = torch.ones_like(back.alpha, dtype=torch.bool) if outlined else back.alpha > SOLID
        error = (back.rgb.clamp(0, 1) - splats.rgb.clamp(0, 1).cpu()).square()[counted]
        if len(error):
            scores.append(-10 * math.log10(max(float(error.mean()), 1e-12)))
    return sum(scores) / len(scores) if scores else None
