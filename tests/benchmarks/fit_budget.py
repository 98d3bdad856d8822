"""Quality against time: fits of growing budgets, and where the time of a step goes.

python tests/benchmarks/fit_budget.py [SCENE_FOLDER] --max-size 384 --seconds 15 30 60
"""

import argparse
import time
from pathlib import Path

from gen3d.pipeline.evaluation.metrics import evaluate_views
from gen3d.pipeline.fitting.calibration import steps_for
from gen3d.pipeline.fitting.fit import FitJob, fit
from gen3d.pipeline.fitting.initial import initial_gaussians
from gen3d.pipeline.fitting.machine import Machine
from gen3d.pipeline.fitting.module import GaussianFitting
from gen3d.pipeline.fitting.settings import DensifySettings, FittingSettings
from gen3d.pipeline.fitting.views import Photo
from gen3d.pipeline.progress import Silent
from gen3d.pipeline.scenes.reading import orient_scene, read_scene
from gen3d.pipeline.scenes.settings import SceneSettings
from gen3d.renderers.native.library import Library

SHIPPED = Path(__file__).parents[1] / "data" / "buddha"


class Clock:
    """Adds up the wall time of calls, by name."""

    def __init__(self):
        self.seconds = {}

    def watch(self, owner, method, name=None):
        original = getattr(owner, method)

        def timed(*arguments, **options):
            start = time.perf_counter()
            try:
                return original(*arguments, **options)
            finally:
                key = name or arguments[1]
                self.seconds[key] = self.seconds.get(key, 0.0) + time.perf_counter() - start

        setattr(owner, method, timed)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=SHIPPED)
    parser.add_argument("--max-size", type=int, default=384)
    parser.add_argument("--seconds", type=float, nargs="+", default=[15.0, 30.0, 60.0])
    parser.add_argument("--cap", type=int, default=50_000)
    options = parser.parse_args()
    import torch

    clock = Clock()
    clock.watch(Library, "call")  # the kernels: rasterizer and loss
    clock.watch(torch.optim.Adam, "step", "adam")
    clock.watch(GaussianFitting, "training_step", "step")
    scene = orient_scene(read_scene(options.folder, SceneSettings(max_size=options.max_size)))
    photos = [Photo.from_view(view) for view in scene.train]
    print("seconds   steps  steps/s  splats   PSNR   SSIM   share of a step: kernels  adam  rest   Lightning beside the step")
    for seconds in options.seconds:
        settings = FittingSettings(seconds=seconds, looks=0, densify=DensifySettings(cap=options.cap))
        initial = initial_gaussians(scene, count=settings.initial_splats, cap=options.cap, sh_degree=settings.sh_degree, seed=0)
        steps = steps_for(settings, initial, photos, extent=scene.extent, machine=Machine())
        job = FitJob(initial, photos, settings, steps, scene.extent, 0, Machine())
        clock.seconds.clear()
        start = time.perf_counter()
        gaussians = fit(job, Silent())
        wall, step, adam = time.perf_counter() - start, clock.seconds["step"], clock.seconds["adam"]
        kernels = sum(value for name, value in clock.seconds.items() if name.startswith("gen3d_"))
        result = evaluate_views(gaussians, scene.test)
        shares = [100 * part / wall for part in (kernels, adam, step - kernels - adam, wall - step)]
        print(
            f"{wall:7.1f} {steps:7} {steps / wall:8.1f} {gaussians.count:7} {result.psnr:6.2f} {result.ssim:6.3f}"
            + " " * 26
            + "".join(f"{share:6.1f}%" for share in shares)
        )


if __name__ == "__main__":
    main()
