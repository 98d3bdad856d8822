"""COLMAP reconstructions: `sparse/0` (or `sparse`, `colmap/sparse/0`) beside `images/` and, if there are any, `masks/`."""

import os
from pathlib import Path
from types import ModuleType

import torch
from jaxtyping import Float
from torch import Tensor

from gen3d.errors import BadInput
from gen3d.pipeline.scenes import colmap_binary, colmap_text
from gen3d.pipeline.scenes.lenses import MODELS, Lens, make_lens
from gen3d.pipeline.scenes.shots import Capture, Shot, point_cloud, require_files, rigid_pose
from gen3d.renderers.cameras import colmap_to_opencv
from gen3d.renderers.mesh import PointCloud

MODEL_FOLDERS = ("sparse/0", "sparse", "colmap/sparse/0")
ENCODINGS: dict[str, ModuleType] = {".bin": colmap_binary, ".txt": colmap_text}


def find_model(folder: Path) -> Path | None:
    """The folder of the COLMAP model of a scene, or None."""
    candidates = (folder / name for name in MODEL_FOLDERS)
    return next((path for path in candidates if _encoding(path) is not None), None)


def read_colmap(folder: Path) -> Capture:
    """Read the scene in `folder`.

    Raises:
        BadInput: no model, a damaged one, or photos missing.
    """
    model = find_model(folder)
    if model is None:
        raise BadInput(f"{folder} holds no COLMAP model; cameras and images (.bin or .txt) must lie in {' or '.join(MODEL_FOLDERS)}")
    lenses = _read_lenses(model)
    shots = []
    for name, (camera, pose) in read_poses(model).items():
        if camera not in lenses:
            raise BadInput(f"{model} gives the photo {name!r} the camera {camera}, which is not among its cameras; export the model again")
        mask = _first_file(folder / "masks" / f"{name}.png", (folder / "masks" / name).with_suffix(".png"))
        shots.append(Shot(name, folder / "images" / name, mask, lenses[camera], pose))
    require_files([shot.photo for shot in shots], "photos")
    return Capture(tuple(shots), read_points(model))


def read_poses(model: Path) -> dict[str, tuple[int, Float[Tensor, "4 4"]]]:
    """Camera id and `world_to_camera` (float64) of each photo of a model, by name.

    Raises:
        BadInput: the file is damaged, a pose is not finite, or a name occurs twice.
    """
    module, suffix = _require_encoding(model)
    poses: dict[str, tuple[int, Tensor]] = {}
    for image in module.read_images(model / f"images{suffix}"):
        if image.name in poses or not Path(image.name).name:
            raise BadInput(f"{model / f'images{suffix}'} names the photo {image.name!r} twice or not at all; export the model again")
        quaternion = torch.tensor(image.quaternion, dtype=torch.float64)
        if not 1e-6 < quaternion.norm() < 1e6:
            raise BadInput(
                f"the pose of {image.name!r} has the quaternion {image.quaternion}; it must not be zero: correct or remove the photo"
            )
        matrix = colmap_to_opencv(quaternion, torch.tensor(image.translation, dtype=torch.float64))
        poses[image.name] = image.camera, rigid_pose(matrix.tolist(), repr(image.name))
    return poses


def read_points(model: Path) -> PointCloud | None:
    """The points of a model, or None when it has none.

    Raises:
        BadInput: the file is damaged.
    """
    module, suffix = _require_encoding(model)
    path = model / f"points3D{suffix}"
    if not os.path.isfile(path):
        return None
    points = module.read_points(path)
    return point_cloud(points.xyz, points.rgb)


def _read_lenses(model: Path) -> dict[int, Lens]:
    module, suffix = _require_encoding(model)
    lenses = {}
    for camera in module.read_cameras(model / f"cameras{suffix}"):
        source = f"camera {camera.identifier} of {model}"
        names = MODELS.get(camera.model, ())
        if names and len(names) != len(camera.parameters):
            raise BadInput(f"{source} has {len(camera.parameters)} parameters; {camera.model} takes {len(names)}: export the model again")
        values = dict(zip(names, camera.parameters, strict=False))
        lenses[camera.identifier] = make_lens(camera.model, camera.width, camera.height, values, source)
    return lenses


def _encoding(model: Path) -> str | None:
    """The suffix of the model's files, binary before text."""
    complete = (suffix for suffix in ENCODINGS if all(os.path.isfile(model / f"{name}{suffix}") for name in ("cameras", "images")))
    return next(complete, None)


def _require_encoding(model: Path) -> tuple[ModuleType, str]:
    suffix = _encoding(model)
    if suffix is None:
        raise BadInput(f"{model} holds no cameras and images (.bin or .txt); export the model again")
    return ENCODINGS[suffix], suffix


def _first_file(*paths: Path) -> Path | None:
    return next((path for path in paths if os.path.isfile(path)), None)
