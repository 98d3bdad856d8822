import json
from dataclasses import replace
from pathlib import Path

import pytest

from gen3d.pipeline.evaluation.metrics import evaluate_views
from gen3d.pipeline.fitting.settings import DensifySettings, FittingSettings
from gen3d.pipeline.meshing.settings import MeshSettings
from gen3d.pipeline.run import Run
from gen3d.pipeline.scenes.reading import orient_scene, read_scene
from gen3d.pipeline.stages.photos import photos_to_3d
from gen3d.pipeline.stages.settings import PhotosSettings
from gen3d.renderers.rendering import RasterSettings

BUDDHA = Path(__file__).parents[2] / "data" / "buddha"
SHORT = FittingSettings(steps=30, sh_degree=0, densify=DensifySettings(cap=2_000))
SETTINGS = PhotosSettings(max_size=64, device="cpu", fitting=SHORT, mesh=MeshSettings(method="none"))


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    monkeypatch.setattr("gen3d.pipeline.stages.results.lpips_or_reason", lambda: (None, "LPIPS is absent: a test"))


def test_from_python_a_run_folder_is_made(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    asset = photos_to_3d(BUDDHA, SETTINGS)
    folder = tmp_path / "outputs" / (tmp_path / "outputs" / "latest.txt").read_text().strip()
    assert Path(asset.provenance["run"]) == folder
    assert Run.open(folder).manifest.status == "done"
    assert {path.name for path in (folder / "previews").iterdir()} == {"contact_sheet.png", "turntable.mp4"}
    assert (folder / "exports" / "model.ply").stat().st_size > 10_000


def test_what_was_fitted_with_antialiasing_is_measured_with_it(tmp_path):
    settings = replace(SETTINGS, fitting=replace(SHORT, antialias=True))
    with Run.create(tmp_path, "photos", settings, inputs=[BUDDHA]) as run:
        asset = photos_to_3d(BUDDHA, settings, run)
    views = orient_scene(read_scene(BUDDHA, settings.scene)).test
    plain, smooth = (evaluate_views(asset.gaussians, views, settings=RasterSettings(antialias=on)).psnr for on in (False, True))
    measured = json.loads((tmp_path / "metrics.json").read_text())["psnr"]
    assert measured == pytest.approx(smooth, abs=1e-3)
    assert abs(measured - plain) > 0.05


def test_the_format_reaches_the_reader():
    assert PhotosSettings(format="colmap").scene.format == "colmap"
