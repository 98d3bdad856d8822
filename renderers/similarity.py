"""How alike pictures are: L1, SSIM and PSNR, and the fused L1 + SSIM that fitting calls at every step."""

from ctypes import c_double
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from gen3d.renderers.native import library
from gen3d.renderers.native.threads import thread_count

WINDOW = 11  # pixels; with SIGMA the window of Wang et al. 2004, section III-B
SIGMA = 1.5
C1, C2 = 0.01**2, 0.03**2
GRADIENT_MAPS = 3


def l1_ssim(
    images: Float[Tensor, "b h w 3"], targets: Float[Tensor, "b h w 3"], weights: Float[Tensor, "b h w"] | None = None
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Mean absolute difference and mean SSIM, differentiable by `images`.

    float32 on a CPU goes through the native kernels when they are there; the rest through the torch functions below.

    Args:
        images: pictures in [0, 1].
        targets: what they should be.
        weights: how much each pixel counts in both means, at least 0; None counts all alike.

    Raises:
        ValueError: the shapes do not fit together.
    """
    _check(images, targets, weights)
    native = images.dtype == targets.dtype == torch.float32 and images.device.type == targets.device.type == "cpu"
    fixed = not targets.requires_grad and (weights is None or not weights.requires_grad)
    if native and fixed and library.failure() is None:
        return _Similarity.apply(images, targets, weights)
    return l1(images, targets, weights), ssim(images, targets, weights)


def l1(
    images: Float[Tensor, "b h w 3"], targets: Float[Tensor, "b h w 3"], weights: Float[Tensor, "b h w"] | None = None
) -> Float[Tensor, ""]:
    """Mean absolute difference over pixels and channels; 0 where all weights are 0."""
    _check(images, targets, weights)
    return _mean((images - targets).abs(), weights)


def ssim(
    images: Float[Tensor, "b h w 3"], targets: Float[Tensor, "b h w 3"], weights: Float[Tensor, "b h w"] | None = None
) -> Float[Tensor, ""]:
    """Mean structural similarity (Wang et al. 2004) over pixels and channels.

    11x11 Gaussian window, outside the picture zeros: the convention of 3D Gaussian splatting (Kerbl et al. 2023).
    """
    _check(images, targets, weights)
    return _mean(ssim_map(images, targets, padding=WINDOW // 2), weights)


def ssim_map(images: Float[Tensor, "b h w 3"], targets: Float[Tensor, "b h w 3"], *, padding: int) -> Float[Tensor, "b h2 w2 3"]:
    """Structural similarity of each window; h2 = h + 2 padding - 10, and so is w2.

    Args:
        images: pictures in [0, 1].
        targets: what they should be.
        padding: rows and columns of zeros around the pictures; 0 takes only windows that lie wholly inside.
    """
    x, y = images.movedim(-1, 1), targets.movedim(-1, 1)
    mean_x, mean_y = _blur(x, padding), _blur(y, padding)
    product, squares = mean_x * mean_y, mean_x.square() + mean_y.square()
    covariance, variances = _blur(x * y, padding) - product, _blur(x.square() + y.square(), padding) - squares
    values = (2 * product + C1) * (2 * covariance + C2) / ((squares + C1) * (variances + C2))
    return values.movedim(1, -1)


def psnr(images: Float[Tensor, "*b h w 3"], targets: Float[Tensor, "*b h w 3"]) -> Float[Tensor, "*b"]:
    """Peak signal-to-noise ratio of each picture in decibels, for values in [0, 1]; infinite for equal pictures."""
    if images.shape != targets.shape:
        raise ValueError(f"images have shape {tuple(images.shape)} and targets {tuple(targets.shape)}; they must be the same")
    return -10 * (images - targets).square().mean((-3, -2, -1)).log10()


def _check(images: Tensor, targets: Tensor, weights: Tensor | None) -> None:
    if images.ndim != 4 or images.shape[-1] != 3 or images.shape != targets.shape:
        raise ValueError(f"images have shape {tuple(images.shape)} and targets {tuple(targets.shape)}; both must be the same [b, h, w, 3]")
    if weights is not None and weights.shape != images.shape[:-1]:
        raise ValueError(f"weights have shape {tuple(weights.shape)}; these images ask for {tuple(images.shape[:-1])}")


def _mean(values: Float[Tensor, "b h w c"], weights: Float[Tensor, "b h w"] | None) -> Float[Tensor, ""]:
    if weights is None:
        return values.mean()
    return (values * weights[..., None]).sum() / (values.shape[-1] * weights.sum()).clamp_min(1e-12)


def _blur(planes: Float[Tensor, "b c h w"], padding: int) -> Float[Tensor, "b c h2 w2"]:
    steps = torch.arange(WINDOW, dtype=torch.float64) - WINDOW // 2
    window = (-steps.square() / (2 * SIGMA**2)).exp()
    window = (window / window.sum()).to(planes)
    channels = planes.shape[1]
    rows, columns = window.view(1, 1, 1, -1).expand(channels, 1, 1, -1), window.view(1, 1, -1, 1).expand(channels, 1, -1, 1)
    blurred = torch.nn.functional.conv2d(planes, rows, padding=(0, padding), groups=channels)
    return torch.nn.functional.conv2d(blurred, columns, padding=(padding, 0), groups=channels)


class _Similarity(torch.autograd.Function):
    """The native kernels: the forward pass leaves maps from which the backward pass needs one more blur."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, targets: Tensor, weights: Tensor | None) -> tuple[Tensor, Tensor]:
        images, targets = images.contiguous(), targets.contiguous()
        weights = None if weights is None else weights.to(images).contiguous()
        batch, height, width, channels = images.shape
        maps = images.new_empty(batch, height, GRADIENT_MAPS, width * channels) if ctx.needs_input_grad[0] else None
        sums = (c_double * 3)()
        inputs = map(_address, (images, targets, weights, maps))
        library.load().call("gen3d_similarity", batch, height, width, *inputs, sums, thread_count())
        l1_sum, ssim_sum, weight_sum = sums
        total = max(channels * weight_sum, 1e-12)
        ctx.save_for_backward(images, targets, weights, maps)
        ctx.total = total
        return images.new_tensor(l1_sum / total), images.new_tensor(ssim_sum / total)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, v_l1: Tensor, v_ssim: Tensor) -> tuple[Tensor | None, None, None]:
        images, targets, weights, maps = ctx.saved_tensors
        if maps is None:
            return None, None, None
        gradient = torch.empty_like(images)
        scales = (float(v_l1) / ctx.total, float(v_ssim) / ctx.total)
        inputs = map(_address, (images, targets, weights, maps))
        library.load().call("gen3d_similarity_backward", *images.shape[:-1], *inputs, *scales, gradient.data_ptr(), thread_count())
        return gradient, None, None


def _address(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()
