"""What networks predict, and what samplers want: clean data x0, and the noise eps that goes with it."""

from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, Literal, Protocol, get_args

import torch
from torch import Tensor

from gen3d.priors.samplers.coefficients import Coef, Scalar, everywhere, sqrt, weighted, where
from gen3d.priors.samplers.paths import Path

Kind = Literal["eps", "x0", "v", "flow", "edm"]


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a denoiser says of a state.

    Attributes:
        x0: expected clean data `[b, ...]`.
        eps: noise that a solver puts back `[b, ...]`; not always the one that x0 implies (CFG++).
        aux: anything else, which guidance, solvers and controllers carry to the result, for example splats that x0 was rendered from;
            tensors in it, in dataclasses, lists or dictionaries, begin with the axis of the samples.
    """

    x0: Tensor
    eps: Tensor
    aux: Any = None

    def at(self, x0: Tensor, c: Coef) -> "Prediction":
        """Another x0 for the same state: the noise changes by as much as makes up for it."""
        k = c.like(x0)
        return replace(self, x0=x0, eps=weighted((1.0, self.eps), (-k.alpha / k.sigma, x0 - self.x0)))


class Decoupled(Prediction):
    """A prediction whose noise is not the one that x0 implies, on purpose (CFG++)."""


def mapped(function: Callable[..., Tensor], value: Any, *others: Any) -> Any:
    """A value with all tensors in it replaced, in dataclasses, tuples, lists and dictionaries; with the same places of others of its kind.

    Args:
        function: of one tensor, or of as many as there are values.
        value: anything; what holds no tensors stays as it is.
        others: values of the same structure.
    """
    if isinstance(value, Tensor):
        return function(value, *others)
    if isinstance(value, dict):
        return {key: mapped(function, part, *(other[key] for other in others)) for key, part in value.items()}
    if isinstance(value, tuple | list):
        parts = [mapped(function, *places) for places in zip(value, *others, strict=True)]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    if is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in fields(value) if field.init]
        changed = {name: mapped(function, *(getattr(each, name) for each in (value, *others))) for name in names}
        return replace(value, **changed)
    return value


class Denoiser(Protocol):
    """Anything that tells clean data from noise, on every path."""

    def __call__(self, x: Tensor, c: Coef, condition: Any = None) -> Prediction:
        """What a state `[b, ...]` at the coefficients c is a noisy version of."""
        ...


def implied_eps(x: Tensor, x0: Tensor, c: Coef) -> Tensor:
    """The noise for which x = alpha x0 + sigma eps; sigma must be above 0."""
    k = c.like(x)
    return weighted((1 / k.sigma, x), (-k.alpha / k.sigma, x0))


def to_x0(kind: Kind, output: Tensor, x: Tensor, c: Coef, *, sigma_data: float = 0.5) -> Tensor:
    """Clean data from what a network predicts, in the precision of x.

    Args:
        kind: eps; x0; v = alpha eps - sigma x0; flow u = alpha' x0 + sigma' eps; edm, the residual behind EDM's preconditioning.
        output: of the network `[b, ...]`.
        x: its input, a state of the path.
        c: coefficients of the state.
        sigma_data: of EDM's preconditioning.

    Raises:
        ValueError: the kind is unknown, or eps is predicted where there is no data left (zero terminal SNR).
    """
    k = c.like(x)
    if kind == "x0":
        return output.to(x.dtype)
    if kind == "eps":
        if not everywhere(c.alpha != 0):
            raise ValueError("an eps network says nothing of data at alpha = 0 (zero terminal SNR); use one that predicts v or x0")
        return weighted((1 / k.alpha, x), (-k.sigma / k.alpha, output))
    if kind == "v":
        return weighted((k.alpha / k.spread**2, x), (-k.sigma / k.spread**2, output))
    if kind == "flow":
        below = k.dalpha * k.sigma - k.alpha * k.dsigma
        return weighted((-k.dsigma / below, x), (k.sigma / below, output))
    if kind == "edm":
        skip, out = _preconditioning(k.sb, sigma_data)
        return weighted((skip / k.alpha, x), (out, output))
    raise ValueError(f"the kind of prediction is {kind!r}; choose one of {', '.join(get_args(Kind))}")


def target(kind: Kind, x0: Tensor, eps: Tensor, c: Coef, *, sigma_data: float = 0.5) -> Tensor:
    """What a network of a kind should predict, in the precision of x0: the inverse of `to_x0`.

    Args:
        kind: as in `to_x0`.
        x0: clean data `[b, ...]`.
        eps: noise `[b, ...]`.
        c: coefficients, one set or one for each sample.
        sigma_data: of EDM's preconditioning.
    """
    k = c.like(x0)
    if kind in ("eps", "x0"):
        return eps if kind == "eps" else x0
    if kind == "v":
        return weighted((-k.sigma, x0), (k.alpha, eps))
    if kind == "flow":
        return weighted((k.dalpha, x0), (k.dsigma, eps))
    if kind == "edm":
        skip, out = _preconditioning(k.sb, sigma_data)
        return weighted(((1 - skip) / out, x0), (-skip * k.sb / out, eps))
    raise ValueError(f"the kind of prediction is {kind!r}; choose one of {', '.join(get_args(Kind))}")


def _preconditioning(sb: Scalar, sigma_data: float) -> tuple[Scalar, Scalar]:
    """EDM's c_skip and c_out (Karras et al. 2022, table 1)."""
    square = sb**2 + sigma_data**2
    return sigma_data**2 / square, sb * sigma_data / sqrt(square)


@dataclass(frozen=True)
class Network:
    """A trained network as a denoiser on every path: states are turned into those of the path that it was trained on.

    Attributes:
        net: (input, time, condition) to output; input in the network's precision, time one number for each sample, in float32.
        path: what it was trained on.
        kind: what it predicts.
        time: what the network is told of the noise; the path's own time by default.
        sigma_data: of EDM's preconditioning, which also scales the input.
        dtype: of the network's input; states and results keep theirs.
    """

    net: Callable[[Tensor, Tensor, Any], Tensor]
    path: Path
    kind: Kind
    time: Callable[[Coef], Any] | None = None
    sigma_data: float = 0.5
    dtype: torch.dtype | None = None

    def __call__(self, x: Tensor, c: Coef, condition: Any = None) -> Prediction:
        """See `Denoiser`."""
        state, own = on_path(self.path, x, c)
        mine = own.like(x)
        entered = weighted((1 / (mine.alpha * sqrt(mine.sb**2 + self.sigma_data**2)), state)) if self.kind == "edm" else state
        told = torch.as_tensor(own.t if self.time is None else self.time(own), dtype=torch.float32).to(x.device)
        told = told.expand(len(x)) if told.ndim == 0 else told
        output = self.net(entered.to(self.dtype or x.dtype), told, condition).to(x.dtype)
        x0 = to_x0(self.kind, output, state, own, sigma_data=self.sigma_data)
        return Prediction(x0, output if self.kind == "eps" else implied_eps(x, x0, c))


def on_path(path: Path, x: Tensor, c: Coef) -> tuple[Tensor, Coef]:
    """A state of any path as one of a given path with the same noise, and its coefficients there; no noisier than that path gets.

    Args:
        path: that a network was trained on.
        x: state `[b, ...]`.
        c: its coefficients, those of the path or others.
    """
    if everywhere(c.t >= path.cleanest) and everywhere(c.t <= path.noisiest):
        same = path(c.t)
        if everywhere(same.alpha == c.alpha) and everywhere(same.sigma == c.sigma):
            return x, c
    own = path.at(where(c.sb > path.most, path.most, c.sb))
    return weighted((own.like(x).spread / c.like(x).spread, x)), own


def edm_time(c: Coef) -> Any:
    """What EDM's networks are told: log(sigma / alpha) / 4."""
    return torch.as_tensor(c.sb, dtype=torch.float64).log() / 4
