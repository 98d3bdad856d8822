"""The torch rasterizer against an independent dense one, gsplat's own torch formulas, closed forms and finite differences."""

import math
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch

from gen3d.renderers import projection, reference
from gen3d.renderers.cameras import Cameras, pinhole
from gen3d.renderers.gaussians import Gaussians
from gen3d.renderers.harmonics import rgb_to_sh0
from gen3d.renderers.rendering import CHANNELS, RasterSettings, rasterize

pytestmark = pytest.mark.usefixtures("one_thread")
BENCH = Path(__file__).parents[2].parent / "shared" / "bench" / "raster_bench"
SMOOTH = RasterSettings(alpha_min=1e-12, transmittance_min=0)  # no threshold that a small step could cross


def draw(splats, cameras, **options):
    return rasterize(splats, cameras, backend="reference", **options)


def single_splats(means, *, scale, opacity, rgb, quat=(1.0, 0.0, 0.0, 0.0)):
    means = torch.tensor(means, dtype=torch.float64)
    count = len(means)
    return Gaussians(
        means=means,
        scales=torch.tensor(scale, dtype=torch.float64).expand(count, 3),
        quats=torch.tensor(quat, dtype=torch.float64).expand(count, 4),
        opacities=torch.tensor(opacity, dtype=torch.float64).expand(count),
        sh=rgb_to_sh0(torch.tensor(rgb, dtype=torch.float64)).expand(count, 3)[:, None],
    )


def front_camera(side=9, focal=10.0):
    """A camera at the origin whose frame is the world's; the centre of the middle pixel is on the axis."""
    return Cameras(torch.eye(4, dtype=torch.float64)[None], pinhole(focal, side, side).double()[None], side, side)


def dense_picture(splats, cameras, background, settings):
    """Splat after splat over the whole picture, with textbook matrices: slow, and nothing shared with the renderer."""
    pose, matrix = cameras.world_to_camera[0], cameras.intrinsics[0]
    width, height = cameras.width, cameras.height
    x, y = torch.meshgrid(torch.arange(width).double() + 0.5, torch.arange(height).double() + 0.5, indexing="xy")
    names = ("rgb", "depth", "normal")
    sums = {name: torch.zeros(height, width, 1 if name == "depth" else 3, dtype=torch.float64) for name in names}
    light, median = torch.ones(height, width, dtype=torch.float64), torch.zeros(height, width, dtype=torch.float64)
    done = torch.zeros(height, width, dtype=torch.bool)
    eye = torch.linalg.inv(pose)[:3, 3]
    points = splats.means @ pose[:3, :3].T + pose[:3, 3]
    for index in points[:, 2].argsort(stable=True).tolist():
        px, py, pz = points[index].tolist()
        if not settings.near <= pz <= settings.far:
            continue
        fx, fy, cx, cy = matrix[0, 0].item(), matrix[1, 1].item(), matrix[0, 2].item(), matrix[1, 2].item()
        slack_x, slack_y = (settings.frustum_margin * s / (2 * f) for s, f in ((width, fx), (height, fy)))
        sx = min(max(px / pz, -cx / fx - slack_x), (width - cx) / fx + slack_x)
        sy = min(max(py / pz, -cy / fy - slack_y), (height - cy) / fy + slack_y)
        jacobian = torch.tensor([[fx / pz, 0, -fx * sx / pz], [0, fy / pz, -fy * sy / pz]], dtype=torch.float64)
        to_screen = jacobian @ pose[:3, :3]
        before = to_screen @ splats.covariances[index] @ to_screen.T
        covariance = before + settings.eps2d * torch.eye(2, dtype=torch.float64)
        opacity = splats.opacities[index]
        if settings.antialias:
            opacity = opacity * (torch.linalg.det(before) / torch.linalg.det(covariance)).sqrt()
        delta = torch.stack([x - (fx * px / pz + cx), y - (fy * py / pz + cy)], -1)
        power = -0.5 * torch.einsum("hwi,ij,hwj->hw", delta, torch.linalg.inv(covariance), delta)
        alpha = (opacity * power.exp()).clamp_max(settings.alpha_max)
        touched = (alpha >= settings.alpha_min) & ~done
        stops = touched & (light * (1 - alpha) <= settings.transmittance_min)
        done |= stops
        weight = torch.where(touched & ~stops, alpha * light, 0)[..., None]
        after = light - weight[..., 0]
        median = torch.where((light > 0.5) & (after <= 0.5), pz, median)
        light = after
        axis = torch.linalg.eigh(splats.covariances[index]).eigenvectors[:, 0]
        normal = axis if axis @ (eye - splats.means[index]) > 0 else -axis
        sums["rgb"] += weight * (0.5 + 0.28209479177387814 * splats.sh[index, 0])
        sums["depth"] += weight * pz
        sums["normal"] += weight * normal
    alpha = 1 - light
    return {
        "rgb": sums["rgb"] + light[..., None] * background,
        "alpha": alpha,
        "depth": sums["depth"][..., 0] / alpha.clamp_min(1e-30),
        "median_depth": median,
        "normal": sums["normal"],
    }


@pytest.mark.parametrize(
    "settings",
    [
        RasterSettings(),
        RasterSettings(antialias=True, eps2d=0.1),
        RasterSettings(near=2.8, far=3.3),
        RasterSettings(alpha_max=0.7, alpha_min=0.05, transmittance_min=0.05, frustum_margin=0.0),
    ],
)
def test_pictures_equal_a_dense_renderer(make_splats, make_cameras, settings):
    splats = make_splats(60, degree=0, opacity=(0.3, 1.0), size=0.08)
    cameras = make_cameras(2, fov=20.0)  # narrow: many splats lie outside the picture
    background = torch.tensor([0.2, 0.5, 0.9], dtype=torch.float64)
    drawn = draw(splats, cameras, background=background, channels=CHANNELS, settings=settings)
    for view in range(2):
        wanted = dense_picture(splats, cameras.select([view]), background, settings)
        for name, picture in wanted.items():
            torch.testing.assert_close(getattr(drawn, name)[view], picture, atol=1e-9, rtol=1e-9, msg=lambda m, name=name: f"{name}: {m}")


def test_some_pixels_of_the_dense_comparison_stop_early(make_splats, make_cameras):
    splats = make_splats(60, degree=0, opacity=(0.3, 1.0), size=0.08)
    stopped = draw(splats, make_cameras(2, fov=20.0))
    endless = draw(splats, make_cameras(2, fov=20.0), settings=RasterSettings(transmittance_min=0))
    assert not torch.allclose(stopped.alpha, endless.alpha, atol=1e-9)


@pytest.mark.parametrize("antialias", [False, True])
def test_projection_equals_gsplat(make_splats, make_cameras, antialias):
    formulas = pytest.importorskip("gsplat.cuda._torch_impl")
    splats = make_splats(200, size=0.3)
    splats = replace(splats, means=splats.means * 10)  # also behind, beside and near the camera
    cameras, settings = make_cameras(1), RasterSettings(antialias=antialias)
    covariances, _ = formulas._quat_scale_to_covar_preci(splats.quats, splats.scales, True, False)
    torch.testing.assert_close(splats.covariances, covariances)
    matrices = (cameras.world_to_camera, cameras.intrinsics)
    wanted = formulas._fully_fused_projection(
        splats.means, covariances, *matrices, cameras.width, cameras.height, settings.eps2d, calc_compensations=True
    )
    _, centres, depths, conics, compensations = (t[0] for t in wanted)
    ellipses = projection.project(splats, cameras, settings)
    ahead = depths > 0.1
    assert 20 < ahead.sum() < 200
    torch.testing.assert_close(ellipses.depths, depths)
    torch.testing.assert_close(ellipses.centres[ahead], centres[ahead])
    torch.testing.assert_close(ellipses.conics[ahead], conics[ahead], atol=1e-9, rtol=1e-7)
    opacities = splats.opacities * compensations if antialias else splats.opacities
    torch.testing.assert_close(ellipses.opacities[ahead], opacities[ahead])


@pytest.mark.skipif(not BENCH.is_dir(), reason="the rasterizer benchmark is not beside this checkout")
def test_picture_and_gradients_equal_the_benchmark_reference(monkeypatch):
    pytest.importorskip("gsplat.cuda._torch_impl")
    monkeypatch.setenv("GSPLAT_REF_F64", "1")
    monkeypatch.syspath_prepend(BENCH)
    monkeypatch.syspath_prepend(BENCH / "adapters")
    import gsplat_torch_ref64
    import make_inputs

    scene = make_inputs.make(1000, 64, 0)
    golden = gsplat_torch_ref64.Renderer(scene, torch.get_num_threads())
    rgb, alpha = golden.forward()
    gradients = golden.forward_backward()
    for dtype, tolerance in ((torch.float64, 1e-10), (torch.float32, 2e-5)):
        given = {name: torch.as_tensor(value).to(dtype) for name, value in scene.items()}
        names = ("means", "scales", "quats", "opacities", "colors")
        leaves = {name: given[name].requires_grad_() for name in names}
        *shape, colours = leaves.values()
        splats = Gaussians(*shape, rgb_to_sh0(colours)[:, None])
        cameras = Cameras(given["viewmat"][None], given["K"][None], 64, 64)
        drawn = draw(splats, cameras, background=given["background"])
        torch.testing.assert_close(drawn.rgb[0].double(), rgb, atol=tolerance, rtol=0)
        torch.testing.assert_close(drawn.alpha[0].double(), alpha, atol=tolerance, rtol=0)
        ((drawn.rgb[0] * given["v_image"]).sum() + (drawn.alpha[0] * given["v_alpha"]).sum()).backward()
        for name, leaf in leaves.items():
            assert (leaf.grad - gradients[name]).norm() <= tolerance * gradients[name].norm(), name


@pytest.mark.parametrize("settings", [SMOOTH, replace(SMOOTH, antialias=True), replace(SMOOTH, frustum_margin=-0.6)])
@pytest.mark.parametrize("group", ["means", "scales", "quats", "opacities", "sh", "world_to_camera", "background", "screen_offsets"])
def test_gradients_equal_finite_differences(make_splats, make_cameras, group, settings):
    # A margin of -0.6 puts the clamp of the Jacobian inside the picture, so that some splats are on each side of it.
    splats, cameras = make_splats(5, degree=2, size=0.3), make_cameras(2, width=7, height=6)
    splats = replace(splats, scales=splats.scales * splats.scales.new_tensor([1.0, 1.3, 0.6]))
    background = torch.tensor([[0.1, 0.5, 0.9], [0.7, 0.2, 0.4]], dtype=torch.float64)
    offsets = torch.zeros(2, 5, 2, dtype=torch.float64)
    weights = None

    def loss(tensor):
        nonlocal weights
        changed = replace(splats, **{group: tensor}) if hasattr(splats, group) else splats
        seen = replace(cameras, world_to_camera=tensor) if group == "world_to_camera" else cameras
        drawn = draw(
            changed,
            seen,
            background=tensor if group == "background" else background,
            screen_offsets=tensor if group == "screen_offsets" else offsets,
            channels=CHANNELS,
            settings=settings,
        )
        pictures = torch.cat([drawn.rgb, drawn.alpha[..., None], drawn.depth[..., None], drawn.normal], -1)
        if weights is None:
            weights = torch.randn(pictures.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        return (pictures * weights).sum()

    start = {"background": background, "screen_offsets": offsets, "world_to_camera": cameras.world_to_camera}.get(group)
    start = getattr(splats, group) if start is None else start
    assert torch.autograd.gradcheck(loss, (start.clone().requires_grad_(),), eps=1e-6, atol=1e-6, rtol=1e-5)


def test_magnitudes_of_offsets_add_up_over_pixels(make_splats, make_cameras, monkeypatch):
    splats, cameras = make_splats(5, size=0.3), make_cameras(2, width=7, height=6)
    weights = torch.randn(2, 6, 7, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    def gradient(weights, absgrad):
        offsets = torch.zeros(2, 5, 2, dtype=torch.float64, requires_grad=True)
        drawn = draw(splats, cameras, screen_offsets=offsets, settings=replace(SMOOTH, absgrad=absgrad))
        (drawn.rgb * weights).sum().backward()
        return offsets.grad

    expected = torch.zeros(2, 5, 2, dtype=torch.float64)
    for row in range(6):
        for column in range(7):
            alone = torch.zeros_like(weights)
            alone[:, row, column] = weights[:, row, column]
            expected += gradient(alone, absgrad=False).abs()
    torch.testing.assert_close(gradient(weights, absgrad=True), expected)
    assert (expected > 1.1 * gradient(weights, absgrad=False).abs()).any()
    monkeypatch.setattr(reference, "PAIRS_PER_BAND", 20)
    torch.testing.assert_close(gradient(weights, absgrad=True), expected)


def test_no_gradient_to_intrinsics_and_median_depth(make_splats, make_cameras):
    splats, cameras = make_splats(), make_cameras()
    means, matrix = splats.means.clone().requires_grad_(), cameras.intrinsics.clone().requires_grad_()
    drawn = draw(replace(splats, means=means), replace(cameras, intrinsics=matrix), channels=CHANNELS)
    assert not drawn.median_depth.requires_grad
    drawn.rgb.sum().backward()
    assert matrix.grad is None
    assert means.grad.abs().sum() > 0


def test_one_big_round_splat():
    splats = single_splats([[0.0, 0.0, 4.0]], scale=0.8, opacity=0.6, rgb=[0.9, 0.4, 0.1])
    background = torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64)
    drawn = draw(splats, front_camera(), background=background, channels=CHANNELS)
    variance = (10.0 * 0.8 / 4) ** 2 + 0.3  # focal · sigma / depth, and the blur
    index = torch.arange(9, dtype=torch.float64) - 4
    squared = index[:, None] ** 2 + index**2
    alpha = 0.6 * torch.exp(-0.5 * squared / variance)
    alpha[alpha < 1 / 255] = 0
    torch.testing.assert_close(drawn.alpha[0], alpha)
    torch.testing.assert_close(
        drawn.rgb[0], alpha[..., None] * torch.tensor([0.9, 0.4, 0.1]).double() + (1 - alpha[..., None]) * background
    )
    torch.testing.assert_close(drawn.depth[0], torch.full_like(alpha, 4.0).where(alpha > 0, 0.0))
    torch.testing.assert_close(drawn.median_depth[0], torch.where(alpha >= 0.5, 4.0, 0.0).double())
    radius = math.ceil(math.sqrt(2 * variance * math.log(0.6 * 255)))
    assert drawn.radii.tolist() == [[[radius, radius]]]
    assert drawn.radii.dtype == torch.int32


def test_two_stacked_splats_blend_front_to_back():
    splats = single_splats([[0.0, 0.0, 6.0], [0.0, 0.0, 3.0]], scale=0.7, opacity=0.5, rgb=[1.0, 1.0, 1.0])
    splats = replace(splats, sh=rgb_to_sh0(torch.tensor([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]], dtype=torch.float64))[:, None])
    drawn = draw(splats, front_camera(), channels=CHANNELS)
    middle = (0, 4, 4)
    torch.testing.assert_close(drawn.rgb[middle], torch.tensor([0.5, 0.0, 0.25], dtype=torch.float64))
    torch.testing.assert_close(drawn.alpha[middle].item(), 0.75)
    torch.testing.assert_close(drawn.depth[middle].item(), (0.5 * 3 + 0.25 * 6) / 0.75)
    assert drawn.median_depth[middle] == 3  # one half is "at most one half"
    behind = draw(replace(splats, opacities=torch.tensor([0.5, 0.49], dtype=torch.float64)), front_camera(), channels=("median_depth",))
    assert behind.median_depth[middle] == 6


def test_splats_at_one_depth_keep_their_order():
    splats = single_splats([[0.0, 0.0, 3.0], [0.0, 0.0, 3.0]], scale=0.7, opacity=0.5, rgb=[1.0, 1.0, 1.0])
    splats = replace(splats, sh=rgb_to_sh0(torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], dtype=torch.float64))[:, None])
    torch.testing.assert_close(draw(splats, front_camera()).rgb[0, 4, 4], torch.tensor([0.5, 0.25, 0.0], dtype=torch.float64))


def test_a_plane_of_flat_splats_has_one_depth_and_one_normal():
    y, x = torch.meshgrid(torch.linspace(-2, 2, 41), torch.linspace(-2, 2, 41), indexing="ij")
    means = torch.stack([x, y, torch.full_like(x, 2.0)], -1).reshape(-1, 3).tolist()
    plane = single_splats(means, scale=(0.1, 0.1, 0.001), opacity=0.9, rgb=[0.5, 0.5, 0.5])
    drawn = draw(plane, front_camera(), channels=CHANNELS)
    assert (drawn.alpha > 0.99).all()
    torch.testing.assert_close(drawn.depth, torch.full_like(drawn.depth, 2.0))
    torch.testing.assert_close(drawn.median_depth, torch.full_like(drawn.depth, 2.0))
    towards = torch.tensor([0.0, 0.0, -1.0], dtype=torch.float64)
    torch.testing.assert_close(drawn.normal, drawn.alpha[..., None] * towards, atol=1e-9, rtol=0)


def test_an_opaque_splat_is_clamped_and_the_next_may_end_the_pixel():
    wall = single_splats([[0.0, 0.0, 2.0]] * 3, scale=50.0, opacity=1.0, rgb=[1.0, 1.0, 1.0])
    drawn = draw(wall, front_camera())
    torch.testing.assert_close(drawn.alpha, torch.full_like(drawn.alpha, 0.999))  # 0.001² <= 1e-4: the second is not blended
    opacities = wall.opacities.clone().requires_grad_()
    draw(replace(wall, opacities=opacities), front_camera()).alpha.sum().backward()
    assert opacities.grad.tolist() == [0.0, 0.0, 0.0]


def test_offsets_move_the_picture(make_splats, make_cameras):
    splats, cameras = make_splats(), make_cameras(1)
    moved = draw(splats, cameras, screen_offsets=torch.tensor([2.0, -1.0], dtype=torch.float64).expand(1, splats.count, 2))
    still = draw(splats, cameras)
    torch.testing.assert_close(moved.rgb[:, :-1, 2:], still.rgb[:, 1:, :-2])


def poisoned(splats, name):
    values = getattr(splats, name).clone()
    values[3] = {"quats": 0.0, "scales": 1e200}.get(name, math.nan)
    return replace(splats, **{name: values})


@pytest.mark.parametrize("name", ["means", "scales", "quats", "opacities", "sh"])
def test_broken_splats_are_left_out_with_zero_gradient(make_splats, make_cameras, name):
    splats, cameras = make_splats(8), make_cameras()
    kept = splats.select(torch.tensor([0, 1, 2, 4, 5, 6, 7]))
    broken = poisoned(splats, name)
    leaves = {f.name: getattr(broken, f.name).requires_grad_() for f in fields(broken)}
    drawn = draw(broken, cameras, channels=CHANNELS)
    for channel in CHANNELS:
        torch.testing.assert_close(getattr(drawn, channel), getattr(draw(kept, cameras, channels=CHANNELS), channel))
    assert (drawn.radii[:, 3] == 0).all()
    assert (drawn.radii[:, :3] > 0).all()
    (drawn.rgb.sum() + drawn.depth.sum() + drawn.normal.sum()).backward()
    for leaf in leaves.values():
        assert leaf.grad.isfinite().all()
        assert (leaf.grad[3] == 0).all()


@pytest.mark.parametrize("depth", [-3.0, 0.0, 0.005, 200.0])
def test_splats_outside_near_and_far_are_left_out(depth):
    splats = single_splats([[0.0, 0.0, depth]], scale=0.5, opacity=0.5, rgb=[1.0, 1.0, 1.0])
    means = splats.means.clone().requires_grad_()
    drawn = draw(replace(splats, means=means), front_camera(), settings=RasterSettings(far=100))
    assert not drawn.alpha.any()
    assert not drawn.radii.any()
    drawn.rgb.sum().backward()
    assert means.grad.tolist() == [[0.0, 0.0, 0.0]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_no_splats_and_one_pixel(make_splats, make_cameras, dtype):
    background = torch.tensor([0.1, 0.2, 0.3], dtype=dtype)
    empty = make_splats(4, dtype=dtype).select(torch.zeros(0, dtype=torch.long))
    drawn = draw(empty, make_cameras(2, dtype=dtype), background=background, channels=CHANNELS)
    torch.testing.assert_close(drawn.rgb, background.expand(2, 16, 20, 3))
    assert drawn.radii.shape == (2, 0, 2)
    assert not drawn.depth.any()
    pixel = draw(make_splats(dtype=dtype), make_cameras(1, width=1, height=1, dtype=dtype), channels=CHANNELS)
    assert pixel.rgb.shape == (1, 1, 1, 3)
    assert pixel.alpha.item() > 0.1
    assert pixel.normal.dtype == dtype


def test_bands_of_rows_change_nothing(make_splats, make_cameras, monkeypatch):
    splats, cameras = make_splats(30), make_cameras(2)
    leaves = [getattr(splats, f.name).requires_grad_() for f in fields(splats)]

    def run():
        drawn = draw(splats, cameras, channels=CHANNELS)
        pictures = [drawn.rgb, drawn.alpha, drawn.depth, drawn.normal]
        return [*pictures, drawn.median_depth, *torch.autograd.grad(sum(p.square().sum() for p in pictures), leaves)]

    whole = run()
    monkeypatch.setattr(reference, "PAIRS_PER_BAND", 700)
    ellipses = projection.project(splats, cameras.select([0]), RasterSettings())
    assert len(reference._bands(ellipses, cameras.width, cameras.height)) > 3
    for one, other in zip(whole, run(), strict=True):
        torch.testing.assert_close(one, other)
