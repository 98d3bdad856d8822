"""What solvers cost beside the network: milliseconds of each step and states held, for a state of (4, 3, 64, 64).

python tests/benchmarks/samplers_overhead.py
"""

import statistics
import time
import warnings

import torch

from gen3d.priors.samplers.coefficients import Coef
from gen3d.priors.samplers.driver import Moment, sample
from gen3d.priors.samplers.grids import Grid, angular
from gen3d.priors.samplers.paths import Cosine
from gen3d.priors.samplers.predictions import Prediction
from gen3d.priors.samplers.solvers.exponential import DDIM, DPMSolver
from gen3d.priors.samplers.solvers.heun import Heun
from gen3d.priors.samplers.solvers.levenberg import Levenberg
from gen3d.priors.samplers.solvers.momentum import Momentum
from gen3d.priors.samplers.solvers.stochastic import SDE
from gen3d.priors.samplers.solvers.unipc import UniPC
from gen3d.priors.samplers.stepping import Solver

SHAPE, STEPS, ROUNDS = (4, 3, 64, 64), 50, 30
SOLVERS: dict[str, Solver] = {
    "DDIM": DDIM(),
    "DDIM, eta 1": DDIM(1.0),
    "DPM-Solver++ 2": DPMSolver(2),
    "DPM-Solver++ 3": DPMSolver(3),
    "UniPC 2": UniPC(2),
    "UniPC 3": UniPC(3),
    "GHVB 1.8": Momentum(1.8),
    "GHVB 3.8": Momentum(3.8),
    "GHVB 1.8, automatic": Momentum(1.8, automatic=True),
    "Heun": Heun(),
    "SDE": SDE(lambda c: c.sb),
    "LML": Levenberg(),
}


def held(solver: Solver, grid: Grid) -> int:
    """States that are kept between evaluations, with the sample itself, at most."""
    most = 0

    def watch(moment: Moment) -> None:
        nonlocal most
        most = max(most, 1 + len(moment.transition.state.memory))

    sample(nothing, solver, grid, torch.randn(SHAPE), probes=[watch])
    return most


def nothing(x: torch.Tensor, c: Coef, condition: object = None) -> Prediction:
    """A network that costs nothing."""
    return Prediction(x, x)


def milliseconds(solver: Solver, grid: Grid) -> float:
    """Of an evaluation, the median over rounds."""
    x, times = torch.randn(SHAPE), []
    for _ in range(ROUNDS):
        begin = time.perf_counter()
        evaluations = sample(nothing, solver, grid, x).evaluations
        times.append((time.perf_counter() - begin) / evaluations)
    return 1000 * statistics.median(times)


def main() -> None:
    """Print the table."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    grid = angular(Cosine(), STEPS)
    print("| solver | ms a step | states held |\n|---|---|---|")
    with torch.inference_mode():
        for name, solver in SOLVERS.items():
            print(f"| {name} | {milliseconds(solver, grid):.3f} | {held(solver, grid)} |")


if __name__ == "__main__":
    main()
