"""The splats a fit starts from."""

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from gen3d.pipeline.fitting.sweep import project, sweep_points
from gen3d.pipeline.paths import focus_point
from gen3d.pipeline.scenes.scene import Scene, View, stacked_cameras
from gen3d.renderers import harmonics
from gen3d.renderers.gaussians import Gaussians
from gen3d.renderers.mesh import PointCloud

NEIGHBOURS = 3
INITIAL_OPACITY = 0.1
CANDIDATES_PER_POINT = 20
ENOUGH_SWEPT = 0.1  # of the points that are asked for
CUBE_MARGIN = 1.2  # the cube reaches a little beyond what a camera sees at the distance of its centre
CARVED_SHARE = 0.6  # a point stays when more than this share of the views that see it see the object there


def initial_gaussians(scene: Scene, *, count: int, cap: int, sh_degree: int, seed: int) -> Gaussians:
    """Splats at the scene's points, or at points found in the photos when it has none.

    Args:
        scene: its points are used when there are any.
        count: number of points to find otherwise.
        cap: more points than this are thinned out at random.
        sh_degree: harmonics degree; the coefficients above degree 0 start at zero.
        seed: of the guess.
    """
    points = scene.points
    if points is None or len(points.points) < NEIGHBOURS + 1:
        points = found_points(scene, count=min(count, cap), seed=seed)
    if len(points.points) > cap:
        kept = torch.randperm(len(points.points), generator=torch.Generator().manual_seed(seed))[:cap].sort().values
        points = PointCloud(points.points[kept], points.colors[kept])
    _, radius = common_view(scene)
    return splats_at(points, lone=radius).with_degree(sh_degree)


def splats_at(cloud: PointCloud, *, lone: float) -> Gaussians:
    """One round splat for each point, as large as the root mean square distance to its three nearest neighbours.

    Args:
        cloud: at least one point.
        lone: the size where there is one point only, scene units.
    """
    from scipy.spatial import cKDTree

    points = cloud.points.float()
    if len(points) == 1:
        spacing = torch.tensor([lone])
    else:
        distances, _ = cKDTree(points.numpy()).query(points.numpy(), k=min(NEIGHBOURS + 1, len(points)))
        spacing = torch.from_numpy(distances[:, 1:]).float().square().mean(-1).sqrt()
    # Stray points far from all others would start as scene-sized fog; coincident points would have no size.
    spacing = spacing.clamp(spacing.quantile(0.01).clamp_min(1e-7), spacing.quantile(0.99).clamp_min(1e-7))
    return Gaussians(
        means=points,
        scales=spacing[:, None].repeat(1, 3),
        quats=torch.tensor([1.0, 0.0, 0.0, 0.0]).repeat(len(points), 1),
        opacities=torch.full((len(points),), INITIAL_OPACITY),
        sh=harmonics.rgb_to_sh0(cloud.colors.float())[:, None],
    )


def found_points(scene: Scene, *, count: int, seed: int) -> PointCloud:
    """Points of a scene that brings none: swept ones where photos agree on enough of them, guessed ones otherwise.

    Objects that were cut out have a visual hull, which is the better start.
    """
    if all(view.alpha is None for view in scene.train):
        focus, _ = common_view(scene)
        swept = sweep_points(scene.train, focus, count=count, seed=seed)
        if len(swept.points) >= ENOUGH_SWEPT * count:
            return swept
    return guess_points(scene, count=count, seed=seed)


def guess_points(scene: Scene, *, count: int, seed: int) -> PointCloud:
    """Points without any geometry: random in the cameras' common view, the photo-consistent ones kept.

    Where photos have alpha, a point must fall on the object in most views that see it (the visual hull); everywhere,
    of `CANDIDATES_PER_POINT` times as many candidates those whose colour varies least between views are kept.
    """
    centre, radius = common_view(scene)
    generator = torch.Generator().manual_seed(seed)
    kept_points, kept_scores, kept_colors = [], [], []
    for _ in range(CANDIDATES_PER_POINT):
        candidates = centre + radius * (2 * torch.rand(count, 3, generator=generator) - 1)
        seen, colors, deviation = _look(candidates, scene.train)
        enough = seen >= min(3, len(scene.train))
        kept_points.append(candidates[enough])
        kept_colors.append(colors[enough])
        kept_scores.append(deviation[enough])
    points, colors, scores = torch.cat(kept_points), torch.cat(kept_colors), torch.cat(kept_scores)
    if len(points) <= NEIGHBOURS:  # no point is seen by several views: the plain cube is all there is
        points = centre + radius * (2 * torch.rand(count, 3, generator=generator) - 1)
        return PointCloud(points, torch.full((count, 3), 0.5))
    best = scores.argsort(stable=True)[:count]
    return PointCloud(points[best], colors[best])


def common_view(scene: Scene) -> tuple[Float[Tensor, " 3"], float]:
    """The point that the cameras look at, and half the side of a cube around it that fills their typical view."""
    centre = focus_point(stacked_cameras(scene.train)).float()
    distance = torch.cat([(view.camera.positions - centre).norm(dim=-1) for view in scene.train]).median()
    slope = torch.stack([view.camera.width / (2 * view.camera.intrinsics[0, 0, 0]) for view in scene.train]).median()
    return centre, float(distance * slope.clamp(max=1.0) * CUBE_MARGIN)


def _look(points: Float[Tensor, "n 3"], views: tuple[View, ...]) -> tuple[Tensor, Float[Tensor, "n 3"], Float[Tensor, " n"]]:
    """How many views see each point (0 outside the visual hull), its mean colour and the deviation between views."""
    inside, hits = torch.zeros(len(points)), torch.zeros(len(points))
    total, squares = torch.zeros(len(points), 3), torch.zeros(len(points), 3)
    for view in views:
        visible, row, column = project(points, view.camera)
        if view.mask is not None:
            visible = visible & (view.mask[row, column] > 127)
        opaque = visible if view.alpha is None else visible & (view.alpha[row, column] > 127)
        color = _pixels(view.image, row, column) * opaque[:, None]
        inside += visible
        hits += opaque
        total += color
        squares += color.square()
    hits = torch.where(hits > CARVED_SHARE * inside, hits, 0)
    mean = total / hits.clamp_min(1)[:, None]
    deviation = (squares / hits.clamp_min(1)[:, None] - mean.square()).clamp_min(0).sum(-1).sqrt()
    return hits, mean, deviation


def _pixels(image: UInt8[Tensor, "h w 3"], row: Tensor, column: Tensor) -> Float[Tensor, "n 3"]:
    return image[row, column].float() / 255
