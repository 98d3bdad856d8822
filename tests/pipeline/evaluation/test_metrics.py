"""Metrics against scikit-image and closed forms."""

import json
import math

import numpy as np
import pytest
import torch

from gen3d.pipeline.evaluation.metrics import Evaluation, ViewScores, evaluate_views, psnr, ssim
from gen3d.pipeline.scenes.scene import View
from gen3d.priors.perceptual import Lpips
from gen3d.renderers.cameras import orbit
from gen3d.renderers.gaussians import Gaussians
from gen3d.renderers.harmonics import rgb_to_sh0
from gen3d.renderers.rendering import rasterize


def pair(height=40, width=33, noise=0.1):
    generator = torch.Generator().manual_seed(5)
    image = torch.nn.functional.interpolate(torch.rand(1, 3, 6, 5, generator=generator), (height, width), mode="bicubic")[0]
    image = image.permute(1, 2, 0).clamp(0, 1)
    return image, (image + noise * torch.randn(image.shape, generator=generator)).clamp(0, 1)


def splats():
    generator = torch.Generator().manual_seed(1)
    return Gaussians(
        means=torch.rand(60, 3, generator=generator) - 0.5,
        scales=torch.full((60, 3), 0.08),
        quats=torch.tensor([1.0, 0, 0, 0]).repeat(60, 1),
        opacities=torch.full((60,), 0.8),
        sh=rgb_to_sh0(torch.rand(60, 3, generator=generator))[:, None],
    )


def views(*, size=32, count=2, background=(1.0, 1.0, 1.0), alpha=False, mask=None):
    """Photos that the splats explain up to rounding."""
    made = []
    cameras = orbit(torch.arange(count) * 70.0, torch.zeros(count), radius=2.5, fov=40.0, width=size, height=size)
    for index in range(count):
        camera = cameras.select([index])
        behind = torch.zeros(3) if alpha else torch.tensor(background)
        drawn = rasterize(splats(), camera, background=behind, backend="reference")
        color = drawn.rgb[0] / drawn.alpha[0, ..., None].clamp_min(1e-6) if alpha else drawn.rgb[0]
        coverage = (drawn.alpha[0] * 255).round().byte() if alpha else None
        made.append(View(f"{index}.png", (color.clamp(0, 1) * 255).round().byte(), coverage, mask, camera))
    return made


def evaluate(photos, **options):
    options.setdefault("background", (1.0, 1.0, 1.0))
    return evaluate_views(splats(), photos, backend="reference", **options)


def test_ssim_equals_scikit_image():
    metrics = pytest.importorskip("skimage.metrics")
    for noise in (0.02, 0.1, 0.4):
        first, second = pair(noise=noise)
        options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0, "channel_axis": -1}
        expected = metrics.structural_similarity(first.double().numpy(), second.double().numpy(), **options)
        assert ssim(first, second) == pytest.approx(expected, abs=1e-9)
        expected = metrics.peak_signal_noise_ratio(first.double().numpy(), second.double().numpy(), data_range=1.0)
        assert psnr(first, second) == pytest.approx(expected, abs=1e-9)


def test_equal_pictures():
    first, _ = pair()
    assert psnr(first, first) == 100.0
    assert ssim(first, first) == pytest.approx(1.0)


def test_psnr_closed_form():
    flat = torch.zeros(12, 12, 3)
    assert psnr(flat, flat + 0.1) == pytest.approx(20.0, abs=1e-5)


def test_masked_pixels_do_not_matter():
    first, second = pair()
    counts = torch.ones(40, 33, dtype=torch.bool)
    counts[10:14, 20:] = False
    spoiled = torch.where(counts[..., None], second, 1 - second)
    assert psnr(first, spoiled) != psnr(first, second)
    assert psnr(first, spoiled, counts) == psnr(first, second, counts)
    assert ssim(first, spoiled, counts) == pytest.approx(ssim(first, second, counts), abs=1e-12)
    # A mask at the right border leaves exactly the windows of the cropped picture.
    counts = torch.ones(40, 33, dtype=torch.bool)
    counts[:, 25:] = False
    assert ssim(first, second, counts) == pytest.approx(ssim(first[:, :25], second[:, :25]), abs=1e-12)
    assert psnr(first, second, counts) == pytest.approx(psnr(first[:, :25], second[:, :25]), abs=1e-9)


def test_no_window_no_ssim():
    first, second = pair(10, 40)
    assert ssim(first, second) is None
    first, second = pair(20, 20)
    counts = torch.zeros(20, 20, dtype=torch.bool)
    counts[:10] = True
    assert ssim(first, second, counts) is None


@pytest.mark.parametrize("alpha", [False, True])
def test_splats_explain_their_own_pictures(alpha):
    result = evaluate(views(alpha=alpha))
    assert result.psnr > 48
    assert result.ssim > 0.998
    assert [score.name for score in result.scores] == ["0.png", "1.png"]
    # On another background they do not, unless the photos have alpha.
    other = evaluate(views(alpha=alpha), background=(0.0, 0.0, 1.0))
    assert (other.psnr > 48) == alpha
    assert evaluate(views(alpha=alpha, background=(0.0, 0.0, 0.0)), background=None).psnr > 48


def test_bright_splats_are_clamped_first():
    photos = [View("a", torch.full((16, 16, 3), 255, dtype=torch.uint8), None, None, views(size=16, count=1)[0].camera)]
    bright = Gaussians(
        torch.zeros(1, 3), torch.full((1, 3), 5.0), torch.tensor([[1.0, 0, 0, 0]]), torch.ones(1), torch.full((1, 1, 3), 20.0)
    )
    drawn = rasterize(bright, photos[0].camera, backend="reference").rgb
    assert drawn.max() > 1.5
    assert evaluate_views(bright, photos, backend="reference").psnr == pytest.approx(100.0, abs=1e-6)


def test_masks_of_views_are_respected():
    mask = torch.full((32, 32), 255, dtype=torch.uint8)
    mask[:, :8] = 0
    clean = views(mask=mask)
    spoiled = [View(v.name, v.image.clone(), None, mask, v.camera) for v in clean]
    for view in spoiled:
        view.image[:, :8] = 77
    network = Lpips("alex").requires_grad_(False)
    assert evaluate(spoiled, lpips=network).to_json() == evaluate(clean, lpips=network).to_json()
    hidden = View("hidden", clean[0].image, None, mask * 0, clean[0].camera)
    result = evaluate([hidden, *clean])
    assert len(result.scores) == 2
    assert "hidden was left out" in result.notes[-1]


def test_lpips_is_measured_or_absent_with_a_note():
    network = Lpips("alex").requires_grad_(False)
    result = evaluate(views(), lpips=network)
    assert result.notes == ()
    worse = evaluate(views(), lpips=network, background=(0.0, 0.0, 1.0))
    assert 0 <= result.lpips < worse.lpips
    absent = evaluate(views())
    assert absent.lpips is None
    assert "LPIPS was not measured" in absent.notes[0]
    small = evaluate(views(size=20), lpips=network)
    assert small.lpips is None
    assert small.psnr > 48
    assert "0.png was not measured: a side is shorter than 31" in small.notes[0]


def test_json_holds_what_exists():
    scores = (ViewScores("a", 20.0, 0.5, None), ViewScores("b", 30.0, None, None))
    content = Evaluation(scores, ("note",)).to_json()
    assert content == {
        "psnr": 25.0,
        "ssim": 0.5,
        "views": 2,
        "per_view": [{"name": "a", "psnr": 20.0, "ssim": 0.5}, {"name": "b", "psnr": 30.0}],
        "notes": ["note"],
    }
    assert json.loads(json.dumps(evaluate(views()).to_json(), allow_nan=False))["views"] == 2
    assert Evaluation(()).psnr is None


def test_gradients_are_not_kept():
    leaf = splats()
    means = leaf.means.clone().requires_grad_()
    result = evaluate_views(Gaussians(means, leaf.scales, leaf.quats, leaf.opacities, leaf.sh), views(), backend="reference")
    assert isinstance(result.psnr, float)
    assert math.isfinite(result.psnr)
    assert np.isfinite([score.psnr for score in result.scores]).all()
