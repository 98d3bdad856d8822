"""Objects between two sentences or seeds: what is expected of both is mixed at every evaluation, and so is their noise."""

from dataclasses import dataclass

import torch
from torch import Tensor

from gen3d.priors.samplers.driver import per_sample
from gen3d.priors.told import Told
from gen3d.priors.volume.generate import Answer, Sampling, TextModel, generate
from gen3d.priors.volume.network import VolumeNetwork
from gen3d.priors.volume.volume import GaussianVolume


@dataclass(frozen=True, slots=True)
class End:
    """One of two objects.

    Attributes:
        told: of it.
        seed: of its noise.
    """

    told: Told
    seed: int


def slerp(first: Tensor, second: Tensor, share: float) -> Tensor:
    """Normal numbers between two sets of them, as unlike zero as they are: on the arc between both."""
    if share in (0.0, 1.0):
        return second if share else first
    cosine = (first * second).sum() / (first.norm() * second.norm())
    angle = cosine.clamp(-1 + 1e-6, 1 - 1e-6).acos()
    return (((1 - share) * angle).sin() * first + (share * angle).sin() * second) / angle.sin()


def interpolated(model: TextModel, ends: tuple[End, End], share: float, sampling: Sampling) -> GaussianVolume:
    """The volume at a share of the way; at 0 and 1 it is that of the end alone.

    Args:
        model: its networks are on one device.
        ends: the two objects, each told as a batch of one.
        share: in [0, 1].
        sampling: how.
    """
    first, second = (per_sample([end.seed], device=str(model.field.mean.device)) for end in ends)
    one, other = (end.told for end in ends)

    def noise(shape: torch.Size | tuple[int, ...]) -> Tensor:
        return slerp(first(shape), second(shape), share)

    def between(network: VolumeNetwork) -> Answer:
        """Answers depend linearly on what is expected, so that mixing them mixes that; without anything told there is nothing to mix."""

        def answer(x: Tensor, times: Tensor | None, told: Told | None) -> Tensor:
            if told is None or share in (0.0, 1.0):
                return network(x, times, None if told is None else other if share else one)
            return torch.lerp(network(x, times, one), network(x, times, other), share)

        return answer

    return generate(model, one, noise, 1, sampling, ask=between)
