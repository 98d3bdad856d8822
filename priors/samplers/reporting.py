"""What is told of samples: one object for run.json, and sentences for people."""

from dataclasses import asdict, dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor

from gen3d.priors.samplers.driver import Sampled
from gen3d.priors.samplers.probes import Trajectory, TrajectoryVariance, suspicious


@dataclass(frozen=True)
class Report:
    """Numbers of one run, None where nobody looked.

    Attributes:
        evaluations: of the denoiser.
        suspicion: how each sample's re-noise score compares with its limit; above 1 it looks made up.
        variance: trajectory variance of each sample; higher is worse.
        changes: root mean square between neighbouring predictions of x0.
        effective_rank: dimensions that the ways use.
        bend: of the ways, as those of a flow; 0 is straight.
        dimension: directions in which data vary around each sample.
        residual: root mean square of sigma^2 times the Fokker-Planck residual.
    """

    evaluations: int
    suspicion: tuple[float, ...] | None = None
    variance: tuple[float, ...] | None = None
    changes: tuple[float, ...] | None = None
    effective_rank: float | None = None
    bend: float | None = None
    dimension: tuple[float, ...] | None = None
    residual: float | None = None

    def facts(self) -> dict[str, Any]:
        """What was looked at, ready for JSON."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    def notes(self) -> list[str]:
        """What a user should know and do."""
        if self.suspicion is None or max(self.suspicion) <= 1:
            return []
        bad = [i for i, score in enumerate(self.suspicion) if score > 1]
        which = f"sample {bad[0]} looks" if len(bad) == 1 else f"samples {', '.join(map(str, bad))} look"
        rest = "take another seed" if len(bad) == len(self.suspicion) else "take another of the samples"
        return [f"{which} made up: noised a little, the model does not come back to it ({max(self.suspicion):.1f} x the limit); {rest}"]


def report(
    result: Sampled,
    *,
    trajectory: Trajectory | None = None,
    variance: TrajectoryVariance | None = None,
    renoised: tuple[Float[Tensor, "b l"], Float[Tensor, " l"]] | None = None,
    dimension: Float[Tensor, " b"] | None = None,
    residual: float | None = None,
) -> Report:
    """The report of a run from the probes that watched it.

    Args:
        result: of `sample`.
        trajectory: probe.
        variance: probe.
        renoised: scores of `renoise_score` and the model's limits, of `thresholds`.
        dimension: of `intrinsic_dimension`.
        residual: see `Report`.
    """
    return Report(
        result.evaluations,
        suspicion=None if renoised is None else tuple(suspicious(*renoised).tolist()),
        variance=None if variance is None else tuple(variance.score().tolist()),
        changes=None if trajectory is None else tuple(trajectory.changes),
        effective_rank=None if trajectory is None else trajectory.effective_rank(),
        bend=None if trajectory is None else trajectory.bend(),
        dimension=None if dimension is None else tuple(dimension.tolist()),
        residual=residual,
    )
