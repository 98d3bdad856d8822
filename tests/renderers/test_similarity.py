"""L1, SSIM and PSNR: native kernels against torch in float64, scikit-image and closed forms."""

import math

import pytest
import torch

from gen3d.renderers import similarity
from gen3d.renderers.native import library

compiled = pytest.mark.skipif(library.failure() is not None, reason=f"no native kernels: {library.failure()}")


def pictures(*shape, seed=0, noise=0.1):
    generator = torch.Generator().manual_seed(seed)
    targets = torch.rand(*shape, 3, generator=generator)
    return (targets + noise * torch.randn(*shape, 3, generator=generator)).clamp(0, 1), targets, torch.rand(shape, generator=generator)


def loss_and_gradient(images, targets, weights):
    images = images.clone().requires_grad_()
    l1, ssim = similarity.l1_ssim(images, targets, weights)
    (0.8 * l1 - 0.3 * ssim).backward()
    return l1.detach(), ssim.detach(), images.grad


@compiled
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 37, 29), (1, 5, 100), (1, 97, 6), (3, 33, 16)])
def test_native_agrees_with_torch_in_float64(shape, weighted):
    images, targets, weights = pictures(*shape)
    weights = weights if weighted else None
    native = loss_and_gradient(images, targets, weights)
    twin = loss_and_gradient(images.double(), targets.double(), None if weights is None else weights.double())
    for value, expected in zip(native[:2], twin[:2], strict=True):
        assert value.dtype == torch.float32
        assert value.item() == pytest.approx(expected.item(), abs=1e-6)
    assert (native[2].double() - twin[2]).norm() < 2e-6 * twin[2].norm()


@compiled
def test_native_takes_views_of_other_layouts():
    images, targets, weights = pictures(2, 20, 24)
    planes = images.movedim(-1, 1).contiguous().movedim(1, -1)
    expected = similarity.l1_ssim(images, targets, weights)
    assert torch.equal(torch.stack(similarity.l1_ssim(planes, targets, weights)), torch.stack(expected))


@compiled
def test_any_number_of_threads_gives_the_same_bits():
    before, (images, targets, weights) = torch.get_num_threads(), pictures(2, 150, 70)
    try:
        torch.set_num_threads(1)
        expected = loss_and_gradient(images, targets, weights)
        for threads in (2, 3):
            torch.set_num_threads(threads)
            assert all(torch.equal(a, b) for a, b in zip(loss_and_gradient(images, targets, weights), expected, strict=True))
    finally:
        torch.set_num_threads(before)


def test_torch_gradient_against_finite_differences():
    images, targets, weights = (t.double() for t in pictures(1, 6, 7))
    images = (targets + 0.2 * (images > targets) + 0.1).requires_grad_()  # away from the corner of |x|
    assert torch.autograd.gradcheck(lambda x: torch.stack(similarity.l1_ssim(x, targets, weights)), (images,))


def test_ssim_agrees_with_scikit_image_inside_the_picture():
    metrics = pytest.importorskip("skimage.metrics")
    images, targets, _ = (t.double() for t in pictures(1, 40, 45, noise=0.2))
    _, full = metrics.structural_similarity(
        images[0].numpy(),
        targets[0].numpy(),
        channel_axis=-1,
        data_range=1.0,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        truncate=3.5,
        full=True,
    )
    inner = torch.zeros(1, 40, 45, dtype=torch.float64)
    inner[:, 5:-5, 5:-5] = 1  # scikit-image mirrors the picture at its borders
    expected = full[5:-5, 5:-5].mean()
    assert similarity.ssim(images, targets, inner).item() == pytest.approx(expected, abs=1e-9)
    native_or_torch = similarity.l1_ssim(images.float(), targets.float(), inner.float())[1]
    assert native_or_torch.item() == pytest.approx(expected, abs=1e-6)


def test_equal_pictures_and_constant_pictures():
    images, targets, _ = pictures(1, 30, 30)
    l1, ssim = similarity.l1_ssim(targets, targets)
    assert (l1.item(), ssim.item()) == (0.0, pytest.approx(1, abs=1e-6))
    # Of two constants only the luminance term is left, where the window lies inside.
    inner = torch.zeros(1, 30, 30)
    inner[:, 5:-5, 5:-5] = 1
    ssim = similarity.l1_ssim(torch.full_like(images, 0.2), torch.full_like(images, 0.6), inner)[1]
    assert ssim.item() == pytest.approx((2 * 0.2 * 0.6 + 1e-4) / (0.2**2 + 0.6**2 + 1e-4), abs=1e-4)


def test_weights_choose_the_pixels_that_count():
    images, targets, _ = pictures(1, 30, 40)
    weights = torch.zeros(1, 30, 40)
    weights[:, :, :20] = 2
    expected = (images - targets)[:, :, :20].abs().mean().item()
    assert similarity.l1_ssim(images, targets, weights)[0].item() == pytest.approx(expected, abs=1e-6)
    l1, ssim, gradient = loss_and_gradient(images, targets, torch.zeros_like(weights))
    assert (l1.item(), ssim.item(), gradient.abs().max().item()) == (0, 0, 0)


def test_psnr_is_a_logarithm_of_the_mean_square():
    images = torch.zeros(2, 4, 4, 3)
    targets = torch.stack([torch.full((4, 4, 3), 0.1), torch.zeros(4, 4, 3)])
    first, second = similarity.psnr(images, targets).tolist()
    assert first == pytest.approx(20, abs=1e-4)
    assert second == math.inf


def test_shapes_that_do_not_fit():
    images, targets, weights = pictures(1, 5, 6)
    with pytest.raises(ValueError, match=r"\(1, 5, 6, 3\)"):
        similarity.l1_ssim(images, targets[:, :4])
    with pytest.raises(ValueError, match="weights"):
        similarity.l1_ssim(images, targets, weights[:, :4])
    with pytest.raises(ValueError, match="same"):
        similarity.psnr(images, targets[0, :1])


def test_windows_inside_and_windows_with_zeros_around():
    images, targets, _ = (t.double() for t in pictures(1, 20, 25))
    inner, padded = similarity.ssim_map(images, targets, padding=0), similarity.ssim_map(images, targets, padding=5)
    assert inner.shape == (1, 10, 15, 3)
    assert padded.shape == images.shape
    assert torch.allclose(inner, padded[:, 5:-5, 5:-5], atol=1e-12)
    assert padded.mean().item() == pytest.approx(similarity.ssim(images, targets).item(), abs=1e-12)
