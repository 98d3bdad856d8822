"""Volumes of splats of one picture, by networks that were trained to read pictures."""

from gen3d.errors import UsageError
from gen3d.pipeline.objects.views import LONGEST_SIDE, object_cameras
from gen3d.pipeline.run import Run
from gen3d.pipeline.stages.sample_volumes import SampleVolumes
from gen3d.pipeline.stages.settings import ImageSettings
from gen3d.pipeline.stages.state import ImageState
from gen3d.pipeline.volumes.surface import FILLED
from gen3d.priors.multiview.views import GivenViews, draw, to_pictures
from gen3d.priors.pictures import reads_pictures
from gen3d.priors.told import Told
from gen3d.priors.volume.generate import TextModel
from gen3d.priors.volume.shipped import shipped_model
from gen3d.renderers.gaussians import Gaussians


def picture_model(settings: ImageSettings, device: str) -> TextModel:
    """The networks of the settings, which read pictures.

    Raises:
        UsageError: they read words.
    """
    model = shipped_model(settings.field, settings.attributes, device)
    if not reads_pictures(model.field.settings.encoder):
        raise UsageError("these networks read words, not pictures; give them to gen3d text")
    return model


def picture_volumes(run: Run, settings: ImageSettings, model: TextModel, device: str) -> SampleVolumes:
    """The stage that samples volumes of the first picture; of several those come first that show it."""

    def told(state: ImageState) -> Told:
        return model.told(view_of(state, settings.elevation).to(device))

    def judge(state: ImageState, splats: Gaussians) -> float:
        picture = state.ready[0].picture
        front = object_cameras([0.0], [settings.elevation], picture.shape[-1])
        shown = to_pictures(draw(splats, front, backend=settings.backend))[0].cpu()
        return float((shown.clamp(-1, 1) - picture).square().mean())

    return SampleVolumes(run, settings, model, told, judge, device, scale=LONGEST_SIDE / FILLED)  # as large as in pictures


def view_of(state: ImageState, elevation: float) -> GivenViews:
    """The first picture as networks take it."""
    first = state.ready[0]
    cameras = object_cameras([0.0], [elevation], first.picture.shape[-1]).expand(1)
    return GivenViews(first.picture[None, None], first.alpha[None, None], cameras)
