"""From sentences to splats: a distance field by diffusion, then the attributes of the splats in it (GVGEN, 2403.12957)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from gen3d.priors.multiview.views import GivenViews
from gen3d.priors.samplers.driver import Noise, Probe, sample
from gen3d.priors.samplers.grids import Grid, angular
from gen3d.priors.samplers.guidance import CFG
from gen3d.priors.samplers.paths import Cosine
from gen3d.priors.samplers.predictions import Denoiser, Network
from gen3d.priors.samplers.solvers.momentum import Momentum
from gen3d.priors.samplers.starts import from_noise
from gen3d.priors.samplers.stepping import Solver
from gen3d.priors.told import Told
from gen3d.priors.volume.network import NONE, VolumeNetwork
from gen3d.priors.volume.volume import GENERATED, GaussianVolume
from gen3d.priors.volume.words import Words

Answer = Callable[[Tensor, Tensor | None, Told | None], Tensor]  # of a network: volumes, times and what is told, to volumes


@dataclass(frozen=True, slots=True)
class TextModel:
    """The two networks and what reads sentences for them.

    Attributes:
        field: noise to distance fields.
        attributes: fields to attributes.
        encoder: the one that they were trained with, of sentences or of pictures.
        words: what they were taught to name; None where nobody knows.
        files: that all of this was read from.
    """

    field: VolumeNetwork
    attributes: VolumeNetwork
    encoder: Any
    words: Words | None = None
    files: tuple[Path, ...] = ()

    def told(self, asked: Sequence[str] | GivenViews) -> Told:
        """What the networks are told by sentences, or by one view of each object."""
        told: Told = self.encoder(asked)
        return told.to(self.field.mean.device)


@dataclass(frozen=True, slots=True)
class Sampling:
    """How volumes are sampled.

    Attributes:
        steps: evaluations of the network, of the attributes' as well where they are sampled.
        solver: `Momentum` of order two by velocity by default.
        grid: on any path; `angular` on the cosine path by default.
        guidance: what the sentence changes counts so many times; 1 leaves the network alone.
    """

    steps: int = 12
    solver: Solver | None = None
    grid: Grid | None = None
    guidance: float = 3.0

    def run(self, denoiser: Denoiser, noise: Tensor, told: Told | None, source: Noise | None, probes: Sequence[Probe]) -> Tensor:
        """The clean data at the end."""
        grid = self.grid or angular(Cosine(), self.steps)
        guided = denoiser if self.guidance == 1 or told is None else CFG(denoiser, self.guidance)
        solver = self.solver or Momentum(2.0, coordinate="velocity")
        return sample(guided, solver, grid, from_noise(grid, noise), told, probes=probes, noise=source).prediction.x0


def itself(network: VolumeNetwork) -> Answer:
    """What is asked for an answer where nothing else is."""
    return network


def generate(
    model: TextModel,
    told: Told | None,
    noise: Noise,
    count: int,
    sampling: Sampling,
    *,
    ask: Callable[[VolumeNetwork], Answer] = itself,
    probes: Sequence[Probe] = (),
) -> GaussianVolume:
    """Volumes of objects that sentences name.

    Args:
        model: its networks are on one device.
        told: of each object; None names nothing.
        noise: source of normal numbers; `per_sample` makes an object independent of its batch.
        count: of objects.
        sampling: how.
        ask: what answers for a network.
        probes: called at every evaluation for the field.
    """
    size, place = model.field.settings.size, model.field.mean
    start = noise((count, 1, size, size, size)).to(place)
    field = sample_field(model.field, told, start, sampling, noise, ask=ask, probes=probes)
    return attributes_of(model.attributes, field, told, noise, sampling, ask=ask)


def sample_field(
    network: VolumeNetwork,
    told: Told | None,
    start: Float[Tensor, "b 1 n n n"],
    sampling: Sampling,
    noise: Noise | None = None,
    *,
    ask: Callable[[VolumeNetwork], Answer] = itself,
    probes: Sequence[Probe] = (),
) -> Float[Tensor, "b 1 n n n"]:
    """Distance fields in [-1, 1].

    Args:
        network: of fields.
        told: of each object.
        start: normal numbers.
        sampling: how.
        noise: of solvers that add some.
        ask: what answers for a network.
        probes: called at every evaluation.
    """
    denoiser = Network(ask(network), network.path, network.kind)  # type: ignore[arg-type]  # not none: fields are made of noise
    return network.statistics.restore(sampling.run(denoiser, start, told, noise, probes)).clamp(-1, 1)


def attributes_of(
    network: VolumeNetwork,
    field: Float[Tensor, "b 1 n n n"],
    told: Told | None,
    noise: Noise,
    sampling: Sampling,
    *,
    ask: Callable[[VolumeNetwork], Answer] = itself,
) -> GaussianVolume:
    """The splats of fields: the mean of what they can be, or a sample where the network has learned to sample."""
    answer = ask(network)
    if network.kind == NONE:
        normal = answer(field, None, told)
    else:

        def beside(x: Tensor, times: Tensor, condition: Any) -> Tensor:
            return answer(torch.cat([field, x], 1), times, condition)

        denoiser = Network(beside, network.path, network.kind)  # type: ignore[arg-type]  # not none
        normal = sampling.run(denoiser, noise((len(field), GENERATED, *field.shape[2:])).to(field), told, noise, ())
    return GaussianVolume.of_generated(network.statistics.restore(normal))
