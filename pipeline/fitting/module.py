"""`GaussianFitting`: splats, photos and one optimisation step after the other."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import lightning.pytorch as pl
import torch
from jaxtyping import Float
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor

from gen3d.errors import Gen3DError
from gen3d.pipeline.fitting.densification import make_densification
from gen3d.pipeline.fitting.distributed import process_count, process_rank, sum_over_processes
from gen3d.pipeline.fitting.optimizer import make_optimizer
from gen3d.pipeline.fitting.refinement import CameraCorrections, Exposures
from gen3d.pipeline.fitting.schedule import Schedule, mix_seed, views_of_step
from gen3d.pipeline.fitting.views import Photo
from gen3d.renderers.gaussians import GaussianParameters, Gaussians
from gen3d.renderers.rendering import RasterSettings, rasterize
from gen3d.renderers.similarity import l1_ssim

CAMERA_RATE, EXPOSURE_RATE = 2e-4, 5e-3  # of a photo's own parameters, whenever a step looks at it
PHOTO_BETAS = (0.0, 0.999)  # momentum would carry a photo's parameters on through all the steps that look at other photos


class GaussianFitting(pl.LightningModule):
    """Optimises splats so that their renders look like the photos.

    Manual optimisation: the number of splats changes between steps and gradients are shared between processes here.
    A step is a function of the module's state, the seed and the step's number, so that a checkpoint continues exactly.

    Args:
        initial: the splats to start from.
        photos: what they should look like; a step sees `views_per_step` of them.
        schedule: what happens when.
        extent: size of the scene, scene units: the radius of the camera positions.
        seed: of all randomness.
        backend: the rasterizer's name.
    """

    def __init__(
        self, initial: Gaussians, photos: Sequence[Photo], schedule: Schedule, *, extent: float, seed: int, backend: str = "auto"
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.splats = GaussianParameters.from_gaussians(initial)
        self.photos = {1: list(photos), 2: [photo.halved() for photo in photos]}
        self.cut_out = any(photo.alpha is not None for photo in photos)
        self.schedule = schedule
        self.settings = schedule.settings
        self.extent = extent
        self.seed = seed
        self.backend = backend
        self.densification = make_densification(schedule, extent=extent, seed=seed)
        cameras = [photo.camera for photo in photos]
        self.cameras = CameraCorrections(cameras, extent) if self.settings.refine_cameras else None
        self.exposures = Exposures(len(photos)) if self.settings.exposure else None
        self.raster = RasterSettings(antialias=self.settings.antialias, absgrad=self.settings.densify.absgrad)
        self.figures: dict[str, float] = {}
        self.interrupted = False  # set from outside: end after this step
        self.stopping = False  # all processes know of it

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """One Adam; the groups of camera corrections and exposures come after the splats'."""
        optimizer = make_optimizer(self.splats, self.settings.rates, self.extent)
        for module, rate in ((self.cameras, CAMERA_RATE), (self.exposures, EXPOSURE_RATE)):
            if module is not None:
                rate = rate / len(self.photos[1]) ** 0.5  # Adam divides by the mean square over all steps, most of which are 0
                named = {"lr": rate, "base_lr": rate, "name": type(module).__name__}
                optimizer.add_param_group({"params": list(module.parameters()), "betas": PHOTO_BETAS, **named})
        return optimizer

    def train_dataloader(self) -> Iterable[int]:
        """Endless ticks: what a step sees is decided by its number. A DataLoader would only cost time."""
        return _Ticks()

    def on_fit_start(self) -> None:
        """Bring the photos to the device."""
        self.photos = {scale: [photo.to(self.device) for photo in photos] for scale, photos in self.photos.items()}

    def training_step(self, batch: int, batch_idx: int) -> None:
        """One step: render, compare, move the splats, change their number when due."""
        step = self.global_step
        counted = self.optimizers()  # Lightning's wrapper, whose step() is what global_step counts
        assert isinstance(counted, LightningOptimizer)  # for the type checker: there is one optimiser
        optimizer = counted.optimizer
        self._set_rates(optimizer, step)
        loss = self._share(self.backward_of_step(step))
        counted.step()
        optimizer.zero_grad(set_to_none=True)
        with torch.no_grad():
            self.densification.after_step(step, self.splats, optimizer)
        self.figures = {"loss": loss, "splats": self.splats.count}

    def backward_of_step(self, step: int) -> Tensor:
        """Gradients of this process's share of the step's loss; the share itself is returned.

        Views go one after the other, each from the raw parameters: two processes then add up the same two gradients as
        one process with two views does, to the last bit.
        """
        scale, everywhere = self.schedule.reduction(step), self.settings.views_per_step
        chosen = views_of_step(self.seed, step, len(self.photos[scale]), everywhere)
        share = torch.zeros((), device=self.device)
        for slot in range(process_rank(), everywhere, process_count()):
            index = chosen[slot]
            splats = self.splats.activated(self.schedule.sh_degree(step), unit_quats=False)
            offsets = self._screen_offsets(splats) if self.densification.watches(step) else None
            loss, radii = self._view_loss(splats, offsets, self.photos[scale][index], index, self._background(step, slot))
            loss = (loss + self._regularizers(splats)) / everywhere
            loss.backward()
            share += loss.detach()
            if offsets is not None and offsets.grad is not None:
                camera = self.photos[scale][index].camera
                half_sizes = offsets.new_tensor([camera.width / 2, camera.height / 2]) * everywhere
                self.densification.observe(offsets.grad[0].mul_(half_sizes), radii)
        return share

    def _screen_offsets(self, splats: Gaussians) -> Tensor:
        return splats.means.new_zeros(1, splats.count, 2, requires_grad=True)

    def _view_loss(
        self, splats: Gaussians, offsets: Tensor | None, photo: Photo, index: int, background: Float[Tensor, " 3"]
    ) -> tuple[Tensor, Tensor]:
        """(1 - λ) L1 + λ (1 - SSIM) of one photo (Kerbl et al. 2023, equation 7), and the radii of the splats in it."""
        camera = photo.camera if self.cameras is None else self.cameras(photo.camera, index)
        drawn = rasterize(splats, camera, background=background, settings=self.raster, screen_offsets=offsets, backend=self.backend)
        image = drawn.rgb
        if self.exposures is not None:  # of the splats, not of the colour behind them
            behind = (1 - drawn.alpha[..., None]) * background
            image = self.exposures(drawn.rgb - behind, drawn.alpha, index) + behind
        target, weights = photo.target(background), photo.weights()
        if weights is not None:  # SSIM compares neighbourhoods, into which the ignored pixels would leak
            target = torch.where(weights[..., None] > 0, target, image.detach())
        l1, ssim = l1_ssim(image, target, weights)
        weight = self.settings.ssim_weight
        return (1 - weight) * l1 + weight * (1 - ssim), drawn.radii[0]

    def _regularizers(self, splats: Gaussians) -> Tensor:
        """Weighted mean opacity and mean scale (Kheradmand et al. 2024, section 4.4)."""
        total = splats.means.new_zeros(())
        if self.settings.opacity_regularizer:
            total = total + self.settings.opacity_regularizer * splats.opacities.mean()
        if self.settings.scale_regularizer:
            total = total + self.settings.scale_regularizer * splats.scales.mean() / self.extent
        if (penalty := self.densification.penalty(splats)) is not None:
            total = total + penalty
        return total

    def _background(self, step: int, slot: int) -> Float[Tensor, " 3"]:
        """Black; behind cut-out objects white, as they are measured, or a new colour for every view, in which nothing can hide."""
        if not self.cut_out:
            return torch.zeros(3, device=self.device)
        if not self.settings.random_background:
            return torch.ones(3, device=self.device)
        generator = torch.Generator().manual_seed(mix_seed("background", self.seed, step * self.settings.views_per_step + slot))
        return torch.rand(3, generator=generator).to(self.device)

    def _set_rates(self, optimizer: torch.optim.Optimizer, step: int) -> None:
        """All rates fall at the very end; positions and camera corrections slow down all the time."""
        rate, decay = self.schedule.rate(step), self.schedule.decay(step)
        for group in optimizer.param_groups:
            moves = group["name"] in ("means", CameraCorrections.__name__)
            group["lr"] = group["base_lr"] * rate * (decay if moves else 1.0)

    def _share(self, loss: Tensor) -> float:
        """Sum over processes: gradients, the loss, which is returned, and whether one of them was interrupted.

        Every process has a view, so all of them miss the same gradients, if any.
        """
        touched = [parameter for parameter in self.parameters() if parameter.grad is not None]
        gradients = [parameter.grad for parameter in touched if parameter.grad is not None]
        interrupted = torch.full_like(loss, float(self.interrupted))
        stop, total, *summed = sum_over_processes(interrupted, loss, *gradients)
        self.stopping = bool(stop)
        if not bool(total.isfinite()):
            raise Gen3DError(
                f"the loss became {float(total)} at step {self.global_step}: the fit diverged; lower the rates, first --fitting.rates.means"
            )
        for parameter, gradient in zip(touched, summed, strict=True):
            parameter.grad = gradient
        return float(total)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what the strategy has observed, in all processes together."""
        state = {name: tensor.to(self.device) for name, tensor in self.densification.state().items()}
        checkpoint["densification_kept"] = self.densification.kept()
        checkpoint["densification"] = dict(zip(state, sum_over_processes(*state.values()), strict=True)) if state else {}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Continue with what the strategy had observed; the first process takes over the sums."""
        state = checkpoint["densification"]
        if process_rank() > 0:
            state = {name: torch.zeros_like(tensor) for name, tensor in state.items()}
        self.densification.load_state(state)
        self.densification.load_kept(checkpoint.get("densification_kept", {}))


class _Ticks:
    def __iter__(self) -> Iterator[int]:
        while True:
            yield 0
