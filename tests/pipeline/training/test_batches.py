"""Batches: a function of seed and step, shared by ranks, and varied as the world allows."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from gen3d.errors import UsageError
from gen3d.pipeline.objects.views import object_cameras
from gen3d.pipeline.training.batches import StepBatches, tier_chances
from gen3d.pipeline.training.viewpoints import before, choose_views, given_views, mirrored

PLACES = torch.tensor([[0.1, 0.2, 0.3], [-0.3, 0.1, -0.2], [0.25, -0.1, 0.0]])


def pixels(cameras, places):
    seen = places @ cameras.world_to_camera[:, :3, :3].mT + cameras.world_to_camera[:, None, :3, 3]
    flat = seen @ cameras.intrinsics.mT
    return flat[..., :2] / flat[..., 2:]


def same(one, other):
    fields = ("pictures", "alpha", "given", "times", "noise")
    return all(torch.equal(getattr(one, name), getattr(other, name)) for name in fields) and torch.equal(
        one.cameras.world_to_camera, other.cameras.world_to_camera
    )


def test_a_step_is_the_same_whenever_it_is_asked_for(pictures, tiny):
    first, again = StepBatches([pictures], tiny), StepBatches([pictures], tiny)
    again[5]
    assert all(same(first[step], again[step]) for step in range(6))
    assert not same(first[0], first[1])
    assert not same(first[0], StepBatches([pictures], replace(tiny, seed=1))[0])


def test_ranks_share_the_objects_of_a_step(pictures, tiny):
    whole = StepBatches([pictures], tiny)
    parts = [StepBatches([pictures], tiny, rank, 2) for rank in range(2)]
    for step in range(6):
        both = [part[step] for part in parts]
        assert torch.equal(whole[step].pictures[0::2], both[0].pictures)
        assert torch.equal(whole[step].noise[1::2], both[1].noise)
    with pytest.raises(UsageError, match="cannot be shared by 3 processes"):
        StepBatches([pictures], tiny, 0, 3)


def test_noised_views_begin_after_the_warm_up(pictures, tiny):
    settings = replace(tiny, steps=100, warmup=0.5, joint=1.0)
    batches = StepBatches([pictures], settings)
    assert [batches[step].given.shape[1] for step in (0, 49, 50, 99)] == [1, 1, 4, 4]
    early, late = batches[0], batches[60]
    assert early.given.all()
    assert early.pictures.shape == (4, 3, 3, 16, 16)
    assert late.pictures.shape == (2, 6, 3, 16, 16)
    assert ((late.times > 0) & (late.times < 1)).all()
    assert sorted((late.times * 2).floor().tolist()) == [0, 1]


def test_pictures_are_over_white(pictures, tiny):
    batch = StepBatches([pictures], tiny)[0]
    ground = batch.alpha[:, :, None].expand_as(batch.pictures) == 0
    assert (batch.pictures[ground] == 1).all()
    assert batch.pictures.min() >= -1


def test_the_first_view_looks_from_the_front():
    cameras = object_cameras([130.0, 220.0, -77.0], [20.0, -5.0, 50.0], 32)
    placed = before(cameras)
    x, y, z = placed.positions[0].tolist()
    assert (x, z > 0) == (pytest.approx(0, abs=1e-5), True)
    assert y == pytest.approx(float(cameras.positions[0, 1]), abs=1e-6)
    expected = object_cameras([0.0, 90.0, 153.0], [20.0, -5.0, 50.0], 32)
    assert torch.allclose(placed.world_to_camera, expected.world_to_camera, atol=1e-5)


def test_a_mirrored_world_is_seen_in_flipped_pictures():
    cameras = object_cameras([30.0, 200.0], [20.0, -5.0], 32)
    cameras = replace(cameras, intrinsics=cameras.intrinsics + torch.tensor([[0, 0, 3.0], [0, 0, 0], [0, 0, 0]]))
    plain, flipped = pixels(cameras, PLACES), pixels(mirrored(cameras), PLACES * torch.tensor([-1.0, 1, 1]))
    assert torch.allclose(flipped[..., 0], 32 - plain[..., 0], atol=1e-4)
    assert torch.allclose(flipped[..., 1], plain[..., 1], atol=1e-4)


def test_views_are_chosen_once_and_around():
    generator, around = torch.Generator().manual_seed(0), 0
    for _ in range(300):
        chosen = choose_views(16, 4, 3, generator)
        assert len(set(chosen)) == 7
        around += {(b - a) % 8 for a, b in pairwise(chosen[:4])} == {2} and max(chosen[:4]) < 8
    assert 0.3 < around / 300 < 0.7
    assert len(choose_views(12, 1, 20, generator)) == 12


def test_any_number_of_views_is_given():
    generator = torch.Generator().manual_seed(0)
    counts = [int(given_views(4, (0.1, 0.6, 0.0, 0.1, 0.2), generator).sum()) for _ in range(500)]
    assert set(counts) == {0, 1, 3, 4}
    assert 0.5 < counts.count(1) / 500 < 0.7


@pytest.mark.parametrize("given", [(0.5, 0.5), (0.0,) * 5, (1, 1, 1, 1, -1)])
def test_chances_that_cannot_be_are_told(tiny, given):
    with pytest.raises(UsageError, match="give 5 chances, for none to all of the 4 views"):
        replace(tiny, given=given)


def test_rare_tiers_come_more_often():
    chances = tier_chances(["a"] * 8 + ["b"] * 2, 1.0)
    assert float(chances[:8].sum()) == pytest.approx(float(chances[8:].sum()))
    assert tier_chances(["a", "a", "b"], 0.0).tolist() == [1, 1, 1]
