"""The native rasterizer: C++ kernels for float32 splats on a CPU, with gradients."""

from ctypes import byref
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from gen3d.errors import BadInput
from gen3d.renderers.cameras import Cameras
from gen3d.renderers.gaussians import Gaussians
from gen3d.renderers.native.library import Frame, Gradients, ImageGradients, Images, Settings, Splats, View, failure, load
from gen3d.renderers.native.threads import thread_count
from gen3d.renderers.projection import facing_normals
from gen3d.renderers.rendering import RasterSettings, Rendering

LARGEST_SIDE = 32_768  # pixels; the kernels count rows in 16 bits
FEATURE_COUNTS = (0, 1, 4)  # what the kernels are compiled for


def unavailable() -> str | None:
    """Why the kernels cannot run here, as one sentence; None when they can."""
    return failure()


def supports(gaussians: Gaussians) -> bool:
    """float32 on a CPU."""
    return gaussians.means.dtype == torch.float32 and gaussians.means.device.type == "cpu"


def build_info() -> str:
    """Which build is active, how many threads it uses and why it is not a faster one, for people; or why there is none."""
    if reason := failure():
        return reason
    library = load()
    slower = f"; slower than it could be: {library.skipped}" if library.skipped else ""
    return f"{library.instructions}, {thread_count()} threads{slower}"


def rasterize(
    gaussians: Gaussians,
    cameras: Cameras,
    background: Float[Tensor, "b v 3"],
    channels: frozenset[str],
    settings: RasterSettings,
    screen_offsets: Float[Tensor, "b v n 2"] | None,
) -> Rendering:
    """Draw every view of every scene, one after another, on `thread_count()` threads.

    The result and its gradients are the same bits for any number of threads.

    Raises:
        BadInput: an image side is longer than 32,768 pixels.
        OutOfMemory: the workspace does not fit.
        ValueError: settings for which the kernels' arithmetic is not defined.
    """
    _check(cameras, settings)
    features = _features(gaussians, cameras, channels)
    inputs = _Inputs(
        means=gaussians.means,
        scales=gaussians.scales,
        quats=gaussians.quats,
        opacities=gaussians.opacities,
        sh=gaussians.sh,
        world_to_camera=cameras.world_to_camera,
        background=background,
        features=features,
        screen_offsets=screen_offsets,
    )
    job = _Job(
        width=cameras.width,
        height=cameras.height,
        intrinsics=cameras.intrinsics.detach().contiguous(),
        settings=Settings(**{f.name: getattr(settings, f.name) for f in fields(settings)}),
        median="median_depth" in channels,
        recording=torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in inputs),
    )
    rgb, alpha, radii, drawn, median = _Rasterize.apply(job, *inputs)
    return Rendering(
        rgb=rgb,
        alpha=alpha,
        radii=radii,
        depth=drawn[..., 0] / torch.where(alpha > 0, alpha, 1) if "depth" in channels else None,
        median_depth=median,
        normal=(drawn[..., 1:] if "depth" in channels else drawn[..., :3]) if "normal" in channels else None,
    )


def _check(cameras: Cameras, settings: RasterSettings) -> None:
    if max(cameras.width, cameras.height) > LARGEST_SIDE:
        raise BadInput(f"the image is {cameras.width}x{cameras.height}; a side has at most {LARGEST_SIDE:,} pixels: draw it smaller")
    if not (settings.near >= 0 and settings.eps2d > 0 and 0 < settings.alpha_min <= settings.alpha_max < 1):
        raise ValueError(f"{settings}: near must be at least 0, eps2d above 0, and 0 < alpha_min <= alpha_max < 1")


def _features(gaussians: Gaussians, cameras: Cameras, channels: frozenset[str]) -> Float[Tensor, "b v n f"] | None:
    """Depth and normal of each splat in each view, which the kernels blend like colours."""
    parts = []
    if "depth" in channels:
        axis = cameras.world_to_camera[..., 2, :]
        depths = gaussians.means @ axis[..., :3].mT + axis[..., None, :, 3]
        parts.append(depths.mT[..., None])
    if "normal" in channels:
        tensors = (getattr(gaussians, f.name)[:, None] for f in fields(gaussians))
        parts.append(facing_normals(Gaussians(*tensors), cameras.positions))
    if not parts:
        return None
    together = torch.cat(parts, -1)
    wanted = next(count for count in FEATURE_COUNTS if count >= together.shape[-1])
    return torch.nn.functional.pad(together, (0, wanted - together.shape[-1]))


class _Inputs(NamedTuple):
    """What is differentiable, in the order in which autograd sees it; also the gradients, None where nobody asks."""

    means: Tensor
    scales: Tensor
    quats: Tensor
    opacities: Tensor
    sh: Tensor
    world_to_camera: Tensor
    background: Tensor
    features: Tensor | None
    screen_offsets: Tensor | None

    def splats(self, scene: int) -> Splats:
        """One scene for the kernels."""
        features = 0 if self.features is None else self.features.shape[-1]
        return Splats(self.opacities.shape[1], self.sh.shape[2], features, *self.splat_addresses(scene))

    def splat_addresses(self, scene: int) -> list[int | None]:
        """Addresses of what all views of a scene share."""
        return [_at(tensor, scene) for tensor in self[:5]]


@dataclass(frozen=True, slots=True)
class _Job:
    """What a call needs besides differentiable tensors."""

    width: int
    height: int
    intrinsics: Float[Tensor, "b v 3 3"]
    settings: Settings
    median: bool
    recording: bool  # a backward pass may follow

    def view(self, scene: int, view: int, given: _Inputs) -> View:
        """One view for the kernels."""
        seen = (given.world_to_camera, self.intrinsics, given.background, given.features, given.screen_offsets)
        return View(self.width, self.height, *(_at(tensor, scene, view) for tensor in seen))


def _at(tensor: Tensor | None, *index: int) -> int | None:
    """Address of `tensor[index]` of a contiguous tensor."""
    if tensor is None:
        return None
    offset = sum(i * stride for i, stride in zip(index, tensor.stride(), strict=False))
    return tensor.data_ptr() + offset * tensor.element_size()


class _Rasterize(torch.autograd.Function):
    """Kernels as one differentiable function of tensors [b, ...] and [b, v, ...]."""

    @staticmethod
    def forward(ctx: Any, job: _Job, *tensors: Tensor | None) -> tuple[Tensor | None, ...]:
        given = _Inputs(*(None if t is None else t.contiguous() for t in tensors))  # type: ignore[arg-type]
        scenes, views = given.background.shape[:2]
        shape = (scenes, views, job.height, job.width)
        rgb, alpha = given.means.new_empty(*shape, 3), given.means.new_empty(shape)
        drawn = None if given.features is None else given.means.new_empty(*shape, given.features.shape[-1])
        median = given.means.new_empty(shape) if job.median else None
        radii = torch.empty(scenes, views, given.means.shape[1], 2, dtype=torch.int32)
        library, threads = load(), thread_count()
        frames: list[Frame] = []
        with library.workspace() as workspace:
            for scene in range(scenes):
                splats = given.splats(scene)
                for view in range(views):
                    if job.recording or not frames:
                        frames.append(library.frame())
                    images = Images(*(_at(t, scene, view) for t in (rgb, alpha, drawn, median, radii)))
                    seen = job.view(scene, view, given)
                    library.call(
                        "gen3d_forward",
                        *(workspace, frames[-1].handle, byref(splats), byref(seen), byref(job.settings), byref(images), threads),
                    )
        if job.recording:
            ctx.job, ctx.frames, ctx.library = job, frames, library
            ctx.save_for_backward(*given, rgb, drawn)
        ctx.mark_non_differentiable(*(t for t in (radii, median) if t is not None))
        ctx.set_materialize_grads(False)
        return rgb, alpha, radii, drawn, median

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, v_rgb: Tensor | None, v_alpha: Tensor | None, _: None, v_drawn: Tensor | None, __: None) -> tuple[Any, ...]:
        *tensors, rgb, drawn = ctx.saved_tensors
        given, job, frames = _Inputs(*tensors), ctx.job, iter(ctx.frames)
        wanted = _Inputs(*ctx.needs_input_grad[1:])
        v_rgb, v_alpha = _gradient(v_rgb, rgb), _gradient(v_alpha, rgb[..., 0])
        v_drawn = None if drawn is None else _gradient(v_drawn, drawn)
        # The kernels skip a pose and offsets that are None; the rest falls out of the same sums.
        found = _Inputs(*(None if t is None else torch.empty_like(t) for t in given))  # type: ignore[arg-type]
        v_pose = found.world_to_camera if wanted.world_to_camera else None
        v_offsets = found.screen_offsets if wanted.screen_offsets else None
        threads = thread_count()
        with ctx.library.workspace() as workspace:
            for scene in range(rgb.shape[0]):
                splats, shared = given.splats(scene), found.splat_addresses(scene)
                for view in range(rgb.shape[1]):
                    own = [_at(t, scene, view) for t in (found.background, found.features, v_offsets, v_pose)]
                    images = ImageGradients(*(_at(t, scene, view) for t in (rgb, drawn, v_rgb, v_alpha, v_drawn)))
                    gradients, seen = Gradients(view > 0, *shared, *own), job.view(scene, view, given)
                    ctx.library.call(
                        "gen3d_backward",
                        *(workspace, next(frames).handle, byref(splats), byref(seen), byref(job.settings)),
                        *(byref(images), byref(gradients), threads),
                    )
        return None, *(t if want else None for t, want in zip(found, wanted, strict=True))


def _gradient(given: Tensor | None, like: Tensor) -> Tensor:
    return torch.zeros_like(like, memory_format=torch.contiguous_format) if given is None else given.contiguous()
