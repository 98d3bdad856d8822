"""COLMAP's binary model files, little endian; the counts in them are checked before they are believed.

The layout follows COLMAP's documentation of its output format.
"""

import struct
from pathlib import Path
from typing import Any

import numpy as np

from gen3d.errors import BadInput
from gen3d.files import read_bytes
from gen3d.pipeline.scenes.colmap_records import RawCamera, RawImage, RawPoints
from gen3d.pipeline.scenes.lenses import MODELS

MODEL_NAMES = {
    0: "SIMPLE_PINHOLE", 1: "PINHOLE", 2: "SIMPLE_RADIAL", 3: "RADIAL", 4: "OPENCV", 5: "OPENCV_FISHEYE", 6: "FULL_OPENCV", 7: "FOV",
    8: "SIMPLE_RADIAL_FISHEYE", 9: "RADIAL_FISHEYE", 10: "THIN_PRISM_FISHEYE", 11: "RAD_TAN_THIN_PRISM_FISHEYE",
    12: "SIMPLE_DIVISION", 13: "DIVISION", 14: "SIMPLE_FISHEYE", 15: "FISHEYE", 16: "EUCM", 17: "EQUIRECTANGULAR",
}  # fmt: skip


class _Cursor:
    """A position in a file's bytes."""

    def __init__(self, path: Path) -> None:
        self.path, self.data, self.offset = path, read_bytes(path), 0

    def take(self, layout: struct.Struct) -> tuple[Any, ...]:
        self.need(layout.size)
        values = layout.unpack_from(self.data, self.offset)
        self.offset += layout.size
        return values

    def count(self, record: int) -> int:
        """A count of records that take at least `record` bytes each."""
        (count,) = self.take(_COUNT)
        self.need(count * record)
        return count

    def skip(self, size: int) -> None:
        self.need(size)
        self.offset += size

    def text(self) -> str:
        end = self.data.find(b"\0", self.offset)
        if end < 0:
            raise BadInput(f"{self.path} ends within a file name; export the model again")
        text = self.data[self.offset : end]
        self.offset = end + 1
        try:
            return text.decode()
        except UnicodeDecodeError as error:
            raise BadInput(f"{self.path} holds the file name {text!r}, which is not UTF-8; export the model again") from error

    def need(self, size: int) -> None:
        left = len(self.data) - self.offset
        if size > left:
            raise BadInput(f"{self.path} has {left:,} bytes left where its counts ask for at least {size:,}; export the model again")


_COUNT = struct.Struct("<Q")
_CAMERA = struct.Struct("<IiQQ")
_IMAGE = struct.Struct("<I7dI")
_POINT = struct.Struct("<Q3d3Bd")
_OBSERVATION_BYTES, _TRACK_BYTES = 24, 8


def read_cameras(path: Path) -> list[RawCamera]:
    """The content of cameras.bin.

    Raises:
        BadInput: truncated, or a camera model that cannot be undistorted.
    """
    cursor = _Cursor(path)
    cameras = []
    for _ in range(cursor.count(_CAMERA.size)):
        identifier, number, width, height = cursor.take(_CAMERA)
        model = MODEL_NAMES.get(number, f"number {number}")
        if model not in MODELS:
            raise BadInput(f"{path} has a camera of the model {model}, which cannot be undistorted; undistort the photos to PINHOLE first")
        cameras.append(RawCamera(identifier, model, width, height, cursor.take(struct.Struct(f"<{len(MODELS[model])}d"))))
    return cameras


def read_images(path: Path) -> list[RawImage]:
    """The content of images.bin.

    Raises:
        BadInput: truncated.
    """
    cursor = _Cursor(path)
    images = []
    for _ in range(cursor.count(_IMAGE.size + 1 + _COUNT.size)):
        _, *pose, camera = cursor.take(_IMAGE)
        name = cursor.text()
        cursor.skip(_OBSERVATION_BYTES * cursor.count(_OBSERVATION_BYTES))
        images.append(RawImage(name, camera, tuple(pose[:4]), tuple(pose[4:])))
    return images


def read_points(path: Path) -> RawPoints:
    """The content of points3D.bin.

    Raises:
        BadInput: truncated.
    """
    cursor = _Cursor(path)
    rows = []
    for _ in range(cursor.count(_POINT.size + _COUNT.size)):
        rows.append(cursor.take(_POINT)[1:7])
        cursor.skip(_TRACK_BYTES * cursor.count(_TRACK_BYTES))
    table = np.array(rows, dtype=np.float64).reshape(-1, 6)
    return RawPoints(table[:, :3], table[:, 3:])
