"""What a glTF document asks a reader to allocate, measured before anything is allocated for it."""

import json
from typing import Any

from gen3d.errors import BadInput
from gen3d.files import GIBIBYTE

COMPONENTS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT2": 4, "MAT3": 9, "MAT4": 16}
COMPONENT_BYTES = {5120: 1, 5121: 1, 5122: 2, 5123: 2, 5125: 4, 5126: 4}
MOST_BYTES = 2 * GIBIBYTE  # of buffer views and accessors, which may name the same bytes many times
MOST_ITEMS = 2**27  # vertices and indices, a mesh counted for every place that it stands at
DEEPEST = 200  # nodes within nodes; placing them takes time with the cube of the depth


def check_gltf(data: bytes, name: str) -> None:
    """Measure a GLB or glTF file. A document that breaks the format raises nearly anything.

    Raises:
        BadInput: it asks for too much, or its vertices are compressed or sparse, which would be read as zeros.
    """
    # A GLB begins with its magic, version and length, then the length and the kind of its JSON.
    text = data[20 : 20 + int.from_bytes(data[12:16], "little")] if data.startswith(b"glTF") else data
    document = json.loads(text)
    accessors = document.get("accessors", [])
    stored = sum(_count(view["byteLength"]) for view in document.get("bufferViews", [])) + sum(map(_bytes, accessors))
    if stored > MOST_BYTES:
        raise BadInput(f"{name} promises {stored:,} bytes of numbers and at most {MOST_BYTES:,} are read; export it in parts")
    meshes = [[_arrays(primitive, accessors) for primitive in mesh["primitives"]] for mesh in document.get("meshes", [])]
    if any("bufferView" not in array or "sparse" in array for mesh in meshes for arrays in mesh for array in arrays):
        raise BadInput(f"{name} has compressed or sparse vertices, which are not read; export it without compression")
    items = [sum(_count(array["count"]) for arrays in mesh for array in arrays) for mesh in meshes]
    nodes = document.get("nodes", [])
    parents = [*document.get("scenes", []), *nodes]
    placed = [nodes[child] for parent in parents for child in (*parent.get("nodes", []), *parent.get("children", []))]
    total = sum(items) + sum(items[node["mesh"]] for node in placed if "mesh" in node)
    if total > MOST_ITEMS:
        raise BadInput(f"{name} has {total:,} vertices and indices and at most {MOST_ITEMS:,} are read; decimate it or export it in parts")
    level = {node for scene in document.get("scenes", []) for node in scene.get("nodes", [])}
    for _ in range(DEEPEST):
        level = {child for node in level for child in nodes[node].get("children", [])}
    if level:
        raise BadInput(f"{name} nests its nodes more than {DEEPEST} deep, or in a circle; flatten it and export it again")


def _arrays(primitive: dict[str, Any], accessors: list[Any]) -> list[Any]:
    """The accessors of a primitive's positions and faces; without indices the positions are the faces."""
    positions = primitive["attributes"]["POSITION"]
    return [accessors[positions], accessors[primitive.get("indices", positions)]]


def _bytes(accessor: dict[str, Any]) -> int:
    return _count(accessor["count"]) * COMPONENTS[accessor["type"]] * COMPONENT_BYTES[accessor["componentType"]]


def _count(value: Any) -> int:
    """A number of things; a negative one must not make room for others."""
    return abs(int(value))
