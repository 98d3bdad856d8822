"""Volumes fitted to rendered views of library objects: how good they are, and what the pool and the offsets bring (GVGEN's ablation).

    python tests/benchmarks/volume_fits.py OBJECT_FOLDER --nodes 32 --steps 3000

All test objects of the tiers `scan` and `textured`: 40 views of 256 pixels to fit to, which are measured as the paper does, and 8 others.
"""

import argparse
import time
from collections import defaultdict
from dataclasses import replace

from gen3d.pipeline.evaluation.metrics import evaluate_views
from gen3d.pipeline.fitting.machine import Machine
from gen3d.pipeline.objects.library import read_library, select
from gen3d.pipeline.objects.rendering import object_scene, sphere_cameras
from gen3d.pipeline.volumes.packing import pack, unpack
from gen3d.pipeline.volumes.pool_fit import pool_settings, pool_volume
from gen3d.pipeline.volumes.surface import FILLED
from gen3d.priors.perceptual import load_lpips
from gen3d.priors.volume.volume import GaussianVolume, visible

TIERS = ("scan", "textured")
WHITE = (1.0, 1.0, 1.0)
VARIANTS = {"pool": {}, "no pool": {"pool": False}, "no offsets": {"pool": False, "offsets": False}}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--nodes", type=int, default=32)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--first", type=int, default=0, help="objects of each tier; 0 takes all")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--lpips", choices=("alex", "vgg", "none"), default="vgg")
    options = parser.parse_args()
    lpips = None if options.lpips == "none" else load_lpips(options.lpips)
    library = read_library(options.folder)
    rows = defaultdict(list)
    print("| object | variant | PSNR | SSIM | LPIPS | PSNR of 8 other views | after the generated form | after 8 bits | splats | seconds |")
    print("|---|---|---|---|---|---|---|---|---|---|", flush=True)
    for tier in TIERS:
        for entry in select(library, tier=tier, split="test")[: options.first or None]:
            scene = scene_of(entry, options.size)
            for name in options.variants:
                row = measured(scene, pool_settings(options.nodes, options.steps, **VARIANTS[name]), lpips)
                rows[name].append(row)
                print(f"| {entry.id} | {name} | " + " | ".join(shown(each) for each in row) + " |", flush=True)
    for name, each in rows.items():
        means = [sum(column) / len(column) for column in zip(*each, strict=True)]
        print(f"| mean of {len(each)} | {name} | " + " | ".join(shown(value) for value in means) + " |")


def scene_of(entry, size):
    """Views of an object whose longest side fills the grid but for a cell."""
    mesh = entry.read()
    low, high = mesh.vertices.amin(0), mesh.vertices.amax(0)
    placed = replace(mesh, vertices=(mesh.vertices - (low + high) / 2) * (FILLED / (high - low).amax()))
    return object_scene(
        placed, sphere_cameras(40, radius=2.0, fov=40.0, size=size), sphere_cameras(8, radius=2.0, fov=40.0, size=size, turn=77.0)
    )


def measured(scene, settings, lpips):
    """What a volume reaches on the views that it is fitted to and on others, and what its other forms keep of that."""
    began = time.perf_counter()
    volume = pool_volume(scene.train, settings, Machine("cpu", 1, "auto"))
    seconds = time.perf_counter() - began
    first = evaluate_views(visible(volume.gaussians()), scene.train, background=WHITE, lpips=lpips).to_json()
    generated = volume.generated()
    forms = [GaussianVolume.of_generated(generated), GaussianVolume.of_generated(unpack(*pack(volume), volume.size))]
    others = [evaluate_views(visible(each.gaussians()), scene.train, background=WHITE).to_json()["psnr"] for each in forms]
    unseen = evaluate_views(visible(volume.gaussians()), scene.test, background=WHITE).to_json()["psnr"]
    distance = first.get("lpips") or float("nan")
    return first["psnr"], first["ssim"], distance, unseen, *others, visible(volume.gaussians()).count, seconds


def shown(value):
    """A number with as many digits as it deserves."""
    return f"{value:,.0f}" if value > 500 else f"{value:.3f}" if value < 2 else f"{value:.2f}"


if __name__ == "__main__":
    main()
