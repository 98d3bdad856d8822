"""Where a solver evaluates: nodes from noise to data, independent of the solver and checked once."""

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from gen3d.priors.samplers.coefficients import Coef, largest
from gen3d.priors.samplers.paths import Path, VPDiscrete

RATIO = 2.0  # of neighbouring steps in log-SNR, above which extrapolation of order two is clamped


@dataclass(frozen=True, slots=True)
class Grid:
    """Nodes, and how fast they go through noise and time where they come from a smooth function of their number.

    Attributes:
        coefs: N + 1 nodes, sigma / alpha falling; floats, or tensors where samples or tokens have their own times.
        rates: changes of (sigma / alpha, t) for each step, derivatives at the first `smooth` + 1 nodes, for multistep solvers of order
            three and more; or None.
        smooth: steps of that function; a last jump to clean data may follow.

    Raises:
        ValueError: there are fewer than two nodes; the noise is not finite, does not fall, or a node is repeated; or only some samples
            begin with pure noise or end with clean data.
    """

    coefs: tuple[Coef, ...]
    rates: tuple[tuple[float, float], ...] | None = None
    smooth: int = 0

    def __post_init__(self) -> None:
        if len(self.coefs) < 2:
            raise ValueError(f"the grid has {len(self.coefs)} nodes; one step needs two")
        noise = torch.stack([torch.as_tensor(c.sb, dtype=torch.float64).cpu().reshape(-1) for c in self.coefs])
        if bool(noise.isnan().any()) or bool(noise[1:].isinf().any()):
            place, which = (noise.isnan() | noise.isinf()).nonzero()[-1].tolist()
            raise ValueError(
                f"node {place} of the grid has sigma / alpha = {noise[place, which]:g}; only the first may be infinite and none NaN"
            )
        steps = noise.diff(dim=0)
        if not bool((steps < 0).all()):
            place, which = (steps >= 0).nonzero()[0].tolist()
            before, after = noise[place : place + 2, which].tolist()
            rule = "is repeated, so that a step would do nothing" if before == after else "rises"
            raise ValueError(f"sigma / alpha {rule} from node {place} ({before:g}) to {place + 1} ({after:g}); it must fall at every step")
        for name, extreme in (("pure noise", noise[0].isinf()), ("clean data", noise[-1] == 0)):
            if bool(extreme.any()) and not bool(extreme.all()):
                raise ValueError(f"some samples or tokens have {name} at the end of their times and others not; give all of them the same")

    def __len__(self) -> int:
        """The number of steps."""
        return len(self.coefs) - 1

    def since(self, start: int) -> "Grid":
        """The nodes from `start` on, for states that are already that clean."""
        if not 0 <= start < len(self):
            raise ValueError(f"the start is node {start}; the grid has steps from the nodes 0 to {len(self) - 1}")
        return Grid(self.coefs[start:], None if self.rates is None else self.rates[start:], max(0, self.smooth - start))

    def uneven(self) -> list[int]:
        """Steps whose length in log-SNR is more than twice that of the step before."""
        lam = [largest(c.lam) for c in self.coefs]
        steps = [b - a for a, b in pairwise(lam)]
        finite = [math.isfinite(step) for step in steps]
        return [i for i in range(1, len(steps)) if finite[i] and finite[i - 1] and steps[i] > RATIO * steps[i - 1]]


def from_times(path: Path, times: Sequence[float] | Tensor, *, clean: bool = True) -> Grid:
    """A grid through given times, falling; a tensor `[n + 1, b]` gives each sample (or `[n + 1, b, v]` each token) its own.

    Raises:
        ValueError: it does not end with clean data, and `clean` is not False.
    """
    nodes = torch.as_tensor(times, dtype=torch.float64)
    return _ending(Grid(tuple(path(time if time.ndim else float(time)) for time in nodes)), clean=clean)


def from_sigmas(path: Path, sb: Sequence[float] | Tensor, *, clean: bool = True) -> Grid:
    """A grid through given sigma / alpha, falling to 0, which is clean data.

    Raises:
        ValueError: it does not end there, and `clean` is not False.
    """
    return _ending(Grid(tuple(path.at(float(value)) for value in sb)), clean=clean)


def _ending(grid: Grid, *, clean: bool) -> Grid:
    left = largest(grid.coefs[-1].sb)
    if clean and left > 0:
        raise ValueError(f"the grid ends at sigma / alpha = {left:g}, not with clean data; add a last node at 0, or say clean=False")
    return grid


def karras(path: Path, steps: int, *, sb_min: float = 0.002, sb_max: float | None = None, rho: float = 7.0, clean: bool = True) -> Grid:
    """sb^(1/rho) falls evenly (Karras et al. 2022, eq. 5), from 80 or all that the path has if no sb_max is given."""
    high, low = _top(path, sb_max) ** (1 / rho), sb_min ** (1 / rho)
    return spaced(path, steps, lambda u: (high + u * (low - high)) ** rho, clean=clean)


def log_snr(path: Path, steps: int, *, sb_min: float = 0.002, sb_max: float | None = None, clean: bool = True) -> Grid:
    """log(sigma / alpha) falls evenly, from 80 or all that the path has if no sb_max is given."""
    high, low = math.log(_top(path, sb_max)), math.log(sb_min)
    return spaced(path, steps, lambda u: (high + u * (low - high)).exp(), clean=clean)


def angular(path: Path, steps: int, *, power: float = 1.6, sb_max: float | None = None) -> Grid:
    """arctan(sigma / alpha) falls as (1 - u)^power, to clean data; for few steps of `Momentum` by velocity on the cosine path.

    Normal data of unit variance stand still on that path (its kinetic energy is 0), so that steps are spent on what is not normal.
    The power was chosen on random mixtures: 1 is even in the angle, more has shorter steps near the data.
    """
    highest = math.atan(_top(path, sb_max))
    return spaced(path, steps, lambda u: (highest * (1 - u) ** power).tan())


def _top(path: Path, sb_max: float | None) -> float:
    return min(80.0, path.most) if sb_max is None else sb_max


def flow_shift(path: Path, steps: int, *, shift: float = 1.0, first: float = 1.0, last: float = 0.0) -> Grid:
    """Times of a flow fall evenly and are then shifted to the noise, t -> s t / (1 + (s - 1) t) (Esser et al. 2024).

    Raises:
        ValueError: the shift is not above 0, or the path's times do not go from 0 to 1.
    """
    if (path.cleanest, path.noisiest) != (0.0, 1.0):
        raise ValueError(f"times of {type(path).__name__} go from {path.cleanest:g} to {path.noisiest:g}; a shift is for those from 0 to 1")
    if not shift > 0:
        raise ValueError(f"shift is {shift}; it must be above 0, and 1 leaves times as they are")
    return spaced(path, steps, lambda u: _shifted(first + u * (last - first), shift), times=True)


def _shifted(t: Tensor, shift: float) -> Tensor:
    return shift * t / (1 + (shift - 1) * t)


def spaced(path: Path, steps: int, place: Callable[[Tensor], Tensor], *, times: bool = False, clean: bool = False) -> Grid:
    """A grid from a smooth function of u in [0, 1].

    Args:
        path: whose coefficients are taken.
        steps: at least 1; with `clean` the last of them goes from the end of the function to sigma = 0.
        place: u, float64, to sigma / alpha, or to the time with `times`; differentiable by torch.
        times: whether `place` gives times.
        clean: append clean data.
    """
    inner = steps - 1 if clean else steps
    if inner < 1:
        raise ValueError(f"{steps} steps are asked for; this grid needs at least {2 if clean else 1}")
    with torch.inference_mode(False), torch.enable_grad():
        u = (torch.arange(inner + 1, dtype=torch.float64) / inner).requires_grad_()
        values = place(u)
        (change,) = torch.autograd.grad(values.sum(), u, retain_graph=True)
        time_change = change if times else torch.autograd.grad(path.time_of(values).sum(), u)[0]
    coefs = [path(float(value)) if times else path.at(float(value)) for value in values.detach()]
    noise_change = [_noise_rate(c) * slope for c, slope in zip(coefs, time_change.tolist(), strict=True)] if times else change.tolist()
    rates = tuple((of_noise / inner, of_time / inner) for of_noise, of_time in zip(noise_change, time_change.tolist(), strict=True))
    return Grid((*coefs, path(path.cleanest)) if clean else tuple(coefs), rates, inner)


def _noise_rate(c: Coef) -> float:
    """d(sigma / alpha)/dt, infinite for pure noise."""
    return float((c.dsigma * c.alpha - c.sigma * c.dalpha) / c.alpha**2) if c.alpha else math.inf


def respaced(path: VPDiscrete, steps: int, *, spacing: str = "trailing") -> Grid:
    """Integer steps of a discrete path, then clean data.

    Args:
        path: of the network.
        steps: at most as many as it was trained with.
        spacing: trailing (starts from pure noise), leading (diffusers' steps_offset 1) or linspace; the names of Lin et al. 2024, table 2.

    Raises:
        ValueError: too many steps, or the spacing is unknown.
    """
    total = int(path.noisiest) + 1
    if not 1 <= steps <= total:
        raise ValueError(f"{steps} steps are asked for; the path has 1 to {total}")
    if spacing == "trailing":
        times = [round(total - i * total / steps) - 1 for i in range(steps)]
    elif spacing == "leading":
        times = [min((steps - 1 - i) * (total // steps) + 1, total - 1) for i in range(steps)]
    elif spacing == "linspace":
        times = [round((total - 1) * (1 - i / max(steps - 1, 1))) for i in range(steps)]
    else:
        raise ValueError(f"spacing is {spacing!r}; choose trailing, leading or linspace")
    return from_times(path, [*(float(time) for time in times), path.cleanest])


def warn_uneven(grid: Grid, solver: str) -> None:
    """Tell that extrapolation is clamped somewhere: the grid suits the solver badly."""
    if places := grid.uneven():
        warnings.warn(
            f"{solver} extrapolates over steps {places} of the grid, which are more than twice as long in log-SNR as those before; "
            "its weight is clamped there. A Karras or log-SNR grid suits it better",
            stacklevel=3,
        )
