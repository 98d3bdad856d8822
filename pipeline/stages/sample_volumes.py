"""The stage that samples volumes of what is told, and puts the best first."""

from collections.abc import Callable
from dataclasses import replace

import torch

from gen3d.errors import UsageError
from gen3d.pipeline.progress import Progress
from gen3d.pipeline.run import Run
from gen3d.pipeline.stages.ranking import best_first
from gen3d.pipeline.stages.settings import ImageSettings, TextSettings
from gen3d.pipeline.stages.state import ImageState
from gen3d.pipeline.stages.widening import as_drawn
from gen3d.pipeline.volumes.appearance import FITTED
from gen3d.priors.samplers.driver import per_sample
from gen3d.priors.samplers.guidance import CFG
from gen3d.priors.samplers.named import solver_and_grid
from gen3d.priors.samplers.predictions import Network
from gen3d.priors.samplers.probes import renoise_score
from gen3d.priors.told import Told
from gen3d.priors.volume.generate import Sampling, TextModel, attributes_of, sample_field
from gen3d.priors.volume.volume import visible
from gen3d.renderers.frames import move_gaussians, rigid
from gen3d.renderers.gaussians import Gaussians

RENOISED, DRAWS = (0.2, 0.5, 1.0), 4  # noise that samples are looked at with again
Judge = Callable[[ImageState, Gaussians], float]  # how badly splats answer to what was asked for


class SampleVolumes:
    """Splats of volumes, the best of some samples first.

    Args:
        run: for figures.
        settings: of the samples.
        model: the networks.
        told: what they are told.
        judge: of the splats of a sample; None leaves it to the network.
        device: of the networks.
        scale: of the splats, from the frame of volumes to that in which they are compared with pictures.
    """

    name = "generate"

    def __init__(
        self,
        run: Run,
        settings: TextSettings | ImageSettings,
        model: TextModel,
        told: Callable[[ImageState], Told],
        judge: Judge | None,
        device: str,
        scale: float = 1.0,
    ) -> None:
        self.results, self.settings, self.model = run, settings, model
        self.told, self.judge, self.device, self.scale = told, judge, device, scale

    @torch.inference_mode()
    def run(self, state: ImageState, progress: Progress) -> ImageState:
        """Make them; first come those that the network changes least when they are noised again, and that the judge likes best."""
        settings, told = self.settings, self.told(state)
        samples, doubts, faults = list[Gaussians](), list[float](), list[float]()
        progress.start(self.name, settings.seeds)
        for number in range(settings.seeds):
            splats, doubt = self._sample(told, settings.seed + number)
            if splats.count:
                samples.append(splats.to("cpu"))
                doubts.append(doubt)
                faults.append(self.judge(state, splats) if self.judge is not None and settings.seeds > 1 else 0.0)
            progress.advance(number + 1)
        progress.finish()
        if not samples:
            raise UsageError("nothing came of it: all splats are transparent; try another --seed, or ask for something else")
        order = best_first(doubts, faults)
        self.results.write_metrics({"splats": samples[order[0]].count})
        pixel = self.scale * pixel_of(self.model.field.settings.size)
        return replace(state, samples=tuple(as_drawn(samples[number], pixel) for number in order))

    def _sample(self, told: Told, seed: int) -> tuple[Gaussians, float]:
        """A sample's splats, and how much the network would change it; 0 where there is no other to compare it with."""
        settings, model = self.settings, self.model
        sampling = sampling_of(settings)
        noise, size = per_sample([seed], device=self.device), model.field.settings.size
        field = sample_field(model.field, told, noise((1, 1, size, size, size)), sampling, noise)
        splats = visible(attributes_of(model.attributes, field, told, noise, sampling).gaussians().unbatched())
        splats = move_gaussians(splats, rigid(torch.eye(3), scale=self.scale))
        if settings.seeds == 1:
            return splats, 0.0
        denoiser = CFG(Network(model.field, model.field.path, model.field.kind), settings.guidance)  # type: ignore[arg-type]  # not none
        state = model.field.statistics.normalise(field)
        score = renoise_score(denoiser, model.field.path, state, noise, levels=RENOISED, draws=DRAWS, condition=told)
        return splats, float(score.mean())


def pixel_of(size: int) -> float:
    """Width of the pixels that volumes with so many nodes along a side were fitted to."""
    return FITTED / (size - 1)


def sampling_of(settings: TextSettings | ImageSettings) -> Sampling:
    """How volumes are sampled, as settings name it."""
    return Sampling(settings.evaluations, *solver_and_grid(settings.solver, settings.evaluations), settings.guidance)
