"""Video out: H.264 in MP4, which every player and browser opens."""

import subprocess
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from itertools import chain
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from torch import Tensor

from gen3d.errors import Gen3DError, MissingDependency, UsageError
from gen3d.files import atomic_path

# The threads are a constant because x264 gives other bits for another number; bitexact leaves out version and date.
ENCODER = (
    *("-c:v", "libx264", "-preset", "medium", "-crf", "18", "-pix_fmt", "yuv420p", "-threads", "4"),
    *("-vf", "scale=out_color_matrix=bt709:out_range=tv", "-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709"),
    *("-movflags", "+faststart", "-fflags", "+bitexact", "-flags:v", "+bitexact", "-map_metadata", "-1"),
)


def write_video(path: str | Path, frames: Iterable[UInt8[Tensor, "h w 3"]], fps: float = 30.0) -> None:
    """Encode frames as they come, in one step: the file appears when the last frame is in.

    Odd sizes get their last row or column twice, because the colour format halves both sides. The same frames give the
    same bytes.

    Args:
        path: an `.mp4` file.
        frames: pictures of one size, tensors or arrays.
        fps: frames per second, > 0.

    Raises:
        UsageError: the suffix is not `.mp4`.
        MissingDependency: there is no ffmpeg.
        Gen3DError: ffmpeg failed or the file cannot be written.
    """
    if Path(path).suffix.lower() != ".mp4":
        raise UsageError(f"{path} does not end in .mp4, the kind of video that is written; rename it")
    if not fps > 0:
        raise ValueError(f"fps is {fps}; it must be above 0")
    iterator = (np.asarray(frame.cpu() if isinstance(frame, Tensor) else frame) for frame in frames)
    first = next(iterator, None)
    if first is None:
        raise ValueError("there are no frames; a video needs at least one")
    if first.ndim != 3 or first.shape[-1] != 3 or first.dtype != np.uint8:
        raise ValueError(f"the first frame is {first.dtype} of shape {first.shape}; frames must be uint8 [h, w, 3]")
    height, width = first.shape[0] + first.shape[0] % 2, first.shape[1] + first.shape[1] % 2
    source = ("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", str(fps), "-i", "-")
    with atomic_path(path) as temporary:
        _encode([_ffmpeg(), "-y", "-v", "error", *source, *ENCODER, str(temporary)], chain([first], iterator), first.shape, path)


def _ffmpeg() -> str:
    """The path of the ffmpeg that imageio-ffmpeg brings, or of one on the PATH."""
    try:
        import imageio_ffmpeg

        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except (ImportError, RuntimeError) as error:
        raise MissingDependency(f"writing video needs ffmpeg, which was not found ({error}): pip install imageio-ffmpeg") from error


def _encode(command: list[str], frames: Iterable[np.ndarray], shape: tuple[int, ...], path: str | Path) -> None:
    """Run ffmpeg and feed it; whatever goes wrong, it is not left running."""
    with tempfile.TemporaryFile() as log, subprocess.Popen(command, stdin=subprocess.PIPE, stderr=log) as process:
        assert process.stdin is not None  # for the type checker
        try:
            with suppress(BrokenPipeError):  # ffmpeg gave up; its log, which is read below, says why
                for frame in frames:
                    if frame.shape != shape:
                        raise ValueError(f"a frame has shape {frame.shape} and the first one {shape}; they must be equal")
                    padded = np.pad(frame, ((0, shape[0] % 2), (0, shape[1] % 2), (0, 0)), mode="edge")
                    process.stdin.write(padded.tobytes())
            with suppress(BrokenPipeError):  # what is still buffered
                process.stdin.close()
        except BaseException:
            process.kill()
            raise
        if process.wait():
            log.seek(0)
            reason = log.read().decode("utf-8", "replace").strip().splitlines() or ["no reason given"]
            raise Gen3DError(f"could not write {path}: ffmpeg says {reason[-1]!r}; check the space on the disk and the frame size")
