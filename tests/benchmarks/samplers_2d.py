"""Error of every solver after 5 to 50 evaluations, beside the schedulers of diffusers, where the score is exact.

    python tests/benchmarks/samplers_2d.py --samples 2000 --out table.md

Data are a checkerboard of eight normal distributions of unit variance in the plane. The error of a sample is its distance to where the
probability-flow ODE takes its noise. Schedulers of diffusers run with every option of theirs for the grid of a network of Stable
Diffusion and for a flow, and only the best is told, budget by budget; ours keep one grid for all budgets, whose numbers were chosen on
other mixtures.
"""

import argparse
import inspect
import json
import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import diffusers
import torch
from torch import Tensor

from gen3d.priors.samplers.analytic import Mixture
from gen3d.priors.samplers.coefficients import Coef
from gen3d.priors.samplers.driver import sample
from gen3d.priors.samplers.grids import Grid, angular, log_snr
from gen3d.priors.samplers.interchange import path_from_config
from gen3d.priors.samplers.paths import EDM, Cosine
from gen3d.priors.samplers.solvers.exponential import DDIM, DPMSolver
from gen3d.priors.samplers.solvers.heun import Heun
from gen3d.priors.samplers.solvers.levenberg import Levenberg
from gen3d.priors.samplers.solvers.momentum import Momentum
from gen3d.priors.samplers.solvers.unipc import UniPC
from gen3d.priors.samplers.stepping import Solver

BUDGETS = (5, 8, 10, 15, 20, 50)
BETAS = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
TOP = path_from_config(BETAS).most
FAR = 1000.0  # sigma / alpha that counts as pure noise
LOW = 0.03  # where log-SNR grids end before clean data, as diffusers' do


def checkerboard() -> Mixture:
    """Normal distributions on every other field of four by four, unit variance in all."""
    fields = torch.tensor([[i, j] for i in range(4) for j in range(4) if (i + j) % 2 == 0]).double() * 2 - 3
    width = 0.35
    scale = (float(fields.square().mean()) + width**2) ** -0.5
    return Mixture(torch.ones(8).double(), fields * scale, (width * scale) ** 2 * torch.eye(2).double().expand(8, 2, 2))


DATA = checkerboard()


@dataclass(frozen=True)
class Problem:
    """Noise, and where it goes.

    Attributes:
        noise: standard normal `[n, 2]`.
    """

    noise: Tensor

    @cache  # noqa: B019 - a handful of problems in one run
    def at(self, sb: float) -> Tensor:
        """The exact state of the EDM path with this much noise."""
        if sb >= FAR / 2:
            return sb * self.noise
        grid = log_snr(EDM(FAR), 1000, sb_min=max(sb, 1e-3), sb_max=FAR, clean=sb == 0)
        return sample(DATA, Heun(), grid, FAR * self.noise).x

    def start(self, c: Coef) -> Tensor:
        """The exact state at the first node of a grid."""
        return self.noise.clone() if c.alpha == 0 else c.alpha * self.at(float(c.sb))

    def error(self, x: Tensor) -> tuple[float, float]:
        """Mean distance to the exact samples, and its standard error."""
        distance = (x - self.at(0.0)).norm(dim=1)
        return float(distance.mean()), float(distance.std()) / len(x) ** 0.5


def ours(evaluations: int) -> Iterator[tuple[str, Solver, Grid]]:
    """Each solver on the grid that suits it."""
    angles, logs = angular(Cosine(), evaluations, sb_max=TOP), log_snr(EDM(), evaluations, sb_min=LOW, sb_max=TOP)
    yield "GHVB 2.0, velocity, cosine path", Momentum(2.0, coordinate="velocity"), angles
    yield "GHVB 1.8, velocity, cosine path", Momentum(1.8, coordinate="velocity"), angles
    yield "GHVB 3.8, uniform, velocity, cosine path", Momentum(3.8, coordinate="velocity", uniform=True), angles
    fine = log_snr(Cosine(), evaluations, sb_min=0.01, sb_max=TOP)
    yield "GHVB 2.8, uniform, velocity, cosine path, log-SNR", Momentum(2.8, coordinate="velocity", uniform=True), fine
    yield "GHVB 1.8, noise", Momentum(1.8), logs
    yield "HB 2, velocity, cosine path", Momentum(2, coordinate="velocity", kind="hb"), angles
    yield "DPM-Solver++ 2, clamped", DPMSolver(2), logs
    yield "DPM-Solver++ 3, clamped", DPMSolver(3), logs
    yield "UniPC 2", UniPC(2), logs
    yield "UniPC 3", UniPC(3), logs
    yield "DDIM", DDIM(), angles
    yield "LML", Levenberg(), logs
    # The last step, to clean data, takes one evaluation and all others two.
    yield "Heun, velocity, cosine path", Heun("velocity"), angular(Cosine(), (evaluations + 1) // 2, sb_max=TOP)


FAMILY: dict[str, list[dict[str, Any]]] = {
    "DPMSolverMultistep": [{"solver_order": order, "euler_at_final": euler} for order in (2, 3) for euler in (False, True)],
    "DPMSolverSinglestep": [{"solver_order": order, "lower_order_final": True, "final_sigmas_type": "zero"} for order in (2, 3)],
    "UniPCMultistep": [{"solver_order": order} for order in (2, 3)],
    "DEISMultistep": [{"solver_order": order} for order in (2, 3)],
    "EulerDiscrete": [{}],
    "HeunDiscrete": [{}],
    "KDPM2Discrete": [{}],
    "LMSDiscrete": [{}],
    "DDIM": [{"clip_sample": False}],
    "PNDM": [{"skip_prk_steps": True}],
    "FlowMatchEulerDiscrete": [{"shift": shift} for shift in (1.0, 3.0)],
    "FlowMatchHeunDiscrete": [{"shift": shift} for shift in (1.0, 3.0)],
}
PLACES: list[dict[str, Any]] = [
    *({"timestep_spacing": spacing, "steps_offset": 1} for spacing in ("linspace", "leading", "trailing")),
    *({f"use_{kind}": True} for kind in ("karras_sigmas", "exponential_sigmas", "lu_lambdas")),
    *({"use_flow_sigmas": True, "prediction_type": "flow_prediction", "flow_shift": shift} for shift in (1.0, 3.0)),
]
SCALED = ("EulerDiscrete", "HeunDiscrete", "KDPM2Discrete", "LMSDiscrete")  # their states are those of the exploding path
TWICE = ("HeunDiscrete", "KDPM2Discrete", "FlowMatchHeunDiscrete")


def theirs(name: str, evaluations: int) -> Iterator[Any]:
    """All schedulers of a kind that take no more evaluations."""
    kind = getattr(diffusers, f"{name}Scheduler")
    known = inspect.signature(kind.__init__).parameters
    for options in FAMILY[name]:
        for place in [{}] if name.startswith("FlowMatch") else PLACES:
            asked = {key: value for key, value in place.items() if key in known or key != "steps_offset"}
            if set(asked) - set(known):
                continue
            betas = {} if name.startswith("FlowMatch") else BETAS
            scheduler = kind(**betas, **options, **asked)
            steps = (evaluations + 1) // 2 if name in TWICE else evaluations - (name == "PNDM")
            scheduler.set_timesteps(steps)
            if len(scheduler.timesteps) <= evaluations:
                yield scheduler


def run(name: str, scheduler: Any, problem: Problem) -> Tensor:
    """Samples of a scheduler, whose network is the exact denoiser."""
    flow = name.startswith("FlowMatch") or bool(scheduler.config.get("use_flow_sigmas"))
    x: Tensor | None = None
    for i, t in enumerate(scheduler.timesteps):
        c = _coef(name, scheduler, i, t, flow=flow)
        if x is None:
            x = problem.start(c) * (1 / c.alpha if name in SCALED else 1.0)
        known = DATA(x * c.alpha if name in SCALED else x, c)
        x = scheduler.step(known.eps - known.x0 if flow else known.eps, t, x).prev_sample
    assert x is not None
    return x


def _coef(name: str, scheduler: Any, i: int, t: Tensor, *, flow: bool) -> Coef:
    """What the noise is when a scheduler calls its network."""
    if name in ("DDIM", "PNDM"):
        alpha = math.sqrt(float(scheduler.alphas_cumprod[int(t)]))
        return Coef(0.0, alpha, math.sqrt(1 - alpha**2), 0.0, 0.0)
    sigma = float(scheduler.sigmas[i])
    if flow:
        return Coef(sigma, 1 - sigma, sigma, -1.0, 1.0)
    alpha = (1 + sigma**2) ** -0.5
    return Coef(0.0, alpha, sigma * alpha, 0.0, 0.0)


def measured(problem: Problem, evaluations: int) -> dict[str, tuple[float, float]]:
    """Name to error and standard error; of diffusers' kinds the best option."""
    errors = {name: problem.error(sample(DATA, solver, grid, problem.start(grid.coefs[0])).x) for name, solver, grid in ours(evaluations)}
    for name in FAMILY:
        tried = [problem.error(run(name, scheduler, problem)) for scheduler in theirs(name, evaluations)]
        if found := [error for error in tried if math.isfinite(error[0])]:
            errors[f"diffusers {name}"] = min(found)
    return errors


def table(rows: dict[int, dict[str, tuple[float, float]]]) -> str:
    """Markdown, a column for each budget, in thousandths of the data's standard deviation."""
    names = sorted(dict.fromkeys(name for row in rows.values() for name in row), key=lambda name: name.startswith("diffusers"))
    lines = ["| solver | " + " | ".join(map(str, rows)) + " |", "|---" * (len(rows) + 1) + "|"]
    for name in names:
        cells = [told(*row[name]) if name in row else "" for row in rows.values()]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def told(error: float, deviation: float) -> str:
    """Thousandths, with two decimals where they are below 10."""
    digits = 1 if error >= 0.01 else 2
    return f"{1000 * error:.{digits}f} ± {1000 * deviation:.{digits}f}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="for the table, and the numbers beside it as JSON")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    diffusers.utils.logging.set_verbosity_error()
    generator = torch.Generator().manual_seed(options.seed)
    problem = Problem(torch.randn(options.samples, 2, generator=generator, dtype=torch.float64))
    rows = {budget: measured(problem, budget) for budget in BUDGETS}
    print(table(rows))
    if options.out:
        options.out.write_text(table(rows) + "\n")
        options.out.with_suffix(".json").write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
