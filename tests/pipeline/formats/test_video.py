import builtins
import errno
import sys
import time

import numpy as np
import pytest
import torch

from gen3d.errors import Gen3DError, MissingDependency, UsageError
from gen3d.pipeline.formats import video
from gen3d.pipeline.formats.video import write_video


def frames(count: int = 8, height: int = 48, width: int = 64) -> torch.Tensor:
    """A smooth pattern that moves."""
    y, x = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    shift = torch.arange(count)[:, None, None] / count
    picture = torch.stack([(x + shift) % 1 * 0.5 + 0.25, y.expand(count, -1, -1), 0.3 + 0 * (x + shift)], -1)
    return (picture * 255).round().to(torch.uint8)


def read_back(path) -> np.ndarray:
    imageio = pytest.importorskip("imageio.v3")
    return imageio.imread(path, plugin="FFMPEG")


@pytest.mark.parametrize(("height", "width"), [(48, 64), (47, 63)])
def test_frames_come_back(tmp_path, height, width):
    before = frames(height=height, width=width)
    write_video(tmp_path / "x.mp4", before, fps=12)
    after = read_back(tmp_path / "x.mp4")
    assert after.shape == (8, 48, 64, 3)
    assert np.abs(after[:, :height, :width].astype(float) - before.numpy()).mean() < 4
    data = (tmp_path / "x.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat"), "the index stands first, so that browsers start at once"


def test_colors_keep_their_value(tmp_path):
    color = torch.tensor([200, 60, 30], dtype=torch.uint8)
    write_video(tmp_path / "x.mp4", color.expand(3, 32, 32, 3))
    assert np.abs(read_back(tmp_path / "x.mp4").astype(float) - color.numpy()).max() <= 4


def test_same_frames_same_bytes(tmp_path):
    for name in ("a", "b"):
        write_video(tmp_path / f"{name}.mp4", iter(frames()))
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_wrong_arguments(tmp_path):
    path = tmp_path / "x.mp4"
    with pytest.raises(UsageError, match=r"does not end in \.mp4"):
        write_video(tmp_path / "x.avi", frames())
    with pytest.raises(ValueError, match="no frames"):
        write_video(path, [])
    with pytest.raises(ValueError, match="must be uint8"):
        write_video(path, frames() / 255)
    with pytest.raises(ValueError, match="fps is 0"):
        write_video(path, frames(), fps=0)
    with pytest.raises(ValueError, match="must be equal"):
        write_video(path, [torch.zeros(8, 8, 3, dtype=torch.uint8), torch.zeros(8, 6, 3, dtype=torch.uint8)])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left on device")])
def test_a_broken_job_leaves_the_old_file_alone(tmp_path, error):
    def broken():
        yield from frames(3)
        raise error

    (tmp_path / "x.mp4").write_bytes(b"old")
    with pytest.raises((KeyboardInterrupt, Gen3DError)):
        write_video(tmp_path / "x.mp4", broken())
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.mp4"]
    assert (tmp_path / "x.mp4").read_bytes() == b"old"


def test_a_failing_encoder_says_why(tmp_path, monkeypatch):
    monkeypatch.setattr(video, "ENCODER", ("-c:v", "no_such_encoder"))
    with pytest.raises(Gen3DError, match=r"ffmpeg says .*(no_such_encoder|Encoder not found)"):
        write_video(tmp_path / "x.mp4", frames(30, 200, 200))
    assert not list(tmp_path.iterdir())


def test_an_encoder_that_dies_at_once_says_why_even_of_small_frames(tmp_path, monkeypatch):
    dying = tmp_path / "ffmpeg"
    dying.write_text("#!/bin/sh\nexec 0<&-\necho 'out of luck' >&2\nexit 1\n")
    dying.chmod(0o755)
    monkeypatch.setattr(video, "_ffmpeg", lambda: str(dying))

    def slowly():
        for i, frame in enumerate(frames(60, 16, 16)):
            yield frame
            if i == 1:
                time.sleep(0.3)  # until it is dead, with frames left in the buffer

    with pytest.raises(Gen3DError, match="ffmpeg says 'out of luck'"):
        write_video(tmp_path / "x.mp4", slowly())


def test_no_ffmpeg(tmp_path, monkeypatch):
    def refuse(name, *args, **kwargs):
        if name == "imageio_ffmpeg":
            raise ImportError("No module named 'imageio_ffmpeg'")
        return found(name, *args, **kwargs)

    found = builtins.__import__
    monkeypatch.delitem(sys.modules, "imageio_ffmpeg", raising=False)
    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(MissingDependency, match="pip install imageio-ffmpeg"):
        write_video(tmp_path / "x.mp4", frames(2))
    assert not list(tmp_path.iterdir())
