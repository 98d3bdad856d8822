"""World frames by name, and moving splats and meshes between them, everything that has a direction together."""

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from gen3d.renderers import harmonics
from gen3d.renderers.gaussians import Gaussians
from gen3d.renderers.mesh import Mesh
from gen3d.renderers.quaternions import matrix_to_quaternion, multiply

# Rotation from gen3d's world (right-handed, +Y up, front +Z) into each frame.
WORLD_TO_FRAME: dict[str, tuple[tuple[int, int, int], ...]] = {
    "gltf": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),  # the world itself
    "ply": ((-1, 0, 0), (0, -1, 0), (0, 0, 1)),  # half a turn about Z: viewers of the PLY family undo exactly this
    "ydown": ((1, 0, 0), (0, -1, 0), (0, 0, -1)),  # half a turn about X: OpenCV-like captures and many .splat files
    "zup": ((1, 0, 0), (0, 0, -1), (0, 1, 0)),  # Blender, robotics: front faces -Y
}

# The same for the axes of mesh files. Mirrors are for meshes only: harmonics and quaternions have no mirror image here.
WORLD_TO_MESH_AXES: dict[str, tuple[tuple[int, int, int], ...]] = {
    **{name: WORLD_TO_FRAME[name] for name in ("gltf", "zup", "ply")},
    "unity": ((-1, 0, 0), (0, 1, 0), (0, 0, 1)),  # left-handed, +Y up, front +Z: x is mirrored
}


def world_to_frame(frame: str) -> Float[Tensor, "3 3"]:
    """The rotation from the world into `frame`, float64.

    Raises:
        ValueError: the frame is not known.
    """
    return _matrix(WORLD_TO_FRAME, frame, f"the frame {frame!r} is")


def frame_to_world(frame: str) -> Float[Tensor, "3 3"]:
    """The rotation from `frame` into the world, float64."""
    return world_to_frame(frame).mT


def rigid(rotation: Float[Tensor, "3 3"], translation: Float[Tensor, " 3"] | None = None, scale: float = 1.0) -> Float[Tensor, "4 4"]:
    """The 4x4 matrix of p -> scale · rotation p + translation."""
    matrix = torch.eye(4, dtype=rotation.dtype)
    matrix[:3, :3] = scale * rotation
    if translation is not None:
        matrix[:3, 3] = translation
    return matrix


def move_gaussians(gaussians: Gaussians, transform: Float[Tensor, "4 4"]) -> Gaussians:
    """Splats after p -> `transform` p, a rotation, uniform scale and translation; a render moved along is unchanged."""
    linear = transform[:3, :3].to("cpu", torch.float64)
    scale = torch.linalg.det(linear).pow(1 / 3)
    rotation = linear / scale
    turn = matrix_to_quaternion(rotation).to(gaussians.quats)
    means = gaussians.means @ linear.mT.to(gaussians.means) + transform[:3, 3].to(gaussians.means)
    return replace(
        gaussians,
        means=means,
        scales=gaussians.scales * scale.to(gaussians.scales),
        quats=multiply(turn.expand_as(gaussians.quats), gaussians.quats),
        sh=harmonics.rotate(gaussians.sh, rotation),
    )


def world_to_axes(axes: str) -> Float[Tensor, "3 3"]:
    """The rotation or mirror from the world into the `axes` of a mesh file, float64; its transpose leads back.

    Raises:
        ValueError: the axes are not known.
    """
    return _matrix(WORLD_TO_MESH_AXES, axes, f"the axes {axes!r} are")


def turn_mesh(mesh: Mesh, turn: Float[Tensor, "3 3"]) -> Mesh:
    """A mesh after p -> `turn` p, a rotation or mirror; a mirror also reverses the faces, so that cross(b - a, c - a) stays outside."""
    faces = mesh.faces[:, [0, 2, 1]] if torch.linalg.det(turn) < 0 else mesh.faces
    return replace(mesh, vertices=mesh.vertices @ turn.mT.to(mesh.vertices), faces=faces)


def _matrix(table: dict[str, tuple[tuple[int, int, int], ...]], name: str, subject: str) -> Float[Tensor, "3 3"]:
    if name not in table:
        raise ValueError(f"{subject} not known; choose one of {', '.join(table)}")
    return torch.tensor(table[name], dtype=torch.float64)
