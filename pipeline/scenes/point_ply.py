"""Plain point clouds in PLY files, as nerfstudio stores them."""

from pathlib import Path

import numpy as np

from gen3d.errors import BadInput
from gen3d.files import read_bytes
from gen3d.pipeline.formats.ply_header import parse_header, read_rows
from gen3d.pipeline.scenes.shots import point_cloud
from gen3d.renderers.mesh import PointCloud

POSITION = ["x", "y", "z"]
COLOR = ["red", "green", "blue"]


def read_point_ply(path: Path) -> PointCloud | None:
    """Positions and colours of the vertices, grey where there is no colour; None when there are no vertices.

    Raises:
        BadInput: not a PLY file, truncated, or without positions.
    """
    data, name = read_bytes(path), str(path)
    header = parse_header(data, name)
    element = header.element("vertex")
    if element is None or not set(POSITION) <= set(element.properties):
        raise BadInput(f"{name} has no vertices with x, y and z, so there are no points to read; write or download it again")
    if element.count == 0:
        return None
    rows = read_rows(data, header, element, name)
    xyz = np.stack([rows[axis].astype(np.float64) for axis in POSITION], -1)
    if not set(COLOR) <= set(element.properties):
        return point_cloud(xyz, np.full_like(xyz, 127.5))
    rgb = np.stack([rows[channel].astype(np.float64) for channel in COLOR], -1)
    unit = element.properties["red"].startswith("f")
    return point_cloud(xyz, np.nan_to_num(rgb * 255 if unit else rgb))
