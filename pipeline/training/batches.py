"""Batches of training steps: which objects, which views are given, and how they are varied; all a function of seed and step."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor
from torch.utils.data import Dataset

from gen3d.pipeline.formats.images import to_uint8
from gen3d.pipeline.objects.object_set import ObjectSet
from gen3d.pipeline.objects.views import RING, ObjectViews
from gen3d.pipeline.training.settings import DsplatsSettings
from gen3d.renderers.cameras import Cameras
from gen3d.renderers.frames import rigid

GIVEN = (0.1, 0.6, 0.1, 0.05, 0.15)  # how often none, one, ... of four views are given in a step with noised views
FRONT = 0.4  # how often the reference is the object's front, as in most pictures
RING_FIRST = 0.4  # how often another one of the views around the object; else any view
AROUND = 0.7  # how often the others stand evenly around it


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
    """

    pictures: Float[Tensor, "b v 3 h w"]
    alpha: Float[Tensor, "b v h w"]
    cameras: Cameras
    given: Bool[Tensor, "b n"]
    times: Float[Tensor, " b"]
    noise: Float[Tensor, "b n 3 h w"]
    captions: tuple[str, ...]

    def to(self, device: torch.device) -> "ObjectBatch":
        """The same on another device; Lightning calls it."""
        moved = {name: getattr(self, name).to(device) for name in ("pictures", "alpha", "cameras", "given", "times", "noise")}
        return replace(self, **moved)


class StepBatches(Dataset[ObjectBatch]):
    """The batch of every step, by its number; ranks take turns with its objects.

    Args:
        sets: to choose from; they may hold the same objects, drawn in different ways.
        settings: of the training.
        rank: of this process.
        world: number of processes; divides the objects of a step.

    Raises:
        ValueError: the processes cannot share the objects of a step equally.
    """

    def __init__(self, sets: Sequence[ObjectSet], settings: DsplatsSettings, rank: int = 0, world: int = 1) -> None:
        if settings.objects % world or settings.joint_objects % world:
            raise ValueError(
                f"{settings.objects} and {settings.joint_objects} objects of a step cannot be shared by {world} processes; choose multiples"
            )
        self._objects = [(objects, number) for objects in sets for number in range(len(objects))]
        self._settings, self._rank, self._world = settings, rank, world
        self._chances = tier_chances([record.tier for objects in sets for record in objects.records], settings.balance)
        self._seen: dict[int, Kept] = {}

    def __len__(self) -> int:
        return self._settings.steps

    def __getitem__(self, step: int) -> ObjectBatch:
        settings, generator = self._settings, torch.Generator().manual_seed(settings_seed(self._settings.seed, step))
        joint = step >= settings.warmup * settings.steps and torch.rand((), generator=generator) < settings.joint
        count = settings.joint_objects if joint else settings.objects
        chosen = torch.multinomial(self._chances, count, generator=generator, replacement=count > len(self._objects))
        seeds = torch.randint(2**62, (count,), generator=generator)
        times = (torch.randperm(count, generator=generator) + torch.rand(count, generator=generator)) / count  # stratified
        mine = range(self._rank, count, self._world)
        parts = [self._sample(int(chosen[i]), int(seeds[i]), float(times[i]), joint=bool(joint)) for i in mine]
        return joined(parts)

    def _sample(self, number: int, seed: int, time: float, *, joint: bool) -> ObjectBatch:
        """One object: its views chosen, placed before the first of them, mirrored, with colours exchanged, and its noise."""
        if number not in self._seen:
            objects, place = self._objects[number]
            self._seen[number] = kept(objects.read(place))
        views, generator = self._seen[number], torch.Generator().manual_seed(seed)
        taken = self._settings.views if joint else 1
        order = choose_views(views.cameras.shape[-1], taken, self._settings.targets, generator)
        pictures = views.pictures[order].float() / 127.5 - 1
        alpha, cameras = views.alpha[order].float() / 255, before(views.cameras.select(order))
        if torch.rand((), generator=generator) < 0.5:
            pictures, alpha, cameras = pictures.flip(-1), alpha.flip(-1), mirrored(cameras)
        pictures = pictures[:, torch.randperm(3, generator=generator)]
        known = given_views(taken, generator) if joint else torch.ones(1, dtype=torch.bool)
        noise = torch.randn(taken, *pictures.shape[1:], generator=generator)
        objects, place = self._objects[number]
        caption = "" if torch.rand((), generator=generator) < self._settings.untold else objects.records[place].caption
        placed = replace(cameras, world_to_camera=cameras.world_to_camera[None], intrinsics=cameras.intrinsics[None])
        return ObjectBatch(pictures[None], alpha[None], placed, known[None], torch.tensor([time]), noise[None], (caption,))


@dataclass(frozen=True, slots=True)
class Kept:
    """Views of an object that stay in memory: a whole library of them is some hundred megabytes.

    Attributes:
        pictures: over white `[v, 3, h, w]`.
        alpha: `[v, h, w]`.
        cameras: `[v]`.
    """

    pictures: UInt8[Tensor, "v 3 h w"]
    alpha: UInt8[Tensor, "v h w"]
    cameras: Cameras


def kept(views: ObjectViews) -> Kept:
    """Views in 8 bits, which they were rendered to."""
    pictures = to_uint8(views.over(torch.ones(3))).movedim(-1, 1).contiguous()
    return Kept(pictures, to_uint8(views.alpha), views.cameras)


def settings_seed(seed: int, step: int) -> int:
    """A seed for every step; steps of other seeds get other ones."""
    return (seed * 1_000_003 + step) % 2**63


def tier_chances(tiers: Sequence[str], balance: float) -> Float[Tensor, " n"]:
    """How often each object comes: number of its tier to the power of -balance."""
    count = Counter(tiers)
    return torch.tensor([count[tier] ** -balance for tier in tiers], dtype=torch.float64)


def choose_views(count: int, taken: int, targets: int, generator: torch.Generator) -> list[int]:
    """Numbers of the views that a network takes, and then of those that it is only compared with.

    The first `RING` of an object stand around it at equal distances.

    Args:
        count: of the object's views.
        taken: by the network, the first one is the reference.
        targets: further ones.
        generator: source of random numbers.
    """
    kind = float(torch.rand((), generator=generator))
    ring = kind < FRONT + RING_FIRST
    first = 0 if kind < FRONT else int(torch.randint(RING if ring else count, (), generator=generator))
    chosen = [first]
    if ring and RING % taken == 0 and torch.rand((), generator=generator) < AROUND:
        chosen = [(first + i * RING // taken) % RING for i in range(taken)]
    rest = [i for i in torch.randperm(count, generator=generator).tolist() if i not in chosen]
    return (chosen + rest)[: taken + targets]


def given_views(taken: int, generator: torch.Generator) -> Bool[Tensor, " n"]:
    """Which views are given: the first ones, as many as chance says."""
    chances = torch.tensor(GIVEN[: taken + 1])
    count = int(torch.multinomial(chances, 1, generator=generator))
    return torch.arange(taken) < count


def before(cameras: Cameras) -> Cameras:
    """The same views of a world turned about +Y so that the first one looks from the front, +Z."""
    x, _, z = cameras.positions[0].double().tolist()
    length = max((x * x + z * z) ** 0.5, 1e-12)
    sin, cos = x / length, z / length
    turn = torch.tensor([[cos, 0.0, -sin], [0.0, 1.0, 0.0], [sin, 0.0, cos]], dtype=torch.float64)
    moved = cameras.to(torch.float64).moved(rigid(turn))
    return moved.to(torch.float32)


def mirrored(cameras: Cameras) -> Cameras:
    """The views of the world seen in a mirror at x = 0, whose pictures are flipped left to right."""
    flip = torch.diag(torch.tensor([-1.0, 1.0, 1.0, 1.0])).to(cameras.world_to_camera)
    intrinsics = cameras.intrinsics.clone()
    intrinsics[..., 0, 2] = cameras.width - intrinsics[..., 0, 2]
    return replace(cameras, world_to_camera=flip @ cameras.world_to_camera @ flip, intrinsics=intrinsics)


def joined(parts: Sequence[ObjectBatch]) -> ObjectBatch:
    """One batch of several."""
    tensors = {name: torch.cat([getattr(part, name) for part in parts]) for name in ("pictures", "alpha", "given", "times", "noise")}
    first = parts[0].cameras
    poses, matrices = (torch.cat([getattr(part.cameras, name) for part in parts]) for name in ("world_to_camera", "intrinsics"))
    captions = tuple(caption for part in parts for caption in part.captions)
    return ObjectBatch(cameras=replace(first, world_to_camera=poses, intrinsics=matrices), captions=captions, **tensors)
