"""How the rasterizer's time grows with splats, pixels, splat size, harmonics and threads: `python tests/benchmarks/raster_scaling.py`."""

import os
import time

import torch
from raster_scenes import Workload

from gen3d.renderers.native.backend import build_info

ROUNDS = 7
STEPS = {  # count, side, radius, degree
    "splats": [(count, 256, 3, 0) for count in (3_000, 10_000, 30_000, 100_000, 300_000)],
    "pixels": [(30_000, side, 3, 0) for side in (64, 128, 256, 512, 1024)],
    "splat radius": [(10_000, 512, radius, 0) for radius in (1, 3, 10, 30, 60)],
    "harmonics": [(50_000, 256, 3, degree) for degree in range(4)],
}


def milliseconds(call):
    """Smallest wall and CPU time of a few calls; the CPU time, of all threads together, is the one that survives a busy machine."""
    call()
    wall = cpu = float("inf")
    for _ in range(ROUNDS):
        started = time.perf_counter(), time.process_time()
        call()
        wall, cpu = min(wall, time.perf_counter() - started[0]), min(cpu, time.process_time() - started[1])
    return f"{1e3 * wall:8.2f} {1e3 * cpu:8.2f}"


def row(name, threads, workload):
    torch.set_num_threads(threads)
    count, side, radius, degree = workload
    scene = Workload(*workload)
    times = f"{milliseconds(scene.forward)}   {milliseconds(scene.forward_backward)}"
    print(f"{name:13} {count:8,} {side:6} {radius:7} {degree:7} {threads:8}   {times}", flush=True)


def main():
    threads = os.cpu_count() or 1
    print(build_info())
    print(f"{'grows':13} {'splats':>8} {'side':>6} {'radius':>7} {'degree':>7} {'threads':>8}   {'forward':>17}   {'with backward':>17}")
    print(f"{'':57}{'wall':>8} {'CPU':>8}   {'wall':>8} {'CPU ms':>8}")
    for name, workloads in STEPS.items():
        for workload in workloads:
            row(name, threads, workload)
    for used in sorted({1, 2, threads // 2, threads} - {0}):
        row("threads", used, (200_000, 512, 3, 0))


if __name__ == "__main__":
    main()
