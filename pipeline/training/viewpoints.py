"""Which views of an object training takes, which of them are given, and the world turned and mirrored to suit."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Bool
from torch import Tensor

from gen3d.pipeline.objects.views import RING
from gen3d.renderers.cameras import Cameras
from gen3d.renderers.frames import rigid

FRONT = 0.4  # how often the reference is the object's front, as in most pictures
RING_FIRST = 0.4  # how often another one of the views around the object; else any view
AROUND = 0.7  # how often the others stand evenly around it


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


def given_views(taken: int, chances: Sequence[float], generator: torch.Generator) -> Bool[Tensor, " n"]:
    """Which views are given: the first ones; none, one, ... of them as often as the chances say."""
    count = int(torch.multinomial(torch.tensor(chances), 1, generator=generator))
    return torch.arange(taken) < count


def before(cameras: Cameras) -> Cameras:
    """The same views of a world turned about +Y so that the first one looks from the front, +Z."""
    x, _, z = cameras.world_to_camera[0, 0, :3].double().tolist()  # to its right, which is level even where it looks straight down
    length = (x * x + z * z) ** 0.5
    sin, cos = -z / length, x / length
    turn = torch.tensor([[cos, 0.0, -sin], [0.0, 1.0, 0.0], [sin, 0.0, cos]], dtype=torch.float64)
    moved = cameras.to(torch.float64).moved(rigid(turn))
    return moved.to(torch.float32)


def mirrored(cameras: Cameras) -> Cameras:
    """The views of the world seen in a mirror at x = 0, whose pictures are flipped left to right."""
    flip = torch.diag(torch.tensor([-1.0, 1.0, 1.0, 1.0])).to(cameras.world_to_camera)
    intrinsics = cameras.intrinsics.clone()
    intrinsics[..., 0, 2] = cameras.width - intrinsics[..., 0, 2]
    return replace(cameras, world_to_camera=flip @ cameras.world_to_camera @ flip, intrinsics=intrinsics)
