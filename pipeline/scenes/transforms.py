"""transforms.json of instant-ngp, nerfstudio and the synthetic NeRF scenes: reading, and writing pinhole cameras."""

import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from gen3d.errors import BadInput
from gen3d.files import read_json, write_json
from gen3d.pipeline.scenes import colmap
from gen3d.pipeline.scenes.lenses import Lens, make_lens
from gen3d.pipeline.scenes.photos import photo_size
from gen3d.pipeline.scenes.point_ply import read_point_ply
from gen3d.pipeline.scenes.scene import View
from gen3d.pipeline.scenes.shots import Capture, Shot, require_files, rigid_pose
from gen3d.renderers.cameras import Cameras, opencv_to_opengl, opengl_to_opencv, rigid_inverse
from gen3d.renderers.mesh import PointCloud

SPLITS = ("train", "test", "val")
PHOTO_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
JSON_LIMIT = 64 * 1024**2
LENS_KEYS = {"fl_x": "fx", "fl_y": "fy"} | {key: key for key in ("cx", "cy", "k1", "k2", "k3", "k4", "k5", "k6", "p1", "p2")}


def find_transforms(folder: Path) -> dict[str | None, Path]:
    """The files of a scene by the split they hold: one transforms.json, or transforms_train.json and its siblings; empty if none."""
    if os.path.isfile(folder / "transforms.json"):
        return {None: folder / "transforms.json"}
    files: dict[str | None, Path] = {split: folder / f"transforms_{split}.json" for split in SPLITS}
    # The synthetic NeRF scenes come with 100 validation photos more than they are tested on.
    if os.path.isfile(folder / "transforms_test.json"):
        del files["val"]
    return {split: path for split, path in files.items() if os.path.isfile(path)}


def read_transforms(folder: Path) -> Capture:
    """Read the scene in `folder`.

    Points come from the file that `ply_file_path` names, or from a COLMAP model beside the file whose cameras are the same.

    Raises:
        BadInput: no such file, a damaged one, or photos missing.
    """
    files = find_transforms(folder)
    if not files:
        raise BadInput(f"{folder} holds neither transforms.json nor transforms_train.json; give the folder that does")
    metas = [(split, path, _read_meta(path)) for split, path in files.items()]
    entries = [(meta, frame, split, path) for split, path, meta in metas for frame in meta["frames"]]
    photos = [_photo_path(folder, frame, path) for _, frame, _, path in entries]
    require_files(photos, "photos")
    masks = [_optional_path(folder, frame.get("mask_path"), path) for _, frame, _, path in entries]
    require_files([mask for mask in masks if mask], "masks")
    names = _names(photos)
    shots = tuple(
        Shot(name, photo, mask, _lens(meta, frame, photo), _pose(frame, name), _split(meta, frame, split))
        for (meta, frame, split, _), photo, mask, name in zip(entries, photos, masks, names, strict=True)
    )
    meta, path = metas[0][2], metas[0][1]
    ply = _optional_path(folder, meta.get("ply_file_path"), path)
    if ply:
        if not os.path.isfile(ply):
            raise BadInput(f"{path} names {str(ply)!r} as ply_file_path, which does not exist; put the points there or remove the key")
        return Capture(shots, read_point_ply(ply))
    points, notes = _neighbour_points(folder, meta, shots)
    return Capture(shots, points, notes)


def write_transforms(path: str | Path, views: Sequence[View]) -> None:
    """Write cameras as a nerfstudio transforms.json, pinhole, with `images/NAME` for each photo, and whether photos have alpha.

    Raises:
        Gen3DError: the file cannot be written.
    """
    frames = []
    for view in views:
        (fx, _, cx), (_, fy, cy), _ = view.camera.intrinsics[0].double().tolist()
        pose = opencv_to_opengl(view.camera.world_to_camera[0].double()).tolist()
        size = {"w": view.camera.width, "h": view.camera.height}
        lens = {"fl_x": fx, "fl_y": fy, "cx": cx, "cy": cy}
        frames.append({"file_path": f"images/{view.name}", **size, **lens, "transform_matrix": pose})
    write_json(path, {"camera_model": "PINHOLE", "cut_out": any(view.alpha is not None for view in views), "frames": frames})


def read_cameras(path: Path) -> Cameras:
    """The cameras `[v]` of a file of `write_transforms`, all on the pixel grid of the first; their photos are not needed.

    Raises:
        BadInput: no such file, or a damaged one.
    """
    frames = _read_meta(path)["frames"]
    photos = [_photo_path(path.parent, frame, path) for frame in frames]
    lenses = [_lens({}, frame, photo) for frame, photo in zip(frames, photos, strict=True)]
    width, height = lenses[0].width, lenses[0].height
    poses = torch.stack([_pose(frame, photo.name) for frame, photo in zip(frames, photos, strict=True)])
    intrinsics = torch.stack([lens.resized(width, height).intrinsics for lens in lenses])
    return Cameras(poses.float(), intrinsics.float(), width, height)


def are_cut_out(path: Path) -> bool:
    """Whether the photos of a file of `write_transforms` show objects that were cut out; False where an older file does not say.

    Raises:
        BadInput: no such file, or a damaged one.
    """
    return _read_meta(path).get("cut_out") is True


def _read_meta(path: Path) -> dict[str, Any]:
    meta = read_json(path, limit=JSON_LIMIT)
    frames = meta.get("frames") if isinstance(meta, dict) else None
    if not isinstance(frames, list) or not frames or not all(isinstance(frame, dict) for frame in frames):
        raise BadInput(f"{path} has no list of objects named frames; each photo must be one of them: correct the file")
    return meta


def _optional_path(folder: Path, value: Any, source: Path) -> Path | None:
    if value is None:
        return None
    if not isinstance(value, str) or not value:
        raise BadInput(f"{source} holds the path {value!r}; it must be a non-empty string: correct the file")
    return folder / value.replace("\\", "/")


def _photo_path(folder: Path, frame: Mapping[str, Any], source: Path) -> Path:
    """The photo of a frame; the synthetic NeRF scenes leave the suffix out."""
    path = _optional_path(folder, frame.get("file_path"), source)
    if path is None:
        raise BadInput(f"{source} has a frame without file_path; name its photo or remove the frame")
    candidates = [path, *(path.with_name(path.name + suffix) for suffix in PHOTO_SUFFIXES if path.name)]
    return next((candidate for candidate in candidates if os.path.isfile(candidate)), path)


def _names(photos: Sequence[Path]) -> list[str]:
    """Each photo's path below the folder that holds all of them."""
    plain = [os.path.abspath(photo) for photo in photos]
    base = os.path.commonpath([os.path.dirname(path) for path in plain])
    names = [Path(os.path.relpath(path, base)).as_posix() for path in plain]
    name, count = Counter(names).most_common(1)[0]
    if count > 1:
        raise BadInput(f"the photo {name!r} is listed {count} times; each photo has one camera: remove the others")
    return names


def _lens(meta: Mapping[str, Any], frame: Mapping[str, Any], photo: Path) -> Lens:
    """The lens of a frame, whose own keys go before those of the file."""
    known = {key: value for key, value in (*meta.items(), *frame.items()) if value is not None}
    source = f"the camera of {photo.name!r}"
    number = {key: _number(known[key], key, source) for key in ("w", "h", "camera_angle_x", "camera_angle_y", *LENS_KEYS) if key in known}
    width, height = (round(number["w"]), round(number["h"])) if "w" in number and "h" in number else photo_size(photo)
    values = {name: number[key] for key, name in LENS_KEYS.items() if key in number}
    for focal, angle, side in (("fx", "camera_angle_x", width), ("fy", "camera_angle_y", height)):
        if focal not in values and 0 < number.get(angle, 0) < math.pi:
            values[focal] = 0.5 * side / math.tan(number[angle] / 2)
    if "fx" not in values and "fy" in values:
        values["fx"] = values["fy"]
    model = "OPENCV_FISHEYE" if known.get("is_fisheye") is True else known.get("camera_model", "OPENCV")
    # Writers name the model loosely (PINHOLE beside k1), so every coefficient that is given counts, as in nerfstudio.
    return make_lens(str(model), width, height, values, source)


def _number(value: Any, key: str, source: str) -> float:
    if isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e9:  # also refuses NaN
        return float(value)
    raise BadInput(f"{source} has {key} = {value!r:.80}; it must be a finite number below 1e9: correct the file")


def _pose(frame: Mapping[str, Any], name: str) -> Float[Tensor, "4 4"]:
    return opengl_to_opencv(rigid_pose(frame.get("transform_matrix"), repr(name)))


def _split(meta: Mapping[str, Any], frame: Mapping[str, Any], split: str | None) -> str | None:
    """The split that the file's name, the file's lists or the frame itself gives a photo."""
    if split is not None:
        return split
    path = PurePosixPath(frame["file_path"])
    for listed in SPLITS:
        paths = meta.get(f"{listed}_filenames")
        if isinstance(paths, list) and any(isinstance(item, str) and PurePosixPath(item) == path for item in paths):
            return listed
    named = frame.get("split")
    if named is not None and named not in SPLITS:
        raise BadInput(
            f"the photo {frame['file_path']!r} has the split {named!r:.80}; it must be one of {', '.join(SPLITS)}: correct the file"
        )
    return named


def _neighbour_points(folder: Path, meta: Mapping[str, Any], shots: Sequence[Shot]) -> tuple[PointCloud | None, tuple[str, ...]]:
    """The points of a COLMAP model beside the file, when its cameras stand where those of the file do, or why they are not used."""
    model = colmap.find_model(folder)
    if model is None:
        return None, ()
    try:
        applied = rigid_pose(meta.get("applied_transform", torch.eye(4).tolist()), "applied_transform")
        poses = colmap.read_poses(model)
        pairs = [(shot.world_to_camera, poses[shot.name][1] @ rigid_inverse(applied)) for shot in shots if shot.name in poses]
        if len(pairs) < min(3, len(shots)):
            return None, (f"{model} knows {len(pairs)} of the {len(shots)} photos, too few to compare; its points are not used",)
        ours, theirs = (rigid_inverse(torch.stack(side)) for side in zip(*pairs, strict=True))
        spread = ours[:, :3, 3].std(0).norm()
        apart, turned = (ours - theirs)[:, :3, 3].norm(dim=-1).max() / spread, (ours - theirs)[:, :3, :3].abs().max()
        if not (apart < 1e-2 and turned < 1e-2):
            return None, (f"{model} has other cameras than transforms.json ({apart:.2g} of their spread apart); its points are not used",)
        points = colmap.read_points(model)
    except BadInput as error:
        return None, (f"the points of {model} are not used: {error}",)
    if points is None:
        return None, ()
    moved = points.points @ applied[:3, :3].mT.float() + applied[:3, 3].float()
    return replace(points, points=moved), ()
