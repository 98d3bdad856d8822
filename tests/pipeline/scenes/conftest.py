"""A small synthetic scene: coloured blobs on a sphere's worth of points, seen by cameras on an arc."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gen3d.pipeline.scenes.lenses import MODELS
from gen3d.renderers.cameras import look_at, opencv_to_opengl
from gen3d.renderers.quaternions import matrix_to_quaternion

WIDTH, HEIGHT, FOCAL = 64, 48, 60.0
POINTS = np.array([[0.0, 0.0, 0.0], [0.5, 0.0, 0.1], [0.0, 0.4, 0.0], [-0.5, 0.2, 0.3], [0.3, -0.3, -0.2]])
COLORS = np.array([[250, 240, 30], [40, 220, 60], [230, 50, 40], [50, 90, 240], [240, 240, 240]])


def poses(count):
    """World-to-camera matrices on an arc above the points, float64."""
    angles = torch.linspace(0, 2.5, count, dtype=torch.float64)
    eyes = torch.stack([3 * angles.sin(), torch.full_like(angles, 1.0) + 0.1 * angles, 3 * angles.cos()], -1)
    return look_at(eyes, torch.zeros_like(eyes))


def blobs(pixels, colors, width=WIDTH, height=HEIGHT, sigma=1.5):
    """A dark photo with a Gaussian blob at each pixel position (pixel centres at +0.5)."""
    y, x = np.mgrid[:height, :width] + 0.5
    photo = np.full((height, width, 3), 20.0)
    for (u, v), color in zip(pixels, colors, strict=True):
        weight = np.exp(-((x - u) ** 2 + (y - v) ** 2) / (2 * sigma**2))[..., None]
        photo = photo * (1 - weight) + weight * color
    return photo.round().clip(0, 255).astype(np.uint8)


def project(world_to_camera, points=POINTS, focal=FOCAL, center=(WIDTH / 2, HEIGHT / 2)):
    """Pinhole pixels of world points."""
    matrix = np.asarray(world_to_camera)
    local = points @ matrix[:3, :3].T + matrix[:3, 3]
    return local[:, :2] / local[:, 2:] * focal + np.asarray(center)


class SceneFolder:
    """Photos on disk and the ways to describe their cameras."""

    def __init__(self, path: Path, count: int) -> None:
        self.path, self.poses = path, poses(count)
        self.names = [f"photo{index:02d}.png" for index in range(count)]
        (path / "images").mkdir(parents=True)
        for name, pose in zip(self.names, self.poses, strict=True):
            Image.fromarray(blobs(project(pose), COLORS)).save(path / "images" / name)

    def meta(self):
        frames = [
            {"file_path": f"images/{name}", "transform_matrix": opencv_to_opengl(pose).tolist()}
            for name, pose in zip(self.names, self.poses, strict=True)
        ]
        return {"w": WIDTH, "h": HEIGHT, "fl_x": FOCAL, "fl_y": FOCAL, "cx": WIDTH / 2, "cy": HEIGHT / 2, "frames": frames}

    def write_json(self, meta=None, name="transforms.json"):
        (self.path / name).write_text(json.dumps(meta or self.meta()))
        return self.path

    def colmap_bytes(self, binary, model="PINHOLE", parameters=(FOCAL, FOCAL, WIDTH / 2, HEIGHT / 2), keypoints=2):
        """The three files of a COLMAP model by name, with keypoints and tracks to be skipped."""
        quats = matrix_to_quaternion(self.poses[:, :3, :3]).tolist()
        shifts = self.poses[:, :3, 3].tolist()
        if binary:
            number = {"SIMPLE_PINHOLE": 0, "PINHOLE": 1, "SIMPLE_RADIAL": 2, "OPENCV": 4, "OPENCV_FISHEYE": 5, "FOV": 7}[model]
            cameras = struct.pack("<QIiQQ", 1, 7, number, WIDTH, HEIGHT) + struct.pack(f"<{len(parameters)}d", *parameters)
            images = struct.pack("<Q", len(self.names))
            for index, (name, quat, shift) in enumerate(zip(self.names, quats, shifts, strict=True)):
                images += struct.pack("<I7dI", index, *quat, *shift, 7) + name.encode() + b"\0"
                images += struct.pack("<Q", keypoints) + struct.pack("<ddQ", 1.0, 2.0, 3) * keypoints
            points = struct.pack("<Q", len(POINTS))
            for index, (point, color) in enumerate(zip(POINTS, COLORS, strict=True)):
                points += struct.pack("<Q3d3Bd", index, *point, *color.tolist(), 0.5) + struct.pack("<Qii", 1, 0, 0)
            return {"cameras.bin": cameras, "images.bin": images, "points3D.bin": points}
        cameras = f"# cameras\n7 {model} {WIDTH} {HEIGHT} {' '.join(map(str, parameters))}\n"
        images = "# images\n"
        for index, (name, quat, shift) in enumerate(zip(self.names, quats, shifts, strict=True)):
            images += f"{index} {' '.join(map(str, quat + shift))} 7 {name}\n{'1.0 2.0 3 ' * keypoints}\n"
        points = "# points\n"
        for index, (point, color) in enumerate(zip(POINTS, COLORS, strict=True)):
            points += f"{index} {' '.join(map(str, point))} {' '.join(map(str, color))} 0.5 0 0\n"
        return {"cameras.txt": cameras.encode(), "images.txt": images.encode(), "points3D.txt": points.encode()}

    def write_colmap(self, binary, folder="sparse/0", **options):
        assert options.get("model", "PINHOLE") in (*MODELS, "FOV")
        model = self.path / folder
        model.mkdir(parents=True, exist_ok=True)
        for name, content in self.colmap_bytes(binary, **options).items():
            (model / name).write_bytes(content)
        return self.path


@pytest.fixture
def make_folder(tmp_path):
    """Call with a number of photos to get a `SceneFolder`."""
    return lambda count=6, name="scene": SceneFolder(tmp_path / name, count)


@pytest.fixture
def draw():
    """The function that draws blobs."""
    return blobs


@pytest.fixture
def scene_points():
    """Positions and colours (0..255) of the synthetic scene, and the function that projects into its photos."""
    return POINTS, COLORS, project
