"""Depth pictures fused to a surface: a truncated signed distance field (Curless and Levoy 1996), with Open3D's voxel blocks."""

from typing import Any

import numpy as np
import torch

from gen3d.errors import BadInput
from gen3d.optional import require
from gen3d.pipeline.meshing.pictures import Pictures
from gen3d.renderers.mesh import Mesh

TRUNCATION = 6.0  # voxels in front of and behind a depth that it tells something about; fewer leave holes where depths are noisy
BLOCK = 8  # voxels along a block's side
FIRST_BLOCKS = 10_000  # the table grows by itself
VIEWS_NEEDED = 2.0  # of a voxel that a face lies on, or all where there are fewer


def tsdf_mesh(pictures: Pictures, *, voxel: float) -> Mesh:
    """The surface that the depths of all views agree on, open where no view looked, with vertex colours.

    Args:
        pictures: median depths and colours.
        voxel: scene units; details below about two voxels are lost.

    Raises:
        ValueError: the voxel is not above 0.
        BadInput: the depths are empty, or give no surface.
        MissingDependency: Open3D is not installed.
    """
    if not voxel > 0:
        raise ValueError(f"voxel is {voxel}; it must be above 0")
    farthest = float(pictures.depth.max())
    if not farthest > 0:
        raise BadInput("no view sees anything, so there are no depths to fuse")
    o3d = require("open3d", extra="mesh", purpose="fusing depths")
    grid = _grid(o3d, voxel)
    # Like here, the first pixel's centre lies at (0.5, 0.5) for Open3D's integration (measured: a test places a ball).
    cameras = (pictures.cameras.intrinsics.double().numpy(), pictures.cameras.world_to_camera.double().numpy())
    for depth, rgb, intrinsics, pose in zip(pictures.depth, pictures.rgb, *cameras, strict=True):
        if not bool((depth > 0).any()):
            continue  # Open3D stops at a picture without depths
        depth_image = o3d.t.geometry.Image(np.ascontiguousarray(depth.float().numpy()[..., None]))
        color_image = o3d.t.geometry.Image(np.ascontiguousarray(rgb.float().clamp(0, 1).numpy()))
        camera = o3d.core.Tensor(intrinsics), o3d.core.Tensor(pose)
        depths = {"depth_scale": 1.0, "depth_max": 2 * farthest, "trunc_voxel_multiplier": TRUNCATION}  # none is too far
        blocks = grid.compute_unique_block_coordinates(depth_image, *camera, **depths)
        grid.integrate(blocks, depth_image, color_image, *camera, **depths)
    surface = grid.extract_triangle_mesh(min(VIEWS_NEEDED, float(len(pictures.depth))) - 0.5)
    if surface.vertex.positions.shape[0] == 0 or surface.triangle.indices.shape[0] == 0:
        raise BadInput(f"the depths gave no surface at voxels of {voxel:g}; use smaller ones")
    vertices, faces, colors = (each.numpy() for each in (surface.vertex.positions, surface.triangle.indices, surface.vertex.colors))
    return Mesh(torch.from_numpy(vertices).float(), torch.from_numpy(faces).long(), colors=torch.from_numpy(colors).float().clamp(0, 1))


def _grid(o3d: Any, voxel: float) -> Any:
    single = o3d.core.Dtype.Float32
    return o3d.t.geometry.VoxelBlockGrid(
        attr_names=("tsdf", "weight", "color"),
        attr_dtypes=(single, single, single),
        attr_channels=((1,), (1,), (3,)),
        voxel_size=voxel,
        block_resolution=BLOCK,
        block_count=FIRST_BLOCKS,
    )
