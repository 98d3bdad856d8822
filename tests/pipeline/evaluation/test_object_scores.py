"""The figures of an answer against hand-computed values, scikit-image's SSIM and LPIPS of its authors."""

import math

import pytest
import torch

from gen3d.pipeline.evaluation import metrics
from gen3d.pipeline.evaluation.object_scores import ObjectScores, iou_of, perceptual, psnr_of, score
from gen3d.pipeline.evaluation.objects_protocol import Predicted
from gen3d.priors import zoo
from gen3d.priors.perceptual import Lpips, load_lpips

CACHED = {stored.weight.name: stored.path for stored in zoo.list_weights() if stored.present}


def square(left, right, value=0.0, size=16):
    """A picture whose columns from left to right are covered with a grey."""
    rgb, alpha = torch.ones(1, size, size, 3), torch.zeros(1, size, size)
    rgb[:, :, left:right], alpha[:, :, left:right] = value, 1.0
    return Predicted(rgb, alpha)


def test_hand_computed_figures():
    truth, answer = square(0, 8, 0.5), square(4, 12, 0.25)
    figures = score([answer], truth, {})[0]
    # Columns 0-3 differ by 1 - .5, 4-7 by .25, 8-11 by .75, 12-15 by nothing; the union is columns 0 to 11.
    total = 4 * 0.5**2 + 4 * 0.25**2 + 4 * 0.75**2
    assert figures["psnr"][0] == pytest.approx(-10 * math.log10(total / 16), abs=1e-5)
    assert figures["psnr_union"][0] == pytest.approx(-10 * math.log10(total / 12), abs=1e-5)
    assert figures["iou"] == (pytest.approx(4 / 12),)
    assert list(figures) == ["psnr", "psnr_union", "ssim", "iou"]


def test_ssim_is_that_of_other_evaluations():
    generator = torch.Generator().manual_seed(0)
    first, second = (Predicted(torch.rand(2, 20, 24, 3, generator=generator), torch.ones(2, 20, 24)) for _ in range(2))
    figures = score([first], second, {})[0]
    for view in range(2):
        assert figures["ssim"][view] == pytest.approx(metrics.ssim(first.rgb[view], second.rgb[view]), abs=1e-12)
        assert figures["psnr"][view] == pytest.approx(metrics.psnr(first.rgb[view], second.rgb[view]), abs=1e-9)


def test_a_view_counts_40_decibels_at_most():
    truth = square(2, 9, 0.5)
    assert score([truth], truth, {})[0] == {"psnr": (40.0,), "psnr_union": (40.0,), "ssim": (pytest.approx(1.0),), "iou": (1.0,)}
    assert float(psnr_of(truth.rgb, truth.rgb + 1e-4)) == 40.0
    assert float(psnr_of(truth.rgb, truth.rgb + 0.1)) == pytest.approx(20.0, abs=1e-5)


def test_where_nothing_is_nothing_is_wrong():
    empty = Predicted(torch.ones(1, 16, 16, 3), torch.zeros(1, 16, 16))
    figures = score([empty, square(0, 4)], empty, {})
    assert (figures[0]["iou"], figures[0]["psnr_union"]) == ((1.0,), (40.0,))
    assert (figures[1]["iou"], figures[1]["psnr_union"]) == ((0.0,), (0.0,))


def test_the_object_is_where_alpha_is_above_one_half():
    assert iou_of(torch.tensor([[[0.5, 0.51, 0.9, 0.0]]]), torch.tensor([[[1.0, 1.0, 0.4, 0.0]]])).tolist() == [pytest.approx(1 / 3)]


def test_values_beyond_the_range_are_clamped():
    truth, answer = square(0, 8, 0.0), square(0, 8, -3.0)
    answer.rgb[:, :, 8:] = 7.0
    assert score([answer], truth, {})[0]["psnr"] == (40.0,)


def test_lpips_of_several_answers():
    torch.manual_seed(0)
    network = Lpips("alex").requires_grad_(False)
    truth, *answers = (Predicted(torch.rand(3, 36, 36, 3), torch.ones(3, 36, 36)) for _ in range(3))
    figures = score(answers, truth, {"alex": network})
    for figure, answer in zip(figures, answers, strict=True):
        assert figure["lpips_alex"] == pytest.approx(network(answer.rgb, truth.rgb).tolist(), rel=1e-5)
    assert perceptual(network, [truth.rgb], truth.rgb)[0].tolist() == [0.0, 0.0, 0.0]


def test_means_are_over_views():
    assert ObjectScores("a", "scan", {"psnr": (10.0, 20.0, 60.0)}, 0.0).mean("psnr") == 30.0


@pytest.mark.parametrize(("net", "golden"), [("alex", (0.75337, 0.12785)), ("vgg", (0.91383, 0.21554))])
def test_golden_numbers_of_lpips(net, golden):
    """What lpips 0.1.4 of its authors, with its own heads and the same backbones, says of three drawn pictures."""
    if f"lpips-{net}" not in CACHED:
        pytest.skip(f"lpips-{net} is not in the cache; gen3d models pull lpips-{net}")
    y, x = torch.meshgrid(torch.arange(64.0) / 63, torch.arange(64.0) / 63, indexing="ij")
    disc = ((x - 0.5) ** 2 + (y - 0.5) ** 2 < 0.1).float()
    ramp = torch.stack([x, y, (x + y) / 2], -1)
    first = 1 - disc[..., None] * (1 - torch.tensor([0.8, 0.3, 0.1]))
    second = 1 - disc.roll(6, 1)[..., None] * (1 - torch.tensor([0.7, 0.35, 0.1]))
    network = load_lpips(net, weights=CACHED[f"lpips-{net}"])
    measured = perceptual(network, [torch.stack([ramp, first])], torch.stack([first, second]))[0]
    assert measured.tolist() == pytest.approx(golden, abs=2e-4)
