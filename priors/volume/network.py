"""A 3D U-Net that reads sentences: from noised distance fields to clean ones, and on to the attributes of splats (GVGEN, 2403.12957)."""

from dataclasses import asdict
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from gen3d.priors.layers import silent
from gen3d.priors.samplers.paths import Cosine, Flow, Path
from gen3d.priors.told import Told
from gen3d.priors.volume.blocks import Attention, Convolution, Residual, folded, unfolded, waves
from gen3d.priors.volume.settings import VolumeNetworkSettings
from gen3d.priors.volume.volume import Statistics

NONE = "none"
KINDS = ("x0", "v", "flow", NONE)


class VolumeNetwork(nn.Module):
    """Volumes to volumes.

    Args:
        settings: shapes.
        inputs: channels of the volumes that are taken.
        outputs: channels of those that are given.
        kind: what is predicted from noised volumes: x0, v or flow; none where nothing is noised, and there are no times.
    """

    ENDS = ("enter.", "leave.", "absent")  # parameters of the first layer, of the last, and the token

    def __init__(self, settings: VolumeNetworkSettings, inputs: int, outputs: int, kind: str = "x0") -> None:
        super().__init__()
        self.checkpointing = False  # of gradients: features are computed again on the way back
        if kind not in KINDS:
            raise ValueError(f"the kind of prediction is {kind!r}; choose one of {', '.join(KINDS)}")
        self.settings, self.inputs, self.outputs, self.kind = settings, inputs, outputs, kind
        self.mean, self.std = nn.Buffer(torch.zeros(outputs)), nn.Buffer(torch.ones(outputs))  # of what it gives, before it is normalised
        channels, patch, groups = settings.channels, settings.patch, settings.groups
        told = 4 * channels[0]
        self.time = nn.Sequential(nn.Linear(channels[0], told), nn.SiLU(), nn.Linear(told, told)) if kind != NONE else None
        self.sentence = nn.Linear(settings.text, told)
        self.absent = nn.Parameter(0.02 * torch.randn(1, 1, settings.text))  # the token that stands for no condition
        self.enter = Convolution(inputs * patch**3, channels[0], 3, padding=1)
        first = len(channels) - settings.attention  # level that has attention
        self.down, self.up, self.shrink, self.grow = (nn.ModuleList() for _ in range(4))
        width, held = channels[0], [channels[0]]
        for level, outputs_ in enumerate(channels):
            for _ in range(settings.depth):
                self.down.append(_Stage(width, outputs_, told, settings, attends=level >= first))
                width = outputs_
                held.append(width)
            if level < len(channels) - 1:
                self.shrink.append(Convolution(width, width, 3, stride=2, padding=1))
                held.append(width)
        stage = _Stage(width, width, told, settings, attends=settings.attention > 0)
        self.middle = nn.ModuleList([stage, Residual(width, width, told, groups)])
        for level, outputs_ in reversed(list(enumerate(channels))):
            for _ in range(settings.depth + 1):
                self.up.append(_Stage(width + held.pop(), outputs_, told, settings, attends=level >= first))
                width = outputs_
            if level:
                self.grow.append(Convolution(width, width, 3, padding=1))
        self.norm, self.leave = nn.GroupNorm(groups, width), silent(Convolution(width, outputs * patch**3, 3, padding=1))

    def forward(
        self, x: Float[Tensor, "b i n n n"], times: Float[Tensor, " b"] | None = None, told: Told | None = None
    ) -> Float[Tensor, "b o n n n"]:
        """What the last layer gives, of any size.

        Args:
            x: volumes.
            times: in [0, 1], of networks that have them.
            told: of the objects; None for nothing.
        """
        b, settings = len(x), self.settings
        tokens, mask, pooled = self._told(b, told)
        mood = self.sentence(pooled)
        if self.time is not None:
            if times is None:
                raise ValueError("the network has times and none are given")
            mood = mood + self.time(waves(times, settings.channels[0]).to(x))
        y = self.enter(folded(x, settings.patch))
        kept, stages, shrinks = [y], iter(self.down), iter(self.shrink)
        for level in range(len(settings.channels)):
            for _ in range(settings.depth):
                y = self._through(next(stages), y, mood, tokens, mask)
                kept.append(y)
            if level < len(settings.channels) - 1:
                y = next(shrinks)(y)
                kept.append(y)
        y = self.middle[1](self.middle[0](y, mood, tokens, mask), mood)
        stages, grows = iter(self.up), iter(self.grow)
        for level in reversed(range(len(settings.channels))):
            for _ in range(settings.depth + 1):
                y = self._through(next(stages), torch.cat([y, kept.pop()], 1), mood, tokens, mask)
            if level:
                y = next(grows)(nn.functional.interpolate(y, scale_factor=2.0))
        return unfolded(self.leave(nn.functional.silu(self.norm(y))), settings.patch)

    def _through(self, stage: nn.Module, *inputs: Tensor) -> Tensor:
        if self.checkpointing and torch.is_grad_enabled():
            again: Tensor = checkpoint(stage, *inputs, use_reentrant=False)
            return again
        plain: Tensor = stage(*inputs)
        return plain

    @property
    def facts(self) -> dict[str, Any]:
        """What tells networks of different shapes apart."""
        return {**asdict(self.settings), "inputs": self.inputs, "outputs": self.outputs, "kind": self.kind}

    @property
    def statistics(self) -> Statistics:
        """What `mean` and `std` do."""
        return Statistics(self.mean, self.std)

    @property
    def path(self) -> Path:
        """What it is trained on."""
        return Flow() if self.kind == "flow" else Cosine()

    def _told(self, count: int, told: Told | None) -> tuple[Tensor, Tensor, Tensor]:
        absent = self.absent.expand(count, -1, -1)
        if told is None:
            return absent, torch.ones(count, 1, dtype=torch.bool, device=absent.device), 0 * absent[:, 0]
        # What stands for no condition always has a gradient: processes wait for those of all weights.
        mask = torch.cat([torch.ones_like(told.mask[:, :1]), told.mask], 1)
        return torch.cat([absent, told.tokens.to(absent)], 1), mask, told.pooled.to(absent) + 0 * absent[:, 0]


class _Stage(nn.Module):
    """A residual block, and attention where the level has it."""

    def __init__(self, inputs: int, outputs: int, told: int, settings: VolumeNetworkSettings, *, attends: bool) -> None:
        super().__init__()
        self.block = Residual(inputs, outputs, told, settings.groups)
        self.attention = Attention(outputs, settings.head, settings.text, settings.groups) if attends else None

    def forward(self, x: Tensor, mood: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
        """Features of the same grid."""
        x = self.block(x, mood)
        return x if self.attention is None else self.attention(x, tokens, mask)
