from dataclasses import replace

import pytest
import torch
from torch import nn

from gen3d.renderers.gaussians import GaussianParameters, Gaussians

FIELDS = ("means", "scales", "quats", "opacities", "sh")


def assert_same(one, other):
    for name in FIELDS:
        torch.testing.assert_close(getattr(one, name), getattr(other, name), msg=lambda m, name=name: f"{name}: {m}")


def test_shapes_are_read_off(make_splats):
    splats = make_splats(7, degree=2, batch=(2, 3))
    assert (splats.count, splats.batch_shape, splats.degree) == (7, (2, 3), 2)


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("means", (5, 3), r"means has shape \(5, 3\); opacities of shape \(4,\) ask for \(4, 3\)"),
        ("scales", (4, 1), r"scales has shape \(4, 1\)"),
        ("quats", (4, 3), r"quats has shape \(4, 3\)"),
        ("sh", (4, 3), r"sh has shape \(4, 3\); it must be \(4, 'k', 3\)"),
        ("sh", (4, 5, 3), "5 harmonic coefficients were given"),
    ],
)
def test_wrong_shapes_are_explained(make_splats, name, shape, message):
    with pytest.raises(ValueError, match=message):
        replace(make_splats(4), **{name: torch.zeros(shape)})


def test_covariances_have_the_scales_as_axes(make_splats):
    splats = make_splats(6)
    values = torch.linalg.eigvalsh(splats.covariances)
    torch.testing.assert_close(values, splats.scales.square().sort(-1).values)
    longer = replace(splats, quats=3 * splats.quats)
    torch.testing.assert_close(longer.covariances, splats.covariances)


@pytest.mark.parametrize("batch", [(), (2,)])
def test_select_takes_masks_and_indices(make_splats, batch):
    splats = make_splats(5, batch=batch)
    chosen = splats.select(torch.tensor([True, False, True, False, False]))
    assert_same(chosen, splats.select(torch.tensor([0, 2])))
    assert chosen.count == 2
    assert torch.equal(splats.select(torch.tensor([4, 4])).means[..., 1, :], splats.means[..., 4, :])


def test_degree_is_cut_and_padded(make_splats):
    splats = make_splats(5, degree=2)
    assert torch.equal(splats.with_degree(1).sh, splats.sh[:, :4])
    padded = splats.with_degree(3)
    assert padded.degree == 3
    assert torch.equal(padded.sh[:, :9], splats.sh)
    assert not padded.sh[:, 9:].any()
    assert_same(padded.with_degree(2), splats)


def test_detach_and_cast(make_splats):
    splats = make_splats(3)
    tracked = replace(splats, means=splats.means.requires_grad_())
    assert not tracked.detach().means.requires_grad
    assert tracked.to(torch.float32).sh.dtype == torch.float32


@pytest.mark.parametrize("degree", [0, 3])
def test_parameters_round_trip(make_splats, degree):
    splats = make_splats(8, degree=degree)
    unit = replace(splats, quats=nn.functional.normalize(splats.quats, dim=-1))
    parameters = GaussianParameters.from_gaussians(splats)
    assert parameters.count == 8
    assert_same(parameters.activated(), unit)
    assert {name for name, _ in parameters.named_parameters()} == set(GaussianParameters.NAMES)


def test_parameters_are_copies(make_splats):
    splats = make_splats(3)
    parameters = GaussianParameters.from_gaussians(splats)
    with torch.no_grad():
        parameters.means.add_(1)
    assert not torch.equal(parameters.means, splats.means)


def test_extreme_opacities_stay_finite(make_splats):
    splats = replace(make_splats(2), opacities=torch.tensor([0.0, 1.0], dtype=torch.float64))
    parameters = GaussianParameters.from_gaussians(splats)
    torch.testing.assert_close(parameters.activated().opacities, torch.tensor([1e-4, 1 - 1e-4], dtype=torch.float64))


def test_every_parameter_gets_a_gradient(make_splats):
    parameters = GaussianParameters.from_gaussians(make_splats(4, degree=1))
    splats = parameters.activated()
    (splats.covariances.square().sum() + sum(getattr(splats, name).square().sum() for name in ("means", "opacities", "sh"))).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in parameters.parameters())


def test_activated_keeps_the_lower_harmonics(make_splats):
    parameters = GaussianParameters.from_gaussians(make_splats(4, degree=3))
    for degree in range(4):
        assert torch.equal(parameters.activated(degree).sh, parameters.activated().sh[:, : (degree + 1) ** 2])


def test_a_state_of_another_count_loads(make_splats):
    class Scene(nn.Module):
        def __init__(self, splats):
            super().__init__()
            self.splats = GaussianParameters.from_gaussians(splats)

    small, large = Scene(make_splats(3, seed=1)), Scene(make_splats(9, seed=2))
    small.load_state_dict(large.state_dict())
    assert small.splats.count == 9
    assert_same(small.splats.activated(), large.splats.activated())
    small.splats.means.sum().backward()
    assert small.splats.means.grad.shape == (9, 3)


def test_an_incomplete_state_is_refused(make_splats):
    parameters = GaussianParameters.from_gaussians(make_splats(3))
    state = parameters.state_dict()
    del state["quats"]
    with pytest.raises(RuntimeError, match="quats"):
        parameters.load_state_dict(state)


def test_gaussians_cannot_change(make_splats):
    with pytest.raises(AttributeError):
        make_splats(2).means = torch.zeros(2, 3)
    assert isinstance(make_splats(2), Gaussians)
