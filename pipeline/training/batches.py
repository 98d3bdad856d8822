"""Batches of training steps: which objects, which views are given, and how they are varied; all a function of seed and step."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import torch
from jaxtyping import Bool, Float, Float16, UInt8
from torch import Tensor
from torch.utils.data import Dataset

from gen3d.errors import UsageError
from gen3d.pipeline.formats.images import to_uint8
from gen3d.pipeline.objects.object_set import ObjectSet
from gen3d.pipeline.objects.views import ObjectViews
from gen3d.pipeline.training.settings import DsplatsSettings
from gen3d.pipeline.training.viewpoints import before, choose_views, given_views, mirrored
from gen3d.priors.samplers.objectives import stratified
from gen3d.renderers.cameras import Cameras

MEMORY = 4 << 30  # bytes of views that a process keeps; 1,600 objects of 20 views of 64 pixels take half of one


@dataclass(frozen=True, slots=True)
class ObjectBatch:
    """Views of objects, those that the network takes first.

    Attributes:
        pictures: over white, in [-1, 1], `[b, v, 3, h, w]`.
        alpha: `[b, v, h, w]`.
        cameras: `[b, v]` in the frame whose front is where the first view looks from.
        given: of the views that the network takes `[b, n]`; the rest of them are noised.
        times: of the noised views, one for an object, in (0, 1) `[b]`.
        noise: `[b, n, 3, h, w]`.
        captions: of the objects, empty where it is left out.
        depth: along the optical axis `[b, v, h, w]`, 0 where nothing is; None where it does not count.
    """

    pictures: Float[Tensor, "b v 3 h w"]
    alpha: Float[Tensor, "b v h w"]
    cameras: Cameras
    given: Bool[Tensor, "b n"]
    times: Float[Tensor, " b"]
    noise: Float[Tensor, "b n 3 h w"]
    captions: tuple[str, ...]
    depth: Float[Tensor, "b v h w"] | None = None

    def to(self, device: torch.device) -> "ObjectBatch":
        """The same on another device; Lightning calls it."""
        there = [field.name for field in fields(self) if isinstance(getattr(self, field.name), Tensor | Cameras)]
        return replace(self, **{name: getattr(self, name).to(device) for name in there})


class StepBatches(Dataset[ObjectBatch]):
    """The batch of every step, by its number; ranks take turns with its objects.

    Args:
        sets: to choose from; they may hold the same objects, drawn in different ways.
        settings: of the training.
        rank: of this process.
        world: number of processes; divides the objects of a batch.
        accumulate: batches of a step.

    Raises:
        UsageError: there are no objects, or not enough views, or the processes cannot share the objects of a step equally.
    """

    def __init__(self, sets: Sequence[ObjectSet], settings: DsplatsSettings, rank: int = 0, world: int = 1, accumulate: int = 1) -> None:
        if settings.objects % world or settings.joint_objects % world:
            raise UsageError(
                f"{settings.objects} and {settings.joint_objects} objects of a step cannot be shared by {world} processes; choose multiples"
            )
        if not any(map(len, sets)):
            raise UsageError("no training objects are left; keep fewer with --holdout, or render a larger library")
        if (fewest := min(objects.manifest.settings.views for objects in sets)) < settings.views + settings.targets:
            raise UsageError(
                f"{settings.views} views and {settings.targets} targets are asked for and a set has {fewest} views; lower --targets, "
                "or render more"
            )
        self._objects = [(objects, number) for objects in sets for number in range(len(objects))]
        self._settings, self._rank, self._world, self._accumulate = settings, rank, world, accumulate
        self._chances = tier_chances([record.tier for objects in sets for record in objects.records], settings.balance)
        self._seen: dict[int, Kept] = {}
        self._room = MEMORY

    def __len__(self) -> int:
        return self._settings.steps * self._accumulate

    def __getitem__(self, index: int) -> ObjectBatch:
        settings, generator = self._settings, torch.Generator().manual_seed(settings_seed(self._settings.seed, index))
        joint = index >= settings.warmup * len(self) and torch.rand((), generator=generator) < settings.joint
        count = settings.joint_objects if joint else settings.objects
        chosen = torch.multinomial(self._chances, count, generator=generator, replacement=count > len(self._objects))
        seeds = torch.randint(2**62, (count,), generator=generator)
        times = stratified(count, generator)
        mine = range(self._rank, count, self._world)
        parts = [self._sample(int(chosen[i]), int(seeds[i]), float(times[i]), joint=bool(joint)) for i in mine]
        return joined(parts)

    def _sample(self, number: int, seed: int, time: float, *, joint: bool) -> ObjectBatch:
        """One object: its views chosen, placed before the first of them, mirrored, with colours exchanged, and its noise."""
        views, generator = self._read(number), torch.Generator().manual_seed(seed)
        taken = self._settings.views if joint else 1
        order = choose_views(views.cameras.shape[-1], taken, self._settings.targets, generator)
        pictures = views.pictures[order].float() / 127.5 - 1
        alpha, cameras = views.alpha[order].float() / 255, before(views.cameras.select(order))
        depth = None if views.depth is None else views.depth[order].float()
        if torch.rand((), generator=generator) < 0.5:
            pictures, alpha, cameras = pictures.flip(-1), alpha.flip(-1), mirrored(cameras)
            depth = None if depth is None else depth.flip(-1)
        colors = torch.randperm(3, generator=generator)
        if not self._settings.pretrained:  # captions name colours
            pictures = pictures[:, colors]
        known = given_views(taken, self._settings.given, generator) if joint else torch.ones(1, dtype=torch.bool)
        noise = torch.randn(taken, *pictures.shape[1:], generator=generator)
        objects, place = self._objects[number]
        caption = "" if torch.rand((), generator=generator) < self._settings.untold else objects.records[place].caption
        far = None if depth is None else depth[None]
        return ObjectBatch(pictures[None], alpha[None], cameras.expand(1), known[None], torch.tensor([time]), noise[None], (caption,), far)

    def _read(self, number: int) -> "Kept":
        """An object from memory, or from its file, to stay in memory while there is room."""
        if number in self._seen:
            return self._seen[number]
        objects, place = self._objects[number]
        views = kept(objects.read(place), depth=self._settings.depth > 0)
        if views.bytes <= self._room:
            self._seen[number] = views
            self._room -= views.bytes
        return views


@dataclass(frozen=True, slots=True)
class Kept:
    """Views of an object as they stay in memory.

    Attributes:
        pictures: over white `[v, 3, h, w]`.
        alpha: `[v, h, w]`.
        cameras: `[v]`.
        depth: `[v, h, w]`, or None.
    """

    pictures: UInt8[Tensor, "v 3 h w"]
    alpha: UInt8[Tensor, "v h w"]
    cameras: Cameras
    depth: Float16[Tensor, "v h w"] | None

    @property
    def bytes(self) -> int:
        """Its size."""
        return sum(part.nbytes for part in (self.pictures, self.alpha, self.depth) if part is not None)


def kept(views: ObjectViews, *, depth: bool = False) -> Kept:
    """Views in 8 bits, which they were rendered to; depth in 16.

    Raises:
        UsageError: depth is asked for, and the views have none.
    """
    if depth and views.depth is None:
        raise UsageError("depth counts in this training and the set holds none; render it with --geometry true, or say --depth 0")
    pictures = to_uint8(views.over(torch.ones(3))).movedim(-1, 1).contiguous()
    far = views.depth.half() if depth and views.depth is not None else None
    return Kept(pictures, to_uint8(views.alpha), views.cameras, far)


def settings_seed(seed: int, step: int) -> int:
    """A seed for every step; steps of other seeds get other ones."""
    return (seed * 1_000_003 + step) % 2**63


def tier_chances(tiers: Sequence[str], balance: float) -> Float[Tensor, " n"]:
    """How often each object comes: number of its tier to the power of -balance."""
    count = Counter(tiers)
    return torch.tensor([count[tier] ** -balance for tier in tiers], dtype=torch.float64)


def joined(parts: Sequence[ObjectBatch]) -> ObjectBatch:
    """One batch of several."""
    tensors = {name: torch.cat([getattr(part, name) for part in parts]) for name in ("pictures", "alpha", "given", "times", "noise")}
    first = parts[0].cameras
    poses, matrices = (torch.cat([getattr(part.cameras, name) for part in parts]) for name in ("world_to_camera", "intrinsics"))
    captions = tuple(caption for part in parts for caption in part.captions)
    depths = [part.depth for part in parts if part.depth is not None]
    depth = torch.cat(depths) if depths else None
    return ObjectBatch(cameras=replace(first, world_to_camera=poses, intrinsics=matrices), captions=captions, depth=depth, **tensors)
