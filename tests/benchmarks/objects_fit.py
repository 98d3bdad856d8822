"""Fit splats to rendered views of library objects and measure unseen views.

    python tests/benchmarks/objects_fit.py OBJECT_FOLDER --seconds 60 --out result.json

Takes the first four ids in alphabetical order of each of the tiers `scan` and `textured`, test split: 40 views at 256 pixels to fit
to, 20 others to measure, white background.
"""

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gen3d.files import write_json
from gen3d.pipeline.evaluation.metrics import evaluate_views
from gen3d.pipeline.fitting.calibration import steps_for
from gen3d.pipeline.fitting.fit import FitJob, fit
from gen3d.pipeline.fitting.initial import initial_gaussians
from gen3d.pipeline.fitting.machine import Machine
from gen3d.pipeline.fitting.settings import DensifySettings, FittingSettings
from gen3d.pipeline.fitting.views import Photo
from gen3d.pipeline.objects.library import ObjectEntry, read_library, select
from gen3d.pipeline.objects.rendering import object_scene, sphere_cameras
from gen3d.pipeline.progress import Silent
from gen3d.pipeline.scenes.scene import Scene
from gen3d.renderers.gaussians import Gaussians

TIERS, PER_TIER = ("scan", "textured"), 4
TRAIN_VIEWS, TEST_VIEWS = 40, 20
SIZE, RADIUS, FOV = 256, 2.2, 40.0
WHITE = (1.0, 1.0, 1.0)


@dataclass(frozen=True)
class Options:
    """What the command line says."""

    folder: Path
    seconds: float
    steps: int
    seed: int
    backend: str
    accelerator: str
    cap: int
    first: int
    method: str
    out: Path | None


def chosen(folder: Path) -> list[ObjectEntry]:
    """The objects of the measurement."""
    library = read_library(folder)
    return [entry for tier in TIERS for entry in select(library, tier=tier, split="test")[:PER_TIER]]


def scene_of(entry: ObjectEntry) -> Scene:
    """Views to fit to and others to measure: another count, turned, so that no camera is shared."""
    train = sphere_cameras(TRAIN_VIEWS, radius=RADIUS, fov=FOV, size=SIZE)
    test = sphere_cameras(TEST_VIEWS, radius=RADIUS, fov=FOV, size=SIZE, turn=77.0)
    return object_scene(entry.read(), train, test)


def fitted(scene: Scene, options: Options) -> tuple[Gaussians, int]:
    """Splats of one object, and the steps that they took."""
    settings = FittingSettings(steps=options.steps, seconds=options.seconds, densify=DensifySettings(cap=options.cap))
    initial = initial_gaussians(scene, count=settings.initial_splats, cap=options.cap, sh_degree=settings.sh_degree, seed=options.seed)
    photos = [Photo.from_view(view) for view in scene.train]
    machine = Machine(accelerator=options.accelerator, backend=options.backend)
    steps = steps_for(settings, initial, photos, extent=scene.extent, machine=machine)
    job = FitJob(
        initial=initial,
        photos=photos,
        settings=settings,
        steps=steps,
        extent=scene.extent,
        seed=options.seed,
        machine=machine,
    )
    return fit(job, Silent()), steps


def measure(entry: ObjectEntry, options: Options) -> dict[str, Any]:
    """Fit one object and measure it."""
    scene = scene_of(entry)
    start = time.perf_counter()
    gaussians, steps = fitted(scene, options)
    seconds = time.perf_counter() - start
    unseen, seen = (evaluate_views(gaussians, views, background=WHITE, backend=options.backend) for views in (scene.test, scene.train))
    return {
        "id": entry.id,
        "tier": entry.tier,
        "psnr": unseen.psnr,
        "ssim": unseen.ssim,
        "worst_psnr": min(score.psnr for score in unseen.scores),
        "train_psnr": seen.psnr,
        "splats": gaussians.count,
        "steps": steps,
        "seconds": round(seconds, 1),
    }


def read_options(description: str) -> Options:
    """The command line, which other measurements of fitted objects share."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="the object library")
    parser.add_argument("--seconds", type=float, default=60.0, help="budget of each fit")
    parser.add_argument("--steps", type=int, default=0, help="steps of each fit instead of a budget")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--accelerator", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--cap", type=int, default=50_000, help="splats")
    parser.add_argument("--first", type=int, default=PER_TIER * len(TIERS), help="how many of the objects")
    parser.add_argument("--method", default="auto", help="of the meshes")
    parser.add_argument("--out", type=Path, help="JSON file")
    return Options(**vars(parser.parse_args()))


def measure_all(options: Options, measure: Callable[[ObjectEntry, Options], dict[str, Any]], means: tuple[str, ...]) -> None:
    """Measure all objects and print a line for each and the means of some figures."""
    results = []
    for entry in chosen(options.folder)[: options.first]:
        results.append(measure(entry, options))
        print(json.dumps(results[-1]), flush=True)
    mean = {key: sum(result[key] for result in results) / len(results) for key in means}
    print(json.dumps({"objects": len(results), **mean}))
    if options.out:
        write_json(options.out, {"mean": mean, "objects": results})


if __name__ == "__main__":
    measure_all(read_options(__doc__ or ""), measure, ("psnr", "ssim", "train_psnr"))
