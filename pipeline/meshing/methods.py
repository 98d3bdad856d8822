"""The ways from splats to a surface, by name."""

import math
from collections.abc import Callable

from gen3d.errors import BadInput
from gen3d.optional import available, how_to_install
from gen3d.pipeline.meshing.density import density_mesh
from gen3d.pipeline.meshing.job import Job
from gen3d.pipeline.meshing.outlines import COMPARED, best_forward, best_outward, outline_error
from gen3d.pipeline.meshing.poisson import poisson_mesh
from gen3d.pipeline.meshing.tsdf import TRUNCATION, tsdf_mesh
from gen3d.renderers.mesh import Mesh

FUSING = ("open3d", "embreex")  # depths are fused by the one and measured against outlines by the other
WIDENED = 0.4  # pixels of the photos that splats are drawn wider than they are


def extract(method: str, job: Job) -> Mesh:
    """The surface of a job's splats with vertex colours; what was done is added to the job's facts and notes.

    Args:
        method: a key of `METHODS`, or auto. Where Open3D and embreex are installed, that is tsdf for scenes, and for things that stand
            free the one of tsdf and poisson that fills their outlines better; density elsewhere.
        job: splats and pictures of them.

    Raises:
        BadInput: no surface comes out of them.
        MissingDependency: the method needs a package that is not installed.
    """
    if method == "auto":
        missing = [package for package in FUSING if not available(package)]
        if not missing and job.outlined:
            return _clearer(job)
        method = "density" if missing else "tsdf"
        if missing:
            absent = " and ".join(missing)
            job.notes.append(f"without {absent} the surface is a level set of density, coarser than fused depths; {how_to_install('mesh')}")
    job.facts["method"] = method
    return METHODS[method](job)


def _clearer(job: Job) -> Mesh:
    """Depths are better where splats are solid, the splats themselves where they are a fog; the outlines tell which."""
    few, found, failed = job.pictures.spread(COMPARED), {}, []
    for method in ("tsdf", "poisson"):
        try:
            found[method] = METHODS[method](job)
        except BadInput as error:
            failed.append(error)
            job.notes.append(f"{method} found no surface: {error}")
    if not found:
        raise failed[0]
    errors = {method: outline_error(mesh, few) for method, mesh in found.items()}
    job.facts["method"] = min(errors, key=errors.__getitem__)
    job.facts["outline_error"] = errors
    return found[job.facts["method"]]


def _tsdf(job: Job) -> Mesh:
    job.facts["truncation"] = TRUNCATION * job.voxel
    if not job.outlined:
        return tsdf_mesh(job.pictures, voxel=job.voxel)
    mesh, forward = best_forward(lambda pictures: tsdf_mesh(pictures, voxel=job.voxel), job.pictures, job.voxel)
    job.facts["forward"] = forward
    return mesh


def _poisson(job: Job) -> Mesh:
    def surface(outward: float) -> Mesh:
        return poisson_mesh(job.gaussians, job.pictures, outward=outward, depth=round(math.log2(job.resolution)))

    if not job.outlined:
        return surface(WIDENED * job.footprint)
    mesh, job.facts["outward"] = best_outward(surface, job.pictures, job.voxel)
    return mesh


def _density(job: Job) -> Mesh:
    gaussians = job.gaussians
    if job.box is not None:
        lower, upper = job.box
        gaussians = gaussians.select(((gaussians.means >= lower) & (gaussians.means <= upper)).all(-1))
    elif not job.outlined:
        job.notes.append("a level set of density is closed, also where no photo looked; --method tsdf leaves that open")
    return density_mesh(gaussians, resolution=max(8, job.resolution // 2))


METHODS: dict[str, Callable[[Job], Mesh]] = {"tsdf": _tsdf, "poisson": _poisson, "density": _density}
