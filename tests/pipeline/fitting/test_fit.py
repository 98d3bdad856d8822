import multiprocessing
import os
import signal
import threading
from dataclasses import replace

import pytest
import torch

from gen3d.errors import Gen3DError, Interrupted, UsageError
from gen3d.pipeline.fitting.calibration import crowded, mean_cost, steps_for
from gen3d.pipeline.fitting.fit import FitJob, fit
from gen3d.pipeline.fitting.initial import initial_gaussians
from gen3d.pipeline.fitting.machine import Machine
from gen3d.pipeline.fitting.settings import DensifySettings, FittingSettings
from gen3d.pipeline.fitting.views import Photo
from gen3d.pipeline.progress import Silent
from gen3d.renderers.rendering import rasterize
from gen3d.renderers.similarity import psnr

SETTINGS = FittingSettings(densify=DensifySettings(cap=200, every=10))


def job(scene, steps, settings=SETTINGS, checkpoint=None, **machine):
    initial = initial_gaussians(scene, count=100, cap=200, sh_degree=settings.sh_degree, seed=0)
    photos = [Photo.from_view(view) for view in scene.train]
    return FitJob(initial, photos, settings, steps, scene.extent, 0, Machine(**machine), checkpoint)


def quality(gaussians, view, background=None):
    drawn = rasterize(gaussians, view.camera, background=background).rgb
    target = Photo.from_view(view).target(torch.zeros(3) if background is None else background)
    return float(psnr(drawn.clamp(0, 1), target))


def largest_difference(one, other):
    return max(float((getattr(one, name) - getattr(other, name)).abs().max()) for name in ("means", "scales", "quats", "opacities", "sh"))


@pytest.mark.parametrize("strategy", ["default", "mcmc"])
def test_fitting_improves_the_held_out_view(scene, strategy):
    settings = replace(SETTINGS, densify=replace(SETTINGS.densify, strategy=strategy))
    before = quality(job(scene, 1).initial, scene.test[0])
    fitted = fit(job(scene, 150, settings), Silent())
    assert quality(fitted, scene.test[0]) > before + 4
    assert fitted.degree == 2


def test_transparent_photos_are_fitted_over_any_background(cut_out):
    fitted = fit(job(cut_out, 150), Silent())
    for background in (torch.zeros(3), torch.ones(3)):
        assert quality(fitted, cut_out.test[0], background) > 20


class Recorder(Silent):
    """Notes what it is told, and calls `at` when a step is reached."""

    def __init__(self, at=None, action=None):
        self.steps, self.at, self.action, self.finished = [], at, action, False

    def advance(self, step, **figures):
        self.steps.append((step, figures))
        if self.at is not None and step >= self.at:
            self.action()

    def finish(self):
        self.finished = True


class Killed(Exception):
    pass


def kill():
    raise Killed


@pytest.mark.parametrize("strategy", ["default", "mcmc"])
def test_a_killed_fit_resumes_to_the_same_bits(scene, tmp_path, strategy):
    settings = replace(SETTINGS, densify=replace(SETTINGS.densify, strategy=strategy), exposure=True, refine_cameras=True, checkpoints=8)
    whole = fit(job(scene, 60, settings), Silent())
    with pytest.raises(Killed):
        fit(job(scene, 60, settings, tmp_path / "fit.ckpt"), Recorder(at=30, action=kill))
    saved = torch.load(tmp_path / "fit.ckpt", weights_only=True)
    assert saved["global_step"] == 27  # between two changes, while the strategy watches
    assert all(len(observed) for observed in saved["densification"].values())
    resumed = Recorder()
    again = fit(job(scene, 60, settings, tmp_path / "fit.ckpt"), resumed)
    assert resumed.steps[0][0] == 30  # from the last checkpoint, not from the start
    assert largest_difference(whole, again) == 0


def test_the_same_seed_gives_the_same_bits(scene):
    assert largest_difference(fit(job(scene, 20), Silent()), fit(job(scene, 20), Silent())) == 0
    assert largest_difference(fit(job(scene, 20), Silent()), fit(replace(job(scene, 20), seed=1), Silent())) > 0


def test_interruption_saves_and_resumes(scene, tmp_path):
    whole = fit(job(scene, 60), Silent())
    with pytest.raises(Interrupted, match="of 60"):
        fit(job(scene, 60, checkpoint=tmp_path / "fit.ckpt"), Recorder(at=20, action=lambda: os.kill(os.getpid(), signal.SIGINT)))
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert largest_difference(whole, fit(job(scene, 60, checkpoint=tmp_path / "fit.ckpt"), Silent())) == 0


def test_a_fit_that_is_deaf_to_ctrl_c_still_ends_by_sigterm(scene):
    before = signal.signal(signal.SIGINT, signal.SIG_IGN), signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with pytest.raises(Interrupted, match="of 60"):
            fit(job(scene, 60), Recorder(at=20, action=lambda: os.kill(os.getpid(), signal.SIGTERM)))
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before[0])
        signal.signal(signal.SIGTERM, before[1])


def test_a_fit_runs_beside_the_main_thread(scene):
    results = []
    thread = threading.Thread(target=lambda: results.append(fit(job(scene, 5), Silent())))
    thread.start()
    thread.join()
    assert results[0].count > 0


@pytest.mark.parametrize("strategy", ["default", "mcmc"])
def test_two_processes_equal_one(scene, tmp_path, strategy):
    settings = replace(SETTINGS, views_per_step=2, densify=replace(SETTINGS.densify, strategy=strategy))
    alone = fit(job(scene, 50, settings), Silent())
    recorder = Recorder()
    together = fit(job(scene, 50, settings, tmp_path / "fit.ckpt", devices=2), recorder)
    assert alone.count == together.count
    assert largest_difference(alone, together) < 1e-5
    assert recorder.finished
    assert [path.name for path in tmp_path.iterdir()] == ["fit.ckpt"]


def test_views_must_be_shared_equally(scene):
    with pytest.raises(UsageError, match="multiple of 2"):
        fit(job(scene, 5, replace(SETTINGS, views_per_step=3), devices=2), Silent())
    assert FittingSettings().for_devices(3).views_per_step == 3


def test_masked_pixels_do_not_count(scene):
    spoiled, masks = [], []
    for view in scene.train:
        image, mask = view.image.clone(), torch.full(view.image.shape[:2], 255, dtype=torch.uint8)
        image[:20] = torch.tensor([255, 0, 255], dtype=torch.uint8)
        mask[:20] = 0
        spoiled.append(replace(view, image=image))
        masks.append(replace(view, image=image, mask=mask))
    good = quality(fit(job(replace(scene, train=tuple(masks)), 100), Silent()), scene.test[0])
    bad = quality(fit(job(replace(scene, train=tuple(spoiled)), 100), Silent()), scene.test[0])
    assert good > bad + 2


class Spoiled(Photo):
    """A photo that only the first process can look at."""

    def target(self, background):
        if multiprocessing.parent_process() is not None:
            raise RuntimeError("this replica fails")
        return super().target(background)


def test_a_process_that_dies_is_named(scene):
    photos = [Spoiled.from_view(view) for view in scene.train]
    with pytest.raises(Gen3DError, match="1 of 2 processes of the fit died"):
        fit(replace(job(scene, 30), photos=photos, machine=Machine(devices=2)), Silent())


def test_exposures_absorb_brightness(scene):
    dimmed = tuple(replace(v, image=(v.image * f).byte()) for v, f in zip(scene.train, torch.linspace(0.6, 1.0, 7), strict=True))
    changed = replace(scene, train=dimmed)
    plain = fit(job(changed, 150), Silent())
    module_photo = scene.train[-1]
    corrected = fit(job(changed, 150, replace(SETTINGS, exposure=True)), Silent())
    # Every photo was dimmed by another factor; the mean of them is what the scene should keep.
    mean_photo = replace(module_photo, image=(module_photo.image * 0.8).byte())
    assert quality(corrected, mean_photo) > quality(plain, mean_photo)


def test_calibration_turns_seconds_into_steps(scene):
    prepared = job(scene, 1)
    options = {"extent": scene.extent, "machine": Machine()}
    assert steps_for(replace(SETTINGS, steps=123), prepared.initial, prepared.photos, **options) == 123
    steps = {
        seconds: steps_for(replace(SETTINGS, seconds=seconds), prepared.initial, prepared.photos, **options) for seconds in (1e-3, 1e3)
    }
    assert steps[1e-3] == 50  # the fewest that make sense
    assert steps[1e3] > 2000


def test_mean_cost_weighs_resolution_and_crowd():
    settings = FittingSettings(half_resolution=0.25, densify=DensifySettings(stop=0.5))
    assert mean_cost(settings, lambda scale, crowd: float(scale == 2)) == pytest.approx(0.25)
    assert mean_cost(settings, lambda scale, crowd: crowd) == pytest.approx(0.75, abs=0.01)


def test_crowded_repeats_and_shrinks(scene):
    few = job(scene, 1).initial
    many = crowded(few, 3 * few.count)
    assert many.count == 3 * few.count
    assert many.scales.mean() < few.scales.mean()
    assert crowded(few, 1) is few
