"""The stages that turn fitted splats into what the user looks at: model.ply, metrics.json, previews."""

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import TypeVar

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from gen3d.pipeline.asset import Asset
from gen3d.pipeline.evaluation.metrics import evaluate_views
from gen3d.pipeline.evaluation.protocol import LPIPS_NET, background_of, lpips_or_reason
from gen3d.pipeline.fitting.machine import Machine
from gen3d.pipeline.formats.images import contact_sheet, to_uint8, write_image
from gen3d.pipeline.formats.video import write_video
from gen3d.pipeline.paths import around_scene
from gen3d.pipeline.progress import Progress
from gen3d.pipeline.run import Run
from gen3d.pipeline.scenes.scene import View, stacked_cameras
from gen3d.pipeline.stages.state import HasSplats, PhotosState
from gen3d.priors.zoo import WEIGHTS
from gen3d.renderers.cameras import Cameras
from gen3d.renderers.rendering import RasterSettings, Rendering, rasterize

FRAMES, FRAMES_PER_SECOND = 96, 24
SHEET_PHOTOS = 6
LONGEST_SIDE = 768  # pixels, of the video
LPIPS = f"lpips-{LPIPS_NET}"

Draw = Callable[[Cameras], Rendering]
Splats = TypeVar("Splats", bound=HasSplats)


class Export:
    """exports/model.ply."""

    name = "export"

    def __init__(self, run: Run) -> None:
        self.results = run

    def run(self, state: Splats, progress: Progress) -> Splats:
        """Write the splats."""
        facts = Asset(state.fitted).save(self.results.exports / "model.ply")
        if facts.dropped:
            progress.note(f"{facts.dropped:,} invisible splats were left out of model.ply")
        return state


class Evaluate:
    """metrics.json: how well held-out photos are predicted."""

    name = "evaluate"

    def __init__(self, run: Run, machine: Machine, raster: RasterSettings) -> None:
        self.results = run
        self.machine = machine
        self.raster = raster

    def run(self, state: PhotosState, progress: Progress) -> PhotosState:
        """Render every photo that was held out and compare."""
        if not state.scene.test:
            self.results.note("no photo was held out, so there is no measured quality; set --holdout 8 for some")
            self.results.write_metrics({"views": 0, "splats": state.fitted.count})
            return state
        lpips, reason = lpips_or_reason()
        if lpips is None:
            self.results.note(reason)
        else:
            self.results.record(weights=(weight_facts(LPIPS),))  # which only measures
        progress.start(self.name, 1)
        views, gaussians = state.scene.test, state.fitted.to(self.machine.accelerator)
        result = evaluate_views(
            gaussians, views, background=background_of(views), settings=self.raster, backend=self.machine.backend, lpips=lpips
        )
        self.results.write_metrics(result.to_json() | {"splats": state.fitted.count})
        progress.finish()
        return state


class Preview:
    """previews/contact_sheet.png, photos beside renders, and previews/turntable.mp4, a flight along the photos."""

    name = "preview"

    def __init__(self, run: Run, machine: Machine, raster: RasterSettings) -> None:
        self.results = run
        self.machine = machine
        self.raster = raster

    def run(self, state: PhotosState, progress: Progress) -> PhotosState:
        """Render and write both."""
        views = state.scene.test or state.scene.train
        background = background_of(views)
        behind = None if background is None else torch.tensor(background)
        gaussians = state.fitted.to(self.machine.accelerator)
        draw = partial(rasterize, gaussians, background=behind, settings=self.raster, backend=self.machine.backend)
        write_image(self.results.previews / "contact_sheet.png", comparison_sheet(draw, views, behind))
        path = around_scene(stacked_cameras(state.scene.train), FRAMES)
        write_video(self.results.previews / "turntable.mp4", flight(draw, path, progress), fps=FRAMES_PER_SECOND)
        return state


def weight_facts(name: str) -> dict[str, str]:
    """What a manifest says of a weight file."""
    weight = WEIGHTS[name]
    return {"name": weight.name, "licence": weight.licence, "sha256": weight.sha256}


@torch.no_grad()
def comparison_sheet(draw: Draw, views: tuple[View, ...], background: Float[Tensor, " 3"] | None) -> Tensor:
    """Photos in the upper row of each pair of rows, renders from the same cameras below."""
    chosen = [views[index * len(views) // SHEET_PHOTOS] for index in range(min(SHEET_PHOTOS, len(views)))]
    cameras = stacked_cameras(tuple(chosen))
    renders = draw(cameras).rgb.clamp(0, 1).cpu()
    photos = torch.stack([_photo(view, background, cameras.width, cameras.height) for view in chosen])
    columns = math.ceil(len(chosen) / 2)
    pairs = [part for start in range(0, len(chosen), columns) for part in _rows(photos, renders, start, columns)]
    return contact_sheet(torch.cat(pairs), columns)


def _rows(photos: Tensor, renders: Tensor, start: int, columns: int) -> tuple[Tensor, Tensor]:
    """One row of photos and one of renders, filled up with black to the same number of columns."""
    missing = max(0, start + columns - len(photos))
    pad = (0, 0, 0, 0, 0, 0, 0, missing)
    rows = [torch.nn.functional.pad(images[start : start + columns], pad) for images in (photos, renders)]
    return rows[0], rows[1]


def _photo(view: View, background: Float[Tensor, " 3"] | None, width: int, height: int) -> Tensor:
    image = view.over(background)
    if image.shape[:2] == (height, width):
        return image
    resized = torch.nn.functional.interpolate(image.permute(2, 0, 1)[None], (height, width), mode="bilinear", antialias=True)
    return resized[0].permute(1, 2, 0)


@torch.no_grad()
def flight(draw: Draw, cameras: Cameras, progress: Progress) -> Iterator[UInt8[Tensor, "h w 3"]]:
    """Renders along a camera path, one at a time."""
    scale = min(1.0, LONGEST_SIDE / max(cameras.width, cameras.height))
    cameras = cameras.resized(round(cameras.width * scale), round(cameras.height * scale))
    count = cameras.shape[-1]
    progress.start("preview", count)
    for index in range(count):
        yield to_uint8(draw(cameras.select([index])).rgb[0])
        progress.advance(index + 1)
    progress.finish()
