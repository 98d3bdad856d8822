import math

import pytest
import torch

from gen3d.errors import BadInput
from gen3d.pipeline.scenes.lenses import MODELS, Lens, make_lens, undistort

PARAMETERS = {
    "SIMPLE_PINHOLE": (500.0, 330.0, 235.0),
    "PINHOLE": (500.0, 510.0, 330.0, 235.0),
    "SIMPLE_RADIAL": (500.0, 330.0, 235.0, -0.12),
    "RADIAL": (500.0, 330.0, 235.0, -0.12, 0.03),
    "OPENCV": (500.0, 510.0, 330.0, 235.0, -0.12, 0.03, 0.004, -0.003),
    "FULL_OPENCV": (500.0, 510.0, 330.0, 235.0, 0.3, 0.05, 0.004, -0.003, 0.01, 0.4, 0.1, 0.02),
    "OPENCV_FISHEYE": (300.0, 310.0, 330.0, 235.0, 0.05, -0.02, 0.006, -0.001),
    "SIMPLE_RADIAL_FISHEYE": (300.0, 330.0, 235.0, 0.05),
    "RADIAL_FISHEYE": (300.0, 330.0, 235.0, 0.05, -0.02),
}


def lens(model):
    return make_lens(model, 640, 480, dict(zip(MODELS[model], PARAMETERS[model], strict=True)), "the camera")


def pixels(lens, rays):
    return lens.distort(rays) * rays.new_tensor(lens.focal) + rays.new_tensor(lens.center)


@pytest.mark.parametrize("model", MODELS)
def test_every_model_projects_as_colmap_does(model):
    pycolmap = pytest.importorskip("pycolmap")
    rays = torch.rand(200, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) * 1.2 - 0.6
    camera = pycolmap.Camera(model=model, width=640, height=480, params=list(PARAMETERS[model]))
    expected = torch.tensor(camera.img_from_cam(torch.cat([rays, torch.ones(200, 1)], -1).numpy()))
    assert torch.allclose(pixels(lens(model), rays), expected, atol=1e-9)


def test_brown_model_by_hand():
    x, y, k1, k2, p1, p2 = 0.3, -0.2, -0.12, 0.03, 0.004, -0.003
    r2 = x * x + y * y
    radial = 1 + k1 * r2 + k2 * r2 * r2
    u = x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x)
    v = y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y
    result = lens("OPENCV").distort(torch.tensor([x, y], dtype=torch.float64))
    assert torch.allclose(result, torch.tensor([u, v], dtype=torch.float64))


def test_fisheye_by_hand():
    x, y, k1 = 0.6, 0.8, 0.05  # radius 1: 45 degrees
    angle = math.pi / 4
    expected = torch.tensor([x, y], dtype=torch.float64) * angle * (1 + k1 * angle**2)
    result = lens("SIMPLE_RADIAL_FISHEYE").distort(torch.tensor([[x, y], [0.0, 0.0]], dtype=torch.float64))
    assert torch.allclose(result[0], expected)
    assert result[1].tolist() == [0.0, 0.0]


@pytest.mark.parametrize("model", MODELS)
def test_the_field_of_view_survives_resizing(model):
    whole = lens(model)
    rays = torch.tensor([[0.1, 0.2], [-0.3, 0.05]], dtype=torch.float64)
    half = whole.resized(320, 160)
    assert torch.allclose(pixels(half, rays), pixels(whole, rays) * torch.tensor([0.5, 1 / 3], dtype=torch.float64))


def test_only_pinholes_are_undistorted():
    assert not lens("SIMPLE_PINHOLE").distorted
    assert not make_lens("OPENCV", 640, 480, {"fx": 500.0, "k1": 0.0}, "the camera").distorted
    assert lens("OPENCV").distorted
    assert make_lens("OPENCV_FISHEYE", 640, 480, {"fx": 500.0}, "the camera").distorted


def test_a_pinhole_undistorts_to_itself():
    image = torch.rand(3, 24, 32, generator=torch.Generator().manual_seed(0))
    result, inside = undistort(image, make_lens("PINHOLE", 32, 24, {"fx": 30.0, "cx": 14.0, "cy": 13.5}, "the camera"))
    assert torch.allclose(result, image, atol=2e-5)
    assert inside.all()


def test_a_polynomial_that_folds_back_shows_nothing_twice():
    # r (1 - r²) grows up to r = 1/√3 and is back at 0 for r = 1.
    folding = Lens(64, 64, (32.0, 32.0), (32.0, 32.0), radial=(-1.0,))
    assert folding.reach(1.4) == pytest.approx(1 / math.sqrt(3), abs=1e-3)
    _, inside = undistort(torch.ones(1, 64, 64), folding)
    assert inside[32, 32 + 15]
    assert not inside[32, 32 + 25 :].any()
    assert lens("OPENCV").reach(0.5) == 0.5


def test_barrel_distortion_leaves_no_gap_and_pincushion_masks_the_border():
    barrel, pincushion = (Lens(64, 48, (50.0, 50.0), (32.0, 24.0), radial=(k,)) for k in (-0.1, 0.1))
    assert undistort(torch.ones(1, 48, 64), barrel)[1].all()
    inside = undistort(torch.ones(1, 48, 64), pincushion)[1]
    assert not inside[0, 0]
    assert inside[5:-5, 5:-5].all()


@pytest.mark.parametrize(
    ("model", "size", "values", "words"),
    [
        ("FOV", (64, 48), {"fx": 50.0}, "FOV"),
        ("PINHOLE", (0, 48), {"fx": 50.0}, "0x48"),
        ("PINHOLE", (64, 10**15), {"fx": 50.0}, "1,000,000"),
        ("PINHOLE", (64, 48), {"fx": 0.0}, "focal"),
        ("PINHOLE", (64, 48), {"fx": 50.0, "fy": -50.0}, "focal"),
        ("PINHOLE", (64, 48), {"fx": 1e-300}, "focal"),
        ("PINHOLE", (64, 48), {}, "focal"),
        ("PINHOLE", (64, 48), {"fx": 50.0, "cx": math.nan}, "cx"),
        ("OPENCV", (64, 48), {"fx": 50.0, "k1": math.inf}, "k1"),
    ],
)
def test_impossible_cameras_are_refused(model, size, values, words):
    with pytest.raises(BadInput, match=words):
        make_lens(model, *size, values, "the camera")
