"""The stage that fits splats to the photos of a scene."""

from dataclasses import fields, replace
from pathlib import Path

from gen3d.files import write_bytes
from gen3d.pipeline.fitting.calibration import steps_for
from gen3d.pipeline.fitting.fit import FitJob, fit
from gen3d.pipeline.fitting.initial import initial_gaussians
from gen3d.pipeline.fitting.machine import Machine
from gen3d.pipeline.fitting.views import Photo
from gen3d.pipeline.progress import Progress
from gen3d.pipeline.run import Run
from gen3d.pipeline.stages.settings import PhotosSettings
from gen3d.pipeline.stages.state import PhotosState
from gen3d.renderers.gaussians import Gaussians

FITTED = "fitted.safetensors"
CHECKPOINT = "fit.ckpt"


class FitSplats:
    """Initial splats, calibration of the budget, optimisation."""

    name = "fit"

    def __init__(self, run: Run, settings: PhotosSettings, machine: Machine) -> None:
        self.results = run
        self.settings = settings
        self.machine = machine

    def run(self, state: PhotosState, progress: Progress) -> PhotosState:
        """Fit, or load the fitted splats of a run that had come further."""
        fitted = self.results.checkpoints / FITTED
        if not fitted.exists():
            save_exact(fitted, self._fit(state, progress))
            (self.results.checkpoints / CHECKPOINT).unlink(missing_ok=True)
        return replace(state, gaussians=load_exact(fitted))

    def _fit(self, state: PhotosState, progress: Progress) -> Gaussians:
        fitting, seed, scene = self.settings.fitting, self.settings.seed, state.scene
        initial = initial_gaussians(scene, count=fitting.initial_splats, cap=fitting.densify.cap, sh_degree=fitting.sh_degree, seed=seed)
        photos = [Photo.from_view(view) for view in scene.train]
        steps = self.results.manifest.budgets.get(self.name)
        if steps is None:
            steps = steps_for(fitting, initial, photos, extent=scene.extent, machine=self.machine)
            self.results.record(budgets={self.name: steps})
        job = FitJob(
            initial=initial,
            photos=photos,
            settings=fitting,
            steps=steps,
            extent=scene.extent,
            seed=seed,
            machine=self.machine,
            checkpoint=self.results.checkpoints / CHECKPOINT,
        )
        return fit(job, progress)


def save_exact(path: Path, gaussians: Gaussians) -> None:
    """Store splats without any loss, unlike the exchange formats."""
    from safetensors.torch import save

    write_bytes(path, save({f.name: getattr(gaussians, f.name).contiguous() for f in fields(gaussians)}))


def load_exact(path: Path) -> Gaussians:
    """The splats of `save_exact`."""
    from safetensors.torch import load_file

    return Gaussians(**load_file(path))
