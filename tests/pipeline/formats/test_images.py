import io

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gen3d.errors import BadInput, Gen3DError, UsageError
from gen3d.pipeline.formats import images
from gen3d.pipeline.formats.images import colorize_depth, contact_sheet, decode_image, read_image, to_uint8, write_image


def picture(height: int = 20, width: int = 30, channels: int = 3) -> torch.Tensor:
    """A smooth picture in which no two corners are alike."""
    y, x = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    return torch.stack([x, y, (1 - x) * y, 0.2 + 0.8 * x * y], -1)[..., :channels]


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def pil(image: torch.Tensor) -> Image.Image:
    return Image.fromarray(to_uint8(image).numpy())


@pytest.mark.parametrize("channels", [3, 4])
def test_png_is_exact(tmp_path, channels):
    before = picture(channels=channels)
    write_image(tmp_path / "x.png", before)
    rgb, alpha = read_image(tmp_path / "x.png")
    assert torch.equal(rgb, to_uint8(before[..., :3]))
    assert (alpha is None) == (channels == 3)
    if alpha is not None:
        assert torch.equal(alpha, to_uint8(before)[..., 3])


@pytest.mark.parametrize("suffix", [".jpg", ".jpeg", ".webp", ".JPG"])
def test_lossy_kinds_are_close(tmp_path, suffix):
    before = picture(64, 48)
    write_image(tmp_path / f"x{suffix}", before)
    rgb, alpha = read_image(tmp_path / f"x{suffix}")
    assert alpha is None
    assert (rgb / 255 - before).square().mean().sqrt() < 0.02


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(orientation):
    upright = picture()
    undo = {1: [], 2: [4], 3: [3], 4: [4, 3], 5: [4, 1], 6: [1], 7: [4, -1], 8: [-1]}[orientation]
    stored = upright
    for step in undo:
        stored = stored.flip(1) if step == 4 else torch.rot90(stored, 2 if step == 3 else step, (0, 1))
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(pil(stored.contiguous()), exif=exif)
    assert torch.equal(decode_image(data, "x")[0], to_uint8(upright))
    assert torch.equal(decode_image(data, "x", orient=False)[0], to_uint8(stored))


def test_sixteen_bits_are_scaled_not_cut():
    values = np.linspace(0, 65535, 600).astype(np.uint16).reshape(20, 30)
    for kind in ("PNG", "TIFF"):
        rgb, alpha = decode_image(encoded(Image.fromarray(values), kind), "x")
        assert alpha is None
        assert torch.equal(rgb[..., 0], torch.from_numpy((values / 257).round().astype(np.uint8)))
        assert torch.equal(rgb[..., 0], rgb[..., 2])


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "CMYK", "YCbCr"])
def test_modes_become_rgb(mode):
    rgb, alpha = decode_image(encoded(pil(picture()).convert(mode), "TIFF"), "x")
    assert rgb.shape == (20, 30, 3)
    assert alpha is None
    if mode in ("RGB", "CMYK", "YCbCr"):
        assert (rgb.float() - to_uint8(picture()).float()).abs().mean() < 4


@pytest.mark.parametrize("mode", ["LA", "RGBA", "P"])
def test_transparency_is_kept(mode):
    image = pil(picture(channels=4)).convert(mode)
    data = encoded(image, transparency=0) if mode == "P" else encoded(image)
    rgb, alpha = decode_image(data, "x")
    assert rgb.shape == (20, 30, 3)
    assert alpha.shape == (20, 30)
    assert alpha.min() < alpha.max()


def test_damaged_files_end_in_one_sentence(tmp_path):
    whole = encoded(pil(picture()), "JPEG")
    cases = {
        "cut.jpg": (whole[:-200], "damaged picture"),
        "text.png": (b"hello there", "not a picture"),
        "figure.eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not a picture"),
        "float.tif": (encoded(Image.fromarray(np.ones((2, 2), np.float32)), "TIFF"), "no agreed range"),
        "empty.png": (b"", "is empty"),
    }
    for name, (data, sentence) in cases.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(BadInput, match=sentence) as caught:
            read_image(tmp_path / name)
        assert str(tmp_path / name) in str(caught.value)


def test_bombs_are_not_unpacked(monkeypatch):
    monkeypatch.setattr(images, "MAX_PIXELS", 1000)
    monkeypatch.setattr(images, "_pixels", lambda image: pytest.fail("unpacked"))
    with pytest.raises(BadInput, match="40x30 pixels and at most 1,000"):
        decode_image(encoded(pil(picture(30, 40))), "x")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(BadInput, match="larger picture"):
        decode_image(encoded(pil(picture(30, 40))), "x")


def test_what_cannot_be_written(tmp_path):
    with pytest.raises(UsageError, match="does not end in"):
        write_image(tmp_path / "x.xyz", picture())
    with pytest.raises(UsageError, match="no transparency"):
        write_image(tmp_path / "x.jpg", picture(channels=4))
    with pytest.raises(ValueError, match="must be"):
        write_image(tmp_path / "x.png", picture(channels=2))
    (tmp_path / "file").touch()
    with pytest.raises(Gen3DError, match="could not write"):
        write_image(tmp_path / "file" / "x.png", picture())
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


@given(st.lists(st.floats(-2, 3) | st.just(float("nan")), min_size=1, max_size=20))
@settings(max_examples=100, deadline=None)
def test_to_uint8_rounds_and_clamps(values):
    result = to_uint8(torch.tensor(values).reshape(1, 1, -1)).flatten().tolist()
    for value, byte in zip(values, result, strict=True):
        wanted = 0.0 if value != value else min(max(value, 0.0), 1.0) * 255
        assert abs(byte - wanted) <= 0.5 + 1e-4
    levels = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16)
    assert torch.equal(to_uint8(levels / 255), levels)


def test_contact_sheet_places_in_reading_order():
    pictures = torch.arange(1, 6.0).reshape(5, 1, 1, 1).expand(5, 2, 3, 3)
    sheet = contact_sheet(pictures, 2)
    assert sheet.shape == (6, 6, 3)
    assert sheet[::2, ::3, 0].tolist() == [[1, 2], [3, 4], [5, 0]]
    assert contact_sheet(pictures).shape == (4, 9, 3)


def test_depth_colors_are_brighter_near():
    depth = torch.linspace(1, 10, 100).reshape(1, 4, 25)
    colors = colorize_depth(depth, torch.ones_like(depth))
    assert colors.shape == (1, 4, 25, 3)
    brightness = colors.sum(-1).flatten()
    assert (brightness[1:] <= brightness[:-1] + 1e-6).all()
    assert brightness[0] - brightness[-1] > 2
    assert 0 <= colors.min() <= colors.max() <= 1


def test_depth_colors_leave_the_background_black():
    depth, alpha = torch.tensor([[0.0, 2.0, 5.0]]), torch.tensor([[0.0, 1.0, 0.2]])
    colors = colorize_depth(depth, alpha)
    assert not colors[0, [0, 2]].any()
    assert colors[0, 1].any()
    assert not colorize_depth(depth, torch.zeros_like(alpha)).any()


def test_pictures_of_several_frames_give_the_first():
    first, second = pil(picture()), pil(picture().flip(0))
    for kind in ("MPO", "GIF", "WEBP"):  # phones save MPO under the name of JPEG
        rgb, _ = decode_image(encoded(first, kind, save_all=True, append_images=[second]), "x")
        assert (rgb.float() - to_uint8(picture()).float()).abs().mean() < 10
