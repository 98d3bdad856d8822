"""The gsplat backend: its arguments and gradients through a stand-in package, and the real kernels where a GPU is."""

import gc
import sys
import weakref
from dataclasses import fields, replace
from types import SimpleNamespace

import pytest
import torch

from gen3d.renderers import gsplat_backend, projection, reference
from gen3d.renderers.cameras import Cameras
from gen3d.renderers.gaussians import Gaussians
from gen3d.renderers.rendering import CHANNELS, RasterSettings, rasterize

pytestmark = pytest.mark.usefixtures("one_thread")
NAMES = [f.name for f in fields(Gaussians)]


class Pulls(torch.autograd.Function):
    """The centres and nudges for them; the backward pass leaves the nudges' gradient on the centres, as gsplat does."""

    @staticmethod
    def forward(ctx, centres, means2d):
        ctx.save_for_backward(means2d)
        return centres.view_as(centres), torch.zeros_like(centres)

    @staticmethod
    def backward(ctx, gradient, magnitudes):
        (means2d,) = ctx.saved_tensors
        means2d.absgrad = magnitudes
        return gradient, None


def stand_in_rasterization(
    means, quats, scales, opacities, colors, viewmats, Ks, width, height, *, near_plane, far_plane, eps2d,  # noqa: N803
    sh_degree, packed, backgrounds, render_mode, rasterize_mode, absgrad,
):  # fmt: skip
    """What gsplat 1.5.3 returns for these arguments, computed by the torch reference."""
    settings = RasterSettings(near=near_plane, far=far_plane, eps2d=eps2d, antialias=rasterize_mode == "antialiased")
    scenes, views = viewmats.shape[:2]
    pictures, centres, radii, places = [], [], [], []
    for scene in range(scenes):
        for view in range(views):
            camera = Cameras(viewmats[scene, view, None], Ks[scene, view, None], width, height)
            sh = colors[scene] if sh_degree is not None else means.new_zeros(*opacities.shape[1:], 1, 3)
            splats = Gaussians(means[scene], scales[scene], quats[scene], opacities[scene], sh)
            ellipses = projection.project(splats, camera, settings)
            seen = projection.visible(splats, ellipses, camera, settings)
            index = seen.nonzero()[:, 0]
            rows = ellipses.centres[index] if packed else ellipses.centres
            centres.append(rows)
            radii.append(torch.where(seen[:, None], ellipses.radii, 0).int()[index if packed else slice(None)])
            places.append(torch.stack([torch.full_like(index, scene), torch.full_like(index, view), index]))
            pictures.append((camera, splats, seen))
    means2d = torch.cat(centres) if packed else torch.stack(centres).unflatten(0, (scenes, views))
    drawn, start = [], 0
    shown, nudges = Pulls.apply(means2d, means2d) if absgrad else (means2d, None)
    for flat, (camera, splats, seen) in enumerate(pictures):
        scene, view = divmod(flat, views)
        index = seen.nonzero()[:, 0]
        ellipses = projection.project(splats.select(index), camera, settings)
        rows, pulls = (t if t is None else t[start : start + len(index)] if packed else t[scene, view][index] for t in (shown, nudges))
        start += len(index)
        ellipses = replace(ellipses, centres=rows, nudges=pulls)
        features = (
            projection.view_colours(splats.select(index), camera.positions[0]) if sh_degree is not None else colors[scene, view, index]
        )
        behind = backgrounds[scene, view]
        if render_mode == "RGB+ED":
            features = torch.cat([features, ellipses.depths[:, None]], 1)
            behind = torch.cat([behind, behind.new_zeros(1)])
        order = ellipses.depths.argsort(stable=True)
        ellipses = projection.Ellipses(*(t if t is None else t[order] for f in fields(ellipses) for t in [getattr(ellipses, f.name)]))
        features = torch.cat([features[order], torch.ones_like(ellipses.depths)[:, None]], 1)
        sums, _ = reference.blend(ellipses, features, width, height, settings)
        alpha = sums[..., -1:]
        colours = sums[..., :-1] + (1 - alpha) * behind
        if render_mode == "RGB+ED":
            colours = torch.cat([colours[..., :-1], colours[..., -1:] / alpha.clamp(min=1e-10)], -1)
        drawn.append((colours, alpha))
    ids = torch.cat(places, 1) if packed else (None, None, None)
    info = {
        "means2d": means2d,
        "radii": torch.cat(radii) if packed else torch.stack(radii).unflatten(0, (scenes, views)),
        **dict(zip(("batch_ids", "camera_ids", "gaussian_ids"), ids, strict=True)),
    }
    colours, alphas = (torch.stack(t).unflatten(0, (scenes, views)) for t in zip(*drawn, strict=True))
    return colours, alphas, info


@pytest.fixture
def calls(monkeypatch):
    """Put the stand-in where gsplat would be; the list collects the options of each call."""
    recorded = []

    def rasterization(*arguments, **options):
        recorded.append(options)
        return stand_in_rasterization(*arguments, **options)

    monkeypatch.setitem(sys.modules, "gsplat", SimpleNamespace(rasterization=rasterization))
    return recorded


@pytest.fixture
def scene(make_splats, make_cameras):
    """Two scenes of splats, three views each, and a background per view; some splats are outside the pictures."""
    splats = make_splats(20, degree=2, batch=(2,), size=0.1)
    cameras = make_cameras(3, fov=15.0)
    cameras = replace(
        cameras,
        world_to_camera=cameras.world_to_camera.expand(2, 3, 4, 4).clone(),
        intrinsics=cameras.intrinsics.expand(2, 3, 3, 3).clone(),
    )
    background = torch.rand(2, 3, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    return splats, cameras, background


def draw_with_gradients(backend, scene, channels, settings):
    splats, cameras, background = scene
    leaves = {name: getattr(splats, name).clone().requires_grad_() for name in NAMES}
    leaves["world_to_camera"] = cameras.world_to_camera.clone().requires_grad_()
    leaves["background"] = background.clone().requires_grad_()
    leaves["offsets"] = background.new_zeros(*background.shape[:2], splats.count, 2).requires_grad_()
    drawn = backend.rasterize(
        Gaussians(*(leaves[name] for name in NAMES)),
        replace(cameras, world_to_camera=leaves["world_to_camera"]),
        leaves["background"],
        channels,
        settings,
        leaves["offsets"],
    )
    pictures = [p for name in ("rgb", "alpha", "depth", "normal") if (p := getattr(drawn, name)) is not None]
    generator = torch.Generator().manual_seed(5)
    weights = [torch.randn(p.shape, generator=generator, dtype=torch.float64).to(p) for p in pictures]
    sum((p * w).sum() for p, w in zip(pictures, weights, strict=True)).backward()
    return drawn, {name: leaf.grad for name, leaf in leaves.items()}


@pytest.mark.parametrize("channels", [frozenset(), frozenset({"depth"}), frozenset({"normal"}), CHANNELS])
@pytest.mark.parametrize(("dense_limit", "absgrad"), [(0, False), (10**9, False), (0, True), (10**9, True)])
def test_pictures_and_gradients_equal_the_reference(calls, scene, channels, dense_limit, absgrad, monkeypatch):
    monkeypatch.setattr(gsplat_backend, "DENSE_LIMIT", dense_limit)
    settings = RasterSettings(near=2.7, far=4, eps2d=0.2, antialias=True, absgrad=absgrad)
    wanted, wanted_gradients = draw_with_gradients(reference, scene, channels, settings)
    given, gradients = draw_with_gradients(gsplat_backend, scene, channels, settings)
    assert (wanted.radii == 0).any()
    for field in fields(given):
        one, other = getattr(given, field.name), getattr(wanted, field.name)
        assert (one is None) == (other is None), field.name
        if one is not None:
            torch.testing.assert_close(one, other)
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, wanted_gradients[name], msg=lambda m, name=name: f"{name}: {m}")
    assert len(calls) == 1


@pytest.mark.parametrize(
    ("settings", "channels", "expected"),
    [
        (RasterSettings(), {"rgb"}, {"render_mode": "RGB", "rasterize_mode": "classic", "sh_degree": 2, "packed": False}),
        (RasterSettings(antialias=True), {"depth"}, {"render_mode": "RGB+ED", "rasterize_mode": "antialiased", "sh_degree": 2}),
        (RasterSettings(near=0.5, far=9, eps2d=0.1), {"normal"}, {"near_plane": 0.5, "far_plane": 9, "eps2d": 0.1, "sh_degree": None}),
    ],
)
def test_settings_reach_gsplat(calls, scene, settings, channels, expected):
    gsplat_backend.rasterize(*scene, frozenset(channels), settings, None)
    assert calls[0].items() >= expected.items()


def test_many_splats_are_drawn_packed(calls, scene, monkeypatch):
    monkeypatch.setattr(gsplat_backend, "DENSE_LIMIT", 2 * 3 * 20 - 1)
    gsplat_backend.rasterize(*scene, frozenset(), RasterSettings(), None)
    monkeypatch.setattr(gsplat_backend, "DENSE_LIMIT", 2 * 3 * 20)
    gsplat_backend.rasterize(*scene, frozenset(), RasterSettings(), None)
    assert [call["packed"] for call in calls] == [True, False]


def test_offsets_get_a_gradient_when_nothing_else_does(calls, scene):
    splats, cameras, background = scene
    offsets = background.new_zeros(2, 3, 20, 2).requires_grad_()
    gsplat_backend.rasterize(splats, cameras, background, frozenset(), RasterSettings(), offsets).rgb.sum().backward()
    assert offsets.grad.abs().sum() > 0
    with torch.no_grad():
        assert not gsplat_backend.rasterize(splats, cameras, background, frozenset(), RasterSettings(), offsets).rgb.requires_grad


def test_two_backward_passes_accumulate(calls, scene):
    splats, cameras, background = scene
    offsets = background.new_zeros(2, 3, 20, 2).requires_grad_()
    drawn = gsplat_backend.rasterize(splats, cameras, background, frozenset(), RasterSettings(), offsets)
    drawn.rgb.sum().backward(retain_graph=True)
    once = offsets.grad.clone()
    drawn.rgb.sum().backward()
    torch.testing.assert_close(offsets.grad, 2 * once)


@pytest.mark.parametrize("name", ["alpha_max", "alpha_min", "transmittance_min", "frustum_margin"])
def test_fixed_settings_are_refused(calls, scene, name):
    with pytest.raises(ValueError, match=rf"{name} is 0\.25; gsplat's kernels fix it at .*backend='reference'"):
        gsplat_backend.rasterize(*scene, frozenset(), RasterSettings(**{name: 0.25}), None)


@pytest.mark.parametrize("absgrad", [False, True])
def test_a_step_leaves_nothing_behind(calls, scene, monkeypatch, absgrad):
    splats, cameras, background = scene
    kept = []

    def rasterization(*arguments, **options):
        drawn, alpha, info = stand_in_rasterization(*arguments, **options)
        info["large"] = torch.zeros(10)
        kept.extend(map(weakref.ref, (info["means2d"], info["large"])))
        return drawn, alpha, info

    monkeypatch.setitem(sys.modules, "gsplat", SimpleNamespace(rasterization=rasterization))
    offsets = background.new_zeros(2, 3, 20, 2).requires_grad_()
    gsplat_backend.rasterize(splats, cameras, background, frozenset(), RasterSettings(absgrad=absgrad), offsets).rgb.sum().backward()
    gc.collect()
    assert [reference() for reference in kept] == [None, None]


def test_offsets_that_move_are_refused(calls, scene):
    with pytest.raises(ValueError, match="screen_offsets has values other than 0"):
        gsplat_backend.rasterize(*scene, frozenset(), RasterSettings(), torch.ones(2, 3, 20, 2))


def test_no_splats_need_no_kernel(calls, scene):
    splats, cameras, background = scene
    nothing = splats.select(torch.zeros(0, dtype=torch.long))
    drawn = gsplat_backend.rasterize(nothing, cameras, background, CHANNELS, RasterSettings(), None)
    torch.testing.assert_close(drawn.rgb, background[:, :, None, None].expand_as(drawn.rgb))
    assert not calls


@pytest.fixture
def fresh_check():
    gsplat_backend.unavailable.cache_clear()
    yield
    gsplat_backend.unavailable.cache_clear()


@pytest.mark.usefixtures("fresh_check")
class TestUnavailable:
    def test_without_a_device_nothing_is_imported(self, monkeypatch):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        monkeypatch.setattr(gsplat_backend.importlib, "import_module", lambda name: pytest.fail(f"{name} was imported"))
        assert gsplat_backend.unavailable() == "PyTorch sees no CUDA device"

    @pytest.mark.parametrize(
        ("failure", "sentence"),
        [
            (ImportError("No module named 'gsplat'"), "did not import (No module named 'gsplat')"),
            (RuntimeError("Error building extension\nnvcc: a long log"), "did not build (Error building extension);"),
            (OSError(), "did not build (OSError);"),
        ],
    )
    def test_a_failure_becomes_one_sentence_once(self, monkeypatch, failure, sentence):
        attempts = []

        def fail(name):
            attempts.append(name)
            raise failure

        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(gsplat_backend.importlib, "import_module", fail)
        assert sentence in gsplat_backend.unavailable()
        assert "\n" not in gsplat_backend.unavailable()
        assert attempts == ["gsplat.cuda._backend"]

    @pytest.mark.parametrize(("kernels", "expected"), [(None, "gsplat found no CUDA toolkit"), (object(), None)])
    def test_loaded_without_kernels(self, monkeypatch, kernels, expected):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(gsplat_backend.importlib, "import_module", lambda name: SimpleNamespace(_C=kernels))
        reason = gsplat_backend.unavailable()
        assert reason is None if expected is None else reason.startswith(expected)


def test_only_float32_on_cuda_is_taken(make_splats):
    assert not gsplat_backend.supports(make_splats(dtype=torch.float32))


@pytest.fixture(scope="module")
def gpu():
    if reason := gsplat_backend.unavailable():
        pytest.skip(f"gsplat cannot run here: {reason}")


@pytest.mark.gpu
@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize(("antialias", "absgrad"), [(False, False), (True, False), (False, True)])
@pytest.mark.parametrize("dense_limit", [0, 10**9])
def test_kernels_equal_the_reference(scene, antialias, absgrad, dense_limit, monkeypatch):
    monkeypatch.setattr(gsplat_backend, "DENSE_LIMIT", dense_limit)
    splats, cameras, background = (t.to("cuda", torch.float32) for t in scene)
    assert gsplat_backend.supports(splats)
    settings = RasterSettings(antialias=antialias, absgrad=absgrad)
    given, gradients = draw_with_gradients(gsplat_backend, (splats, cameras, background), CHANNELS, settings)
    wanted, wanted_gradients = draw_with_gradients(reference, (splats, cameras, background), CHANNELS, settings)
    assert (given.radii == wanted.radii).float().mean() > 0.99
    for name in ("rgb", "alpha", "depth", "median_depth", "normal"):
        # A pixel may fall on either side of a threshold, at most 1/255 of a splat each.
        difference = (getattr(given, name) - getattr(wanted, name)).abs()
        assert difference.quantile(0.99) < 1e-4, name
        assert difference.max() < 0.05, name
    for name, gradient in gradients.items():
        expected = wanted_gradients[name]
        if name == "world_to_camera":  # off the rigid motions the two extend differently
            gradient, expected = (rigid_part(g, cameras.world_to_camera) for g in (gradient, expected))
        assert (gradient - expected).norm() < 5e-3 * expected.norm(), name


def rigid_part(gradient, poses):
    """Derivatives along the six rigid motions of the camera."""
    motions = torch.zeros(6, 4, 4)
    motions[0, 0, 1] = motions[1, 0, 2] = motions[2, 1, 2] = 1
    motions = motions - motions.mT
    motions[3, 0, 3] = motions[4, 1, 3] = motions[5, 2, 3] = 1
    return torch.einsum("bvij,kil,bvlj->bvk", gradient, motions.to(poses), poses)


@pytest.mark.gpu
@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("absgrad", [False, True])
def test_memory_does_not_grow_with_steps(scene, absgrad):
    splats, cameras, background = (t.to("cuda", torch.float32) for t in scene)
    used = []
    for _ in range(5):
        draw_with_gradients(gsplat_backend, (splats, cameras, background), frozenset(), RasterSettings(absgrad=absgrad))
        used.append(torch.cuda.memory_allocated())
    assert used[-1] == used[1]


@pytest.mark.gpu
@pytest.mark.usefixtures("gpu")
def test_auto_takes_gsplat_on_cuda(make_splats, make_cameras):
    splats = make_splats(dtype=torch.float32).to("cuda")
    cameras = make_cameras(dtype=torch.float32).to("cuda")
    torch.testing.assert_close(rasterize(splats, cameras).rgb, rasterize(splats, cameras, backend="gsplat").rgb)
