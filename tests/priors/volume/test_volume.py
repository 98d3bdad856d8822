"""Splats at nodes: where they are, both forms, statistics."""

import pytest
import torch

from gen3d.priors.volume.volume import (
    CHANNELS,
    GENERATED,
    OFFSET,
    OPACITY,
    SCALE,
    GaussianVolume,
    Statistics,
    bounds,
    mirrored,
    nodes,
    visible,
)
from gen3d.renderers.cameras import orbit
from gen3d.renderers.rendering import rasterize


def some(size=4, batch=(), seed=0):
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(*batch, CHANNELS, size, size, size, generator=generator)
    values[..., OFFSET, :, :, :] *= 0.03
    values[..., SCALE, :, :, :] = values[..., SCALE, :, :, :] * 0.3 - 3.3
    values[..., 3:6, :, :, :] *= 0.5
    values[..., OPACITY, :, :, :] *= 2
    return GaussianVolume(values)


def drawn(volume):
    cameras = orbit(torch.tensor([0.0, 120.0]), torch.tensor([20.0, -10.0]), radius=1.5, fov=49.0, width=48, height=48)
    return rasterize(volume.gaussians(), cameras, background=torch.ones(3)).rgb


def test_what_is_mirrored_looks_mirrored():
    camera = orbit(torch.zeros(1), torch.tensor([15.0]), radius=1.5, fov=49.0, width=48, height=48)
    volume = some()
    seen, other = (rasterize(each.gaussians(), camera, background=torch.ones(3)).rgb for each in (volume, mirrored(volume)))
    assert torch.allclose(seen, other.flip(2), atol=2e-3)
    assert not torch.allclose(seen, other, atol=0.1)


@pytest.mark.parametrize("size", [2, 8, 16])
def test_nodes_fill_the_cube(size):
    places = nodes(size).reshape(size, size, size, 3)
    assert places[0, 0, 0].tolist() == [-0.5] * 3
    assert places[-1, 0, -1].tolist() == [0.5, -0.5, 0.5]
    assert float(places[1, 0, 0, 0] - places[0, 0, 0, 0]) == pytest.approx(1 / (size - 1))


def test_a_splat_stands_at_its_node_and_offset():
    values = torch.zeros(CHANNELS, 3, 3, 3)
    values[OFFSET, 2, 0, 1] = torch.tensor([0.1, 0.2, -0.3])
    splats = GaussianVolume(values).gaussians()
    assert splats.means.reshape(3, 3, 3, 3)[2, 0, 1].tolist() == pytest.approx([0.6, -0.3, -0.3])
    assert splats.count == 27
    assert (splats.opacities == 0.5).all()


def test_both_forms_look_the_same():
    volume = some(batch=(2,))
    values = volume.generated()
    assert values.shape == (2, GENERATED, 4, 4, 4)
    again = GaussianVolume.of_generated(values)
    for number in range(2):
        first, second = (drawn(GaussianVolume(each.values[number])) for each in (volume, again))
        assert float((first - second).square().mean()) < 1e-5
    assert torch.allclose(again.generated(), values, atol=2e-3)


def test_what_is_generated_is_bounded():
    wild = GaussianVolume.of_generated(100 * torch.randn(GENERATED, 4, 4, 4, generator=torch.Generator().manual_seed(0)))
    values = wild.generated()
    for channel, (low, high) in enumerate(zip(*bounds(4), strict=True)):
        assert low - 1e-3 <= float(values[channel].min()) <= float(values[channel].max()) <= high + 1e-3
    assert wild.gaussians().means.abs().max() <= 0.5 + 1.5 / 3 + 1e-6


def test_statistics_come_back():
    values = some().generated()
    numbers = Statistics(torch.arange(13.0) / 10, 0.5 + torch.arange(13.0))
    assert torch.allclose(numbers.restore(numbers.normalise(values)), values, atol=1e-5)
    assert float(numbers.normalise(values)[3].mean()) == pytest.approx(float((values[3].mean() - 0.3) / 3.5), abs=1e-5)


def test_what_is_nothing_is_left_out():
    volume = some()
    volume.values[OPACITY] = -9
    volume.values[OPACITY, 0, 1] = 2
    assert visible(volume.gaussians()).count == 4


@pytest.mark.parametrize("shape", [(13, 4, 4, 4), (14, 4, 4, 3), (14, 1, 1, 1), (14,)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match=r"it must end with \(14, n, n, n\)"):
        GaussianVolume(torch.zeros(shape))
