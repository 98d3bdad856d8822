"""Meshes as binary glTF 2.0: one node, one primitive, one matte material; the frame is gen3d's own (+Y up, front +Z).

Textures are display-referred in glTF and go in unchanged; vertex colours are linear there. v runs downwards.
"""

import json
import struct
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gen3d import __version__
from gen3d.pipeline.formats.colors import display_to_linear
from gen3d.pipeline.formats.images import encode_png
from gen3d.pipeline.formats.mesh_contents import Encoded, MeshContents

MAGIC, JSON_CHUNK, BINARY_CHUNK = b"glTF", b"JSON", b"BIN\0"
FLOAT, UNSIGNED_INT = 5126, 5125  # component types
VERTICES, INDICES = 34962, 34963  # what a buffer view is for
LINEAR, LINEAR_MIPMAP_LINEAR = 9729, 9987  # how a texture is looked up
TYPES = {1: "SCALAR", 2: "VEC2", 3: "VEC3"}


def encode(contents: MeshContents) -> Encoded:
    """The mesh as a GLB file with everything inside."""
    mesh, body = contents.mesh, _Body()
    attributes = {"POSITION": body.floats(mesh.vertices, bounds=True), "NORMAL": body.floats(contents.normals)}
    if mesh.colors is not None:
        attributes["COLOR_0"] = body.floats(display_to_linear(mesh.colors.clamp(0, 1)))
    cutout = mesh.texture is not None and mesh.texture.shape[-1] == 4
    surface: dict[str, Any] = {"metallicFactor": 0.0, "roughnessFactor": 1.0}
    # The inside is seen through holes only.
    material = {"name": contents.stem, "pbrMetallicRoughness": surface, "doubleSided": cutout or not contents.closed}
    document: dict[str, Any] = {
        "asset": {"version": "2.0", "generator": f"gen3d {__version__}", "extras": {"unit": contents.unit}},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"name": contents.stem, "mesh": 0}],
        "materials": [material],
    }
    if mesh.texture is not None and mesh.uvs is not None:
        attributes["TEXCOORD_0"] = body.floats(torch.stack([mesh.uvs[:, 0], 1 - mesh.uvs[:, 1]], -1))
        surface["baseColorTexture"] = {"index": 0}
        document["textures"] = [{"source": 0, "sampler": 0}]
        document["samplers"] = [{"magFilter": LINEAR, "minFilter": LINEAR_MIPMAP_LINEAR}]
        document["images"] = [{"name": contents.stem, "mimeType": "image/png", "bufferView": body.view(encode_png(mesh.texture))}]
        material |= {"alphaMode": "MASK", "alphaCutoff": 0.5} if cutout else {"alphaMode": "OPAQUE"}
    indices = body.accessor(mesh.faces.reshape(-1, 1).numpy().astype("<u4"), UNSIGNED_INT, INDICES)
    document["meshes"] = [{"name": contents.stem, "primitives": [{"attributes": attributes, "indices": indices, "material": 0}]}]
    document |= {"accessors": body.accessors, "bufferViews": body.views, "buffers": [{"byteLength": len(body.data)}]}
    return Encoded(pack(document, bytes(body.data)), {})


def pack(document: dict[str, Any], binary: bytes) -> bytes:
    """A GLB file of a glTF document and its first buffer."""
    text = json.dumps(document, allow_nan=False, separators=(",", ":")).encode()
    chunks = b""
    for kind, content, filler in ((JSON_CHUNK, text, b" "), (BINARY_CHUNK, binary, b"\0")):
        padded = content + filler * (-len(content) % 4)
        chunks += struct.pack("<I4s", len(padded), kind) + padded
    return struct.pack("<4sII", MAGIC, 2, 12 + len(chunks)) + chunks


class _Body:
    """The binary part of a file as it grows, and the tables that say what lies where."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.views: list[dict[str, int]] = []
        self.accessors: list[dict[str, Any]] = []

    def view(self, content: bytes, **more: int) -> int:
        """Append bytes; the number of their buffer view."""
        self.data += bytes(-len(self.data) % 4)  # every component must lie at a multiple of its size
        self.views.append({"buffer": 0, "byteOffset": len(self.data), "byteLength": len(content), **more})
        self.data += content
        return len(self.views) - 1

    def accessor(self, values: np.ndarray, component: int, target: int) -> int:
        """Append the rows of a table `[n, columns]`; the number of their accessor."""
        view = self.view(values.tobytes(), target=target)
        self.accessors.append({"bufferView": view, "componentType": component, "count": len(values), "type": TYPES[values.shape[1]]})
        return len(self.accessors) - 1

    def floats(self, values: Tensor, *, bounds: bool = False) -> int:
        """Append an attribute of the vertices `[n, columns]`; `bounds` adds its range, which positions need."""
        table = values.numpy().astype("<f4")
        number = self.accessor(table, FLOAT, VERTICES)
        if bounds:
            self.accessors[number] |= {"min": table.min(0).tolist(), "max": table.max(0).tolist()}
        return number
