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
from gen3d.pipeline.objects.views import object_cameras
from gen3d.pipeline.objects.words import subject
from gen3d.pipeline.progress import Progress, Silent
from gen3d.pipeline.run import Run
from gen3d.pipeline.stages.chain import Stage, run_chain
from gen3d.pipeline.stages.make_mesh import MakeMesh
from gen3d.pipeline.stages.place import Place, ShowSplats, centre_and_side, placed
from gen3d.pipeline.stages.results import Export, weight_facts
from gen3d.pipeline.stages.sample_volumes import Judge, SampleVolumes, pixel_of, sampling_of
from gen3d.pipeline.stages.settings import TextSettings
from gen3d.pipeline.stages.state import ImageState
from gen3d.pipeline.stages.widening import as_drawn
from gen3d.pipeline.volumes.appearance import appearance
from gen3d.priors.multiview.views import draw
from gen3d.priors.perceptual import load_lpips
from gen3d.priors.pictures import reads_pictures
from gen3d.priors.shipped import file_facts
from gen3d.priors.told import Told
from gen3d.priors.volume.generate import TextModel
from gen3d.priors.volume.interpolate import End, interpolated
from gen3d.priors.volume.shipped import shipped_model
from gen3d.priors.volume.volume import visible
from gen3d.priors.volume.words import shortened
from gen3d.renderers.gaussians import Gaussians

PIXELS, FRAMES_PER_SECOND = 512, 24  # of videos


class Interpolate:
    """previews/interpolation.mp4: from the object of the prompt to that of another one, or of the next seed."""

    name = "interpolate"

    def __init__(self, run: Run, settings: TextSettings, model: TextModel) -> None:
        self.results, self.settings, self.model = run, settings, model

    def run(self, state: ImageState, progress: Progress) -> ImageState:
        """Draw every frame; nothing where no other prompt is given."""
        settings = self.settings
        if settings.other:
            same = settings.other == settings.prompt
            ends = (End(self.model.told([settings.prompt]), settings.seed), End(self.model.told([settings.other]), settings.seed + same))
            write_video(self.results.previews / "interpolation.mp4", self.frames(ends, progress), fps=FRAMES_PER_SECOND)
        return state

    @torch.inference_mode()
    def frames(self, ends: tuple[End, End], progress: Progress) -> Iterator[UInt8[Tensor, "h w 3"]]:
        """The pictures of the video; the first and the last are those of the two objects alone."""
        settings = self.settings
        sampling = sampling_of(settings)
        camera = object_cameras([30.0], [20.0], PIXELS, distance=2.0, fov=40.0)
        progress.start(self.name, settings.frames)

        def at(share: float) -> Gaussians:
            splats = visible(interpolated(self.model, ends, share, sampling).gaussians().unbatched())
            return as_drawn(splats, pixel_of(self.model.field.settings.size)).to("cpu")

        # Only the two ends are measured: what fades in between would change its size from frame to frame.
        known = {0.0: at(0.0), 1.0: at(1.0)}
        if not all(each.count for each in known.values()):
            raise UsageError("nothing came of one of the two: all its splats are transparent; try another --seed, or other words")
        (first, side), (last, other) = (centre_and_side(each) for each in known.values())
        for frame in range(settings.frames):
            share = frame / (settings.frames - 1)
            splats = known[share] if share in known else at(share)
            splats = placed(splats, torch.lerp(first, last, share), (1 - share) * side + share * other)
            yield to_uint8(draw(splats.to(self.model.field.mean.device), camera, backend=settings.backend).rgb[0].clamp(0, 1))
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
        UsageError: the prompt is empty, nothing came of it, or the networks read pictures.
        MissingWeights: the networks, or the text encoder, are not here.
    """
    settings = replace(settings or TextSettings(), prompt=prompt)
    progress = progress or Silent()
    if not settings.prompt:
        raise UsageError('the prompt is empty; say what to make, such as gen3d text "a red barrel"')
    if run is None:
        with Run.create(None, "text", settings, name=settings.prompt) as created:
            return text_to_3d(prompt, settings, created, progress)
    device = choose_device(settings.device, settings.backend, progress.note)
    run.record(device=device)
    model = shipped_model(settings.field, settings.attributes, device)
    run.use_weights(*map(file_facts, model.files))
    if reads_pictures(model.field.settings.encoder):
        raise UsageError("these networks read pictures, not words; give them to gen3d image --route volumes")
    if model.field.settings.encoder == "minilm":
        run.use_weights(weight_facts("minilm"), weight_facts("minilm-words"))
    told = model.told([settings.prompt])
    for asked in dict.fromkeys(filter(None, (settings.prompt, settings.other))):
        if note := note_of(model, asked):
            run.note(note)
    judge = judge_of(model, told, settings, run) if settings.seeds > 1 else None
    machine = Machine(device, 1, settings.backend)
    stages: Sequence[Stage[ImageState]] = [
        SampleVolumes(run, settings, model, lambda state: told, judge, device),
        Place(0.0),
        ShowSplats(run, machine),
        Interpolate(run, settings, model),
        Export(run),
        MakeMesh(run, settings.mesh, machine),
    ]
    state = run_chain(stages, ImageState(), run, progress)
    return Asset(state.fitted, provenance={"verb": "text", "prompt": settings.prompt, "run": str(run.folder), "seed": settings.seed})


def note_of(model: TextModel, prompt: str) -> str:
    """A sentence about a prompt that the networks cannot do justice to; else nothing."""
    if model.encoder.cuts(prompt):
        return f"{shortened(prompt)!r} is longer than the text encoder reads; its last words count for nothing"
    return "" if model.words is None else model.words.warning(prompt, model.told([subject(prompt)]).pooled[0].cpu())


def judge_of(model: TextModel, told: Told, settings: TextSettings, run: Run) -> Judge | None:
    """Says how little splats look like training objects whose names mean the same; None where looks are not known."""
    looks = None if model.words is None else model.words.looks
    if looks is None:
        why = "gvgen-words.safetensors of the training is not beside the field" if model.words is None else "its training had no LPIPS"
        run.note(f"samples were chosen without looking at them: {why}")
        return None
    try:
        lpips = load_lpips("alex")
    except MissingWeights as error:
        run.note(f"samples were chosen without looking at them: {error}")
        return None
    run.use_weights(weight_facts("lpips-alex"))
    prompt = told.pooled[0].cpu()

    def judge(state: ImageState, splats: Gaussians) -> float:
        return -looks.agreement(appearance(splats, lpips, settings.backend), prompt)

    return judge


def resume_text(run: Run, progress: Progress) -> Asset:
    """Continue a run of `text_to_3d`, which takes seconds, from its beginning."""
    settings = run.settings(TextSettings)
    return text_to_3d(settings.prompt, settings, run, progress)
