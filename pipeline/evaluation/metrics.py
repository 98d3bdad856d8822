"""How well splats predict photos: PSNR, SSIM and LPIPS for each view and in the mean."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from gen3d.pipeline.scenes.scene import View
from gen3d.priors.perceptual import Lpips
from gen3d.renderers import similarity
from gen3d.renderers.gaussians import Gaussians
from gen3d.renderers.rendering import RasterSettings, rasterize

LARGEST_PSNR = 100.0  # of equal pictures, whose mean over views would be infinite
ABSENT = "LPIPS was not measured: no network was given"


@dataclass(frozen=True, slots=True)
class ViewScores:
    """The figures of one view.

    Attributes:
        name: of the photo.
        psnr: decibels, at most 100.
        ssim: up to 1; None where no window of the photo is free of masked pixels.
        lpips: from 0; None where it was not measured.
    """

    name: str
    psnr: float
    ssim: float | None
    lpips: float | None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The figures of several views; the means are over views, not pixels.

    Attributes:
        scores: one for each view, in their order.
        notes: sentences about what is absent.
    """

    scores: tuple[ViewScores, ...]
    notes: tuple[str, ...] = ()

    @property
    def psnr(self) -> float | None:
        """Mean PSNR in decibels."""
        return _mean(score.psnr for score in self.scores)

    @property
    def ssim(self) -> float | None:
        """Mean SSIM; None where no view has one."""
        return _mean(score.ssim for score in self.scores)

    @property
    def lpips(self) -> float | None:
        """Mean LPIPS; None where no view has one."""
        return _mean(score.lpips for score in self.scores)

    def to_json(self) -> dict[str, Any]:
        """Means that exist, the number of views, the figures of each, and the notes."""
        means = {"psnr": self.psnr, "ssim": self.ssim, "lpips": self.lpips}
        return {
            **{name: value for name, value in means.items() if value is not None},
            "views": len(self.scores),
            "per_view": [{key: value for key, value in asdict(score).items() if value is not None} for score in self.scores],
            "notes": list(self.notes),
        }


@torch.no_grad()
def evaluate_views(
    gaussians: Gaussians,
    views: Sequence[View],
    *,
    background: Sequence[float] | Tensor | None = None,
    settings: RasterSettings | None = None,
    backend: str = "auto",
    lpips: Lpips | None = None,
) -> Evaluation:
    """Draw every view's camera and compare with its photo.

    Renders are clamped to [0, 1] first; photos with alpha are put over the background. Masked pixels are left out: of PSNR one by
    one, of SSIM with every window that holds one; for LPIPS both pictures are black there.

    Args:
        gaussians: splats `[n]`.
        views: the photos; may differ in size.
        background: colour behind the splats; black when None.
        settings: of `rasterize`.
        backend: of `rasterize`.
        lpips: the network; None leaves the metric out, with a note.
    """
    scores, notes = [], [] if lpips is not None else [ABSENT]
    behind = None if background is None else torch.as_tensor(background, dtype=torch.float32)
    for view in views:
        drawn = rasterize(gaussians, view.camera, background=behind, settings=settings, backend=backend).rgb[0].clamp(0, 1).cpu().float()
        photo = view.over(behind).cpu()
        counts = None if view.mask is None else view.mask.cpu() > 127
        if counts is not None and not counts.any():
            notes.append(f"{view.name} was left out: all of its pixels are masked")
            continue
        distance = None
        if lpips is not None:
            if min(photo.shape[:2]) >= lpips.backbone.smallest:
                distance = _distance(drawn, photo, counts, lpips)
            else:
                notes.append(f"LPIPS of {view.name} was not measured: a side is shorter than {lpips.backbone.smallest} pixels")
        scores.append(ViewScores(view.name, psnr(drawn, photo, counts), ssim(drawn, photo, counts), distance))
    return Evaluation(tuple(scores), tuple(notes))


def psnr(image: Float[Tensor, "h w 3"], target: Float[Tensor, "h w 3"], counts: Bool[Tensor, "h w"] | None = None) -> float:
    """Peak signal-to-noise ratio of pictures in [0, 1], decibels, over the pixels that count; at most 100."""
    first, second = (picture.double() if counts is None else picture[counts][None].double() for picture in (image, target))
    return min(LARGEST_PSNR, float(similarity.psnr(first, second)))


def ssim(image: Float[Tensor, "h w 3"], target: Float[Tensor, "h w 3"], counts: Bool[Tensor, "h w"] | None = None) -> float | None:
    """Structural similarity (Wang et al. 2004) as it is reported: 11x11 Gaussian windows of deviation 1.5 on each colour.

    Only windows that lie wholly in the picture and hold no masked pixel count, so nothing is padded; population variances;
    constants 0.01² and 0.03². None where there is no such window.
    """
    if min(image.shape[:2]) < similarity.WINDOW:
        return None
    values = similarity.ssim_map(image[None].double(), target[None].double(), padding=0)[0]
    if counts is None:
        return float(values.mean())
    masked = torch.nn.functional.max_pool2d((~counts).double()[None], similarity.WINDOW, stride=1)[0] > 0
    return None if masked.all() else float(values[~masked].mean())


def _distance(image: Float[Tensor, "h w 3"], target: Float[Tensor, "h w 3"], counts: Bool[Tensor, "h w"] | None, lpips: Lpips) -> float:
    """LPIPS of one pair, on the network's device."""
    parameter = next(lpips.parameters())
    pair = torch.stack([image, target]).to(parameter)
    if counts is not None:
        pair = pair * counts.to(parameter)[..., None]
    return float(lpips(pair[:1], pair[1:]))


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
