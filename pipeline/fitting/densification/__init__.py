"""How the number of splats changes during a fit."""

from gen3d.pipeline.fitting.densification.base import Densification
from gen3d.pipeline.fitting.densification.default import DefaultDensification
from gen3d.pipeline.fitting.densification.mcmc import McmcDensification
from gen3d.pipeline.fitting.densification.pool import PoolDensification
from gen3d.pipeline.fitting.schedule import Schedule

STRATEGIES: dict[str, type[Densification]] = {"default": DefaultDensification, "mcmc": McmcDensification, "pool": PoolDensification}


def make_densification(schedule: Schedule, *, extent: float, seed: int) -> Densification:
    """The strategy that the settings name."""
    return STRATEGIES[schedule.settings.densify.strategy](schedule, extent=extent, seed=seed)
