"""Turning a time budget into a number of steps, once, before a fit."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch

from gen3d.pipeline.fitting.machine import Machine, sparing_threads
from gen3d.pipeline.fitting.module import GaussianFitting
from gen3d.pipeline.fitting.schedule import Schedule
from gen3d.pipeline.fitting.settings import FittingSettings
from gen3d.pipeline.fitting.views import Photo
from gen3d.renderers.gaussians import Gaussians

REPEATS = 8
MIN_STEPS, ENOUGH_STEPS = 50, 3_000
LATER_COST = 1.4  # trained splats overlap more than untrained ones, and not every step is as lucky as the fastest


def steps_for(settings: FittingSettings, initial: Gaussians, photos: Sequence[Photo], *, extent: float, machine: Machine) -> int:
    """How many steps fit into `settings.seconds` here, or fewer where `settings.looks` says that they are enough.

    Steps are timed at half and full resolution, with the initial number of splats and with the cap, and weighted by the
    share of the schedule that each has; of several processes, this one's share of a step's views. Timing is noisy, so two
    runs differ; the result belongs into the manifest.
    """
    if settings.steps:
        return settings.steps
    few = photos[:: -(-len(photos) // REPEATS)]
    alone = replace(settings, views_per_step=settings.for_devices(machine.devices).views_per_step // machine.devices)
    with sparing_threads(machine, settings.densify.cap):
        cost = {
            (scale, crowd): _seconds_per_step(alone, splats, few, scale, extent, machine)
            for crowd, splats in enumerate((initial, crowded(initial, settings.densify.cap)))
            for scale in (1, 2)
        }
    mean = mean_cost(settings, lambda scale, crowd: cost[scale, 0] * (1 - crowd) + cost[scale, 1] * crowd)
    affordable = max(MIN_STEPS, int(settings.seconds / (LATER_COST * mean)))
    if not settings.looks:
        return affordable
    return min(affordable, max(ENOUGH_STEPS, settings.looks * len(photos) // settings.for_devices(machine.devices).views_per_step))


def mean_cost(settings: FittingSettings, cost: Callable[[int, float], float]) -> float:
    """The mean over a fit of `cost(scale, crowd)`, where crowd goes from 0 (initial count) to 1 (cap) until `densify.stop`."""
    schedule = Schedule(settings, steps=100, initial_count=0)
    total = 0.0
    for step in range(100):
        crowd = min(1.0, schedule.fraction(step) / max(settings.densify.stop, 1e-6))
        total += cost(schedule.reduction(step), crowd)
    return total / 100


def crowded(gaussians: Gaussians, count: int) -> Gaussians:
    """Splats repeated up to `count` and shrunk so that they cover about the same area: what the end of a fit costs."""
    if count <= gaussians.count:
        return gaussians
    index = torch.arange(count) % gaussians.count
    many = gaussians.select(index)
    shrink = (gaussians.count / count) ** 0.5
    generator = torch.Generator().manual_seed(0)
    jitter = torch.randn(many.means.shape, generator=generator) * many.scales
    return replace(many, scales=many.scales * shrink, means=many.means + jitter)


def _seconds_per_step(
    settings: FittingSettings, initial: Gaussians, photos: Sequence[Photo], scale: int, extent: float, machine: Machine
) -> float:
    """The shortest time of a few steps, which other load disturbs least; they change nothing but a throw-away copy."""
    watching = replace(settings.densify, stop=1.0)
    still = replace(settings, half_resolution=0.0 if scale == 1 else 1.0, densify=watching)
    schedule = Schedule(still, steps=2 * REPEATS, initial_count=initial.count)
    device = torch.device(machine.accelerator)
    probe = GaussianFitting(initial, photos, schedule, extent=extent, seed=0, backend=machine.backend).to(device)
    probe.on_fit_start()
    optimizer = probe.configure_optimizers()
    times = []
    for step in range(REPEATS, 2 * REPEATS):  # the second half has all harmonics
        start = time.perf_counter()
        probe.backward_of_step(step)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - start)
    return min(times)
