"""The stages of `image_to_3d`: a picture is cut out, and splats are made of it."""

from dataclasses import replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from gen3d.pipeline.formats.images import contact_sheet, read_image, write_image
from gen3d.pipeline.objects.views import DISTANCE, FOV, object_cameras
from gen3d.pipeline.paths import robust_box
from gen3d.pipeline.progress import Progress
from gen3d.pipeline.run import Run
from gen3d.pipeline.stages.picture import prepare
from gen3d.pipeline.stages.settings import ImageSettings
from gen3d.pipeline.stages.state import ImageState
from gen3d.priors.matting import Matting
from gen3d.priors.multiview.denoiser import SplatDenoiser, draw, to_pictures
from gen3d.priors.multiview.generate import GivenViews, around, beside, generate, reconstruct
from gen3d.priors.multiview.network import MultiviewNetwork
from gen3d.priors.multiview.solvers import solver_and_grid
from gen3d.priors.samplers.driver import per_sample
from gen3d.priors.samplers.paths import Cosine
from gen3d.priors.samplers.probes import renoise_score
from gen3d.renderers.frames import move_gaussians, rigid
from gen3d.renderers.gaussians import Gaussians

VIEWS = 4  # that the network samples together, the picture among them
RENOISED = (0.2, 0.5)  # noise that samples are looked at with again
DRAWS = 4


class Prepare:
    """previews/mask.png and the picture as the network takes it."""

    name = "prepare"

    def __init__(self, run: Run, picture: Path, mask: Path | None, size: int) -> None:
        self.results, self.picture, self.mask, self.size = run, picture, mask, size

    def run(self, state: ImageState, progress: Progress) -> ImageState:
        """Read, cut out, frame."""
        rgb, alpha = read_image(self.picture)
        mask = None
        if self.mask is not None:
            colors, transparency = read_image(self.mask)
            mask = transparency if transparency is not None and bool((transparency < 255).any()) else colors.amax(-1)
        prepared = prepare(rgb, alpha, self.size, matte=lambda image: Matting()(image), mask=mask)
        for note in prepared.notes:
            self.results.note(note)
        write_image(self.results.previews / "mask.png", prepared.mask[..., None].expand(-1, -1, 3))
        return replace(state, prepared=prepared)


class Generate:
    """Splats of the picture: one step, or the best of some samples."""

    name = "generate"

    def __init__(self, run: Run, settings: ImageSettings, network: MultiviewNetwork, device: str) -> None:
        self.results, self.settings, self.network, self.device = run, settings, network.to(device), device

    @torch.inference_mode()
    def run(self, state: ImageState, progress: Progress) -> ImageState:
        """Make them, and put the best first."""
        settings, ready = self.settings, state.ready
        camera = object_cameras([0.0], [settings.elevation], self.network.settings.size)
        camera = replace(camera, world_to_camera=camera.world_to_camera[None], intrinsics=camera.intrinsics[None]).to(self.device)
        given = GivenViews(ready.picture[None, None].to(self.device), ready.alpha[None, None].to(self.device), camera)
        progress.start(self.name, settings.seeds)
        if settings.mode == "one-step":
            samples, answers = [reconstruct(self.network, given)], [[0.0]]
        else:
            samples, answers = self._sampled(given, progress)
        progress.finish()
        order = sorted(range(len(samples)), key=lambda i: sum(sorted(each).index(each[i]) for each in answers))
        seen = ((to_pictures(draw(samples[order[0]], camera)).clamp(-1, 1) - given.pictures) / 2).square().mean()
        self.results.write_metrics({"input_psnr": float(-10 * seen.clamp_min(1e-12).log10()), "splats": samples[0].count})
        return replace(state, samples=tuple(normalised(unbatched(samples[i]).to("cpu")) for i in order))

    def _sampled(self, given: GivenViews, progress: Progress) -> tuple[list[Gaussians], list[list[float]]]:
        """Samples, and for each of two questions how badly they answer it: does the model stand by them, do they show the picture."""
        missing = around(given.cameras, VIEWS - 1, elevation=self.settings.elevation, distance=DISTANCE, fov=FOV)
        cameras = beside(given.cameras, missing)
        samples, doubts, errors = [], [], []
        for i in range(self.settings.seeds):
            noise = per_sample([self.settings.seed + i], device=self.device)
            solver, grid = solver_and_grid(self.settings.solver, self.settings.steps)
            made = generate(self.network, given, missing, noise, solver=solver, grid=grid)
            splats = made.prediction.aux
            samples.append(splats)
            shown = to_pictures(draw(splats, cameras))
            errors.append(float((shown[:, 0] - given.pictures[:, 0]).square().mean()))
            if self.settings.seeds > 1:
                known = (torch.arange(VIEWS, device=shown.device) < 1)[None]
                pictures = torch.cat([given.pictures, shown[:, 1:]], 1)
                alpha = torch.cat([given.alpha, torch.zeros_like(given.alpha).expand(-1, VIEWS - 1, -1, -1)], 1)
                denoiser = SplatDenoiser(self.network, cameras, known, pictures, alpha)
                doubts.append(float(renoise_score(denoiser, Cosine(), shown, noise, levels=RENOISED, draws=DRAWS, views=True).mean()))
            progress.advance(i + 1)
        return samples, [doubts or errors, errors]


class ShowSplats:
    """previews/contact_sheet.png: the picture, its mask and four views of every sample."""

    name = "preview"

    def __init__(self, run: Run, size: int = 256) -> None:
        self.results, self.size = run, size

    @torch.inference_mode()
    def run(self, state: ImageState, progress: Progress) -> ImageState:
        """Draw them."""
        cameras = object_cameras([0.0, 90.0, 180.0, 270.0], [20.0] * 4, self.size, distance=2.0, fov=40.0)
        picture, mask = (state.ready.picture.movedim(0, -1) + 1) / 2, state.ready.alpha[..., None].expand(-1, -1, 3)
        rows = []
        for splats in state.samples:
            views = draw(splats, cameras).rgb.clamp(0, 1)
            rows += [_enlarged(picture, self.size), _enlarged(mask, self.size), *views]
        write_image(self.results.previews / "contact_sheet.png", contact_sheet(torch.stack(rows), 6))
        return state


def unbatched(splats: Gaussians) -> Gaussians:
    """The splats of the only object."""
    return Gaussians(splats.means[0], splats.scales[0], splats.quats[0], splats.opacities[0], splats.sh[0])


def normalised(splats: Gaussians) -> Gaussians:
    """Centred, longest side 1, as all objects leave."""
    lower, upper = robust_box(splats)
    scale = 1 / float((upper - lower).amax().clamp_min(1e-6))
    return move_gaussians(splats, rigid(torch.eye(3), -scale * (lower + upper) / 2, scale))


def _enlarged(image: Float[Tensor, "h w 3"], size: int) -> Float[Tensor, "size size 3"]:
    planes = torch.nn.functional.interpolate(image.movedim(-1, 0)[None], (size, size), mode="nearest")
    return planes[0].movedim(0, -1)
