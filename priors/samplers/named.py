"""Solvers by name, as the command line chooses them, and their grids for a number of evaluations. Standard library only at import."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gen3d.priors.samplers.grids import Grid
    from gen3d.priors.samplers.stepping import Solver

SOLVERS = ("ghvb", "ddim", "dpm++2m", "heun")


def solver_and_grid(name: str, evaluations: int) -> "tuple[Solver, Grid]":
    """A solver and a grid on which it calls the network so often (heun, which calls it an odd number of times, at most so often).

    Args:
        name: one of `SOLVERS`.
        evaluations: of the network.

    Raises:
        KeyError: there is no such solver.
    """
    from gen3d.priors.samplers.grids import angular
    from gen3d.priors.samplers.paths import Cosine
    from gen3d.priors.samplers.solvers.exponential import DDIM, DPMSolver
    from gen3d.priors.samplers.solvers.heun import Heun
    from gen3d.priors.samplers.solvers.momentum import Momentum

    solvers: dict[str, Solver] = {
        "ghvb": Momentum(2.0, coordinate="velocity"),
        "ddim": DDIM(),
        "dpm++2m": DPMSolver(order=2),
        "heun": Heun(coordinate="velocity"),
    }
    solver = solvers[name]
    steps = (evaluations + 1) // 2 if solver.stages == 2 else evaluations
    return solver, angular(Cosine(), steps)
