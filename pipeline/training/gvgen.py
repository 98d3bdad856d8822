"""Training of GVGEN's two networks: distance fields from noise and words, and attributes of splats from fields and words (2403.12957)."""

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from gen3d.pipeline.evaluation.object_scores import decibels
from gen3d.pipeline.objects.views import object_cameras, ring_cameras
from gen3d.pipeline.training.module import PriorTraining
from gen3d.pipeline.training.volume_batches import VolumeBatch
from gen3d.pipeline.training.volume_settings import AttributeSettings, FieldSettings
from gen3d.pipeline.volumes.appearance import AWAY
from gen3d.priors.perceptual import Lpips
from gen3d.priors.samplers.coefficients import Coef
from gen3d.priors.samplers.objectives import WEIGHTS, NoiseBins, denoising_loss, uniform_times
from gen3d.priors.samplers.predictions import to_x0
from gen3d.priors.volume.network import NONE, VolumeNetwork
from gen3d.priors.volume.volume import FAINT, GENERATED, LOGIT, GaussianVolume, Statistics, bounded
from gen3d.renderers.cameras import Cameras
from gen3d.renderers.gaussians import Gaussians
from gen3d.renderers.rendering import rasterize
from gen3d.renderers.similarity import l1_ssim

CAMERAS, BLUR = 1, 2  # streams of random numbers beside that of the noise
EMPTY = 0.1  # weight of the opacity of nodes that hold nothing beside all of one that holds something
WARM = 0.2  # share of the steps after which pictures count in full
LOWEST, HIGHEST = -10.0, 60.0  # degrees above the horizon that pictures are taken from


def denoised(network: VolumeNetwork, x0: Tensor, batch: VolumeBatch, beside: Tensor | None = None) -> tuple[Tensor, Coef]:
    """What a network expects behind noised volumes, and their noise.

    Args:
        network: with times.
        x0: normalised volumes `[b, c, n, n, n]`.
        batch: their times, their noise, and what is told of them.
        beside: what the network sees without noise.
    """
    times = uniform_times(network.path, batch.times.double())
    c = network.path(times)
    wide, noise = c.like(x0), batch.noise(x0.shape[1])
    x = (wide.alpha * x0 + wide.sigma * noise).to(x0.dtype)
    output = network(x if beside is None else torch.cat([beside, x], 1), times.float(), batch.told)
    return to_x0(network.kind, output.float(), x, c), c  # type: ignore[arg-type]  # not none: it has times


def attribute_error(
    made: Float[Tensor, "b 13 n n n"], truth: Float[Tensor, "b 13 n n n"], held: Tensor, *, everywhere: bool = False
) -> Float[Tensor, " b"]:
    """The squared error of normalised attributes: of all where a node holds something, of the opacity alone elsewhere.

    Args:
        made: by a network.
        truth: of the objects.
        held: where a node holds something `[b, 1, n, n, n]`.
        everywhere: all attributes count at all nodes, as they must where they are sampled.
    """
    error = (made - truth).square()
    there = (error * held).mean(1).flatten(1).sum(1) / held.flatten(1).sum(1).clamp_min(1)
    elsewhere = error.mean(1) if everywhere else error[:, LOGIT]
    nothing = (elsewhere * ~held[:, 0]).flatten(1).sum(1) / (~held).flatten(1).sum(1).clamp_min(1)
    return there + EMPTY * nothing


def around(batch: VolumeBatch, settings: AttributeSettings) -> Cameras:
    """Cameras at random places around each object, by its seed, `[b, views]`."""
    parts = []
    for seed in batch.seeds:
        numbers = torch.rand(2, settings.views, generator=torch.Generator().manual_seed(seed + CAMERAS))
        azimuths, elevations = (360 * numbers[0]).tolist(), (LOWEST + (HIGHEST - LOWEST) * numbers[1]).tolist()
        parts.append(object_cameras(azimuths, elevations, settings.pixels, distance=AWAY))
    poses, matrices = (torch.stack([getattr(part, name) for part in parts]) for name in ("world_to_camera", "intrinsics"))
    return replace(parts[0], world_to_camera=poses, intrinsics=matrices).to(batch.fields)


def picture_error(
    made: Gaussians, truth: Gaussians, cameras: Cameras, settings: AttributeSettings, lpips: Lpips | None = None
) -> Float[Tensor, ""]:
    """(1 - ssim) L1 + ssim (1 - SSIM) of what two sets of splats look like over white, and their LPIPS if there is one."""
    white = torch.ones(3)
    seen = rasterize(made, cameras, background=white).rgb.flatten(0, 1)
    with torch.no_grad():
        wanted = rasterize(truth, cameras, background=white).rgb.flatten(0, 1)
    difference, likeness = l1_ssim(seen, wanted)
    error = (1 - settings.ssim) * difference + settings.ssim * (1 - likeness)
    if lpips is not None and settings.perceptual:
        error = error + settings.perceptual * lpips.to(seen.device)(seen.clamp(0, 1), wanted.clamp(0, 1)).mean()
    return error


class FieldTraining(PriorTraining):
    """Training of the network that makes distance fields.

    Args:
        settings: of the training.
        statistics: mean and deviation of the library's fields.
    """

    def __init__(self, settings: FieldSettings, statistics: Statistics) -> None:
        super().__init__(network_of(settings, 1, 1, statistics), settings)
        self.settings: FieldSettings = settings
        self._bins = NoiseBins()

    def training_step(self, batch: VolumeBatch, index: int) -> Tensor:
        """The loss of one batch."""
        loss = self._errors(self.network, batch, self.settings.weight)[0].mean()
        self.check_finite(loss)
        self.log("train/loss", loss.detach())
        return loss

    def validation_step(self, batch: VolumeBatch, index: int) -> None:
        """The squared error of x0 by the level of noise, of the average, as a share of what the mean field leaves."""
        errors, c = self._errors(self.average.network, batch, "uniform")
        errors = errors / self.network.statistics.normalise(batch.fields).square().mean()
        self._bins.add(c, errors)
        self.log("check/error", errors.mean(), batch_size=len(errors), sync_dist=True)

    def on_validation_epoch_end(self) -> None:
        """The root of that share, of each level of noise."""
        self.log_bins(self._bins, "check/error", lambda mean: mean**0.5)
        self._bins = NoiseBins()

    def _errors(self, network: VolumeNetwork, batch: VolumeBatch, weight: str) -> tuple[Float[Tensor, " b"], Coef]:
        x0 = network.statistics.normalise(batch.fields)
        predicted, c = denoised(network, x0, batch)
        return denoising_loss(predicted, x0, c, WEIGHTS[weight]), c


class AttributeTraining(PriorTraining):
    """Training of the network that gives attributes to a field.

    Args:
        settings: of the training.
        statistics: mean and deviation of the library's attributes.
        lpips: if its weight is above 0.
    """

    def __init__(self, settings: AttributeSettings, statistics: Statistics, lpips: Lpips | None = None) -> None:
        if settings.perceptual and settings.render and lpips is None:
            raise ValueError(f"the weight of LPIPS is {settings.perceptual} and there is none; give it, or set perceptual to 0")
        inputs = 1 if settings.kind == NONE else 1 + GENERATED
        super().__init__(network_of(settings, inputs, GENERATED, statistics), settings)
        self.settings: AttributeSettings = settings
        self._frozen = (lpips,)  # in a tuple, for what a module holds as an attribute goes into its checkpoints

    def training_step(self, batch: VolumeBatch, index: int) -> Tensor:
        """The loss of one batch."""
        settings, done = self.settings, self.global_step / (WARM * self.settings.steps)
        made, error = self._made(self.network, batch, blur=settings.blur)
        weight = 1 + (settings.volume - 1) * min(1.0, done)
        loss, figures = weight * error.mean(), {"train/volume": error.detach().mean()}
        if settings.render:
            pictures = picture_error(splats_of(made), splats_of(batch.volumes), around(batch, settings), settings, *self._frozen)
            loss = loss + settings.render * min(1.0, done) * pictures
            figures["train/pictures"] = pictures.detach()
        self.check_finite(loss, made)
        self.log_dict({"train/loss": loss.detach(), **figures})
        return loss

    def validation_step(self, batch: VolumeBatch, index: int) -> Tensor:
        """PSNR of what the attributes look like beside those that are true, from eight sides; both."""
        made, error = self._made(self.average.network, batch, blur=0.0)
        ring = ring_cameras(self.settings.pixels, distance=AWAY)
        cameras, white = ring.expand(len(batch.fields)).to(batch.fields), torch.ones(3)
        seen, wanted = (rasterize(splats_of(each), cameras, background=white).rgb.clamp(0, 1) for each in (made, batch.volumes))
        psnr = decibels((seen - wanted).square().flatten(2).mean(2))
        self.log_dict({"check/psnr": psnr.mean(), "check/volume": error.mean()}, batch_size=len(psnr), sync_dist=True)
        return torch.stack([wanted, seen], 1)

    def _made(self, network: VolumeNetwork, batch: VolumeBatch, *, blur: float) -> tuple[Float[Tensor, "b 13 n n n"], Float[Tensor, " b"]]:
        """Volumes of the network, and the errors of their normalised attributes, weighted by the noise where there is any."""
        statistics, held = network.statistics, batch.volumes[:, LOGIT, None] > FAINT
        field = batch.fields + blur * batch.noise(1, BLUR) if blur else batch.fields
        truth = statistics.normalise(batch.volumes)
        if network.kind == NONE:
            normal = network(field, None, batch.told).float()
            return bounded(statistics.restore(normal)), attribute_error(normal, truth, held)
        # Nodes that hold nothing have attributes, too, while they are noised: the mean, so that only their opacity tells them.
        whole = torch.cat([torch.where(held, truth[:, :LOGIT], 0.0), truth[:, LOGIT:]], 1)
        normal, c = denoised(network, whole, batch, field)
        weight = torch.as_tensor(WEIGHTS[self.settings.weight](c)).to(normal)
        return bounded(statistics.restore(normal)), weight * attribute_error(normal, whole, held, everywhere=True)


def network_of(settings: FieldSettings | AttributeSettings, inputs: int, outputs: int, statistics: Statistics) -> VolumeNetwork:
    """A network that has learned nothing but what is normal."""
    network = VolumeNetwork(settings.network, inputs, outputs, settings.kind)
    network.mean.copy_(statistics.mean)
    network.std.copy_(statistics.std)
    network.checkpointing = settings.checkpointing
    return network


def splats_of(values: Float[Tensor, "b 13 n n n"]) -> Gaussians:
    """All splats of volumes in the generated form."""
    return GaussianVolume.of_generated(values).gaussians()
