"""Mesh the fitted splats of library objects and measure surface and texture against the objects themselves.

    python tests/benchmarks/objects_mesh.py OBJECT_FOLDER --steps 2500 --out result.json

The objects, views and fits of objects_fit.py. For each object the mesh with its texture, and the watertight one:
Chamfer distance (mean of both directions, in units of the longest side) to the surface that a dense sphere of cameras sees, F-score
at 2 %, PSNR of splats and mesh at unseen views over white.
"""

import math
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import trimesh
from objects_fit import WHITE, Options, fitted, measure_all, read_options, scene_of
from scipy.spatial import cKDTree

from gen3d.pipeline.evaluation.metrics import evaluate_views
from gen3d.pipeline.formats.mesh_files import write_mesh
from gen3d.pipeline.formats.meshes import read_mesh
from gen3d.pipeline.meshing.assemble import Origin, mesh_splats
from gen3d.pipeline.meshing.check import render_back
from gen3d.pipeline.meshing.report import report
from gen3d.pipeline.meshing.settings import MeshSettings
from gen3d.pipeline.objects.library import ObjectEntry
from gen3d.pipeline.objects.rendering import sphere_cameras
from gen3d.pipeline.scenes.scene import Scene, stacked_cameras
from gen3d.renderers.mesh import Mesh
from gen3d.renderers.mesh_renderer import render_mesh
from gen3d.renderers.projection import unproject
from gen3d.renderers.rendering import RasterSettings

DENSE_VIEWS, DENSE_SIZE = 150, 256
POINTS = 50_000
NEAR = 0.02


def visible_points(mesh: Mesh) -> np.ndarray:
    """Points `[n, 3]` on what a dense sphere of cameras sees."""
    cameras = sphere_cameras(DENSE_VIEWS, radius=2.2, fov=40.0, size=DENSE_SIZE)
    points = []
    for view in range(DENSE_VIEWS):
        camera = cameras.select([view])
        depth = render_mesh(mesh, camera, supersample=1).depth[0]
        points.append(unproject(depth, camera)[depth > 0])
    every = torch.cat(points)
    return every[torch.randperm(len(every), generator=torch.Generator().manual_seed(0))[:POINTS]].numpy()


def surface_points(mesh: Mesh) -> np.ndarray:
    """Points `[n, 3]` all over a mesh, by area."""
    return trimesh.sample.sample_surface(trimesh.Trimesh(mesh.vertices, mesh.faces, process=False), POINTS, seed=0)[0]


def distances(mesh: Mesh, truth: np.ndarray) -> tuple[float, float]:
    """Chamfer distance and F-score."""
    ours = surface_points(mesh)
    there, back = cKDTree(truth).query(ours)[0], cKDTree(ours).query(truth)[0]
    precision, recall = float((there < NEAR).mean()), float((back < NEAR).mean())
    return float(there.mean() + back.mean()) / 2, 2 * precision * recall / max(precision + recall, 1e-9)


def unseen_psnr(mesh: Mesh, scene: Scene) -> float:
    """Mean PSNR of a mesh at the views that were held out, dB."""
    white, scores = torch.tensor(WHITE), []
    for view in scene.test:
        drawn = render_mesh(mesh, view.camera, background=white, supersample=4).rgb[0].clamp(0, 1)
        scores.append(-10 * math.log10(float((drawn - view.over(white)).square().mean())))
    return sum(scores) / len(scores)


def measure(entry: ObjectEntry, options: Options) -> dict[str, Any]:
    """Fit, mesh and measure one object."""
    scene, source = scene_of(entry), entry.read()
    gaussians, _ = fitted(scene, options)
    origin = Origin(stacked_cameras(scene.train), cut_out=True, raster=RasterSettings())
    start = time.perf_counter()
    result = mesh_splats(gaussians, MeshSettings(method=options.method), origin, backend=options.backend)
    seconds = time.perf_counter() - start
    closed = mesh_splats(gaussians, MeshSettings(method=options.method, watertight=True), origin, backend=options.backend).mesh
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mesh.glb"
        write_mesh(path, result.mesh)
        mesh = read_mesh(path)
        back = render_back(path, gaussians, result.held, footprint=result.footprint)
        write_mesh(path.with_suffix(".stl"), closed)
        solid = trimesh.load(path.with_suffix(".stl"))
    chamfer, score = distances(mesh, visible_points(source))
    splats = evaluate_views(gaussians, scene.test, background=WHITE, backend=options.backend).psnr
    return {
        "id": entry.id,
        "tier": entry.tier,
        "method": result.facts["method"],
        "splats": gaussians.count,
        "chamfer": chamfer,
        "f_score": score,
        "splat_psnr": splats,
        "mesh_psnr": unseen_psnr(mesh, scene),
        "render_back_psnr": back,
        "watertight_psnr": unseen_psnr(closed, scene),
        "watertight": bool(solid.is_watertight),
        "watertight_faces": len(closed.faces),
        "euler": report(mesh).euler,
        "faces": len(mesh.faces),
        "seconds": round(seconds, 1),
        "steps": result.facts["seconds"],
        "memory_mib": max(result.facts["memory_mib"].values()),
    }


if __name__ == "__main__":
    figures = ("chamfer", "f_score", "splat_psnr", "mesh_psnr", "watertight_psnr", "watertight", "seconds")
    measure_all(read_options(__doc__ or ""), measure, figures)
