import sys
from types import ModuleType

import pytest

from gen3d.cli.main import main


@pytest.fixture
def gen3d(capsys):
    """Run the command in this process; returns (exit code, standard output, standard error)."""

    def run(*arguments):
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture
def photos_stage(monkeypatch):
    """A stand-in for the photos job; set `job` to what it should do with (folder, settings, run, progress)."""
    stage = ModuleType("gen3d.pipeline.stages.photos")
    stage.seen = []

    def photos_to_3d(folder, settings, run, progress):
        stage.seen.append((folder, settings, run))
        stage.job(run, progress)

    def resume_photos(run, progress):
        run.check_inputs()
        stage.job(run, progress)

    stage.job = lambda run, progress: None
    stage.photos_to_3d = photos_to_3d
    stage.resume_photos = resume_photos
    monkeypatch.setitem(sys.modules, "gen3d.pipeline.stages.photos", stage)
    return stage


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """A folder that stands for photos; the working folder is its parent."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "transforms.json").write_text("{}")
    return tmp_path / "cat"


@pytest.fixture
def gaussians():
    """Three splats of different size and colour."""
    import torch

    from gen3d.renderers.gaussians import Gaussians

    return Gaussians(
        means=torch.tensor([[0.0, 0.0, 0.0], [0.4, 0.1, 0.0], [-0.2, 0.3, 0.5]]),
        scales=torch.full((3, 3), 0.03) * torch.tensor([[1.0], [2.0], [1.5]]),
        quats=torch.tensor([[1.0, 0.0, 0.0, 0.0]]).repeat(3, 1),
        opacities=torch.tensor([0.9, 0.8, 0.7]),
        sh=torch.linspace(-1, 1, 36).reshape(3, 4, 3),
    )


@pytest.fixture
def splats(tmp_path, monkeypatch, gaussians):
    """A splat file; the working folder is its own."""
    from gen3d.pipeline.formats.registry import write_gaussians

    monkeypatch.chdir(tmp_path)
    write_gaussians(tmp_path / "toy.ply", gaussians, unit="metre")
    return tmp_path / "toy.ply"


@pytest.fixture(scope="session")
def photo_folder(tmp_path_factory):
    """Twelve photos of 48 pixels around a coloured ball of 300 splats, with transforms.json and grey points."""
    import json

    import torch

    from gen3d.pipeline.formats.images import write_image
    from gen3d.renderers.cameras import opencv_to_opengl, orbit
    from gen3d.renderers.gaussians import Gaussians
    from gen3d.renderers.rendering import rasterize

    folder = tmp_path_factory.mktemp("toy")
    generator = torch.Generator().manual_seed(0)
    means = 0.5 * torch.nn.functional.normalize(torch.randn(300, 3, generator=generator), dim=-1)
    splats = Gaussians(
        means=means,
        scales=torch.full((300, 3), 0.08),
        quats=torch.nn.functional.normalize(torch.randn(300, 4, generator=generator), dim=-1),
        opacities=torch.full((300,), 0.9),
        sh=(2 * means)[:, None],
    )
    count = 12
    heights = 20 + 15 * torch.sin(torch.arange(count) * 2.0)
    cameras = orbit(torch.arange(count) * (360 / count), heights, radius=2.2, fov=45, width=48, height=48)
    images = rasterize(splats, cameras, backend="reference").rgb.clamp(0, 1)
    frames = []
    for index, pose in enumerate(opencv_to_opengl(cameras.world_to_camera)):
        name = f"images/{index:02d}.png"
        (folder / "images").mkdir(exist_ok=True)
        write_image(folder / name, images[index])
        frames.append({"file_path": name, "transform_matrix": pose.tolist()})
    focal = float(cameras.intrinsics[0, 0, 0])
    lens = {"w": 48, "h": 48, "fl_x": focal, "fl_y": focal, "cx": 24.0, "cy": 24.0}
    names = [f"property {kind}" for kind in ("float x", "float y", "float z", "uchar red", "uchar green", "uchar blue")]
    header = ["ply", "format ascii 1.0", f"element vertex {len(means)}", *names, "end_header"]
    rows = [" ".join([*(f"{value:.4f}" for value in point), "128 128 128"]) for point in means.tolist()]
    (folder / "points.ply").write_text("\n".join([*header, *rows, ""]))
    meta = {**lens, "ply_file_path": str(folder / "points.ply"), "frames": frames}
    (folder / "transforms.json").write_text(json.dumps(meta))
    return folder
