import math
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from gen3d.errors import BadInput
from gen3d.pipeline.scenes.reading import orient_scene, read_scene
from gen3d.pipeline.scenes.settings import SceneSettings
from gen3d.pipeline.scenes.transforms import are_cut_out, read_cameras, read_transforms, write_transforms

SETTINGS = SceneSettings(max_size=64)


def names(views):
    return [view.name for view in views]


def test_photos_and_cameras_match(make_folder, scene_points):
    folder = make_folder()
    _, colors, project = scene_points
    scene = read_scene(folder.write_json(), SETTINGS)
    assert names(scene.test) == ["photo00.png"]
    assert names(scene.train) == folder.names[1:]
    assert scene.points is None
    assert torch.equal(scene.world_from_source, torch.eye(4, dtype=torch.float64))
    for view, pose in zip((*scene.test, *scene.train), folder.poses, strict=True):
        assert torch.allclose(view.camera.world_to_camera[0].double(), pose, atol=1e-6)
        u, v = np.floor(project(view.camera.world_to_camera[0])[0]).astype(int)
        assert np.abs(view.image[v, u].float().numpy() - colors[0]).mean() < 60


def test_synthetic_nerf_layout(make_folder):
    folder = make_folder()
    meta = folder.meta()
    splits = {"train": meta["frames"][:3], "test": meta["frames"][3:4], "val": meta["frames"][4:]}
    for split, frames in splits.items():
        for frame in frames:
            source = folder.path / frame["file_path"]
            target = folder.path / split / source.name
            target.parent.mkdir(exist_ok=True)
            rgba = Image.open(source).convert("RGBA")
            rgba.putpixel((0, 0), (0, 0, 0, 0))
            rgba.save(target)
            frame["file_path"] = f"./{split}/{source.stem}"
        folder.write_json({"camera_angle_x": 2 * math.atan(32 / 60), "frames": frames}, f"transforms_{split}.json")
    scene = read_scene(folder.path, SETTINGS)
    assert names(scene.train) == [f"train/photo0{index}.png" for index in range(3)]
    assert names(scene.test) == ["test/photo03.png"]
    assert scene.train[0].alpha[0, 0] == 0
    expected = torch.tensor([[60.0, 0, 32], [0, 60, 24], [0, 0, 1]])
    assert torch.allclose(scene.train[0].camera.intrinsics[0], expected)
    (folder.path / "transforms_test.json").unlink()
    assert len(read_scene(folder.path, SETTINGS).test) == 2  # the validation photos


def test_transparency_that_is_nowhere_used_is_dropped(make_folder):
    folder = make_folder()
    for name in folder.names:
        path = folder.path / "images" / name
        Image.open(path).convert("RGBA").save(path)
    assert all(view.alpha is None for view in read_scene(folder.write_json(), SETTINGS).views)


def test_frames_override_the_file(make_folder):
    folder = make_folder()
    meta = folder.meta()
    meta["frames"][1] |= {"fl_x": 70.0, "cx": 30.0, "k1": 0.05}
    scene = read_scene(folder.write_json(meta), SETTINGS)
    first, second = scene.train[:2]
    assert first.camera.intrinsics[0, 0].tolist() == [70.0, 0.0, 30.0]
    assert first.mask is not None
    assert second.camera.intrinsics[0, 0].tolist() == [60.0, 0.0, 32.0]
    assert second.mask is None


@pytest.mark.parametrize(
    ("keys", "radial", "denominator", "fisheye"),
    [
        ({"camera_model": "OPENCV", "k1": 0.1, "k2": 0.2, "k3": 0.3, "k4": 0.4}, (0.1, 0.2, 0.3, 0.4), (), False),
        ({"camera_model": "FULL_OPENCV", "k1": 0.1, "k4": 0.4, "k6": 0.6}, (0.1,), (0.4, 0.0, 0.6), False),
        ({"camera_model": "OPENCV_FISHEYE", "k1": 0.1, "k4": 0.4}, (0.1, 0.0, 0.0, 0.4), (), True),
        ({"is_fisheye": True, "k1": 0.1}, (0.1,), (), True),
        ({"camera_model": "SIMPLE_PINHOLE"}, (), (), False),
        ({"k1": 0.1, "k2": None}, (0.1,), (), False),
    ],
)
def test_camera_models(keys, radial, denominator, fisheye, make_folder):
    folder = make_folder()
    lens = read_transforms(folder.write_json(folder.meta() | keys)).shots[0].lens
    assert (lens.radial, lens.denominator, lens.fisheye) == (radial, denominator, fisheye)


def test_split_by_frame(make_folder):
    folder = make_folder()
    meta = folder.meta()
    for index, frame in enumerate(meta["frames"]):
        frame["split"] = "test" if index in (2, 4) else "train"
    scene = read_scene(folder.write_json(meta), SETTINGS)
    assert names(scene.test) == ["photo02.png", "photo04.png"]
    assert len(scene.train) == 4


def test_split_by_lists(make_folder):
    folder = make_folder()
    listed = [f"./images/{name}" for name in folder.names]
    meta = folder.meta() | {"train_filenames": listed[:4], "val_filenames": listed[4:5], "test_filenames": listed[5:]}
    scene = read_scene(folder.write_json(meta), SETTINGS)
    assert names(scene.train) == folder.names[:4]
    assert names(scene.test) == folder.names[5:]


def test_masks(make_folder):
    folder = make_folder()
    mask = np.full((48, 64), 255, np.uint8)
    mask[:24] = 0
    Image.fromarray(mask).save(folder.path / "mask.png")
    meta = folder.meta()
    meta["frames"][1]["mask_path"] = "mask.png"
    scene = read_scene(folder.write_json(meta), SETTINGS)
    assert np.array_equal(scene.train[0].mask.numpy(), mask)
    assert scene.train[1].mask is None
    meta["frames"][1]["mask_path"] = "lost.png"
    with pytest.raises(BadInput, match=r"lost\.png"):
        read_scene(folder.write_json(meta), SETTINGS)


def test_a_slightly_rounded_rotation_becomes_exact(make_folder):
    folder = make_folder()
    meta = folder.meta()
    matrix = np.round(np.array(meta["frames"][1]["transform_matrix"]), 3)
    meta["frames"][1]["transform_matrix"] = matrix[:3].tolist()
    rotation = read_transforms(folder.write_json(meta)).shots[1].world_to_camera[:3, :3]
    assert torch.allclose(rotation @ rotation.mT, torch.eye(3, dtype=torch.float64), atol=1e-12)


def test_points_of_the_named_file(make_folder):
    folder = make_folder()
    folder.write_colmap(binary=False)
    (folder.path / "points.ply").write_text(
        "ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nproperty float y\nproperty float z\nend_header\n7 8 9\n"
    )
    scene = read_scene(folder.write_json(folder.meta() | {"ply_file_path": "points.ply"}), SETTINGS)
    assert scene.points.points.tolist() == [[7.0, 8.0, 9.0]]
    with pytest.raises(BadInput, match=r"transforms\.json names '.*lost\.ply' as ply_file_path, which does not exist"):
        read_scene(folder.write_json(folder.meta() | {"ply_file_path": "lost.ply"}), SETTINGS)


@pytest.mark.parametrize("binary", [False, True])
def test_points_of_a_colmap_model_with_the_same_cameras(binary, make_folder, scene_points):
    folder = make_folder()
    folder.write_colmap(binary)
    scene = read_scene(folder.write_json(), SETTINGS)
    assert np.allclose(scene.points.points, scene_points[0], atol=1e-6)
    assert np.allclose(scene.points.colors * 255, scene_points[1], atol=1e-3)


def test_points_follow_the_transform_that_nerfstudio_applied(make_folder, scene_points):
    folder = make_folder()
    folder.write_colmap(binary=False)
    applied = np.array([[1.0, 0, 0, 0], [0, 0, 1, 0.5], [0, -1, 0, 0], [0, 0, 0, 1]])
    meta = folder.meta()
    for frame in meta["frames"]:
        frame["transform_matrix"] = (applied @ np.array(frame["transform_matrix"])).tolist()
    scene = read_scene(folder.write_json(meta | {"applied_transform": applied[:3].tolist()}), SETTINGS)
    assert np.allclose(scene.points.points, scene_points[0] @ applied[:3, :3].T + applied[:3, 3], atol=1e-6)


@pytest.mark.parametrize("change", ["turned", "moved", "scaled", "renamed", "broken"])
def test_points_of_another_frame_are_ignored_with_a_note(change, make_folder):
    folder = make_folder()
    folder.write_colmap(binary=False)
    meta = folder.meta()
    for index, frame in enumerate(meta["frames"]):
        matrix = np.array(frame["transform_matrix"])
        if change == "turned":
            matrix[:3] = matrix[[1, 2, 0]]
        elif change == "moved":
            matrix[:3, 3] += 0.3
        elif change == "scaled":
            matrix[:3, 3] *= 2
        elif change == "renamed":
            target = f"images/other{index}.png"
            shutil.copy(folder.path / frame["file_path"], folder.path / target)
            frame["file_path"] = target
        frame["transform_matrix"] = matrix.tolist()
    if change == "broken":
        (folder.path / "sparse/0/points3D.txt").write_text("1 2\n")
    scene = read_scene(folder.write_json(meta), SETTINGS)
    assert scene.points is None
    assert len(scene.notes) == 1
    assert "not used" in scene.notes[0]
    upright = orient_scene(scene)
    assert upright is not scene
    assert upright.notes == scene.notes


def test_written_cameras_read_back_the_same(make_folder):
    folder = make_folder()
    scene = read_scene(folder.write_json(), SceneSettings(max_size=48, holdout=0))
    write_transforms(folder.path / "transforms.json", scene.views)
    again = read_scene(folder.path, SceneSettings(max_size=48, holdout=0))
    cameras = read_cameras(folder.path / "transforms.json")
    assert torch.allclose(cameras.world_to_camera, torch.cat([view.camera.world_to_camera for view in scene.views]), atol=1e-6)
    assert torch.allclose(cameras.intrinsics, torch.cat([view.camera.intrinsics for view in scene.views]), rtol=1e-6)
    assert (cameras.width, cameras.height) == (48, 36)
    for view, copy in zip(scene.views, again.views, strict=True):
        assert view.name == copy.name
        assert torch.allclose(view.camera.world_to_camera, copy.camera.world_to_camera, atol=1e-6)
        assert torch.allclose(view.camera.intrinsics, copy.camera.intrinsics, rtol=1e-6)
        assert (copy.camera.width, copy.camera.height) == (48, 36)
        assert torch.equal(view.image, copy.image)


@pytest.mark.parametrize("opaque", [True, False])
def test_written_cameras_tell_whether_objects_were_cut_out(make_folder, opaque):
    folder = make_folder()
    for name in folder.names:
        photo = Image.open(folder.path / "images" / name).convert("RGBA")
        photo.putpixel((0, 0), (0, 0, 0, 255 if opaque else 0))
        photo.save(folder.path / "images" / name)
    scene = read_scene(folder.write_json(), SETTINGS)
    assert not are_cut_out(folder.path / "transforms.json")  # not of `write_transforms`
    write_transforms(folder.path / "transforms.json", scene.views)
    assert are_cut_out(folder.path / "transforms.json") is not opaque


def edit(meta, key, value, frame=None):
    (meta if frame is None else meta["frames"][frame])[key] = value
    return meta


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda meta: [meta], "frames"),
        (lambda meta: edit(meta, "frames", []), "frames"),
        (lambda meta: edit(meta, "frames", [1, 2]), "frames"),
        (lambda meta: edit(meta, "fl_x", 0), "focal"),
        (lambda meta: edit(meta, "fl_y", -60.0), "focal"),
        (lambda meta: edit(meta, "fl_x", "60"), "fl_x = '60'"),
        (lambda meta: edit(meta, "cx", 10**400), "cx"),
        (lambda meta: edit(meta, "w", 0), "0x48"),
        (lambda meta: edit(meta, "w", 100), "64x48 pixels and its camera 100x48"),
        (lambda meta: edit(meta, "camera_model", "EQUIRECTANGULAR"), "EQUIRECTANGULAR"),
        (lambda meta: edit(meta, "file_path", "images/lost.jpg", 3), r"1 of 6 photos are missing.*lost\.jpg"),
        (lambda meta: edit(meta, "file_path", "images/\0\ud800", 3), "missing"),
        (lambda meta: edit(meta, "file_path", "x" * 5000, 3), "missing"),
        (lambda meta: edit(meta, "file_path", None, 3), "file_path"),
        (lambda meta: edit(meta, "file_path", 5, 3), "5"),
        (lambda meta: edit(meta, "file_path", "images/photo02.png", 3), r"photo02\.png.*2 times"),
        (lambda meta: edit(meta, "split", "holdout", 3), "holdout"),
        (lambda meta: edit(meta, "transform_matrix", None, 3), r"photo03\.png"),
        (lambda meta: edit(meta, "transform_matrix", [[1, 0], [0, 1]], 3), r"\[2, 2\]"),
        (lambda meta: edit(meta, "transform_matrix", [[math.nan] * 4] * 4, 3), "not finite"),
        (lambda meta: edit(meta, "transform_matrix", [[0.0] * 4] * 4, 3), "stretched"),
        (lambda meta: edit(meta, "transform_matrix", np.diag([1.0, 1, -1, 1]).tolist(), 3), "reflection"),
        (lambda meta: edit(meta, "transform_matrix", np.diag([1.05, 1.05, 1.05, 1]).tolist(), 3), "stretched by 0.05"),
    ],
)
def test_broken_files_end_in_one_sentence(change, words, make_folder):
    folder = make_folder()
    with pytest.raises(BadInput, match=words):
        read_scene(folder.write_json(change(folder.meta())), SETTINGS)


def test_deep_and_damaged_json(make_folder):
    folder = make_folder()
    for content in ("[" * 100_000, "", "{", '{"frames": [{}', "\0"):
        (folder.path / "transforms.json").write_text(content)
        with pytest.raises(BadInput, match=r"transforms\.json"):
            read_scene(folder.path, SETTINGS)
