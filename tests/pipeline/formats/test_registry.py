import errno
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from gen3d.errors import BadInput, Gen3DError, UsageError
from gen3d.pipeline.formats import registry
from gen3d.pipeline.formats.registry import SPLAT_FORMATS, read_gaussians, write_gaussians
from gen3d.renderers.frames import WORLD_TO_FRAME
from gen3d.renderers.gaussians import Gaussians

SAMPLES = Path(__file__).parents[4] / "shared" / "data" / "splats"
SUFFIXES = sorted(SPLAT_FORMATS)


@pytest.mark.parametrize("degree", range(4))
def test_ply_renders_the_same(tmp_path, splats, psnr, degree):
    before = splats(150, degree)
    written = write_gaussians(tmp_path / "x.ply", before)
    after, facts = read_gaussians(tmp_path / "x.ply")
    assert facts == written
    assert (facts.format, facts.count, facts.degree, facts.frame) == ("ply", 150, degree, "ply")
    assert facts.bytes == (tmp_path / "x.ply").stat().st_size
    assert psnr(before, after) > 100


@pytest.mark.parametrize("degree", [0, 3])
def test_splat_renders_the_same_within_rounding(tmp_path, splats, psnr, degree):
    before = splats(150, degree)
    facts = write_gaussians(tmp_path / "x.splat", before)
    after, _ = read_gaussians(tmp_path / "x.splat")
    assert psnr(before.with_degree(0), after) > 50
    assert any("harmonics" in note for note in facts.comments) == (degree > 0)
    assert facts.degree == after.degree == 0


@pytest.mark.parametrize("frame", sorted(WORLD_TO_FRAME))
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_frames_are_undone(tmp_path, splats, psnr, suffix, frame):
    before = splats(100, SPLAT_FORMATS[suffix].degree)
    write_gaussians(tmp_path / f"x{suffix}", before, frame=frame, unit="metre")
    after, facts = read_gaussians(tmp_path / f"x{suffix}", frame=None if suffix == ".ply" else frame)
    assert facts.frame == frame
    assert psnr(before, after) > 50
    assert facts.unit == ("metre" if suffix == ".ply" else "unitless")


def test_the_header_gives_way_to_the_option(tmp_path, splats):
    before = splats(10, 0)
    write_gaussians(tmp_path / "x.ply", before, frame="zup")
    raw, facts = read_gaussians(tmp_path / "x.ply", frame="gltf")
    assert facts.frame == "gltf"
    torch.testing.assert_close(raw.means, before.means[:, [0, 2, 1]] * torch.tensor([1.0, -1.0, 1.0]))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_without_a_frame_is_turned_half_around_z(tmp_path, splats, suffix):
    path = tmp_path / f"x{suffix}"
    write_gaussians(path, splats(10, 0), frame="gltf")
    path.write_bytes(path.read_bytes().replace(b"comment gen3d frame gltf\n", b""))
    raw, _ = read_gaussians(path, frame="gltf")
    turned, facts = read_gaussians(path)
    assert facts.frame == "ply"
    torch.testing.assert_close(turned.means, raw.means * torch.tensor([-1.0, -1.0, 1.0]))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_broken_splats_are_dropped_on_reading(tmp_path, splats, monkeypatch, suffix):
    before = splats(20, 0)
    means = before.means.clone()
    means[3, 1], means[8, 0] = math.nan, math.inf
    scales = before.scales.clone()
    scales[5, 2] = math.inf
    broken = replace(before, means=means, scales=scales)
    monkeypatch.setattr(registry, "cleaned", lambda gaussians, mask: gaussians)  # writing would drop them
    write_gaussians(tmp_path / f"x{suffix}", broken)
    monkeypatch.undo()
    after, facts = read_gaussians(tmp_path / f"x{suffix}")
    assert (facts.count, facts.dropped, after.count) == (17, 3, 17)
    kept = before.means[[i for i in range(20) if i not in (3, 5, 8)]]
    torch.testing.assert_close(after.means.sort(0).values, kept.sort(0).values)


def test_broken_and_invisible_splats_are_not_written(tmp_path, splats):
    before = splats(20, 1)
    before.opacities[:4] = torch.tensor([0.0, 0.9 / 255, 1.1 / 255, 1.0])
    before.sh[10, 2, 1] = math.nan
    before.quats[11] = math.inf
    before.scales[12] = 0.0
    facts = write_gaussians(tmp_path / "x.ply", before)
    after, read = read_gaussians(tmp_path / "x.ply")
    assert (facts.count, facts.dropped, read.count, read.dropped) == (16, 4, 16, 0)
    assert after.opacities.max() > 1 - 1e-5
    assert (after.scales > 0).all()


def test_nothing_visible_is_an_error(tmp_path, splats):
    before = splats(4, 0)
    with pytest.raises(Gen3DError, match="none of the 4 splats"):
        write_gaussians(tmp_path / "x.ply", replace(before, opacities=torch.zeros(4)))
    assert not list(tmp_path.iterdir())


def test_other_dtypes_and_gradients(tmp_path, splats):
    before = splats(5, 1).to(torch.float64)
    before.means.requires_grad_()
    write_gaussians(tmp_path / "x.ply", before)
    after, _ = read_gaussians(tmp_path / "x.ply")
    assert after.means.dtype == torch.float32
    torch.testing.assert_close(after.means.double(), before.means.detach())


def test_what_cannot_be_written(tmp_path, splats):
    one = splats(2, 0)
    with pytest.raises(UsageError, match=r"does not end in \.ply or \.splat"):
        write_gaussians(tmp_path / "x.obj", one)
    with pytest.raises(UsageError, match="'moon' is not known"):
        write_gaussians(tmp_path / "x.ply", one, frame="moon")
    batch = Gaussians(*(getattr(one, name)[None] for name in ("means", "scales", "quats", "opacities", "sh")))
    with pytest.raises(ValueError, match="index the batch"):
        write_gaussians(tmp_path / "x.ply", batch)
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_read(tmp_path, splats):
    (tmp_path / "empty.ply").touch()
    (tmp_path / "folder.ply").mkdir()
    (tmp_path / "nan.splat").write_bytes(b"\xff" * 64)
    write_gaussians(tmp_path / "moon.ply", splats(2, 0))
    (tmp_path / "moon.ply").write_bytes((tmp_path / "moon.ply").read_bytes().replace(b"frame ply", b"frame moon"))
    sentences = {
        "x.obj": "does not end in .ply or .splat",
        "missing.ply": "does not exist",
        "empty.ply": "is empty",
        "folder.ply": "is a folder",
        "nan.splat": "2 splats and none with finite numbers",
        "moon.ply": "its frame is 'moon'",
    }
    for name, sentence in sentences.items():
        with pytest.raises(BadInput, match=sentence):
            read_gaussians(tmp_path / name)
    with pytest.raises(UsageError, match="'mars' is not known"):
        read_gaussians(tmp_path / "moon.ply", frame="mars")
    assert read_gaussians(tmp_path / "moon.ply", frame="ply")[0].count == 2


class Failing:
    """A format whose writer breaks after the first bytes."""

    def __init__(self, error: BaseException):
        self.error = error

    def __call__(self, stream, contents):
        stream.write(b"half")
        raise self.error


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_a_broken_write_leaves_the_old_file_alone(tmp_path, splats, monkeypatch, suffix, error):
    path = tmp_path / f"x{suffix}"
    write_gaussians(path, splats(3, 0))
    before = path.read_bytes()
    monkeypatch.setitem(SPLAT_FORMATS, suffix, replace(SPLAT_FORMATS[suffix], encode=Failing(error)))
    with pytest.raises(Gen3DError if isinstance(error, OSError) else KeyboardInterrupt) as caught:
        write_gaussians(path, splats(9, 0))
    if isinstance(error, OSError):
        assert "No space left on device; free some space" in str(caught.value)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="the sample files of ../shared/data/splats are not here")
def test_sample_files_load_upright():
    files = sorted(SAMPLES.glob("*.splat"))
    assert len(files) >= 20
    for path in files:
        gaussians, facts = read_gaussians(path, frame="ydown")
        assert facts.count == path.stat().st_size // 32
        assert facts.dropped == 0
        extent = gaussians.means.max(0).values - gaussians.means.min(0).values
        assert 0.5 < float(extent.max()) < 10
