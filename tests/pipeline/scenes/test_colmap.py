import struct
import tracemalloc

import numpy as np
import pytest
import torch
from PIL import Image

from gen3d.errors import BadInput
from gen3d.pipeline.scenes.colmap import read_colmap
from gen3d.pipeline.scenes.reading import read_scene
from gen3d.pipeline.scenes.settings import SceneSettings

SETTINGS = SceneSettings(max_size=64)


@pytest.mark.parametrize("keypoints", [0, 2])
@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("place", ["sparse/0", "sparse", "colmap/sparse/0"])
def test_both_encodings_in_every_place(place, binary, keypoints, make_folder, scene_points):
    folder = make_folder()
    scene = read_scene(folder.write_colmap(binary, place, keypoints=keypoints), SETTINGS)
    assert [view.name for view in (*scene.test, *scene.train)] == folder.names
    for view, pose in zip((*scene.test, *scene.train), folder.poses, strict=True):
        assert torch.allclose(view.camera.world_to_camera[0].double(), pose, atol=1e-6)
    assert scene.train[0].camera.intrinsics[0].tolist() == [[60.0, 0.0, 32.0], [0.0, 60.0, 24.0], [0.0, 0.0, 1.0]]
    assert np.allclose(scene.points.points, scene_points[0], atol=1e-6)
    assert np.allclose(scene.points.colors * 255, scene_points[1], atol=1e-3)


def test_reads_what_colmap_writes(make_folder, scene_points):
    pycolmap = pytest.importorskip("pycolmap")
    folder = make_folder(4)
    rec = pycolmap.Reconstruction()
    parameters = {
        "SIMPLE_PINHOLE": [60, 32, 24],
        "SIMPLE_RADIAL": [60, 32, 24, 0.01],
        "OPENCV": [60, 61, 32, 24, 0.01, 0.02, 1e-3, 2e-3],
        "FULL_OPENCV": [60, 61, 32, 24, 0.01, 0.02, 1e-3, 2e-3, 0.01, 0.02, 0.03, 0.04],
    }
    for index, (model, values) in enumerate(parameters.items(), 1):
        rec.add_camera_with_trivial_rig(pycolmap.Camera(model=model, width=64, height=48, params=values, camera_id=index))
        image = pycolmap.Image(name=folder.names[index - 1], camera_id=index, image_id=index)
        rec.add_image_with_trivial_frame(image, pycolmap.Rigid3d(folder.poses[index - 1][:3].numpy()))
    for point, color in zip(*scene_points[:2], strict=True):
        rec.add_point3D(point, pycolmap.Track(), color.astype(np.uint8))
    model = folder.path / "sparse/0"
    model.mkdir(parents=True)
    for write, rays in ((rec.write_text, np.random.default_rng(0).uniform(-0.5, 0.5, (20, 2))), (rec.write_binary, np.zeros((1, 2)))):
        write(str(model))  # binary goes before text once it is there
        capture = read_colmap(folder.path)
        assert len(capture.shots) == 4
        assert {tuple(point) for point in capture.points.points.tolist()} == {
            tuple(point) for point in torch.tensor(scene_points[0]).float().tolist()
        }
        for shot in capture.shots:
            image = rec.image(folder.names.index(shot.name) + 1)
            assert np.allclose(shot.world_to_camera[:3], image.cam_from_world().matrix(), atol=1e-12)
            expected = rec.camera(image.camera_id).img_from_cam(np.concatenate([rays, np.ones((len(rays), 1))], 1))
            pixels = shot.lens.distort(torch.tensor(rays)) * torch.tensor(shot.lens.focal) + torch.tensor(shot.lens.center)
            assert np.allclose(pixels, expected, atol=1e-4)


def test_distorted_photos_are_undistorted(make_folder):
    folder = make_folder()
    scene = read_scene(folder.write_colmap(True, model="SIMPLE_RADIAL", parameters=(60.0, 32.0, 24.0, 0.1)), SETTINGS)
    assert scene.train[0].mask[0, 0] == 0
    assert scene.train[0].mask[24, 32] == 255


@pytest.mark.parametrize("suffix", [".png", ".png.png"])
def test_masks_under_either_name(suffix, make_folder):
    folder = make_folder()
    (folder.path / "masks").mkdir()
    Image.new("L", (64, 48)).save(folder.path / "masks" / f"photo01{suffix}")
    scene = read_scene(folder.write_colmap(True), SETTINGS)
    assert scene.train[0].mask.max() == 0
    assert scene.train[1].mask is None


def test_names_with_folders_and_spaces(make_folder):
    folder = make_folder()
    (folder.path / "images/left eye").mkdir()
    for index, name in enumerate(folder.names):
        (folder.path / "images" / name).rename(folder.path / f"images/left eye/{index} a.png")
    folder.names = [f"left eye/{index} a.png" for index in range(6)]
    for binary in (False, True):
        scene = read_scene(folder.write_colmap(binary), SETTINGS)
        assert scene.train[0].name == "left eye/1 a.png"


def test_a_model_without_points(make_folder):
    folder = make_folder()
    folder.write_colmap(True)
    (folder.path / "sparse/0/points3D.bin").unlink()
    assert read_scene(folder.path, SETTINGS).points is None
    (folder.path / "sparse/0/points3D.bin").write_bytes(struct.pack("<Q", 0))
    assert read_scene(folder.path, SETTINGS).points is None


@pytest.mark.parametrize("binary", [False, True])
def test_models_that_cannot_be_undistorted_are_named(binary, make_folder):
    folder = make_folder()
    with pytest.raises(BadInput, match="FOV"):
        read_scene(folder.write_colmap(binary, model="FOV", parameters=(60.0, 60.0, 32.0, 24.0, 0.1)), SETTINGS)


@pytest.mark.parametrize("name", ["cameras.bin", "images.bin", "points3D.bin"])
@pytest.mark.parametrize("count", [7, 2**40, 2**64 - 1])
def test_lying_counts_are_refused_before_anything_is_allocated(name, count, make_folder):
    folder = make_folder()
    folder.write_colmap(True)
    path = folder.path / "sparse/0" / name
    content = path.read_bytes()
    path.write_bytes(struct.pack("<Q", count) + content[8:])
    tracemalloc.start()
    try:
        with pytest.raises(BadInput, match=name):
            read_colmap(folder.path)
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", ["cameras.bin", "images.bin", "points3D.bin"])
def test_truncated_binary_files_are_named(name, make_folder):
    folder = make_folder()
    folder.write_colmap(True)
    path = folder.path / "sparse/0" / name
    content = path.read_bytes()
    for size in (0, 5, 8, len(content) * 2 // 3, len(content) - 1):
        path.write_bytes(content[:size])
        with pytest.raises(BadInput, match=name):
            read_colmap(folder.path)


@pytest.mark.parametrize("name", ["cameras.txt", "images.txt", "points3D.txt"])
def test_empty_and_cut_text_files_are_named(name, make_folder):
    folder = make_folder()
    folder.write_colmap(False)
    path = folder.path / "sparse/0" / name
    content = path.read_bytes().rstrip()
    for part in (b"", content[: content.index(b"\n") + 4]):
        path.write_bytes(part)
        with pytest.raises(BadInput, match=name):
            read_colmap(folder.path)


@pytest.mark.parametrize(
    ("name", "old", "new", "words"),
    [
        ("cameras.txt", b"PINHOLE 64", b"PINHOLE sixty", "line 2"),
        ("cameras.txt", b"7 PINHOLE", b"7", "line 2"),
        ("cameras.txt", b" 24.0\n", b"\n", "3 parameters"),
        ("cameras.txt", b" 60.0 60.0", b" 0 60.0", "focal"),
        ("cameras.txt", b"7 PIN", b"8 PIN", "camera 7"),
        ("cameras.txt", b"# cam", b"\xff\xfe", "line 1"),
        ("images.txt", b"photo03", b"lost", r"lost\.png"),
        ("images.txt", b"photo03", b"photo02", r"photo02\.png.*twice"),
        ("images.txt", b"\n0 ", b"\n0 nan 0 0 0 0 0 0 7 x.png\n\n0 ", "quaternion"),
        ("images.txt", b"\n0 ", b"\n0 0 0 0 0 0 0 0 7 x.png\n\n0 ", "zero"),
        ("images.txt", b"\n0 ", b"\n0 1 0 0 0 inf 0 0 7 x.png\n\n0 ", "finite"),
        ("points3D.txt", b"\n0 ", b"\n0 1 2\n0 ", "line 2"),
    ],
)
def test_broken_text_ends_in_one_sentence(name, old, new, words, make_folder):
    folder = make_folder()
    folder.write_colmap(False)
    path = folder.path / "sparse/0" / name
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new, 1))
    with pytest.raises(BadInput, match=words):
        read_scene(folder.path, SETTINGS)


def test_points_that_are_not_finite_are_left_out(make_folder):
    folder = make_folder()
    folder.write_colmap(False)
    path = folder.path / "sparse/0/points3D.txt"
    path.write_bytes(path.read_bytes() + b"9 nan 0 0 1 2 3 0.1\n10 0 0 1e300 1 2 3 0.1\n")
    assert len(read_colmap(folder.path).points.points) == 5
