"""`text_to_3d`: a sentence becomes splats."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from jaxtyping import UInt8
from torch import Tensor

from gen3d.errors import MissingWeights, UsageError
from gen3d.pipeline.asset import Asset
from gen3d.pipeline.fitting.machine import Machine, choose_device
from gen3d.pipeline.formats.images import to_uint8
from gen3d.pipeline.formats.video import write_video
from gen3d.pipeline.objects.views import FOV, RING, RING_ELEVATION, object_cameras
from gen3d.pipeline.progress import Progress, Silent
from gen3d.pipeline.run import Run
from gen3d.pipeline.stages.chain import Stage, run_chain
from gen3d.pipeline.stages.make_mesh import MakeMesh
from gen3d.pipeline.stages.place import Place, ShowSplats, normalised
from gen3d.pipeline.stages.results import Export
from gen3d.pipeline.stages.settings import TextSettings
from gen3d.pipeline.stages.state import ImageState
from gen3d.priors.multiview.denoiser import draw
from gen3d.priors.perceptual import Lpips, load_lpips
from gen3d.priors.samplers.driver import per_sample
from gen3d.priors.samplers.guidance import CFG
from gen3d.priors.samplers.named import solver_and_grid
from gen3d.priors.samplers.predictions import Network
from gen3d.priors.samplers.probes import renoise_score
from gen3d.priors.volume.generate import Sampling, TextModel, attributes_of, sample_field
from gen3d.priors.volume.interpolate import End, interpolated
from gen3d.priors.volume.looks import described
from gen3d.priors.volume.shipped import shipped_model
from gen3d.priors.volume.volume import visible
from gen3d.renderers.gaussians import Gaussians

LOOKED, FAR = 64, 1.8  # pixels of the views that samples are looked at in, and how far away: as training objects were
PIXELS, FRAMES_PER_SECOND = 512, 24  # of videos
RENOISED, DRAWS = (0.2, 0.5, 1.0), 4  # noise that samples are looked at with again


class GenerateText:
    """Splats of a sentence, the best of some samples first."""

    name = "generate"

    def __init__(self, run: Run, settings: TextSettings, model: TextModel, device: str) -> None:
        self.results, self.settings, self.model, self.device = run, settings, model, device

    @torch.inference_mode()
    def run(self, state: ImageState, progress: Progress) -> ImageState:
        """Make them.

        Of several, those come first that the network changes least when they are noised again, and that look most like what training
        objects of such names look like.
        """
        settings, model = self.settings, self.model
        sampling = Sampling(settings.steps, *solver_and_grid(settings.solver, settings.steps), settings.guidance)
        told = model.told([settings.prompt])
        if model.words is not None and (warning := model.words.warning(settings.prompt, told.pooled[0].cpu())):
            self.results.note(warning)
        samples, doubts, strange = list[Gaussians](), list[float](), list[float]()
        lpips = self._lpips() if settings.seeds > 1 else None
        progress.start(self.name, settings.seeds)
        for number in range(settings.seeds):
            noise = per_sample([settings.seed + number], device=self.device)
            size = model.field.settings.size
            field = sample_field(model.field, told, noise((1, 1, size, size, size)), sampling, noise)
            volume = attributes_of(model.attributes, field, told, noise, sampling)
            samples.append(visible(volume.gaussians().unbatched()).to("cpu"))
            if settings.seeds > 1:
                denoiser = CFG(Network(model.field, model.field.path, model.field.kind), settings.guidance)  # type: ignore[arg-type]
                state_of_field = model.field.statistics.normalise(field)
                score = renoise_score(denoiser, model.field.path, state_of_field, noise, levels=RENOISED, draws=DRAWS, condition=told)
                doubts.append(float(score.mean()))
                strange.append(-self._agreement(lpips, samples[-1], told.pooled[0].cpu()))
            progress.advance(number + 1)
        progress.finish()
        order = sorted(range(len(samples)), key=lambda i: sum(sorted(each).index(each[i]) for each in (doubts, strange) if each))
        best = [samples[number] for number in order if samples[number].count]
        if not best:
            raise UsageError(f"nothing came of {settings.prompt!r}; try another --seed, or other words")
        self.results.write_metrics({"splats": best[0].count})
        return replace(state, samples=tuple(best))

    def _lpips(self) -> Lpips | None:
        """What looks are told apart by, where it and the looks are here."""
        if self.model.words is None or self.model.words.looks is None:
            return None
        try:
            return load_lpips("alex")
        except MissingWeights as error:
            self.results.note(f"samples were chosen without looking at them: {error}")
            return None

    def _agreement(self, lpips: Lpips | None, splats: Gaussians, prompt: Tensor) -> float:
        """How much splats look like training objects of such names."""
        words = self.model.words
        if lpips is None or words is None or words.looks is None or not splats.count:
            return 0.0
        cameras = object_cameras([number * 360 / RING for number in range(RING)], [RING_ELEVATION] * RING, LOOKED, distance=FAR, fov=FOV)
        return words.looks.agreement(described(lpips, draw(splats, cameras, backend=self.settings.backend).rgb.clamp(0, 1)), prompt)


class Interpolate:
    """previews/interpolation.mp4: from the object of the prompt to that of another one, or of the next seed."""

    name = "interpolate"

    def __init__(self, run: Run, settings: TextSettings, model: TextModel, device: str) -> None:
        self.results, self.settings, self.model, self.device = run, settings, model, device

    def run(self, state: ImageState, progress: Progress) -> ImageState:
        """Draw every frame; nothing where no other prompt is given."""
        settings = self.settings
        if settings.other:
            same = " ".join(settings.other.split()) == settings.prompt
            ends = (End(self.model.told([settings.prompt]), settings.seed), End(self.model.told([settings.other]), settings.seed + same))
            write_video(self.results.previews / "interpolation.mp4", self._frames(ends, progress), fps=FRAMES_PER_SECOND)
        return state

    @torch.inference_mode()
    def _frames(self, ends: tuple[End, End], progress: Progress) -> Iterator[UInt8[Tensor, "h w 3"]]:
        settings = self.settings
        sampling = Sampling(settings.steps, *solver_and_grid(settings.solver, settings.steps), settings.guidance)
        camera = object_cameras([30.0], [20.0], PIXELS, distance=2.0, fov=40.0)
        progress.start(self.name, settings.frames)
        for frame in range(settings.frames):
            volume = interpolated(self.model, ends, frame / (settings.frames - 1), sampling)
            splats = visible(volume.gaussians().unbatched()).to("cpu")
            shown = draw(normalised(splats) if splats.count else splats, camera, backend=settings.backend)
            yield to_uint8(shown.rgb[0].clamp(0, 1))
            progress.advance(frame + 1)
        progress.finish()


def text_to_3d(prompt: str, settings: TextSettings | None = None, run: Run | None = None, progress: Progress | None = None) -> Asset:
    """Make splats, previews and a mesh of a sentence.

    Args:
        prompt: what to make.
        settings: the job; defaults when None.
        run: the folder for results; a new one when None.
        progress: listener.

    Returns:
        the splats in the world frame: centred, the longest side is 1.

    Raises:
        UsageError: the prompt is empty, or nothing came of it.
        MissingWeights: the networks, or the text encoder, are not here.
    """
    settings = replace(settings or TextSettings(), prompt=" ".join(prompt.split()))
    progress = progress or Silent()
    if not settings.prompt:
        raise UsageError('the prompt is empty; say what to make, such as gen3d text "a red barrel"')
    if run is None:
        with Run.create(None, "text", settings) as created:
            return text_to_3d(prompt, settings, created, progress)
    device = choose_device(settings.device, settings.backend, progress.note)
    run.record(device=device)
    model = shipped_model(settings.field, settings.attributes, device)
    stages: Sequence[Stage[ImageState]] = [
        GenerateText(run, settings, model, device),
        Place(0.0),
        ShowSplats(run, settings.backend),
        Interpolate(run, settings, model, device),
        Export(run),
        MakeMesh(run, settings.mesh, Machine(device, 1, settings.backend)),
    ]
    state = run_chain(stages, ImageState(), run, progress)
    return Asset(state.fitted, provenance={"verb": "text", "prompt": settings.prompt, "run": str(run.folder), "seed": settings.seed})


def resume_text(run: Run, progress: Progress) -> Asset:
    """Continue a run of `text_to_3d`, which takes seconds, from its beginning."""
    settings = run.settings(TextSettings)
    return text_to_3d(settings.prompt, settings, run, progress)
