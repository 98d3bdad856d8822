"""The front door: broadcasting, channels, backgrounds, choice of backend and its errors."""

import warnings
from dataclasses import fields, replace
from types import SimpleNamespace

import pytest
import torch

from gen3d.renderers import reference, rendering
from gen3d.renderers.rendering import BACKENDS, CHANNELS, Rendering, backend_name, load_backend, rasterize

pytestmark = pytest.mark.usefixtures("one_thread")


def draw(splats, cameras, **options):
    return rasterize(splats, cameras, backend="reference", **options)


def test_batches_are_drawn_scene_by_scene_and_view_by_view(make_splats, make_cameras):
    splats, cameras = make_splats(batch=(2, 2)), make_cameras(3)
    together = draw(splats, cameras, channels=CHANNELS)
    assert together.rgb.shape == (2, 2, 3, 16, 20, 3)
    assert together.normal.shape == (2, 2, 3, 16, 20, 3)
    assert together.alpha.shape == together.depth.shape == together.median_depth.shape == (2, 2, 3, 16, 20)
    assert together.radii.shape == (2, 2, 3, splats.count, 2)
    for one in range(2):
        for two in range(2):
            scene = replace(splats, **{f.name: getattr(splats, f.name)[one, two] for f in fields(splats)})
            for view in range(3):
                alone = draw(scene, cameras.select([view]), channels=CHANNELS)
                for field in fields(alone):
                    assert torch.equal(getattr(alone, field.name)[0], getattr(together, field.name)[one, two, view]), field.name


def test_one_scene_is_seen_by_a_batch_of_cameras(make_splats, make_cameras):
    splats, cameras = make_splats(), make_cameras(4)
    batched = replace(
        cameras, world_to_camera=cameras.world_to_camera.unflatten(0, (2, 2)), intrinsics=cameras.intrinsics.unflatten(0, (2, 2))
    )
    assert torch.equal(draw(splats, batched).rgb.flatten(0, 1), draw(splats, cameras).rgb)


def test_gradients_of_what_was_broadcast_are_summed(make_splats, make_cameras):
    splats, cameras = make_splats(), make_cameras(2)
    means = splats.means.clone().requires_grad_()
    twice = replace(cameras, world_to_camera=cameras.world_to_camera.expand(2, 2, 4, 4), intrinsics=cameras.intrinsics.expand(2, 2, 3, 3))
    (once,) = torch.autograd.grad(draw(replace(splats, means=means), cameras).rgb.sum(), means)
    (both,) = torch.autograd.grad(draw(replace(splats, means=means), twice).rgb.sum(), means)
    torch.testing.assert_close(both, 2 * once)


@pytest.mark.parametrize("channel", ["depth", "median_depth", "normal"])
def test_only_the_channels_asked_for_are_drawn(make_splats, make_cameras, channel):
    drawn = draw(make_splats(), make_cameras(), channels=[channel])
    assert drawn.rgb is not None
    assert drawn.alpha is not None
    assert [name for name in ("depth", "median_depth", "normal") if getattr(drawn, name) is not None] == [channel]
    everything = draw(make_splats(), make_cameras(), channels=CHANNELS)
    assert torch.equal(getattr(drawn, channel), getattr(everything, channel))


def test_the_background_shows_where_light_is_left(make_splats, make_cameras):
    splats, cameras = make_splats(batch=(2,)), make_cameras(3)
    black = draw(splats, cameras)
    generator = torch.Generator().manual_seed(0)
    for shape in ((3,), (3, 3), (2, 1, 3), (2, 3, 3)):
        background = torch.rand(shape, generator=generator, dtype=torch.float64)
        behind = background.expand(2, 3, 3)[:, :, None, None]
        torch.testing.assert_close(draw(splats, cameras, background=background).rgb, black.rgb + (1 - black.alpha[..., None]) * behind)


def test_cameras_and_background_follow_the_dtype_of_the_splats(make_splats, make_cameras):
    drawn = draw(make_splats(dtype=torch.float32), make_cameras(dtype=torch.float64), background=torch.ones(3, dtype=torch.float64))
    assert drawn.rgb.dtype == torch.float32


def test_offsets_keep_their_gradient_through_the_batch(make_splats, make_cameras):
    splats, cameras = make_splats(batch=(2,)), make_cameras(3)
    offsets = torch.zeros(2, 3, splats.count, 2, dtype=torch.float64, requires_grad=True)
    drawn = draw(splats, cameras, screen_offsets=offsets)
    drawn.rgb[1, 2].sum().backward()
    moved = offsets.grad.abs().sum((-1, -2)) > 0
    assert moved.tolist() == [[False, False, False], [False, False, True]]
    assert torch.equal((offsets.grad[1, 2] != 0).any(-1), (drawn.radii[1, 2] > 0).all(-1))


def test_autocast_does_not_blur_the_picture(make_splats, make_cameras):
    splats, cameras = make_splats(dtype=torch.float32), make_cameras(dtype=torch.float32)
    plain = draw(splats, cameras)
    with torch.autocast("cpu", torch.bfloat16):
        cast = draw(splats, cameras)
    assert torch.equal(cast.rgb, plain.rgb)


def test_wrong_arguments_are_explained(make_splats, make_cameras):
    splats, cameras = make_splats(4), make_cameras(2)
    with pytest.raises(ValueError, match=r"the channels \['colour'\] are not known; choose from alpha, depth, median_depth, normal, rgb"):
        draw(splats, cameras, channels=("rgb", "colour"))
    with pytest.raises(ValueError, match=r"screen_offsets has shape \(4, 2\); these splats and views ask for \(2, 4, 2\)"):
        draw(splats, cameras, screen_offsets=torch.zeros(4, 2))
    with pytest.raises(ValueError, match=r"there is nothing to draw: batch shape \(\), 0 views; give at least one of each"):
        draw(splats, cameras.select([]))
    with pytest.raises(ValueError, match="the rasterizer backend 'vulkan' is not known; choose auto, gsplat, native, reference"):
        rasterize(splats, cameras, backend="vulkan")


class FakeBackend(SimpleNamespace):
    """A backend with a given excuse and taste that draws with the reference."""

    def __init__(self, excuse=None, takes=True):
        super().__init__(excuse=excuse, takes=takes, drew=0)

    def unavailable(self):
        return self.excuse

    def supports(self, gaussians):
        return self.takes

    def rasterize(self, *arguments):
        self.drew += 1
        return reference.rasterize(*arguments)


@pytest.fixture
def native(monkeypatch):
    """A fake in the place of the native backend."""
    fake = FakeBackend()
    real = rendering.importlib.import_module
    monkeypatch.setattr(rendering.importlib, "import_module", lambda name: fake if name == BACKENDS["native"] else real(name))
    rendering._warn_once.cache_clear()
    yield fake
    rendering._warn_once.cache_clear()


def test_auto_takes_the_preferred_backend(native, make_splats, make_cameras):
    assert backend_name(make_splats()) == "native"
    rasterize(make_splats(), make_cameras())
    assert native.drew == 1


def test_auto_falls_back_silently_when_the_dtype_is_not_taken(native, make_splats, make_cameras):
    native.takes = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rasterize(make_splats(), make_cameras())
    assert native.drew == 0


def test_auto_warns_once_when_the_preferred_backend_cannot_run(native, make_splats, make_cameras):
    native.excuse = "no compiled library was found"
    message = "the native rasterizer is not used: no compiled library was found; the slower torch reference draws instead"
    with pytest.warns(UserWarning, match=message):
        rasterize(make_splats(), make_cameras())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rasterize(make_splats(), make_cameras())
    assert native.drew == 0


def test_a_named_backend_is_an_order(native, make_splats, make_cameras):
    native.takes = False
    with pytest.raises(RuntimeError, match=r"the native rasterizer does not take torch\.float64 on cpu; pass backend='reference'"):
        rasterize(make_splats(), make_cameras(), backend="native")
    native.excuse = "no compiled library was found"
    with pytest.raises(RuntimeError, match="the native rasterizer cannot run here: no compiled library was found; pass backend='auto'"):
        rasterize(make_splats(), make_cameras(), backend="native")


def test_half_precision_is_refused_with_a_remedy(make_splats, make_cameras):
    for backend in ("auto", "reference"):
        with pytest.raises(RuntimeError, match=r"does not take torch\.float16 on cpu; .*float32"):
            rasterize(make_splats(dtype=torch.float16), make_cameras(), backend=backend)


@pytest.mark.parametrize("name", ["gsplat", "reference"])
def test_backends_have_the_functions_of_the_protocol(name):
    module = load_backend(name)
    assert all(callable(getattr(module, function)) for function in ("unavailable", "supports", "rasterize"))


def test_renderings_unfold_every_field():
    flat = Rendering(rgb=torch.zeros(6, 1, 2, 2, 3), alpha=torch.zeros(6, 1, 2, 2), radii=torch.zeros(6, 1, 4, 2).int())
    unfolded = flat.batched(torch.Size((2, 3)))
    assert unfolded.rgb.shape == (2, 3, 1, 2, 2, 3)
    assert unfolded.radii.shape == (2, 3, 1, 4, 2)
    assert unfolded.depth is None
