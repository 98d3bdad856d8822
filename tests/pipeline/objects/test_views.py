"""Placement and cameras of training views."""

import math

import pytest
import torch

from gen3d.errors import BadInput, UsageError
from gen3d.pipeline.objects.drawing import draw_views
from gen3d.pipeline.objects.settings import RenderSettings
from gen3d.pipeline.objects.views import DISTANCE, FOV, RADIUS, REACH, ObjectViews, object_cameras, placement_of, training_views
from gen3d.renderers.mesh import Mesh


def test_views_are_the_same_for_the_same_id_and_seed():
    assert training_views("a", 16, 0) == training_views("a", 16, 0)
    ring = ((0.0, 45.0, 90.0, 135.0, 180.0, 225.0, 270.0, 315.0), (20.0,) * 8)
    seen = set()
    for name, seed in (("a", 0), ("b", 0), ("a", 1)):
        azimuths, elevations = training_views(name, 12, seed)
        assert (azimuths[:8], elevations[:8]) == ring
        seen.add((azimuths[8:], elevations[8:]))
    assert len(seen) == 3
    assert training_views("a", 8, 0) == ring
    low, plain = training_views("a", 16, 0, (-5.0, 50.0)), training_views("a", 16, 0)
    assert low[0] == plain[0]
    assert low[1][8:] == plain[1][8:]
    heights = {training_views(str(number), 8, 0, (-5.0, 50.0))[1] for number in range(40)}
    assert all(len(set(each)) == 1 and -5 <= each[0] <= 50 for each in heights)
    assert min(heights)[0] < 5 < 40 < max(heights)[0]
    for wrong in ((50.0, -5.0), (20.0,), (0.0, 10.0, 20.0), (-90.0, 0.0)):
        with pytest.raises(UsageError, match="give the lowest and the highest elevation, from -80 to 80 degrees"):
            RenderSettings(ring=wrong)


def test_views_never_change():
    """Sets of other machines and other years have the same cameras."""
    azimuths, elevations = training_views("chair", 10, 7)
    assert azimuths[8:] == (260.014, 51.939)
    assert elevations[8:] == (-7.5, 30.0)


def test_random_views_are_spread_over_sectors_and_heights():
    azimuths, elevations = training_views("a", 8 + 12, 3)
    assert sorted(int(azimuth // 30) for azimuth in azimuths[8:]) == list(range(12))
    low = math.sin(math.radians(-10))
    heights = [(math.sin(math.radians(elevation)) - low) / (1 - low) for elevation in elevations[8:]]
    assert sorted(int(height * 12) for height in heights) == list(range(12))


@pytest.mark.parametrize("extent", [(1.0, 1.0, 1.0), (3.0, 0.1, 0.1), (0.02, 0.01, 0.03)])
def test_objects_fit_in_every_view_with_a_margin(extent):
    pytest.importorskip("embreex")
    trimesh = pytest.importorskip("trimesh")
    box = trimesh.creation.box(extent)
    mesh = Mesh(torch.tensor(box.vertices) + torch.tensor([5.0, 0, -2]), torch.tensor(box.faces))
    placed = placement_of(mesh).place(mesh)
    assert float(placed.vertices.norm(dim=-1).max()) == pytest.approx(RADIUS)
    views = draw_views(placed, object_cameras(*training_views("box", 24, 0), 48))
    border = torch.ones(48, 48, dtype=torch.bool)
    border[1:-1, 1:-1] = False
    assert not views.alpha[:, border].any()
    assert (views.alpha.sum((1, 2)) > 0).all()


@pytest.mark.parametrize("extent", [(1.0, 1.0, 1.0), (3.0, 0.1, 0.1)])
def test_boxes_have_one_longest_side_and_stay_within_reach(extent):
    trimesh = pytest.importorskip("trimesh")
    box = trimesh.creation.box(extent)
    mesh = Mesh(torch.tensor(box.vertices) + 7, torch.tensor(box.faces))
    placed = placement_of(mesh, "box").place(mesh).vertices
    assert float((placed.amax(0) - placed.amin(0)).amax()) == pytest.approx(1.25 / 1.75)
    assert float(placed.norm(dim=-1).max()) <= REACH["box"] + 1e-9
    with pytest.raises(BadInput, match="no extent"):
        placement_of(Mesh(mesh.vertices * 0, mesh.faces), "box")


def test_the_bounding_sphere_nearly_fills_the_picture():
    share = math.tan(math.asin(RADIUS / DISTANCE)) / math.tan(math.radians(FOV / 2))
    assert share == pytest.approx(0.955, abs=5e-4)


def test_vertices_without_faces_do_not_count():
    vertices = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [900, 900, 900]])
    placement = placement_of(Mesh(vertices, torch.tensor([[0, 1, 2]])))
    assert placement.centre == (0.5, 0.5, 0.0)
    assert placement.scale == pytest.approx(0.5 / math.sqrt(0.5))
    with pytest.raises(BadInput, match="no extent"):
        placement_of(Mesh(vertices, torch.tensor([[3, 3, 3]])))


def test_compositing():
    views = ObjectViews(object_cameras([0.0], [0.0], 16), torch.full((1, 1, 1, 3), 0.2), torch.full((1, 1, 1), 0.25))
    assert torch.allclose(views.over(torch.ones(3)), torch.tensor(0.8))


def test_settings_are_checked():
    for values, reason in (
        ({"views": 7}, "views is 7"),
        ({"size": 8}, "size is 8"),
        ({"frame": "up"}, "frame is 'up'"),
        ({"quality": 0}, "0"),
    ):
        with pytest.raises(UsageError, match=reason):
            RenderSettings(**values)
    with pytest.raises(UsageError, match="100 views of 256 pixels are 25,600 rows and at most 16,383"):
        RenderSettings(size=256, views=100)
