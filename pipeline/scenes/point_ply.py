"""Plain point clouds in PLY files, as nerfstudio stores them."""

from pathlib import Path

import numpy as np

from gen3d.errors import BadInput
from gen3d.files import read_bytes
from gen3d.pipeline.scenes.shots import point_cloud
from gen3d.renderers.mesh import PointCloud

TYPES = {
    "char": "i1", "int8": "i1", "uchar": "u1", "uint8": "u1", "short": "i2", "int16": "i2", "ushort": "u2", "uint16": "u2",
    "int": "i4", "int32": "i4", "uint": "u4", "uint32": "u4", "float": "f4", "float32": "f4", "double": "f8", "float64": "f8",
}  # fmt: skip
ORDERS = {"ascii": "", "binary_little_endian": "<", "binary_big_endian": ">"}
HEADER_LIMIT = 64 * 1024


def read_point_ply(path: Path) -> PointCloud | None:
    """Positions and colours of the vertices, grey where there is no colour; None when there are no vertices.

    Raises:
        BadInput: not a PLY file, truncated, or without positions.
    """
    data = read_bytes(path)
    end = data.find(b"end_header", 0, HEADER_LIMIT)
    body = data.find(b"\n", end) + 1
    if not data.startswith(b"ply") or end < 0 or body == 0:
        raise BadInput(f"{path} is not a PLY file (no header of at most {HEADER_LIMIT:,} bytes); write or download it again")
    count, order, fields = _parse_header(data[:end].decode("latin-1"), path)
    if count == 0:
        return None
    table = _read_ascii(data[body:], count, fields, path) if order == "" else _read_binary(data[body:], count, order, fields, path)
    xyz = np.stack([table[axis].astype(np.float64) for axis in "xyz"], -1)
    if all(name in table for name in ("red", "green", "blue")):
        colors = np.stack([table[name].astype(np.float64) for name in ("red", "green", "blue")], -1)
        unit = dict(fields)["red"].startswith("f")
        rgb = colors * 255 if unit else colors
    else:
        rgb = np.full_like(xyz, 127.5)
    return point_cloud(xyz, np.nan_to_num(rgb))


def _parse_header(header: str, path: Path) -> tuple[int, str, list[tuple[str, str]]]:
    """Vertex count, byte order and fields (name, type) of the first element, which must be the vertices."""
    lines = [line.split() for line in header.splitlines()[1:]]
    lines = [words for words in lines if words and words[0] not in ("comment", "obj_info")]
    try:
        order = next(ORDERS[words[1]] for words in lines if words[0] == "format")
        starts = [index for index, words in enumerate(lines) if words[0] == "element"]
        _, name, number = lines[starts[0]]
        count = int(number)
        properties = lines[starts[0] + 1 : starts[1] if len(starts) > 1 else None]
        fields = [(words[2], TYPES[words[1]]) for words in properties if words[0] == "property"]
    except (IndexError, KeyError, ValueError, StopIteration) as error:
        raise BadInput(
            f"the header of {path} cannot be understood ({error!r}); it must declare a format and scalar vertices first"
        ) from error
    names = [field for field, _ in fields]
    if name != "vertex" or count < 0 or not {"x", "y", "z"} <= set(names) or len(set(names)) < len(names):
        raise BadInput(
            f"the header of {path} must begin with vertices that have x, y and z once; it has {count} {name!r} with {names[:10]}"
        )
    return count, order, fields


def _read_binary(body: bytes, count: int, order: str, fields: list[tuple[str, str]], path: Path) -> dict[str, np.ndarray]:
    layout = np.dtype([(name, order + kind) for name, kind in fields])
    if count * layout.itemsize > len(body):
        raise BadInput(f"{path} has {len(body):,} bytes for {count:,} vertices of {layout.itemsize} bytes; download or write it again")
    table = np.frombuffer(body, layout, count)
    return {name: table[name] for name, _ in fields}


def _read_ascii(body: bytes, count: int, fields: list[tuple[str, str]], path: Path) -> dict[str, np.ndarray]:
    lines = body.splitlines()[:count]
    try:
        table = np.array([[float(word) for word in line.split()] for line in lines]).reshape(count, len(fields))
    except (ValueError, MemoryError) as error:
        raise BadInput(f"{path} does not hold {count:,} lines of {len(fields)} numbers ({error}); download or write it again") from error
    return {name: table[:, column] for column, (name, _) in enumerate(fields)}
