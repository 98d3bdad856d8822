"""Networks as methods: the mean of what a picture can be, one of the objects that it can be, and what more views or the truth add."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from gen3d.errors import BadInput
from gen3d.pipeline.evaluation.baselines import Bench, Entrant, Informed
from gen3d.pipeline.evaluation.objects_protocol import FOUR, Predicted, Question, chosen, over_white
from gen3d.pipeline.objects.views import DISTANCE, FOV, ObjectViews
from gen3d.priors.multiview.generate import generate, reconstruct
from gen3d.priors.multiview.pretrained import Model
from gen3d.priors.multiview.settings import VIEWS
from gen3d.priors.multiview.shipped import network_file, shipped_model
from gen3d.priors.multiview.views import GivenViews, around
from gen3d.priors.samplers.driver import per_sample
from gen3d.priors.samplers.named import solver_and_grid
from gen3d.priors.shipped import file_facts
from gen3d.renderers.cameras import Cameras
from gen3d.renderers.gaussians import Gaussians
from gen3d.renderers.rendering import rasterize

TRIES = 4  # samples of which the truth chooses the best


@dataclass(frozen=True)
class NetworkMethod:
    """Splats of a network in the views that are asked for.

    Attributes:
        model: on the device.
        bench: its settings, device and rasterizer.
        weights: name and digest of the file that the model is from.
    """

    model: Model
    bench: Bench
    weights: dict[str, str] = field(default_factory=dict)

    @property
    def sampling(self) -> dict[str, Any]:
        """What samples depend on, for reports."""
        settings = self.bench.settings
        return {"weights": self.weights, "solver": settings.solver, "steps": settings.steps, "seed": settings.seed}

    def mean(self, views: ObjectViews) -> Gaussians:
        """In one step."""
        return reconstruct(self.model, self._given(views))

    def sample(self, views: ObjectViews, seed: int) -> Gaussians:
        """With further views that are sampled."""
        given, settings = self._given(views), self.bench.settings
        missing = around(given.cameras, VIEWS - given.alpha.shape[1], elevation=settings.elevation, distance=DISTANCE, fov=FOV)
        solver, grid = solver_and_grid(settings.solver, settings.steps)
        noise = per_sample([seed], device=self.bench.device)
        made = generate(self.model, given, missing, noise, solver=solver, grid=grid, backend=self.bench.backend)
        splats: Gaussians = made.prediction.aux
        return splats

    def shown(self, splats: Gaussians, targets: Cameras) -> Predicted:
        """What splats look like."""
        drawn = rasterize(splats, targets.expand(1).to(self.bench.device), background=torch.ones(3), backend=self.bench.backend)
        return Predicted(drawn.rgb[0].cpu(), drawn.alpha[0].cpu())

    def _given(self, views: ObjectViews) -> GivenViews:
        pictures = views.over(torch.ones(3)).movedim(-1, 1)[None] * 2 - 1
        parts: list[Any] = [part.to(self.bench.device) for part in (pictures, views.alpha[None], views.cameras.expand(1))]
        return GivenViews(*parts)


def build_one_step(bench: Bench) -> Entrant:
    """The network as a regressor."""
    method = _method(bench)

    @torch.inference_mode()
    def answer(question: Question) -> Predicted:
        return method.shown(method.mean(question.given), question.targets)

    return Entrant(answer, {"weights": method.weights})


def build_sampled(bench: Bench) -> Entrant:
    """The network as a generator."""
    method, settings = _method(bench), bench.settings

    @torch.inference_mode()
    def answer(question: Question) -> Predicted:
        return method.shown(method.sample(question.given, settings.seed), question.targets)

    return Entrant(answer, method.sampling)


@dataclass(frozen=True)
class FourViews:
    """The network shown four views around the object, the given one among them; the other three count among those asked for."""

    method: NetworkMethod

    @torch.inference_mode()
    def __call__(self, question: Question, truth: ObjectViews) -> Predicted:
        """What it makes of them, in one step."""
        return self.method.shown(self.method.mean(chosen(truth, FOUR)), question.targets)


@dataclass(frozen=True)
class BestOf:
    """Of some samples the one that is nearest to the truth: how far the samples reach."""

    method: NetworkMethod
    seeds: tuple[int, ...]

    @torch.inference_mode()
    def __call__(self, question: Question, truth: ObjectViews) -> Predicted:
        """The sample with the smallest squared error over all views that are asked for."""
        asked = over_white(chosen(truth, self.method.bench.protocol.targets)).rgb
        answers = [self.method.shown(self.method.sample(question.given, seed), question.targets) for seed in self.seeds]
        return min(answers, key=lambda answer: float(_error(answer.rgb, asked)))


def build_reconstruction(bench: Bench) -> Informed:
    """See `FourViews`."""
    method = _method(bench)
    return Informed(FourViews(method), {"weights": method.weights})


def build_best_of(bench: Bench) -> Informed:
    """See `BestOf`."""
    method, first = _method(bench), bench.settings.seed
    return Informed(BestOf(method, tuple(range(first, first + TRIES))), {**method.sampling, "tries": TRIES})


def _method(bench: Bench) -> NetworkMethod:
    model = shipped_model(bench.settings.weights)
    if (takes := model.network.settings.size) != bench.protocol.size:
        raise BadInput(f"the network takes pictures of {takes} pixels and is asked for {bench.protocol.size}; say --size {takes}")
    return NetworkMethod(model.to(bench.device), bench, file_facts(network_file(bench.settings.weights)))


def _error(one: Tensor, other: Tensor) -> Tensor:
    return (one.clamp(0, 1) - other).square().mean()
