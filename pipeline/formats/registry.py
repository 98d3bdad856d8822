"""Every splat file format by its suffix; reading and writing splats in the world frame."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import torch

from gen3d.errors import BadInput, Gen3DError, UsageError
from gen3d.files import atomic_path, read_bytes
from gen3d.pipeline.formats import ply, splat
from gen3d.pipeline.formats.contents import SplatContents, cleaned, finite, visible
from gen3d.renderers.frames import WORLD_TO_FRAME, frame_to_world, move_gaussians, rigid, world_to_frame
from gen3d.renderers.gaussians import Gaussians


@dataclass(frozen=True, slots=True)
class SplatFormat:
    """How one kind of file is read and written.

    Attributes:
        name: short name.
        description: one line for people.
        frame: the frame of files that do not name theirs.
        degree: the highest degree of harmonics that it keeps.
        decode: the contents of a file from its bytes and its name; BadInput where they break a rule.
        encode: writes contents to a stream and returns sentences about what the format could not keep.
    """

    name: str
    description: str
    frame: str
    degree: int
    decode: Callable[[bytes, str], SplatContents]
    encode: Callable[[BinaryIO, SplatContents], tuple[str, ...]]


SPLAT_FORMATS: dict[str, SplatFormat] = {
    ".ply": SplatFormat("ply", "3D Gaussian splatting PLY, all harmonics, exact", "ply", 3, ply.decode, ply.encode),
    ".splat": SplatFormat("splat", "32 bytes a splat, 8-bit colours, no view dependence", "ply", 0, splat.decode, splat.encode),
}


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What a splat file holds, for `gen3d info` and reports.

    Attributes:
        format: name of the format.
        count: splats that were read or written.
        dropped: splats left out: non-finite ones, and on writing also those fainter than 1/255.
        degree: degree of the harmonics in the file.
        frame: frame of the file.
        unit: what one scene unit is, such as metre; unitless where nobody said.
        bytes: size of the file.
        comments: comments of the header, or what the format could not keep.
    """

    format: str
    count: int
    dropped: int
    degree: int
    frame: str
    unit: str
    bytes: int
    comments: tuple[str, ...] = ()


def read_gaussians(path: str | Path, *, frame: str | None = None) -> tuple[Gaussians, FileFacts]:
    """Read a splat file and turn it into the world frame. Non-finite splats are dropped and counted.

    A file that does not name its frame is taken for "ply", as viewers do. Files of cameras whose y axis points down and
    that come out turned half around the vertical are "ydown".

    Args:
        path: a file with a suffix of `SPLAT_FORMATS`.
        frame: the frame of the file, a key of `WORLD_TO_FRAME`; None believes the header, else the format's default.

    Raises:
        BadInput: the file cannot be read, is not of its format, or holds no finite splat.
        UsageError: `frame` is not known.
    """
    kind = _format_of(path, BadInput)
    if frame is not None:
        _check_frame(frame)
    data = read_bytes(path)
    contents = kind.decode(data, str(path))
    named = frame or contents.frame or kind.frame
    if named not in WORLD_TO_FRAME:
        raise BadInput(f"{path} says that its frame is {named!r}; name it yourself, one of {', '.join(WORLD_TO_FRAME)}")
    gaussians = cleaned(contents.gaussians, finite(contents.gaussians))
    if not gaussians.count:
        raise BadInput(f"{path} has {contents.gaussians.count:,} splats and none with finite numbers only; write or download it again")
    dropped = contents.gaussians.count - gaussians.count
    facts = FileFacts(
        kind.name, gaussians.count, dropped, gaussians.degree, named, contents.unit or "unitless", len(data), contents.comments
    )
    return _turned(gaussians, frame_to_world(named)), facts


def write_gaussians(path: str | Path, gaussians: Gaussians, *, frame: str = "ply", unit: str = "unitless") -> FileFacts:
    """Write unbatched splats of the world frame, in one step, in the format of the suffix.

    Non-finite splats and those fainter than 1/255 are dropped and counted in the result.

    Args:
        path: the file; its suffix is a key of `SPLAT_FORMATS`.
        gaussians: splats `[n]`, any device.
        frame: the frame to write in, a key of `WORLD_TO_FRAME`; viewers of both formats expect "ply".
        unit: what one scene unit is; kept by PLY only.

    Raises:
        UsageError: the suffix or the frame is not known.
        Gen3DError: no splat is left to write, or the file cannot be written.
    """
    kind = _format_of(path, UsageError)
    _check_frame(frame)
    if gaussians.batch_shape:
        raise ValueError(f"the splats have the batch shape {tuple(gaussians.batch_shape)}; a file holds one scene, so index the batch")
    given = gaussians.detach().to("cpu", torch.float32)
    kept = cleaned(given, visible(given))
    degree = min(kept.degree, kind.degree)
    if not kept.count:
        raise Gen3DError(f"none of the {given.count:,} splats is finite and opaque enough to be seen, so {path} was not written")
    contents = SplatContents(_turned(kept.with_degree(degree), world_to_frame(frame)), frame, unit)
    lost = [f"the harmonics above degree {degree} were dropped"] if degree < kept.degree else []
    with atomic_path(path) as temporary:
        with temporary.open("wb") as stream:
            lost += kind.encode(stream, contents)
        size = temporary.stat().st_size
    return FileFacts(kind.name, kept.count, given.count - kept.count, degree, frame, unit, size, tuple(lost))


def _turned(gaussians: Gaussians, rotation: torch.Tensor) -> Gaussians:
    if torch.equal(rotation, torch.eye(3, dtype=rotation.dtype)):
        return gaussians
    return move_gaussians(gaussians, rigid(rotation))


def _format_of(path: str | Path, error: type[Gen3DError]) -> SplatFormat:
    suffix = Path(path).suffix.lower()
    if suffix not in SPLAT_FORMATS:
        raise error(f"{path} does not end in {' or '.join(SPLAT_FORMATS)}, the splat files that are read and written; convert or rename it")
    return SPLAT_FORMATS[suffix]


def _check_frame(frame: str) -> None:
    if frame not in WORLD_TO_FRAME:
        raise UsageError(f"the frame {frame!r} is not known; choose one of {', '.join(WORLD_TO_FRAME)}")
