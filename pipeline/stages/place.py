"""The stages of `image_to_3d` that put splats in their place and show them."""

from dataclasses import replace
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from gen3d.pipeline.fitting.machine import Machine
from gen3d.pipeline.formats.images import contact_sheet, write_image
from gen3d.pipeline.formats.video import write_video
from gen3d.pipeline.objects.views import object_cameras
from gen3d.pipeline.paths import robust_box, turntable
from gen3d.pipeline.progress import Progress
from gen3d.pipeline.run import Run
from gen3d.pipeline.stages.results import FRAMES, FRAMES_PER_SECOND, flight
from gen3d.pipeline.stages.state import ImageState
from gen3d.priors.multiview.views import draw
from gen3d.renderers.cameras import Cameras
from gen3d.renderers.frames import move_gaussians, rigid
from gen3d.renderers.gaussians import Gaussians
from gen3d.renderers.rendering import Rendering


class Place:
    """Samples as objects leave: the front at azimuth 0, centred, longest side 1."""

    name = "place"

    def __init__(self, azimuth: float) -> None:
        self.azimuth = azimuth

    def run(self, state: ImageState, progress: Progress) -> ImageState:
        """Turn and scale."""
        return replace(state, samples=tuple(normalised(turned(splats, self.azimuth)) for splats in state.samples))


class ShowSplats:
    """previews/contact_sheet.png, the picture and its mask, where there is one, and four views of every sample; previews/turntable.mp4."""

    name = "preview"

    def __init__(self, run: Run, machine: Machine, size: int = 256) -> None:
        self.results, self.machine, self.size = run, machine, size

    @torch.inference_mode()
    def run(self, state: ImageState, progress: Progress) -> ImageState:
        """Draw both."""
        cameras = object_cameras([0.0, 90.0, 180.0, 270.0], [20.0] * 4, self.size, distance=2.0, fov=40.0)
        first = state.prepared[:1]
        seen = [_enlarged(part, self.size) for each in first for part in (each.detail, each.detail_alpha[..., None].expand(-1, -1, 3))]
        rows = [[*seen, *self._drawn(splats, cameras).rgb.clamp(0, 1).cpu()] for splats in state.samples]
        sheet = contact_sheet(torch.stack([picture for row in rows for picture in row]), len(rows[0]))
        write_image(self.results.previews / "contact_sheet.png", sheet)
        frames = flight(partial(self._drawn, state.fitted), turntable(robust_box(state.fitted), FRAMES), progress)
        write_video(self.results.previews / "turntable.mp4", frames, fps=FRAMES_PER_SECOND)
        return state

    def _drawn(self, splats: Gaussians, cameras: Cameras) -> Rendering:
        return draw(splats.to(self.machine.accelerator), cameras, backend=self.machine.backend)


def turned(splats: Gaussians, azimuth: float) -> Gaussians:
    """Turned about +Y so that what looked to azimuth 0 looks to this one, degrees."""
    if not azimuth % 360:
        return splats
    angle = torch.deg2rad(torch.tensor(azimuth, dtype=torch.float64))
    sin, cos = float(angle.sin()), float(angle.cos())
    return move_gaussians(splats, rigid(torch.tensor([[cos, 0.0, sin], [0.0, 1.0, 0.0], [-sin, 0.0, cos]])))


def normalised(splats: Gaussians) -> Gaussians:
    """Centred, longest side 1, as all objects leave."""
    return placed(splats, *centre_and_side(splats))


def placed(splats: Gaussians, centre: Float[Tensor, " 3"], side: float) -> Gaussians:
    """With this centre at the origin and this side 1."""
    return move_gaussians(splats, rigid(torch.eye(3), -centre / side, 1 / side))


def centre_and_side(splats: Gaussians) -> tuple[Float[Tensor, " 3"], float]:
    """Of the box around an object; a side is no shorter than a usual splat is wide, for there may be only one."""
    lower, upper = robust_box(splats)
    side = torch.maximum((upper - lower).amax(), 2 * splats.scales.amax(-1).median()).clamp_min(1e-6)
    return (lower + upper) / 2, float(side)


def _enlarged(image: Float[Tensor, "h w 3"], size: int) -> Float[Tensor, "size size 3"]:
    planes = torch.nn.functional.interpolate(image.movedim(-1, 0)[None], (size, size), mode="nearest")
    return planes[0].movedim(0, -1)
