"""Steering by rewards that need no gradient: any Python function of the expected clean data, such as whether its mesh is closed."""

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gen3d.priors.samplers.coefficients import Coef, largest
from gen3d.priors.samplers.driver import Moment, Noise, Step
from gen3d.priors.samplers.predictions import Prediction, mapped

Value = Callable[[Tensor, Coef, Prediction], Float[Tensor, " n"]]  # of states `[n, ...]` with their coefficients and predictions


def valued(value: Value, x: Tensor, c: Coef, prediction: Prediction) -> Float[Tensor, " n"]:
    """Values in float64, so that rewards may be yes and no.

    Raises:
        ValueError: there is not one number for each sample, or some are not numbers.
    """
    found = torch.as_tensor(value(x, c, prediction)).to(x.device, torch.float64)
    if found.shape != x.shape[:1]:
        raise ValueError(f"the reward has shape {tuple(found.shape)} for {len(x)} samples; it must be one number for each")
    if bool(found.isnan().any()) or bool((found == torch.inf).any()) or bool((found == -torch.inf).all()):
        bad = (found.isnan() | found.isinf()).nonzero().flatten().tolist()
        raise ValueError(f"the reward of samples {bad} is no finite number; return a low one, or -inf for some, for what cannot be judged")
    return found


def expected(reward: Callable[[Tensor], Float[Tensor, " n"]]) -> Value:
    """The reward of the expected clean data, which overestimates what a state is worth: keep some temperature and stop early."""
    return lambda x, c, prediction: reward(prediction.x0)


class SVDD:
    """Each sample draws several candidates at every step and keeps one by its value (Li et al. 2024). Samples stay independent.

    Args:
        value: of candidates.
        candidates: M; each costs an evaluation, and one of them serves as the next step's.
        temperature: one candidate is drawn with probability proportional to exp(value / temperature); 0 takes the best.
        stop: sigma / alpha below which nothing is steered.

    Attributes:
        effective: the mean number of candidates that had a chance, for each steered step.
    """

    def __init__(self, value: Value, candidates: int, *, temperature: float = 1.0, stop: float = 0.0) -> None:
        if candidates < 1 or temperature < 0:
            raise ValueError(f"{candidates} candidates at temperature {temperature}; at least 1 and 0 are needed")
        self._value, self._candidates, self._temperature, self._stop = value, candidates, temperature, stop
        self.effective: list[float] = []

    def __call__(self, moment: Moment) -> Step:
        """See `Controller`."""
        transition = moment.transition
        if not choosing(moment):
            return Step(transition.state)
        c = moment.solver.node(transition.state, moment.grid)
        if largest(c.sb) < self._stop:
            return Step(transition.commit(moment.noise(transition.state.x.shape)))
        states = [transition.commit(moment.noise(transition.state.x.shape)) for _ in range(self._candidates)]
        predictions = [moment.denoiser(state.x, c, moment.condition) for state in states]
        values = torch.stack([valued(self._value, s.x, c, p) for s, p in zip(states, predictions, strict=True)], 1)
        chosen, effective = self._choose(values, moment.noise)
        self.effective.append(effective)

        def taken(*parts: Tensor) -> Tensor:
            return torch.stack(parts, 1)[torch.arange(len(chosen)), chosen.to(parts[0].device)]

        return Step(replace(transition.state, x=taken(*(s.x for s in states))), mapped(taken, *predictions))

    def _choose(self, values: Float[Tensor, "n m"], noise: Noise) -> tuple[Int[Tensor, " n"], float]:
        if self._temperature == 0:
            return values.argmax(1), 1.0
        share = (values / self._temperature).softmax(1)
        place = uniform(noise((len(values), 1))).to(share)
        return (share.cumsum(1) < place).sum(1).clamp(max=values.shape[1] - 1), float((1 / share.square().sum(1)).mean())


class SMC:
    """Samples as particles with weights: their value over what it was before; the worthless are replaced by copies of others.

    The result is exact in the limit of many particles if the last value is the log of the tilt (Feynman-Kac; Singhal et al. 2025).

    Args:
        value: of states; the last one of clean data, with themselves as the prediction.
        resample: when the effective share of particles falls below this.

    Attributes:
        log_weights: of the particles at the end `[n]`.
        log_evidence: log of the mean of exp(value) over the prior.
        effective: share of the particles after each step.
    """

    def __init__(self, value: Value, *, resample: float = 0.5) -> None:
        self._value, self._resample = value, resample
        self._before: Tensor | None = None
        self.log_weights = torch.zeros(0)
        self.log_evidence = 0.0
        self.effective: list[float] = []

    def __call__(self, moment: Moment) -> Step:
        """See `Controller`."""
        transition, last = moment.transition, moment.state.i + 1 == len(moment.grid)
        state = transition.commit(moment.noise(transition.state.x.shape)) if choosing(moment) else transition.state
        c = moment.grid.coefs[-1] if last else moment.solver.node(state, moment.grid)
        prediction = Prediction(state.x, torch.zeros_like(state.x)) if last else moment.denoiser(state.x, c, moment.condition)
        value = valued(self._value, state.x, c, prediction)
        if self._before is None:
            self._before, self.log_weights = torch.zeros_like(value), torch.zeros_like(value)
        self.log_weights, self._before = self.log_weights + value - self._before, value
        share = effective_share(self.log_weights)
        self.effective.append(share)
        if last or share >= self._resample:
            self.log_evidence += float(self.log_weights.logsumexp(0)) - math.log(len(value)) if last else 0.0
            return Step(state, None if last else prediction)
        self.log_evidence += float(self.log_weights.logsumexp(0)) - math.log(len(value))
        ancestors = systematic(self.log_weights, moment.noise)
        self.log_weights, self._before = torch.zeros_like(value), value[ancestors]
        return Step(state.index(ancestors), mapped(lambda part: part[ancestors], prediction), ancestors)


def choosing(moment: Moment) -> bool:
    """Whether the solver leaves a choice here; at the last step none is needed.

    Raises:
        ValueError: the solver is deterministic.
    """
    if moment.transition.noisy:
        return True
    if moment.state.i + 1 == len(moment.grid):
        return False
    raise ValueError(
        f"{moment.solver} adds no noise, so there is nothing to choose from; steer with DDIM(eta=1.0) or another stochastic solver"
    )


def best(rewards: Float[Tensor, " n"], keep: int = 1) -> Int[Tensor, " k"]:
    """Best of n: which samples have the highest rewards, best first; `mapped` takes them out of states and predictions."""
    return rewards.topk(keep).indices


def systematic(log_weights: Float[Tensor, " n"], noise: Noise) -> Int[Tensor, " n"]:
    """Ancestors in proportion to weights, with one random number: nobody is drawn more than once too often or too seldom."""
    count = len(log_weights)
    start = uniform(noise((count,))[:1]).to(log_weights)
    places = (torch.arange(count).to(log_weights) + start) / count
    return torch.searchsorted(log_weights.softmax(0).cumsum(0), places).clamp(max=count - 1)


def effective_share(log_weights: Float[Tensor, " n"]) -> float:
    """The effective sample size over the number of particles."""
    return float(1 / log_weights.softmax(0).square().sum() / len(log_weights))


def uniform(z: Tensor) -> Tensor:
    """Normal numbers to uniform ones."""
    return (1 + torch.erf(z / math.sqrt(2))) / 2
