"""Splats as PLY, in the layout of 3D Gaussian splatting (Kerbl et al. 2023) that every viewer reads.

A row holds x y z, nx ny nz (zeros, by custom), f_dc_0..2, f_rest_* (all coefficients of red, then green, then blue),
opacity (logit), scale_0..2 (natural logarithm) and rot_0..3 (wxyz). Our header names the frame and the unit in comments.
"""

from typing import BinaryIO

import numpy as np
import torch

from gen3d import __version__
from gen3d.errors import BadInput
from gen3d.pipeline.formats.contents import MIN_SCALE, SplatContents
from gen3d.pipeline.formats.ply_header import Element, parse_header, read_rows
from gen3d.renderers import harmonics
from gen3d.renderers.gaussians import Gaussians

NORMALS = ("nx", "ny", "nz")
BASE = ("x", "y", "z", "f_dc_0", "f_dc_1", "f_dc_2", "opacity", "scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3")
CHUNK = 8192  # rows at a time stay in the processor's cache, however many columns are picked from them
EPSILON = 1e-6  # opacities 0 and 1 have no finite logit
OWN_COMMENT = "gen3d"  # "comment gen3d frame ply", "comment gen3d unit metre"


def decode(data: bytes, name: str) -> SplatContents:
    """Read the splats of a PLY file: text or binary, any order and type of the properties, other ones ignored.

    Raises:
        BadInput: not a PLY file, not one of splats, or shorter than its header says.
    """
    header = parse_header(data, name)
    element = header.element("vertex")
    if element is None or not element.count:
        raise BadInput(f"{name} has no vertices, so there are no splats to read; write or download it again")
    rest = _rest_names(element, name)
    columns = _columns(read_rows(data, header, element, name), (*BASE, *rest))
    values = torch.from_numpy(columns)
    means, dc, opacity, scales, quats, others = values.split([3, 3, 1, 3, 4, len(rest)], 1)
    sh = torch.cat([dc[:, None], others.unflatten(1, (3, -1)).mT], 1) if rest else dc[:, None]
    gaussians = Gaussians(means.contiguous(), scales.exp(), quats.contiguous(), opacity[:, 0].sigmoid(), sh.contiguous())
    own = {key: value for word, key, value in (_words(comment) for comment in header.comments) if word == OWN_COMMENT}
    foreign = tuple(comment for comment in header.comments if _words(comment)[0] != OWN_COMMENT)
    return SplatContents(gaussians, own.get("frame"), own.get("unit"), foreign)


def encode(stream: BinaryIO, contents: SplatContents) -> tuple[str, ...]:
    """Write unbatched splats as binary little endian PLY; nothing is lost, so there is nothing to tell."""
    gaussians = contents.gaussians
    rest = [f"f_rest_{i}" for i in range(3 * (gaussians.sh.shape[1] - 1))]
    names = (*BASE[:3], *NORMALS, *BASE[3:6], *rest, *BASE[6:])
    labels = {"version": __version__, "frame": contents.frame, "unit": contents.unit}
    header = ["ply", "format binary_little_endian 1.0"]
    header += [f"comment {OWN_COMMENT} {key} {' '.join(value.split())}" for key, value in labels.items() if value]
    header += [f"element vertex {gaussians.count}", *(f"property float {name}" for name in names), "end_header", ""]
    stream.write("\n".join(header).encode())
    for start in range(0, gaussians.count, CHUNK):
        part = slice(start, start + CHUNK)
        means, sh = gaussians.means[part], gaussians.sh[part]
        row = [
            means,
            torch.zeros_like(means),
            sh[:, 0],
            sh[:, 1:].mT.flatten(1),
            gaussians.opacities[part, None].clamp(EPSILON, 1 - EPSILON).logit(),
            gaussians.scales[part].clamp_min(MIN_SCALE).log(),
            gaussians.quats[part],
        ]
        stream.write(torch.cat(row, 1).numpy().astype("<f4", copy=False).tobytes())
    return ()


def _rest_names(element: Element, name: str) -> list[str]:
    """The names of the higher harmonics, after checking that everything a splat needs is there."""
    properties = element.properties
    if missing := [title for title in BASE if title not in properties]:
        if "packed_position" in properties:
            raise BadInput(f"{name} is a compressed PLY of packed splats, which is not read; export it as a plain PLY")
        if {"f_dc_0", "scale_0"} & set(missing):
            raise BadInput(f"{name} is a point cloud or mesh and not splats: its vertices have no {missing[0]}; give a PLY of splats")
        raise BadInput(f"{name} has no {', '.join(missing)} in its vertices; a PLY of splats needs {', '.join(BASE)}")
    rest = [title for title in properties if title.startswith("f_rest_")]
    ordered = [f"f_rest_{i}" for i in range(len(rest))]
    counts = [3 * (harmonics.coefficient_count(degree) - 1) for degree in range(harmonics.MAX_DEGREE + 1)]
    if len(rest) not in counts or set(ordered) != set(rest):
        wanted = ", ".join(str(count) for count in counts)
        raise BadInput(f"{name} has {len(rest)} harmonics f_rest_*; there must be {wanted}, numbered from 0 (degree 0 to 3)")
    return ordered


def _columns(rows: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
    """Named columns of a structured array as float32 `[n, len(names)]`; what float32 cannot hold becomes infinite."""
    columns = np.empty((len(rows), len(names)), np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        for start in range(0, len(rows), CHUNK):
            block = rows[start : start + CHUNK]
            for column, title in enumerate(names):
                columns[start : start + CHUNK, column] = block[title]
    return columns


def _words(comment: str) -> tuple[str, str, str]:
    """The first word, the second word and the rest of a comment."""
    word, _, tail = comment.partition(" ")
    key, _, value = tail.partition(" ")
    return word, key, value.strip()
