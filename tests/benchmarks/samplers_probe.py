"""Hallucinations that probes find: the share removed when 96 % of the good samples are kept, and the area under the ROC curve.

    python tests/benchmarks/samplers_probe.py

Data are three modes on a line. The network's slope between them is limited, as a trained network's is, so that some samples end between
modes. A probe's threshold is the 96 % quantile of the scores of good samples.
"""

import argparse
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from gen3d.priors.samplers.analytic import Mixture
from gen3d.priors.samplers.coefficients import Coef
from gen3d.priors.samplers.driver import sample
from gen3d.priors.samplers.grids import karras
from gen3d.priors.samplers.paths import EDM
from gen3d.priors.samplers.predictions import Prediction, implied_eps
from gen3d.priors.samplers.probes import FEWEST, TrajectoryVariance, renoise_score, thresholds
from gen3d.priors.samplers.solvers.exponential import DDIM

WITHIN, FLOOR, TOP = 0.05, 0.3, 20.0
MODES = Mixture(torch.ones(3).double(), torch.tensor([[-1.0], [0.0], [1.0]]).double(), WITHIN**2 * torch.ones(3, 1, 1).double())


def limited(x: Tensor, c: Coef, condition: Any = None) -> Prediction:
    """The exact denoiser, but never sharper than at the noise FLOOR."""
    x0 = MODES(x, EDM().at(max(float(c.sb), FLOOR))).x0
    return Prediction(x0, implied_eps(x, x0, c))


def area(scores: Float[Tensor, " n"], bad: Bool[Tensor, " n"]) -> float:
    """Under the ROC curve: how often a hallucination scores more than a good sample."""
    rank = scores.argsort().argsort().double()
    count = int(bad.sum())
    return float((rank[bad].sum() - count * (count - 1) / 2) / (count * (len(scores) - count)))


def removed(scores: Float[Tensor, " n"], bad: Bool[Tensor, " n"]) -> float:
    """Share of the hallucinations above what 96 % of the good samples stay below."""
    limit = float(thresholds(scores[~bad][:, None])[0])
    return float((scores[bad] > limit).double().mean())


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=20_000)
    count = parser.parse_args().samples
    generator = torch.Generator().manual_seed(0)

    def noise(shape: Any) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    print("| sampler | hallucinations | probe | removed | AUC |\n|---|---|---|---|---|")
    for steps, eta in ((20, 0.0), (20, 1.0), (200, 0.0), (200, 1.0)):
        name, grid = f"DDIM, {steps} steps, eta {eta:g}", karras(EDM(), steps, sb_min=0.02, sb_max=TOP)
        watch = TrajectoryVariance(max(3 * WITHIN, float(grid.coefs[-FEWEST - 1].sb)))  # the published window, or six evaluations
        x = sample(limited, DDIM(eta), grid, TOP * noise((count, 1)), probes=[watch], noise=noise).x
        bad = (x - MODES.means[:, 0]).abs().amin(1) > 4 * WITHIN
        scores = {f"re-noise at {k} x": renoise_score(limited, EDM(), x, noise, levels=[k * WITHIN])[:, 0] for k in (2, 4)}
        scores["trajectory variance"] = watch.score()
        for probe, score in scores.items():
            share, found = 100 * removed(score, bad), area(score, bad)
            print(f"| {name} | {100 * float(bad.double().mean()):.2f} % | {probe} | {share:.1f} % | {found:.3f} |")


if __name__ == "__main__":
    main()
