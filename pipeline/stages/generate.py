"""The stages of `image_to_3d` that make splats of pictures: cut out, generate, refine."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gen3d.errors import BadInput
from gen3d.pipeline.formats.images import read_image, write_image
from gen3d.pipeline.meshing.placement import footprint_of
from gen3d.pipeline.objects.views import object_cameras
from gen3d.pipeline.progress import Progress
from gen3d.pipeline.run import Run
from gen3d.pipeline.stages.picture import CutOut, cut_out, framed
from gen3d.pipeline.stages.ranking import best_first
from gen3d.pipeline.stages.refine import refined
from gen3d.pipeline.stages.results import weight_facts
from gen3d.pipeline.stages.settings import ImageSettings
from gen3d.pipeline.stages.state import ImageState
from gen3d.pipeline.stages.widening import as_drawn
from gen3d.priors.matting import Matting
from gen3d.priors.multiview.denoiser import SplatDenoiser, ViewGuidance
from gen3d.priors.multiview.generate import generate, reconstruct
from gen3d.priors.multiview.pretrained import Model
from gen3d.priors.multiview.settings import VIEWS
from gen3d.priors.multiview.views import GivenViews, beside, draw, to_pictures
from gen3d.priors.samplers.driver import per_sample
from gen3d.priors.samplers.named import solver_and_grid
from gen3d.priors.samplers.paths import Cosine
from gen3d.priors.samplers.probes import renoise_score
from gen3d.renderers.cameras import Cameras
from gen3d.renderers.gaussians import Gaussians

UNLIKE = 16.0  # times that an object can be flatter in one picture than in another
PLACES = 4  # around the object, of which views that are sampled have the ones farthest from the pictures
RENOISE: dict[str, Any] = {"levels": (0.2, 0.5), "draws": 4, "views": True}  # how samples are looked at again


class Prepare:
    """previews/mask.png of every picture, and the pictures as the network takes them."""

    name = "prepare"

    def __init__(self, run: Run, pictures: Sequence[Path], masks: Sequence[Path], size: int) -> None:
        self.results, self.pictures, self.masks, self.size = run, pictures, masks, size

    def run(self, state: ImageState, progress: Progress) -> ImageState:
        """Read, cut out, frame; the object is as tall in all pictures, and fits into each."""
        cuts: list[CutOut] = []
        for number, picture in enumerate(self.pictures):
            rgb, alpha = read_image(picture)
            mask = _mask(self.masks[number]) if self.masks else None
            cuts.append(cut_out(rgb, alpha, matte=self._matte, mask=mask))
            for note in cuts[-1].notes:
                self.results.note(f"{picture.name}: {note}" if len(self.pictures) > 1 else note)
            name = "mask.png" if not number else f"mask-{number + 1}.png"
            write_image(self.results.previews / name, cuts[-1].mask[..., None].expand(-1, -1, 3))
        height = min(cut.tallest for cut in cuts)
        if (ratio := max(cut.tallest for cut in cuts) / height) > UNLIKE:
            raise BadInput(
                f"the object is {ratio:.0f} times flatter in one picture than in another; give pictures of one object, all upright and "
                "from the same height"
            )
        return replace(state, prepared=tuple(framed(cut, height, self.size) for cut in cuts))

    def _matte(self, image: Tensor) -> Tensor:
        """Where a network sees the object, loaded only for pictures that do not say it."""
        matting = Matting()
        self.results.use_weights(weight_facts("u2net-p"))
        return matting(image)


class Generate:
    """Splats of the pictures, in the frame that the first of them looks at from the front: one step, or the best of some samples."""

    name = "generate"

    def __init__(self, run: Run, settings: ImageSettings, model: Model, device: str) -> None:
        self.results, self.settings, self.model, self.device = run, settings, model.to(device), device

    @torch.inference_mode()
    def run(self, state: ImageState, progress: Progress) -> ImageState:
        """Make them, and put the best first."""
        settings, ready = self.settings, state.ready
        pictures, alpha = (torch.stack([getattr(each, name) for each in ready])[None].to(self.device) for name in ("picture", "alpha"))
        given = GivenViews(pictures, alpha, self._cameras([each - settings.azimuth[0] for each in settings.azimuth]))
        progress.start(self.name, settings.seeds)
        if settings.mode == "one-step" or len(ready) >= VIEWS:
            if settings.seeds > 1:
                several = f"{VIEWS} pictures leave nothing to be imagined"
                why = several if len(ready) >= VIEWS else "one step has one result; --mode sampled has many"
                self.results.note(f"{settings.seeds} samples were asked for and one was made: {why}")
            samples, answers = [reconstruct(self.model, given)], [[0.0]]
        else:
            samples, answers = self._sampled(given, progress)
        progress.finish()
        order = best_first(*answers)
        seen = (
            ((to_pictures(draw(samples[order[0]], given.cameras, backend=settings.backend)).clamp(-1, 1) - given.pictures) / 2)
            .square()
            .mean()
        )
        self.results.write_metrics({"input_psnr": float(-10 * seen.clamp_min(1e-12).log10()), "splats": samples[0].count})
        pixel = footprint_of(object_cameras([0.0], [0.0], given.pictures.shape[-1]), torch.zeros(3))
        return replace(state, samples=tuple(as_drawn(samples[i].unbatched().to("cpu"), pixel) for i in order))

    def _sampled(self, given: GivenViews, progress: Progress) -> tuple[list[Gaussians], list[list[float]]]:
        """Samples, and for each of two questions how badly they answer it: does the model stand by them, do they show the pictures."""
        settings, count = self.settings, len(self.settings.azimuth)
        others = farthest([each - settings.azimuth[0] for each in settings.azimuth], VIEWS - count)
        missing = self._cameras(others)
        cameras, known = beside(given.cameras, missing), (torch.arange(VIEWS, device=self.device) < count)[None]
        samples, doubts, errors = [], [], []
        for i in range(settings.seeds):
            noise = per_sample([settings.seed + i], device=self.device)
            solver, grid = solver_and_grid(settings.solver, settings.evaluations)
            made = generate(self.model, given, missing, noise, solver=solver, grid=grid, guided=self._guided, backend=settings.backend)
            splats = made.prediction.aux
            samples.append(splats)
            shown = to_pictures(draw(splats, cameras, backend=settings.backend))
            errors.append(float((shown[:, :count] - given.pictures).square().mean()))
            if settings.seeds > 1:
                pictures = torch.cat([given.pictures, shown[:, count:]], 1)
                alpha = torch.cat([given.alpha, torch.zeros_like(given.alpha[:, :1]).expand(-1, VIEWS - count, -1, -1)], 1)
                encode = self.model.encode
                denoiser = SplatDenoiser(self.model.network, cameras, known, pictures, alpha, encode, settings.backend)
                state, told = shown if encode is None else encode(shown), self.model.tokens([""])
                score = renoise_score(denoiser, Cosine(), state, noise, condition=told, **RENOISE)
                doubts.append(float(score.mean()))
            progress.advance(i + 1)
        return samples, [doubts or errors, errors]

    def _cameras(self, azimuths: Sequence[float]) -> Cameras:
        """Around the object, `[1, v]`."""
        size = self.model.network.settings.size
        return object_cameras(azimuths, [self.settings.elevation] * len(azimuths), size).expand(1).to(self.device)

    def _guided(self, denoiser: SplatDenoiser) -> ViewGuidance:
        return ViewGuidance(denoiser, self.settings.guidance)


class Refine:
    """The best sample, closer to the pictures."""

    name = "refine"

    def __init__(self, run: Run, settings: ImageSettings, device: str) -> None:
        self.results, self.settings, self.device = run, settings, device

    def run(self, state: ImageState, progress: Progress) -> ImageState:
        """Nothing where no steps are asked for."""
        if not self.settings.refine:
            return state
        azimuths, first = self.settings.azimuth, self.settings.azimuth[0]
        sizes = [len(each.detail) for each in state.ready]
        cameras = [object_cameras([each - first], [self.settings.elevation], size) for each, size in zip(azimuths, sizes, strict=True)]
        start, backend = state.fitted.to(self.device), self.settings.backend
        pictures = [(each.detail, each.detail_alpha) for each in state.ready]
        splats, error = refined(start, pictures, cameras, self.settings.refine, progress, backend=backend)
        self.results.add_metrics(refined_psnr=error)
        return replace(state, samples=(splats.to("cpu"), *state.samples[1:]))


def farthest(azimuths: Sequence[float], count: int) -> list[float]:
    """Further places around an object in degrees, each as far from all others as can be among four."""
    places, found = [number * 360 / PLACES for number in range(PLACES)], list[float]()
    for _ in range(count):
        taken = [*azimuths, *found]
        found.append(max(places, key=lambda place: min(abs((place - each + 180) % 360 - 180) for each in taken)))
    return sorted(found)


def _mask(path: Path) -> Tensor:
    """White, or what is opaque in a picture with transparency."""
    colors, transparency = read_image(path)
    return transparency if transparency is not None and bool((transparency < 255).any()) else colors.amax(-1)
