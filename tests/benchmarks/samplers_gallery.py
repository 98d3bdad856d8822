"""The picture of the samplers' page: what solvers, measurements and probes do in the plane, where everything is known.

python tests/benchmarks/samplers_gallery.py --out tests/data/samplers.png
"""

import argparse
from pathlib import Path
from typing import Any

import matplotlib
import torch
from torch import Tensor

from gen3d.priors.samplers.analytic import Mixture
from gen3d.priors.samplers.coefficients import Coef
from gen3d.priors.samplers.driver import Moment, sample
from gen3d.priors.samplers.ensembles import AnnealedPosterior, Linear
from gen3d.priors.samplers.grids import angular, karras, log_snr
from gen3d.priors.samplers.paths import EDM, Cosine
from gen3d.priors.samplers.predictions import Prediction, implied_eps
from gen3d.priors.samplers.probes import renoise_score, suspicious, thresholds
from gen3d.priors.samplers.solvers.exponential import DDIM
from gen3d.priors.samplers.solvers.heun import Heun
from gen3d.priors.samplers.solvers.momentum import Momentum
from gen3d.priors.samplers.solvers.stochastic import SDE
from gen3d.priors.samplers.steering import systematic

WIDE, NARROW = 0.35, 0.12  # of the modes, in fields
TOP = 14.6
SHARPEST = 0.36  # noise below which the network of the third picture gets no sharper


def checkerboard(width: float) -> Mixture:
    """Eight modes of unit variance in all."""
    fields = torch.tensor([[i, j] for i in range(4) for j in range(4) if (i + j) % 2 == 0]).double() * 2 - 3
    scale = (float(fields.square().mean()) + width**2) ** -0.5
    return Mixture(torch.ones(8).double(), fields * scale, (width * scale) ** 2 * torch.eye(2).double().expand(8, 2, 2))


def ways(axes: Any, data: Mixture) -> None:
    """Five evaluations of DDIM and of momentum, and where the ODE really goes."""
    z = torch.randn(6, 2, generator=torch.Generator().manual_seed(8), dtype=torch.float64)
    exact = log_snr(EDM(), 400, sb_min=1e-3, sb_max=TOP)
    few = angular(Cosine(), 5, sb_max=TOP)
    for name, solver, grid, style in (
        ("exact", Heun(), exact, {"color": "0.6", "linewidth": 3}),
        ("DDIM, 5 evaluations", DDIM(), few, {"color": "tab:red", "marker": "o", "markersize": 3, "linewidth": 1}),
        (
            "GHVB, 5 evaluations",
            Momentum(2.0, coordinate="velocity"),
            few,
            {"color": "tab:blue", "marker": "o", "markersize": 3, "linewidth": 1},
        ),
    ):
        places: list[Tensor] = []

        def watch(moment: Moment, places: list[Tensor] = places) -> None:
            places.append(moment.state.x / float(moment.c.spread))

        start = z * grid.coefs[0].spread
        places.append(sample(data, solver, grid, start, probes=[watch]).x)
        for i, way in enumerate(torch.stack(places, 1)):
            axes.plot(*way.mT, label=name if i == 0 else None, **style)
    axes.legend(loc="lower left", fontsize=7)
    axes.set_title("ways of six samples")


def posterior(axes: Any, data: Mixture) -> None:
    """What is left when the sum of both coordinates is measured."""
    generator = torch.Generator().manual_seed(0)

    def noise(shape: Any) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    controller = AnnealedPosterior(Linear(torch.tensor([[0.8, 0.6]]).double(), torch.tensor([0.5]).double(), 0.1))
    grid = karras(EDM(), 200, sb_max=20.0)
    x = sample(data, SDE(lambda c: c.sb), grid, 20 * noise((1500, 2)), controller=controller, noise=noise).x
    drawn = x[systematic(controller.log_weights, noise)]
    line = torch.linspace(-2.2, 2.2, 2).double()
    axes.plot(line, (0.5 - 0.8 * line) / 0.6, color="tab:red", linewidth=1, label="measured: 0.8 x + 0.6 y = 0.5 ± 0.1")
    axes.scatter(*drawn.mT, s=2, color="tab:blue", label="posterior")
    axes.legend(loc="lower left", fontsize=7)
    axes.set_title("posterior of particles")


def hallucinations(axes: Any, data: Mixture) -> None:
    """Samples of a network whose slope is limited, and those of them that noising again gives away."""
    generator = torch.Generator().manual_seed(0)

    def noise(shape: Any) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    def limited(x: Tensor, c: Coef, condition: Any = None) -> Prediction:
        x0 = data(x, EDM().at(max(float(c.sb), SHARPEST))).x0
        return Prediction(x0, implied_eps(x, x0, c))

    x = sample(limited, DDIM(), karras(EDM(), 20, sb_min=0.02, sb_max=20.0), 20 * noise((1500, 2))).x
    deviation = float(data.covariances[0, 0, 0]) ** 0.5
    good = (x[:, None] - data.means).norm(dim=-1).amin(1) < 4 * deviation  # a person would sort out the references
    scores = renoise_score(limited, EDM(), x, noise, levels=[2 * deviation])
    bad = suspicious(scores, thresholds(scores[good], kept=0.99)) > 1
    axes.scatter(*x[~bad].mT, s=2, color="tab:blue", label="kept")
    axes.scatter(*x[bad].mT, s=6, color="tab:red", label="rejected")
    axes.legend(loc="lower left", fontsize=7)
    axes.set_title("hallucinations between modes")


def density(axes: Any, data: Mixture) -> None:
    """The data, in grey behind everything."""
    line = torch.linspace(-2.2, 2.2, 200).double()
    place = torch.stack(torch.meshgrid(line, line, indexing="xy"), -1).reshape(-1, 2)
    value = data.log_density(place, EDM()(1e-3)).exp().reshape(200, 200)
    axes.imshow(value, extent=(-2.2, 2.2, -2.2, 2.2), origin="lower", cmap="Greys", vmax=2.5 * float(value.max()))
    axes.set(xlim=(-2.2, 2.2), ylim=(-2.2, 2.2), xticks=[], yticks=[])


def main() -> None:
    """Draw it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("samplers.png"))
    options = parser.parse_args()
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 3, figsize=(12, 4.2), layout="constrained")
    for place, panel, width in zip(axes, (ways, posterior, hallucinations), (WIDE, WIDE, NARROW), strict=True):
        density(place, checkerboard(width))
        panel(place, checkerboard(width))
    figure.savefig(options.out, dpi=110)


if __name__ == "__main__":
    main()
