"""The C++ rasterizer against the torch one in float64, for every build that this processor runs; and what only it promises."""

import gc
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace

import pytest
import torch

from gen3d.errors import BadInput, OutOfMemory
from gen3d.renderers.cameras import Cameras
from gen3d.renderers.gaussians import Gaussians
from gen3d.renderers.native import backend, library
from gen3d.renderers.rendering import CHANNELS, RasterSettings, backend_name, rasterize

pytestmark = pytest.mark.skipif(library.failure() is not None, reason=f"no native kernels: {library.failure()}")
PICTURES = ("rgb", "alpha", "depth", "normal", "median_depth")
IMAGE_ERROR, GRADIENT_ERROR = 5e-5, 1e-4
# A pixel whose threshold falls between two roundings gains or loses a whole splat, so most tests set the thresholds where that is nothing.
SMOOTH = RasterSettings(alpha_min=1e-5, transmittance_min=1e-7)


def builds():
    """The builds that exist and that this processor runs."""
    if library.failure() is not None:
        return []
    fastest = library.LIBRARIES.index(library.Library(library.BASELINE).best)
    return [name for name in library.LIBRARIES[fastest:] if (library.FOLDER / f"{name}.so").is_file()]


@pytest.fixture
def use(monkeypatch):
    """Draw with the build of this name."""

    def choose(name):
        build = library.Library(name)
        monkeypatch.setattr(backend, "load", lambda: build)

    return choose


@pytest.fixture
def threads():
    """Set the number of threads until the test ends."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def draw_with_gradients(splats, cameras, name, dtype, *, channels=("rgb", "alpha"), settings=SMOOTH):
    """Pictures, and the gradient of a fixed random weighting of them by everything that is differentiable."""
    splats, cameras = splats.to(dtype), cameras.to(dtype)
    batch = torch.broadcast_shapes(splats.batch_shape, cameras.shape[:-1])
    generator = torch.Generator().manual_seed(7)
    leaves = {f.name: getattr(splats, f.name).clone().requires_grad_() for f in fields(splats)}
    extra = {
        "world_to_camera": cameras.world_to_camera.clone().requires_grad_(),
        "background": torch.rand(*batch, cameras.shape[-1], 3, generator=generator, dtype=torch.float64).to(dtype).requires_grad_(),
        "screen_offsets": torch.zeros(*batch, cameras.shape[-1], splats.count, 2, dtype=dtype, requires_grad=True),
    }
    drawn = rasterize(
        Gaussians(**leaves),
        replace(cameras, world_to_camera=extra["world_to_camera"]),
        background=extra["background"],
        screen_offsets=extra["screen_offsets"],
        channels=channels,
        settings=settings,
        backend=name,
    )
    pictures = {key: getattr(drawn, key) for key in PICTURES if getattr(drawn, key) is not None}
    if "depth" in pictures:
        pictures["depth"] = drawn.depth * drawn.alpha  # the quotient of two tiny numbers would measure rounding only
    total = sum(
        (picture * torch.randn(picture.shape, generator=generator, dtype=torch.float64).to(dtype)).sum()
        for picture in pictures.values()
        if picture.requires_grad
    )
    total.backward()
    return drawn, pictures, {key: leaf.grad for key, leaf in (leaves | extra).items()}


def assert_alike(first, second, flips=0):
    """Pictures, radii and gradients of two draws agree to float32 rounding, but for `flips` values on the other side of a threshold."""
    (drawn, pictures, gradients), (expected, expected_pictures, expected_gradients) = first, second
    for key, picture in pictures.items():
        error = (picture.double() - expected_pictures[key].double()).abs()
        assert (error > IMAGE_ERROR).sum() <= flips, f"{key} is off by {error.max():.1e}"
    assert torch.equal(drawn.radii, expected.radii)
    for key, gradient in gradients.items():
        error = (gradient.double() - expected_gradients[key].double()).norm() / expected_gradients[key].double().norm()
        assert error < (0.05 if flips else GRADIENT_ERROR), f"gradient of {key} is off by {error:.1e}"


@pytest.mark.parametrize("build", builds())
@pytest.mark.parametrize(
    ("count", "size", "degree", "options", "channels"),
    [
        (40, (20, 16), 0, {}, ("rgb",)),
        (40, (70, 16), 0, {"absgrad": True}, ("rgb",)),
        (60, (33, 70), 1, {"antialias": True}, ("depth",)),
        (60, (70, 41), 2, {}, ("normal", "median_depth")),
        (150, (130, 67), 3, {"antialias": True, "absgrad": True}, tuple(CHANNELS)),
    ],
)
def test_agrees_with_the_reference_in_float64(use, make_splats, make_cameras, build, count, size, degree, options, channels):
    use(build)
    splats, cameras = make_splats(count, degree=degree, seed=count), make_cameras(2, width=size[0], height=size[1])
    options = {"channels": channels, "settings": replace(SMOOTH, **options)}
    native = draw_with_gradients(splats, cameras, "native", torch.float32, **options)
    assert_alike(native, draw_with_gradients(splats, cameras, "reference", torch.float64, **options))
    assert {key for key in PICTURES if getattr(native[0], key) is not None} == {"rgb", "alpha", *channels}


def test_many_small_splats_that_end_pixels_by_the_default_rules(make_splats, make_cameras):
    splats, cameras = make_splats(6000, size=0.02, opacity=(0.6, 1.0)), make_cameras(1, width=64, height=64)
    native = draw_with_gradients(splats, cameras, "native", torch.float32, settings=None)
    assert native[0].alpha.max() > 0.999
    assert_alike(native, draw_with_gradients(splats, cameras, "reference", torch.float64, settings=None), flips=8)


def test_every_convention_is_a_parameter(make_splats, make_cameras):
    settings = RasterSettings(near=2.8, far=3.3, eps2d=0.7, alpha_max=0.6, alpha_min=0.05, transmittance_min=0.1, frustum_margin=-0.4)
    splats, cameras = make_splats(60, opacity=(0.3, 1.0)), make_cameras(2, width=40, height=30)
    native = draw_with_gradients(splats, cameras, "native", torch.float32, settings=settings)
    assert_alike(native, draw_with_gradients(splats, cameras, "reference", torch.float64, settings=settings), flips=4)


def test_batches_broadcast_and_gradients_add_up_over_views(make_splats, make_cameras):
    splats, cameras = make_splats(30, batch=(2,)), make_cameras(3, width=24, height=18)
    native = draw_with_gradients(splats, cameras, "native", torch.float32, channels=CHANNELS)
    assert native[0].rgb.shape == (2, 3, 18, 24, 3)
    assert_alike(native, draw_with_gradients(splats, cameras, "reference", torch.float64, channels=CHANNELS))


def test_the_normal_faces_the_camera_and_is_the_shortest_axis(make_cameras):
    disc = Gaussians(
        means=torch.zeros(1, 3),
        scales=torch.tensor([[0.5, 0.01, 0.5]]),
        quats=torch.tensor([[0.5**0.5, 0.5**0.5, 0, 0]]),  # y to z
        opacities=torch.tensor([0.9]),
        sh=torch.zeros(1, 1, 3),
    )
    drawn = rasterize(disc, make_cameras(1, dtype=torch.float32), channels=["normal", "depth"], backend="native")
    middle = drawn.normal[0, 8, 10] / drawn.alpha[0, 8, 10]
    torch.testing.assert_close(middle, torch.tensor([0.0, 0.0, 1.0]), rtol=0, atol=1e-5)
    assert drawn.depth[0, 8, 10].item() == pytest.approx(3, abs=1e-4)


def test_any_number_of_threads_gives_the_same_bits(threads, make_splats, make_cameras):
    splats, cameras = make_splats(3000, size=0.05, degree=2), make_cameras(2, width=150, height=140)
    results = []
    for count in (1, 2, 5, 2):
        threads(count)
        results.append(draw_with_gradients(splats, cameras, "native", torch.float32, channels=CHANNELS))
    for drawn, pictures, gradients in results[1:]:
        assert torch.equal(drawn.radii, results[0][0].radii)
        assert all(torch.equal(pictures[key], value) for key, value in results[0][1].items())
        assert all(torch.equal(gradients[key], value) for key, value in results[0][2].items())


def test_two_callers_at_once_do_not_disturb_each_other(threads, make_splats, make_cameras):
    threads(2)
    jobs = [(make_splats(800, size=0.05, seed=seed), make_cameras(1, width=90 + seed, height=80)) for seed in range(2)]

    def gradients(job):
        return draw_with_gradients(*job, "native", torch.float32)[2]

    alone = [gradients(job) for job in jobs]
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(gradients, jobs * 10))
    for index, result in enumerate(together):
        assert all(torch.equal(result[key], value) for key, value in alone[index % 2].items())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_forked_child_draws_too():
    """Data loaders fork; the child has none of its parent's threads and must not wait for them."""
    code = """
import os, torch
from gen3d.renderers.cameras import orbit
from gen3d.renderers.gaussians import Gaussians
from gen3d.renderers.rendering import rasterize
torch.set_num_threads(2)
splats = Gaussians(torch.rand(999, 3) - 0.5, torch.full((999, 3), 0.02), torch.rand(999, 4), torch.rand(999), torch.rand(999, 1, 3))
cameras = orbit(torch.zeros(1), torch.zeros(1), radius=2, fov=45, width=200, height=200)
expected = rasterize(splats, cameras, backend="native").rgb
child = os.fork()
if child == 0:
    os._exit(0 if (rasterize(splats, cameras, backend="native").rgb.numpy() == expected.numpy()).all() else 1)
raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0


def test_a_graph_can_be_walked_twice(make_splats, make_cameras):
    means = make_splats(20, dtype=torch.float32).means.requires_grad_()
    splats = replace(make_splats(20, dtype=torch.float32), means=means)
    total = rasterize(splats, make_cameras(dtype=torch.float32), backend="native").rgb.sum()
    (first,) = torch.autograd.grad(total, means, retain_graph=True)
    rasterize(splats, make_cameras(dtype=torch.float32, width=50), backend="native").rgb.sum().backward()
    (second,) = torch.autograd.grad(total, means)
    assert torch.equal(first, second)


def test_frames_return_to_the_shelf(make_splats, make_cameras):
    splats, cameras = make_splats(20, dtype=torch.float32), make_cameras(dtype=torch.float32, views=8)
    held = rasterize(replace(splats, means=splats.means.requires_grad_()), cameras, backend="native")
    shelf = library.load()._frames
    del held
    gc.collect()
    assert 0 < len(shelf) <= library.IDLE


@pytest.mark.parametrize("build", builds())
@pytest.mark.parametrize("field", [f.name for f in fields(Gaussians)])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_splat_with_a_non_finite_value_is_not_there(use, make_splats, make_cameras, build, field, value):
    use(build)
    splats, cameras = make_splats(20, dtype=torch.float32), make_cameras(1, dtype=torch.float32)
    broken = getattr(splats, field).clone()
    broken[3].view(-1)[-1] = value
    kept = splats.select(torch.arange(20) != 3)
    with_it = draw_with_gradients(replace(splats, **{field: broken}), cameras, "native", torch.float32)
    without = draw_with_gradients(kept, cameras, "native", torch.float32)
    assert torch.equal(with_it[0].rgb, without[0].rgb)
    assert with_it[0].radii[0, 3].tolist() == [0, 0]
    for key, gradient in with_it[2].items():
        assert gradient.isfinite().all()
        if key in {f.name for f in fields(Gaussians)}:
            assert not gradient[3].any()


@pytest.mark.parametrize("build", builds())
def test_splats_at_extremes(use, make_splats, make_cameras, build):
    """Behind, beside, huge, needle-thin, invisible, unturned: pictures and gradients stay finite and equal the reference's."""
    use(build)
    splats, cameras = make_splats(8, dtype=torch.float64), make_cameras(1, width=40, height=70)
    means, scales, opacities, quats = (getattr(splats, name).clone() for name in ("means", "scales", "opacities", "quats"))
    means[0] = torch.tensor([0.0, 0.0, 50.0])  # behind
    means[1] = torch.tensor([40.0, 0.0, 0.0])  # far beside
    scales[2] = 100
    scales[3] = torch.tensor([3.0, 1e-4, 1e-4])
    opacities[4] = 0
    quats[5] = 0
    opacities[6] = 1
    extreme = replace(splats, means=means, scales=scales, opacities=opacities, quats=quats)
    native = draw_with_gradients(extreme, cameras, "native", torch.float32)
    reference = draw_with_gradients(extreme, cameras, "reference", torch.float64)
    torch.testing.assert_close(native[1]["rgb"].double(), reference[1]["rgb"], rtol=0, atol=IMAGE_ERROR)
    assert torch.equal(native[0].radii[0, [0, 1, 4, 5]], torch.zeros(4, 2, dtype=torch.int32))
    for key, gradient in native[2].items():
        assert gradient.isfinite().all(), key
        error = (gradient.double() - reference[2][key]).norm() / reference[2][key].norm()
        assert error < 1e-3, f"gradient of {key} is off by {error:.1e}"


@pytest.mark.parametrize("size", [(1, 1), (63, 1), (64, 64), (65, 129)])
def test_any_image_size(make_splats, make_cameras, size):
    splats, cameras = make_splats(30), make_cameras(1, width=size[0], height=size[1])
    native = draw_with_gradients(splats, cameras, "native", torch.float32)
    reference = draw_with_gradients(splats, cameras, "reference", torch.float64)
    torch.testing.assert_close(native[1]["rgb"].double(), reference[1]["rgb"], rtol=0, atol=IMAGE_ERROR)
    torch.testing.assert_close(native[2]["means"].double(), reference[2]["means"], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("channels", [("rgb",), tuple(CHANNELS)])
def test_nothing_to_draw_shows_the_background(make_splats, make_cameras, channels):
    splats, cameras = make_splats(0, dtype=torch.float32), make_cameras(2, dtype=torch.float32)
    background = torch.tensor([0.1, 0.2, 0.3], requires_grad=True)
    drawn = rasterize(splats, cameras, background=background, channels=channels, backend="native")
    assert torch.equal(drawn.rgb, background.expand_as(drawn.rgb))
    assert not drawn.alpha.any()
    drawn.rgb.sum().backward()
    assert background.grad.tolist() == [2 * 20 * 16] * 3


def test_what_it_takes(make_splats, make_cameras):
    assert backend.supports(make_splats(dtype=torch.float32))
    assert not backend.supports(make_splats(dtype=torch.float64))
    assert backend_name(make_splats(dtype=torch.float32)) == "native"
    assert "threads" in backend.build_info()
    splats, cameras = make_splats(dtype=torch.float32), make_cameras(dtype=torch.float32)
    with pytest.raises(BadInput, match="40000"):
        rasterize(splats, Cameras(cameras.world_to_camera, cameras.intrinsics, 40_000, 1), backend="native")
    with pytest.raises(ValueError, match="alpha_min"):
        rasterize(splats, cameras, settings=RasterSettings(alpha_min=0), backend="native")


def test_too_many_pairs_end_in_out_of_memory(make_splats, make_cameras):
    """80,000 splats over 32,768 tiles are more pairs than 32 bits count."""
    splats = make_splats(80_000, dtype=torch.float32, size=50.0)
    cameras = make_cameras(1, width=32_768, height=4_096, dtype=torch.float32)
    with pytest.raises(OutOfMemory, match="fewer"):
        rasterize(splats, cameras, backend="native")
