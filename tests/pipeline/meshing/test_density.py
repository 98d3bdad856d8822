"""Meshes of splats whose shape is known; trimesh is the judge."""

import math
from dataclasses import fields, replace

import pytest
import torch
import trimesh

from gen3d.errors import BadInput
from gen3d.pipeline.meshing.density import density_mesh
from gen3d.renderers.frames import move_gaussians, rigid
from gen3d.renderers.gaussians import Gaussians
from gen3d.renderers.harmonics import rgb_to_sh0
from gen3d.renderers.sphere import fibonacci_sphere

SIGMA = 0.04


def splats(means, scales=SIGMA, opacity=0.9, colors=(0.5, 0.5, 0.5)):
    n = len(means)
    return Gaussians(
        means=means,
        scales=torch.as_tensor(scales).expand(n, 3).clone(),
        quats=torch.tensor([1.0, 0, 0, 0]).repeat(n, 1),
        opacities=torch.full((n,), opacity),
        sh=rgb_to_sh0(torch.as_tensor(colors).expand(n, 3))[:, None].clone(),
    )


def ball(count=3000, **kwargs):
    """A shell of radius 1."""
    return splats(fibonacci_sphere(count), **kwargs)


def together(*parts):
    return Gaussians(*(torch.cat([getattr(part, field.name) for part in parts]) for field in fields(Gaussians)))


def judged(mesh):
    return trimesh.Trimesh(mesh.vertices.numpy(), mesh.faces.numpy(), process=False)


@pytest.mark.parametrize("opacity", [0.9, 0.02])
@pytest.mark.parametrize("resolution", [48, 96])
def test_a_ball_is_closed_and_solid_and_between_half_a_deviation_and_two_too_large(resolution, opacity):
    mesh = density_mesh(ball(opacity=opacity), resolution=resolution)
    judge = judged(mesh)
    assert judge.is_watertight
    assert judge.euler_number == 2  # one surface: the hollow inside is filled
    radii = mesh.vertices.norm(dim=-1)
    assert radii.min() > 1 + 0.5 * SIGMA
    assert radii.max() < 1 + 2 * SIGMA  # interpolating the density itself would leave terraces of more
    assert judge.volume == pytest.approx(4 / 3 * math.pi * 1.06**3, rel=0.05)


def test_a_finer_lattice_finds_the_same_surface():
    coarse, fine = (density_mesh(ball(), resolution=resolution).vertices.norm(dim=-1).mean() for resolution in (48, 96))
    assert float(coarse) == pytest.approx(float(fine), abs=0.005)


def test_the_mesh_lies_where_the_splats_lie():
    offset = torch.tensor([5.0, -3.0, 11.0])
    here = density_mesh(ball(), resolution=40)
    there = density_mesh(splats(3 * fibonacci_sphere(3000) + offset, scales=3 * SIGMA), resolution=40)
    center = (there.vertices.amin(0) + there.vertices.amax(0)) / 2
    assert (center - offset).abs().max() < 0.02
    assert judged(there).volume == pytest.approx(27 * judged(here).volume, rel=0.01)


def test_each_side_of_a_ball_has_its_colour():
    means = fibonacci_sphere(3000)
    red, blue = torch.tensor([0.9, 0.1, 0.1]), torch.tensor([0.1, 0.2, 0.8])
    mesh = density_mesh(splats(means, colors=torch.where(means[:, :1] > 0, red, blue)), resolution=48)
    x = mesh.vertices[:, 0]
    assert (mesh.colors[x > 0.2] - red).abs().max() < 0.02
    assert (mesh.colors[x < -0.2] - blue).abs().max() < 0.02


@pytest.mark.parametrize("height", [0.0, 0.25, 0.5])
@pytest.mark.parametrize("tilt", [0.0, 0.3])
def test_a_disk_thinner_than_a_cell_is_whole_wherever_it_lies_between_the_samples(height, tilt):
    plane = torch.rand(8000, 2, generator=torch.Generator().manual_seed(0)) * 2 - 1
    plane = plane[plane.norm(dim=-1) < 1]
    turn = rigid(torch.tensor([[1, 0, 0], [0, math.cos(tilt), -math.sin(tilt)], [0, math.sin(tilt), math.cos(tilt)]]))
    flat = splats(torch.cat([plane, torch.zeros(len(plane), 1)], 1), scales=(SIGMA, SIGMA, 1e-5))
    disk = move_gaussians(flat, turn)
    # Two posts, which hold more than the tails of the opacity, keep the lattice in place while the disk moves through a cell.
    posts = splats(torch.tensor([[0.0, 0.0, -1.2], [0.0, 0.0, 1.2]]).repeat_interleave(200, 0), scales=0.01)
    raised = replace(disk, means=disk.means + torch.tensor([0.0, 0.0, height * 2.43 / 59]))
    mesh = judged(density_mesh(together(raised, posts), resolution=64))
    largest = max(mesh.split(only_watertight=False), key=lambda part: part.area)
    assert largest.is_watertight
    assert largest.euler_number == 2  # no hole
    assert 2 * math.pi < largest.area < 2 * math.pi * 1.15**2


def test_a_floater_far_away_does_not_cost_resolution():
    lonely = torch.cat([fibonacci_sphere(3000), torch.tensor([[300.0, 0.0, 0.0]])])
    with_floater, without = density_mesh(splats(lonely), resolution=48), density_mesh(ball(), resolution=48)
    assert len(with_floater.faces) == len(without.faces)
    assert with_floater.vertices.abs().max() < 1.2


def test_a_limb_of_few_splats_is_no_floater():
    limb = torch.linspace(1, 1.5, 30)[:, None] * torch.tensor([[0.0, 1.0, 0.0]])
    mesh = density_mesh(splats(torch.cat([fibonacci_sphere(3000), limb])), resolution=64)
    assert mesh.vertices[:, 1].max() > 1.5


def test_a_shell_with_a_crack_is_still_solid():
    means = fibonacci_sphere(3000)
    cracked = splats(means[(means[:, 0].abs() > 0.05) | (means[:, 1] < 0.9)])
    assert judged(density_mesh(cracked, resolution=48)).volume > 0.95 * 4 / 3 * math.pi


def test_a_huge_splat_is_cut_off_and_the_mesh_is_closed():
    both = splats(torch.cat([fibonacci_sphere(500), torch.zeros(1, 3)]), scales=torch.tensor([[0.08]] * 500 + [[1000.0]]))
    assert judged(density_mesh(both, resolution=24)).is_watertight


def test_four_splats_make_a_mesh():
    corners = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    mesh = judged(density_mesh(splats(corners, scales=0.1), resolution=32))
    assert mesh.is_watertight
    assert mesh.body_count == 4


@pytest.mark.parametrize(
    ("broken", "sentence"),
    [
        (ball().select(torch.arange(0)), "0 of 0 splats are opaque enough"),
        (ball(opacity=0.001), "0 of 3,000 splats are opaque enough"),
        (ball().select(torch.arange(2)), "2 of 2 splats .* needs at least 4"),
        (replace(ball(), opacities=torch.full((3000,), math.nan)), "3,000 of 3,000 splats have numbers that are not finite"),
        (splats(torch.zeros(10, 3), scales=1e-20), "extend over"),
        (splats(fibonacci_sphere(10) * 1e30), "extend over"),
    ],
)
def test_bad_splats_end_in_a_sentence(broken, sentence):
    with pytest.raises(BadInput, match=sentence):
        density_mesh(broken)


def test_a_batch_or_a_tiny_resolution_is_refused():
    one = ball(10)
    batch = Gaussians(*(getattr(one, field.name)[None] for field in fields(Gaussians)))
    with pytest.raises(ValueError, match="index the batch"):
        density_mesh(batch)
    with pytest.raises(ValueError, match="at least 8"):
        density_mesh(one, resolution=4)
