import numpy as np
import pytest
import torch
from PIL import Image

from gen3d.errors import BadInput
from gen3d.pipeline.scenes.lenses import Lens
from gen3d.pipeline.scenes.photos import develop, photo_size
from gen3d.pipeline.scenes.shots import Shot


def shot(photo, lens=None, mask=None):
    if lens is None:
        lens = Lens(*photo_size(photo), (80.0, 80.0), (32.0, 24.0))
    return Shot(photo.name, photo, mask, lens, torch.eye(4, dtype=torch.float64))


@pytest.fixture
def save(tmp_path):
    def save(array, name="photo.png", mode=None, **options):
        image = array if isinstance(array, Image.Image) else Image.fromarray(np.asarray(array))
        (image.convert(mode) if mode else image).save(tmp_path / name, **options)
        return tmp_path / name

    return save


def gradient(width=64, height=48):
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 3, y * 4, np.full_like(x, 90)], -1).astype(np.uint8)


def centroid(image, color):
    """Centre of the pixels near a colour, weighted by nearness; pixel centres at +0.5."""
    distance = np.abs(image.numpy().astype(float) - color).sum(-1)
    weight = np.clip(1 - distance / 200, 0, None) ** 2
    y, x = np.mgrid[: image.shape[0], : image.shape[1]] + 0.5
    return np.array([(x * weight).sum(), (y * weight).sum()]) / weight.sum()


LENSES = {
    "brown": {"radial": (-0.18, 0.05), "tangential": (0.004, -0.006)},
    "pincushion": {"radial": (0.12,)},
    "rational": {"radial": (0.2, 0.03, 0.01), "denominator": (0.35, 0.05, 0.01)},
    "fisheye": {"radial": (0.03, -0.01, 0.002, 0.0), "fisheye": True},
}


@pytest.mark.parametrize("kind", LENSES)
@pytest.mark.parametrize("max_size", [400, 320, 200, 100])
def test_points_seen_through_a_lens_lie_where_the_pinhole_sees_them(kind, max_size, draw, save):
    lens = Lens(400, 300, (310.0, 300.0), (207.0, 146.0), **LENSES[kind])
    rays = torch.tensor([(0.0, 0.0), (0.4, 0.25), (-0.35, 0.3), (0.3, -0.35), (-0.5, -0.1)], dtype=torch.float64)
    colors = [(250, 20, 20), (20, 250, 20), (20, 20, 250), (250, 250, 20), (250, 20, 250)]
    seen = lens.distort(rays) * torch.tensor(lens.focal) + torch.tensor(lens.center)
    view = develop(shot(save(draw(seen.tolist(), colors, 400, 300, sigma=6.0)), lens), max_size)
    assert max(view.camera.width, view.camera.height) == max_size
    expected = torch.cat([rays, torch.ones(5, 1)], -1) @ view.camera.intrinsics[0].double().mT
    for color, pixel in zip(colors, expected[:, :2].numpy(), strict=True):
        assert np.abs(centroid(view.image, color) - pixel).max() < 0.1


def test_undistortion_agrees_with_colmap(draw, save):
    pycolmap = pytest.importorskip("pycolmap")
    lens = Lens(400, 300, (310.0, 300.0), (207.0, 146.0), radial=(-0.18, 0.05), tangential=(0.004, -0.006))
    camera = pycolmap.Camera(model="OPENCV", width=400, height=300, params=[310, 300, 207, 146, -0.18, 0.05, 0.004, -0.006])
    photo = draw(
        [(60, 50), (200, 150), (330, 240), (90, 260)], [(250, 60, 60), (60, 250, 60), (60, 60, 250), (250, 250, 60)], 400, 300, 9.0
    )
    options = pycolmap.UndistortCameraOptions(blank_pixels=0.0)
    bitmap, pinhole = pycolmap.undistort_image(options, pycolmap.Bitmap.from_array(photo), camera)
    theirs = bitmap.to_array().astype(float)
    ours = develop(shot(save(photo), lens), 400).image.double().permute(2, 0, 1)[None]
    # COLMAP crops and shifts its pinhole: look our image up where its pixels are.
    fx, fy, cx, cy = pinhole.params
    y, x = np.mgrid[: pinhole.height, : pinhole.width] + 0.5
    u, v = (x - cx) / fx * 310 + 207, (y - cy) / fy * 300 + 146
    grid = torch.from_numpy(np.stack([u / 400 * 2 - 1, v / 300 * 2 - 1], -1))[None]
    ours = torch.nn.functional.grid_sample(ours, grid, align_corners=False, padding_mode="border")[0].permute(1, 2, 0).numpy()
    assert np.abs(ours - theirs).mean() < 0.5


def test_intrinsics_follow_the_size_exactly(save):
    photo = save(gradient(101, 67))
    lens = Lens(101, 67, (90.0, 91.0), (50.0, 33.0))
    view = develop(shot(photo, lens), 50)
    assert view.image.shape == (33, 50, 3)
    expected = [[90 * 50 / 101, 0, 50 * 50 / 101], [0, 91 * 33 / 67, 33 * 33 / 67], [0, 0, 1]]
    assert torch.allclose(view.camera.intrinsics[0], torch.tensor(expected))
    assert view.camera.intrinsics.dtype == torch.float32
    assert view.camera.shape == (1,)


def test_photos_are_not_enlarged_and_stay_as_they_are(save):
    view = develop(shot(save(gradient())), 800)
    assert np.array_equal(view.image.numpy(), gradient())
    assert view.alpha is None
    assert view.mask is None


def test_a_photo_scaled_after_its_camera_was_solved_takes_scaled_intrinsics(save):
    view = develop(shot(save(gradient(64, 48)), Lens(640, 481, (500.0, 500.0), (320.0, 240.0))), 800)
    assert view.camera.intrinsics[0, 0, 0] == pytest.approx(50.0)
    assert view.camera.intrinsics[0, 1, 1] == pytest.approx(500 * 48 / 481)


def test_a_photo_of_another_shape_than_its_camera_is_refused(save):
    with pytest.raises(BadInput, match=r"64x48.*640x400"):
        develop(shot(save(gradient()), Lens(640, 400, (500.0, 500.0), (320.0, 200.0))), 800)


def test_exif_orientation_is_ignored_when_the_camera_fits_the_stored_pixels(save):
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by 90 degrees
    photo = save(gradient(64, 48), "photo.png", exif=exif)
    stored = develop(shot(photo, Lens(64, 48, (50.0, 50.0), (32.0, 24.0))), 800)
    assert np.array_equal(stored.image.numpy(), gradient(64, 48))
    turned = develop(shot(photo, Lens(48, 64, (50.0, 50.0), (24.0, 32.0))), 800)
    assert np.array_equal(turned.image.numpy(), np.rot90(gradient(64, 48), -1))


def test_transparency_becomes_coverage_and_does_not_bleed(save):
    rgba = np.zeros((64, 64, 4), np.uint8)
    rgba[..., :3] = (0, 255, 0)  # invisible green
    rgba[16:49, 16:49] = (200, 30, 40, 255)
    for extra in ({}, {"radial": (-0.05,)}):
        view = develop(shot(save(rgba), Lens(64, 64, (60.0, 60.0), (32.0, 32.0), **extra)), 32)
        assert view.alpha[16, 16] == 255
        assert view.alpha[2, 2] == 0
        edge = (view.alpha > 20) & (view.alpha < 235)
        assert edge.any()
        error = (view.image[edge].float() - torch.tensor([200.0, 30.0, 40.0])).abs()
        assert (error * view.alpha[edge][:, None] / 255).max() < 3  # as seen over black


def test_mask_files_and_lens_borders_both_ignore_pixels(save):
    mask = np.full((48, 64), 255, np.uint8)
    mask[:, 32:] = 0
    photo, mask_file = save(gradient()), save(mask, "mask.png")
    plain = develop(shot(photo, mask=mask_file), 32)
    assert plain.mask[:, :16].min() == 255
    assert plain.mask[:, 16:].max() == 0
    border = develop(shot(photo, Lens(64, 48, (50.0, 50.0), (32.0, 24.0), radial=(0.15,)), mask_file), 64)
    assert border.mask[24, 28] == 255
    assert border.mask[24, 36] == 0
    assert border.mask[0, 0] == 0
    assert set(border.mask.unique().tolist()) == {0, 255}


def test_a_mask_pixel_counts_only_when_all_it_covers_counts(save):
    mask = np.full((48, 64), 255, np.uint8)
    mask[10, 21] = 0
    view = develop(shot(save(gradient()), mask=save(mask, "mask.png")), 32)
    assert view.mask[5, 10] == 0
    assert (view.mask == 0).sum() == 1


def test_a_mask_of_another_size_is_refused(save):
    with pytest.raises(BadInput, match=r"mask\.png.*10x10.*64x48"):
        develop(shot(save(gradient()), mask=save(np.zeros((10, 10), np.uint8), "mask.png")), 64)


def test_sixteen_bits_grey_palette_and_cmyk(save):
    grey = np.mgrid[:48, :64][1].astype(np.uint16) * 1000
    assert np.abs(develop(shot(save(grey)), 64).image[0, :, 1].numpy() - np.arange(64) * 1000 / 257).max() <= 0.51
    assert np.array_equal(develop(shot(save(gradient()[..., 0])), 64).image.numpy(), np.repeat(gradient()[..., :1], 3, -1))
    flat = np.full((48, 64, 3), (200, 100, 50), np.uint8)
    assert np.array_equal(develop(shot(save(flat, mode="P")), 64).image[0, 0].numpy().round(-1), [200, 100, 50])
    cmyk = develop(shot(save(flat, "photo.jpg", mode="CMYK", quality=95)), 64)
    assert (cmyk.image.float() - torch.tensor([200.0, 100.0, 50.0])).abs().max() < 12


def test_tiny_photos_are_refused(save):
    with pytest.raises(BadInput, match="1x1 pixels"):
        develop(shot(save(np.zeros((1, 1, 3), np.uint8))), 800)
    with pytest.raises(BadInput, match=r"320x20 pixels, read as 32x2"):
        develop(shot(save(np.zeros((20, 320, 3), np.uint8))), 32)


def test_a_lens_that_shows_nothing_is_refused(save):
    lens = Lens(64, 48, (50.0, 50.0), (1e8, 1e8), radial=(0.5,))
    with pytest.raises(BadInput, match="no pixel"):
        develop(shot(save(gradient()), lens), 64)


@pytest.mark.parametrize("damage", ["empty", "truncated", "text", "folder"])
def test_damaged_photos_are_named(damage, save, tmp_path):
    photo = save(np.random.default_rng(0).integers(0, 255, (48, 64, 3)).astype(np.uint8))
    content = photo.read_bytes()
    photo.unlink()
    if damage == "folder":
        photo.mkdir()
    else:
        photo.write_bytes({"empty": b"", "truncated": content[:2000], "text": b"not a picture at all"}[damage])
    with pytest.raises(BadInput, match=r"photo\.png"):
        develop(shot(photo, Lens(64, 48, (50.0, 50.0), (32.0, 24.0))), 64)
    if damage != "truncated":
        with pytest.raises(BadInput, match=r"photo\.png"):
            photo_size(photo)
