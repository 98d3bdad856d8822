"""Training of multiview networks whose denoiser is a splat reconstructor (DSplats; Lightning's shell around pure functions)."""

import functools
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from gen3d.pipeline.evaluation.object_scores import decibels
from gen3d.pipeline.objects.views import RADIUS
from gen3d.pipeline.training.batches import ObjectBatch
from gen3d.pipeline.training.module import PriorTraining
from gen3d.pipeline.training.settings import DsplatsSettings
from gen3d.priors.multiview.denoiser import PATH, Encode
from gen3d.priors.multiview.network import MultiviewNetwork, Views
from gen3d.priors.multiview.pretrained import Model
from gen3d.priors.multiview.settings import LATENT
from gen3d.priors.multiview.views import draw, to_pictures
from gen3d.priors.samplers.objectives import WEIGHTS, NoiseBins
from gen3d.renderers.gaussians import Gaussians

Perceptual = Callable[[Tensor, Tensor], Tensor]  # pictures `[n, 3, h, w]` in [-1, 1], twice, to distances `[n]`
LOG = 0.1  # brings gradients to about the size that clipping is set for


def network_views(batch: ObjectBatch, encode: Encode | None = None) -> Views:
    """The views that the network takes, or their latents, noised where they are not given."""
    n = batch.given.shape[1]
    c, known = PATH(batch.times.double()).like(batch.noise), batch.given[:, :, None, None, None]
    pictures, noise, latents = batch.pictures[:, :n], batch.noise, None
    clean = pictures if encode is None else encode(pictures)
    if encode is not None:
        noise = functional.pixel_unshuffle(noise, LATENT)[:, :, : clean.shape[2]]  # as good as any normal numbers
    mixed = torch.where(known, clean, (c.alpha * clean + c.sigma * noise).to(clean.dtype))
    if encode is None:
        pictures = mixed
    else:
        latents = mixed
    times, cameras = batch.times[:, None].expand(-1, n), batch.cameras.select(slice(n))
    return Views(pictures, batch.alpha[:, :n], batch.given, times, cameras, latents)


def render_loss(
    splats: Gaussians,
    batch: ObjectBatch,
    settings: DsplatsSettings,
    perceptual: Perceptual | None = None,
    encode: Encode | None = None,
) -> tuple[Float[Tensor, ""], Float[Tensor, " b"]]:
    """The loss of splats against all views of a batch, and the plain squared error of each object's colours in [0, 1].

    A view's error is |rgb|^2 + alpha |opacity|^2 + depth |depth|^2; it or its logarithm counts, with w(t). LPIPS is added where there
    is little noise or all of several views are given; and, of networks of latents, what renders of the taken views are encoded to.
    """
    rendering = draw(splats, batch.cameras, ("rgb",) if batch.depth is None else ("rgb", "depth"))
    seen = to_pictures(rendering)
    colors = ((seen - batch.pictures) / 2).square().flatten(2).mean(2)
    errors = colors + settings.alpha * (rendering.alpha - batch.alpha).square().flatten(2).mean(2)
    if batch.depth is not None and rendering.depth is not None:
        covered = (batch.depth > 0) & (rendering.alpha > 0.5)  # depth of what is hardly there means nothing
        off = torch.where(covered, (rendering.depth - batch.depth) / RADIUS, 0.0)
        errors = errors + settings.depth * off.square().flatten(2).mean(2)
    if settings.loss == "log":
        errors = LOG * (errors + settings.floor).log()
    weight = torch.as_tensor(WEIGHTS[settings.weight](PATH(batch.times.double()))).to(errors) / mean_weight(settings.weight)
    weight = torch.where(batch.given.all(1), 1.0, weight)
    loss = (weight * errors.mean(1)).mean()
    if perceptual is not None and settings.perceptual:
        several = batch.given.shape[1] > 1  # one given view leaves more open than distances of single pictures can judge
        counts = several & (batch.given.all(1) | (batch.times < settings.perceptual_below))
        if bool(counts.any()):
            distance = perceptual(seen[counts].flatten(0, 1).clamp(-1, 1), batch.pictures[counts].flatten(0, 1))
            loss = loss + settings.perceptual * distance.mean() * counts.float().mean()
    if encode is not None and settings.latent:
        n = batch.given.shape[1]
        with torch.no_grad():
            truth = encode(batch.pictures[:, :n])
        loss = loss + settings.latent * (weight * (encode(seen[:, :n]) - truth).square().flatten(1).mean(1)).mean()
    return loss, colors.mean(1).detach()


@functools.cache
def mean_weight(name: str) -> float:
    """The mean of a weight over all times, by which it is divided so that the learning rate means the same with every weight."""
    times = (torch.arange(1000, dtype=torch.float64) + 0.5) / 1000
    return float(torch.as_tensor(WEIGHTS[name](PATH(times))).mean())


class DsplatsTraining(PriorTraining):
    """Training of a multiview network.

    Args:
        settings: of the training.
        perceptual: LPIPS, if its weight is above 0.
        pretrained: what to begin with instead of random weights; its autoencoder and its words belong to no checkpoint.
    """

    def __init__(self, settings: DsplatsSettings, perceptual: Perceptual | None = None, pretrained: Model | None = None) -> None:
        network = MultiviewNetwork(settings.network) if pretrained is None else pretrained.network
        super().__init__(network, settings, pretrained=pretrained is not None, adopted=settings.adopted)
        self.settings: DsplatsSettings = settings
        if settings.checkpointing:
            self.network.unet.enable_gradient_checkpointing()
        # In a tuple, for what a module holds as an attribute goes into its checkpoints.
        self._frozen = (perceptual, *((None, None) if pretrained is None else (pretrained.encode, pretrained.text)))
        self._bins = NoiseBins()

    def forward(self, network: nn.Module, batch: ObjectBatch) -> Gaussians:
        """The splats of a batch."""
        _, encode, text = self._frozen
        for each in (encode, text):
            if each is not None:
                each.to(batch.pictures.device)
        splats: Gaussians = network(network_views(batch, encode), None if text is None else text(batch.captions))
        return splats

    def training_step(self, batch: ObjectBatch, index: int) -> Tensor:
        """The loss of one batch."""
        splats = self(self.network, batch)
        loss, error = render_loss(splats, batch, self.settings, *self._frozen[:2])
        self.check_finite(loss, splats.means)  # splats that are no numbers are not drawn, so that the loss alone tells nothing
        kind = "given" if bool(batch.given.all()) else "noised"
        self.log_dict({f"train/loss/{kind}": loss.detach(), f"train/psnr/{kind}": decibels(error).mean()})
        return loss

    def validation_step(self, batch: ObjectBatch, index: int, dataloader_idx: int = 0) -> Tensor:
        """PSNR of views that were not given, by objects: one step from one view, and with noise by its level; what was seen."""
        n = batch.given.shape[1]
        seen = to_pictures(draw(self(self.average.network, batch), batch.cameras)).clamp(-1, 1)
        error = ((seen - batch.pictures) / 2).square().flatten(2).mean(2)
        if n == 1:
            self.log("check/psnr", decibels(error[:, 1:]).mean(), batch_size=len(error), sync_dist=True, add_dataloader_idx=False)
        else:
            self._bins.add(PATH(batch.times.double().cpu()), error[:, 1:].mean(1))
        return torch.stack([batch.pictures, seen], 1).movedim(3, -1) / 2 + 0.5

    def on_validation_epoch_end(self) -> None:
        """The PSNR of each level of noise, over all processes."""
        self.log_bins(self._bins, "check/psnr", lambda mean: float(decibels(torch.tensor(mean))))
        self._bins = NoiseBins()
