"""COLMAP's text model files."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from gen3d.errors import BadInput
from gen3d.files import read_bytes
from gen3d.pipeline.scenes.colmap_records import RawCamera, RawImage, RawPoints


def read_cameras(path: Path) -> list[RawCamera]:
    """The content of cameras.txt: id, model, width, height, parameters.

    Raises:
        BadInput: a line that is not of this form.
    """
    cameras = []
    for number, line in _records(path):
        try:
            identifier, model, width, height, *parameters = line.split()
            cameras.append(RawCamera(int(identifier), model, int(width), int(height), tuple(map(float, parameters))))
        except ValueError as error:
            raise _bad_line(path, number, line, "an id, a model, width, height and numbers") from error
    return cameras


def read_images(path: Path) -> list[RawImage]:
    """The content of images.txt: id, quaternion, translation, camera id, name; the line after each holds keypoints.

    Raises:
        BadInput: a line that is not of this form.
    """
    images = []
    lines = _records(path, follow=True)
    for number, line in lines:
        try:
            _, *pose, camera, name = line.split(maxsplit=9)
            values = tuple(map(float, pose))
            if len(values) != 7:
                raise ValueError("too few numbers")
            images.append(RawImage(name, int(camera), values[:4], values[4:]))
        except ValueError as error:
            raise _bad_line(path, number, line, "an id, 7 numbers, a camera id and a name") from error
    return images


def read_points(path: Path) -> RawPoints:
    """The content of points3D.txt: id, x, y, z, r, g, b, error, track.

    Raises:
        BadInput: a line that is not of this form.
    """
    rows = []
    for number, line in _records(path):
        try:
            _, x, y, z, r, g, b, *_ = line.split(maxsplit=7)
            rows.append((float(x), float(y), float(z), float(r), float(g), float(b)))
        except ValueError as error:
            raise _bad_line(path, number, line, "an id, a position and a colour") from error
    table = np.array(rows, dtype=np.float64).reshape(-1, 6)
    return RawPoints(table[:, :3], table[:, 3:])


def _records(path: Path, *, follow: bool = False) -> Iterator[tuple[int, str]]:
    """Numbered lines that are neither empty nor comments; with `follow`, the line after each is skipped whatever it holds."""
    lines = enumerate(read_bytes(path).split(b"\n"), 1)
    for number, raw in lines:
        try:
            line = raw.decode().strip()
        except UnicodeDecodeError as error:
            raise BadInput(f"{path}, line {number} is not UTF-8 text; export the model again") from error
        if line and not line.startswith("#"):
            yield number, line
            if follow:
                next(lines, None)


def _bad_line(path: Path, number: int, line: str, rule: str) -> BadInput:
    return BadInput(f"{path}, line {number} reads {line[:80]!r}; it must hold {rule}: export the model again")
