"""The moving average of a network's weights."""

import copy
from typing import Any

import torch
from torch import Tensor, nn


class Average(nn.Module):
    """A copy of a network whose weights follow it; a buffer of a checkpoint, without gradients.

    Args:
        network: to follow.
        decay: share of the average that stays at each step; less in the first steps, so that it forgets the start.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        super().__init__()
        self.network: Any = copy.deepcopy(network).requires_grad_(False).eval()
        self._decay = decay
        self.steps: Tensor
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """One step towards the network."""
        self.steps += 1
        count = int(self.steps)
        kept = min(self._decay, (1 + count) / (10 + count))
        torch._foreach_lerp_(list(self.network.parameters()), [p.detach() for p in network.parameters()], 1 - kept)
