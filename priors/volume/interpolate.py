"""Objects between two sentences or seeds: what is expected of both is mixed at every evaluation, and so is their noise."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from gen3d.priors.samplers.coefficients import Coef
from gen3d.priors.samplers.driver import per_sample
from gen3d.priors.samplers.guidance import CFG
from gen3d.priors.samplers.predictions import Denoiser, Network, Prediction
from gen3d.priors.volume.generate import Sampling, TextModel
from gen3d.priors.volume.network import NONE, Told, VolumeNetwork
from gen3d.priors.volume.volume import GENERATED, GaussianVolume


@dataclass(frozen=True, slots=True)
class End:
    """One of two objects.

    Attributes:
        told: of it.
        seed: of its noise.
    """

    told: Told
    seed: int


@dataclass(frozen=True, slots=True)
class Between:
    """A denoiser that expects something between what another one expects for two conditions.

    Attributes:
        denoiser: with its guidance.
        ends: the two conditions.
        share: of the second, in [0, 1]; 0 and 1 ask once.
    """

    denoiser: Denoiser
    ends: tuple[Any, Any]
    share: float

    def __call__(self, x: Tensor, c: Coef, condition: Any = None) -> Prediction:
        """See `Denoiser`; the condition does not count."""
        first, second = self.ends
        if self.share in (0.0, 1.0):
            return self.denoiser(x, c, second if self.share else first)
        one, other = self.denoiser(x, c, first), self.denoiser(x, c, second)
        return one.at(torch.lerp(one.x0, other.x0, self.share), c)


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
    size, told = model.field.settings.size, (ends[0].told, ends[1].told)
    first, second = (per_sample([end.seed], device=str(model.field.mean.device)) for end in ends)
    start = slerp(first((1, 1, size, size, size)), second((1, 1, size, size, size)), share)
    field = model.field.statistics.restore(_sampled(model.field, model.field, start, told, share, sampling)).clamp(-1, 1)
    if model.attributes.kind == NONE:
        one, other = (model.attributes(field, None, each) for each in told)
        normal = torch.lerp(one, other, share)
    else:
        shape = (1, GENERATED, size, size, size)
        start = slerp(first(shape), second(shape), share)

        def beside(x: Tensor, times: Tensor, condition: Any) -> Tensor:
            return model.attributes(torch.cat([field, x], 1), times, condition)

        normal = _sampled(model.attributes, beside, start, told, share, sampling)
    return GaussianVolume.of_generated(model.attributes.statistics.restore(normal))


def _sampled(
    network: VolumeNetwork, net: Any, start: Float[Tensor, "1 c n n n"], told: tuple[Told, Told], share: float, sampling: Sampling
) -> Tensor:
    denoiser: Denoiser = Network(net, network.path, network.kind)  # type: ignore[arg-type]  # not none: it makes volumes of noise
    guided = denoiser if sampling.guidance == 1 else CFG(denoiser, sampling.guidance)
    return sampling.run(Between(guided, told, share), start, None, None, ())
