"""What the protocols ask for, and how they place objects."""

from dataclasses import replace

import pytest
import torch

from gen3d.errors import UsageError
from gen3d.pipeline.evaluation.objects_protocol import chosen, over_white, protocol_of, question_of
from gen3d.pipeline.evaluation.settings import ObjectsSettings
from gen3d.pipeline.objects.views import placement_of
from gen3d.renderers.mesh import Mesh


def box(*extent, at=(0.0, 0.0, 0.0)):
    corners = torch.cartesian_prod(*[torch.tensor([-0.5, 0.5])] * 3) * torch.tensor(extent) + torch.tensor(at)
    return Mesh(corners, torch.arange(8)[:, None].repeat(1, 3))


def test_objects_v1():
    protocol = protocol_of(ObjectsSettings())
    assert protocol.label == "objects-v1-elevation-20-64"
    assert protocol.angles == (*((45.0 * i, 20.0) for i in range(8)), (0.0, 60.0), (90.0, 60.0))
    assert (protocol.given, protocol.targets) == ((0,), tuple(range(1, 10)))
    cameras = protocol.cameras
    assert (cameras.width, cameras.height) == (64, 64)
    assert torch.allclose(cameras.positions.norm(dim=-1), torch.tensor(1.25))
    assert torch.allclose(torch.rad2deg(2 * torch.atan(32 / cameras.intrinsics[:, 0, 0])), torch.tensor(49.1))
    assert torch.allclose(cameras.positions[0], 1.25 * torch.tensor([0.0, 0.3420, 0.9397]), atol=1e-4)
    assert torch.allclose(cameras.positions[9], 1.25 * torch.tensor([0.5, 0.8660, 0.0]), atol=1e-4)


def test_the_second_set_looks_from_the_horizon():
    protocol = protocol_of(ObjectsSettings(elevation=0, size=128))
    assert protocol.label == "objects-v1-elevation-0-128"
    assert {elevation for _, elevation in protocol.angles[:8]} == {0.0}
    assert protocol.angles[8:] == ((0.0, 60.0), (90.0, 60.0))


def test_nano():
    protocol = protocol_of(ObjectsSettings(protocol="nano"))
    assert protocol.targets == tuple(range(1, 8))
    # The longest side seems as long as 1 does from 1.75, where the cameras of nano.md stand.
    placed = placement_of(box(3.0, 1.0, 2.0), protocol.fit).place(box(3.0, 1.0, 2.0)).vertices
    extent = placed.amax(0) - placed.amin(0)
    assert float(extent.amax() / protocol.cameras.positions.norm(dim=-1)[0]) == pytest.approx(1 / 1.75)


def test_objects_v1_fills_the_bounding_sphere():
    mesh = box(3.0, 1.0, 2.0, at=(5.0, 6.0, 7.0))
    placed = placement_of(mesh, protocol_of(ObjectsSettings()).fit).place(mesh).vertices
    assert torch.allclose(placed.norm(dim=-1), torch.tensor(0.5, dtype=torch.float64))


def test_a_question_shows_the_given_view_only(protocol, blob):
    views = blob()
    question = question_of(views, protocol)
    assert torch.equal(question.given.rgb, views.rgb[:1])
    assert question.targets.shape == (9,)
    assert torch.equal(question.targets.world_to_camera, views.cameras.world_to_camera[1:])
    four = replace(protocol, given=(0, 2, 4, 6))
    assert question_of(views, four).given.rgb.shape[0] == 4
    assert four.targets == (1, 3, 5, 7, 8, 9)


def test_answers_are_over_white(blob):
    views = chosen(blob(color=(0.0, 0.5, 1.0)), [3])
    white = over_white(views)
    assert torch.equal(white.rgb[0, 0, 0], torch.ones(3))
    assert torch.allclose(white.rgb[0, 12, 12], torch.tensor([0.0, 0.5, 1.0]))


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"elevation": 10}, "elevation is 10; choose one of 0, 20"),
        ({"protocol": "nano", "elevation": 0}, "elevation is 0; the protocol nano has 20 only"),
        ({"protocol": "v2"}, "protocol is 'v2'; choose one of objects-v1, nano"),
        ({"size": 8}, "size is 8; it must lie between 16 and 1024"),
        ({"lpips": "squeeze"}, "lpips is 'squeeze'; choose one of alex, vgg, both, none"),
    ],
)
def test_settings_that_no_protocol_has(wrong, sentence):
    with pytest.raises(UsageError, match=sentence):
        ObjectsSettings(**wrong)
