from pathlib import Path

import numpy as np
import pytest
import torch

from gen3d.errors import BadInput, UsageError
from gen3d.pipeline.scenes.lenses import Lens
from gen3d.pipeline.scenes.reading import FORMATS, estimate_up, orient_scene, read_capture, read_scene, split_shots
from gen3d.pipeline.scenes.settings import SceneSettings
from gen3d.pipeline.scenes.shots import Shot
from gen3d.renderers.cameras import look_at
from gen3d.renderers.quaternions import quaternion_to_matrix

SETTINGS = SceneSettings(max_size=64)
DATA = Path(__file__).parents[2] / "data"
PLUSH = Path(__file__).parents[4] / "shared/data/scenes/plush"


def shots(count, splits=None):
    lens = Lens(64, 48, (60.0, 60.0), (32.0, 24.0))
    splits = splits or [None] * count
    return [Shot(f"{i:03d}", Path(f"{i}.png"), None, lens, torch.eye(4, dtype=torch.float64), splits[i]) for i in range(count)]


@pytest.mark.parametrize(
    ("count", "holdout", "test"),
    [
        (10, 4, [0, 4, 8]),
        (10, 0, []),
        (10, 100, [0]),
        (10, 1, [0, 1, 2, 3, 4, 5, 6, 7]),
        (3, 8, [0]),
        (2, 8, []),
        (3, 1, [0]),
    ],
)
def test_every_nth_photo_is_held_out_and_two_stay(count, holdout, test):
    train, held = split_shots(shots(count), holdout)
    assert [int(shot.name) for shot in held] == test
    assert len(train) == count - len(test) >= 2


def test_named_splits_go_before_the_hold_out():
    train, held = split_shots(shots(5, ["train", "test", "val", None, "train"]), 2)
    assert [shot.name for shot in train] == ["000", "003", "004"]
    assert [shot.name for shot in held] == ["001"]
    assert [shot.name for shot in split_shots(shots(3, ["train", "val", "train"]), 2)[1]] == ["001"]


@pytest.mark.parametrize("splits", [[None], ["train", "test", "test"]])
def test_too_few_photos_to_learn_from(splits):
    with pytest.raises(BadInput, match=r"1 photos to learn from.*at least 2, or 3"):
        split_shots(shots(len(splits), splits), 8)


def test_formats_are_told_apart(make_folder):
    folder = make_folder()
    assert set(FORMATS) == {"transforms", "colmap"}
    folder.write_colmap(True, model="SIMPLE_PINHOLE", parameters=(50.0, 32.0, 24.0))
    assert read_scene(folder.path, SETTINGS).train[0].camera.intrinsics[0, 0, 0] == 50
    folder.write_json()
    assert read_scene(folder.path, SETTINGS).train[0].camera.intrinsics[0, 0, 0] == 60
    assert read_scene(folder.path, SceneSettings(max_size=64, format="colmap")).train[0].camera.intrinsics[0, 0, 0] == 50
    assert [read_capture(folder.path, name).shots[0].lens.focal[0] for name in ("auto", "transforms", "colmap")] == [60, 60, 50]


def test_folders_and_settings_that_cannot_be_used(make_folder, tmp_path):
    folder = make_folder()
    with pytest.raises(BadInput, match="no cameras that can be read"):
        read_scene(folder.path, SETTINGS)
    with pytest.raises(BadInput, match="lost does not exist; give the folder"):
        read_scene(tmp_path / "lost", SETTINGS)
    with pytest.raises(BadInput, match=r"photo00\.png is not a folder; give the folder"):
        read_capture(folder.path / "images" / "photo00.png")
    with pytest.raises(BadInput, match=r"transforms\.json"):
        read_scene(folder.path, SceneSettings(format="transforms"))
    with pytest.raises(BadInput, match="sparse/0"):
        read_scene(folder.path, SceneSettings(format="colmap"))
    with pytest.raises(UsageError, match="blender"):
        read_scene(folder.path, SceneSettings(format="blender"))
    with pytest.raises(UsageError, match="max_size"):
        read_scene(folder.path, SceneSettings(max_size=8))


def test_one_photo_is_too_few(make_folder):
    with pytest.raises(BadInput, match="1 photos"):
        read_scene(make_folder(1).write_json(), SETTINGS)


@pytest.mark.parametrize("shift", [0.0, 1e6])
def test_cameras_in_one_place_or_far_out_are_refused(shift, make_folder):
    folder = make_folder()
    meta = folder.meta()
    for frame in meta["frames"]:
        for row in frame["transform_matrix"][:3]:
            row[3] = row[3] * min(shift, 1) + shift
    with pytest.raises(BadInput, match="different places"):
        read_scene(folder.write_json(meta), SETTINGS)


def random_rotation(seed):
    return quaternion_to_matrix(torch.randn(4, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)))


def arc(degrees, elevation, count=24):
    """Level cameras that look down on the origin from an arc of a circle; up is +Y."""
    angles, height = torch.linspace(0, degrees, count, dtype=torch.float64).deg2rad(), torch.tensor(elevation).double().deg2rad()
    eyes = torch.stack([angles.sin() * height.cos(), height.sin().expand(count), angles.cos() * height.cos()], -1) * 3
    return look_at(eyes, torch.zeros_like(eyes))[:, :3, :3]


def degrees_from_y(up):
    return torch.rad2deg(torch.acos(up[1].clamp(-1, 1))).item()


@pytest.mark.parametrize(("degrees", "elevation"), [(360, 30), (180, 30), (180, 60), (90, 45), (30, 5)])
def test_up_of_level_cameras_is_exact_even_from_one_side(degrees, elevation):
    assert degrees_from_y(estimate_up(arc(degrees, elevation))) < 2


def test_up_survives_rolled_photos():
    rotations = arc(360, 30).clone()
    quarter = torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]], dtype=torch.float64)
    rotations[::6] = quarter @ rotations[::6]  # portrait photos
    rotations[1] = quarter @ quarter @ rotations[1]  # one upside down
    wobble = 0.03 * torch.randn(len(rotations), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    zero = torch.zeros_like(wobble)
    roll = torch.stack([wobble.cos(), -wobble.sin(), zero, wobble.sin(), wobble.cos(), zero, zero, zero, zero + 1], -1)
    assert degrees_from_y(estimate_up(roll.unflatten(-1, (3, 3)) @ rotations)) < 3


def test_cameras_that_all_look_the_same_way_give_their_own_up():
    assert degrees_from_y(estimate_up(arc(360, 20)[:1].expand(5, 3, 3))) < 20.5


def test_no_up_where_cameras_are_held_every_way():
    assert estimate_up(torch.stack([random_rotation(seed) for seed in range(300)])) is None


@pytest.mark.parametrize("seed", range(4))
def test_orienting_moves_cameras_and_points_together(seed, make_folder, scene_points):
    folder = make_folder(8)
    turn = torch.eye(4, dtype=torch.float64)
    turn[:3, :3] = random_rotation(seed) if seed else torch.diag(torch.tensor([1.0, -1, -1]))  # seed 0: exactly upside down
    folder.poses = folder.poses @ turn.mT
    scene = read_scene(folder.write_colmap(True), SETTINGS)
    upright = orient_scene(scene)
    applied = upright.world_from_source
    assert torch.allclose(applied[:3, :3] @ applied[:3, :3].mT, torch.eye(3, dtype=torch.float64), atol=1e-12)
    assert torch.linalg.det(applied[:3, :3]) == pytest.approx(1)
    assert applied[:3, 3].tolist() == [0, 0, 0]
    up = applied[:3, :3] @ turn[:3, 1]  # where the true up went
    assert degrees_from_y(up) < 2
    assert upright.extent == pytest.approx(scene.extent, rel=1e-5)
    project = scene_points[2]
    for before, after in zip(scene.views, upright.views, strict=True):
        assert after.camera.world_to_camera.dtype == torch.float32
        pixels = project(before.camera.world_to_camera[0], scene.points.points.numpy())
        assert np.allclose(project(after.camera.world_to_camera[0], upright.points.points.numpy()), pixels, atol=1e-3)
        moved = applied.float() @ torch.cat([before.camera.positions[0], torch.ones(1)])
        assert torch.allclose(moved[:3], after.camera.positions[0], atol=1e-5)
    twice = orient_scene(upright)
    assert torch.allclose(twice.world_from_source, upright.world_from_source, atol=1e-3)


def test_a_scene_without_up_is_returned_unchanged(make_folder):
    folder = make_folder(40)
    for index in range(40):
        folder.poses[index, :3, :3] = random_rotation(index)
    folder.poses[20:, :3, :3] = torch.diag(torch.tensor([-1.0, -1, 1])).double() @ folder.poses[:20, :3, :3]  # and each upside down
    scene = read_scene(folder.write_json(), SETTINGS)
    assert orient_scene(scene) is scene


def test_the_scene_that_ships_with_the_repository():
    scene = read_scene(DATA / "buddha", SceneSettings(max_size=200))
    assert (len(scene.train), len(scene.test)) == (11, 2)
    assert scene.train[0].image.shape == (112, 200, 3)
    assert scene.train[0].mask is None
    upright = orient_scene(scene)
    assert upright.world_from_source[1, 1] < -0.98  # half of the photos were taken upright; all cameras are above, at negative y
    assert sum(path.stat().st_size for path in (DATA / "buddha").rglob("*")) < 2 * 1024**2


@pytest.mark.skipif(not PLUSH.is_dir(), reason="the shared data is not here")
def test_points_of_a_real_scene_have_the_colours_of_its_photos():
    scene = read_scene(PLUSH, SceneSettings(max_size=192))
    assert (len(scene.train), len(scene.test), len(scene.points.points)) == (81, 12, 8953)

    def correlation(shift):
        values = []
        for view in scene.test:
            camera, pose = view.camera, view.camera.world_to_camera[0]
            local = scene.points.points @ pose[:3, :3].mT + pose[:3, 3]
            pixels = (local @ camera.intrinsics[0].mT)[:, :2] / local[:, 2:] + shift
            column, row = pixels.floor().long().unbind(-1)
            seen = (local[:, 2] > 0) & (column >= 0) & (column < camera.width) & (row >= 0) & (row < camera.height)
            colors = view.image[row[seen], column[seen]].float()
            values.append(torch.corrcoef(torch.stack([colors.flatten(), scene.points.colors[seen].flatten()]))[0, 1])
        return torch.stack(values).mean()

    assert correlation(0.0) > 0.4
    assert correlation(0.0) > max(correlation(3.0), correlation(-3.0)) + 0.05
