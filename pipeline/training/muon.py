"""AdamW for what is no matrix, and Muon for matrices: momentum whose singular values are all made about one (Jordan et al. 2024).

torch.optim.Muon takes matrices only; here kernels of convolutions are matrices too, a row for each channel that comes out, and one
optimiser holds all parameters, as Lightning's automatic steps need. Several processes share the work: each makes some of the updates
and sends them to the others, so that the result is that of one process.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from jaxtyping import BFloat16, Float
from torch import Tensor, distributed

QUINTIC = (3.4445, -4.7750, 2.0315)  # of the iteration; singular values end between 0.7 and 1.2, which does as well as 1
ITERATIONS = 5
LIKE_ADAM = 0.2  # root mean square of Adam's updates, so that both kinds share a rate (Liu et al. 2025, 2502.16982)


class Muon(torch.optim.Optimizer):
    """Both kinds of update.

    Args:
        matrices: parameters of two or more dimensions, flattened to matrices.
        others: parameters for AdamW, of any shape.
        lr: of both.
        weight_decay: of matrices; others have none.
        momentum: of matrices, Nesterov's.
        betas: of AdamW.
    """

    def __init__(
        self,
        matrices: Iterable[Tensor],
        others: Iterable[Tensor],
        lr: float = 1e-3,
        weight_decay: float = 0.02,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.98),
    ) -> None:
        groups = [{"params": list(matrices), "matrices": True}, {"params": list(others), "matrices": False}]
        defaults = {"lr": lr, "weight_decay": weight_decay, "momentum": momentum, "betas": betas, "matrices": False}
        super().__init__([group for group in groups if group["params"]], defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step."""
        result = None
        if closure is not None:
            with torch.enable_grad():
                result = closure()
        for group in self.param_groups:
            known = [parameter for parameter in group["params"] if parameter.grad is not None]
            (self._matrices if group["matrices"] else self._others)(known, group)
        return result

    def _matrices(self, parameters: Sequence[Tensor], group: dict[str, Any]) -> None:
        several = distributed.is_available() and distributed.is_initialized()
        rank, world = (distributed.get_rank(), distributed.get_world_size()) if several else (0, 1)
        makers, updates = shares([parameter.flatten(1).shape for parameter in parameters], world), list[Tensor]()
        for parameter, maker in zip(parameters, makers, strict=True):
            assert parameter.grad is not None
            state = self.state[parameter]
            if not state:
                state["momentum"] = torch.zeros_like(parameter)
            state["momentum"].lerp_(parameter.grad, 1 - group["momentum"])
            if maker == rank:
                updates.append(orthogonal(parameter.grad.lerp(state["momentum"], group["momentum"]).flatten(1)))
            else:
                updates.append(torch.empty_like(parameter, dtype=torch.bfloat16).flatten(1))
        if world > 1:
            pairs = zip(updates, makers, strict=True)
            for sent in [distributed.broadcast(update.view(torch.uint8), maker, async_op=True) for update, maker in pairs]:
                sent.wait()
        for parameter, update in zip(parameters, updates, strict=True):
            parameter.mul_(1 - group["lr"] * group["weight_decay"])
            parameter.add_(update.view_as(parameter), alpha=-group["lr"] * LIKE_ADAM * max(update.shape) ** 0.5)

    def _others(self, parameters: Sequence[Tensor], group: dict[str, Any]) -> None:
        first, second = group["betas"]
        for parameter in parameters:
            assert parameter.grad is not None
            state = self.state[parameter]
            if not state:
                state |= {"step": torch.zeros(()), "mean": torch.zeros_like(parameter), "square": torch.zeros_like(parameter)}
            state["step"] += 1
            state["mean"].lerp_(parameter.grad, 1 - first)
            state["square"].lerp_(parameter.grad.square(), 1 - second)
            count = float(state["step"])
            spread = (state["square"] / (1 - second**count)).sqrt().add_(1e-8)
            parameter.addcdiv_(state["mean"], spread, value=-group["lr"] / (1 - first**count))


def shares(shapes: Sequence[Sequence[int]], world: int) -> list[int]:
    """Which process makes the update of each matrix: the most costly first, each to whoever has the least to do."""
    costs, makers, busy = [rows * columns * min(rows, columns) for rows, columns in shapes], [0] * len(shapes), [0] * world
    for number in sorted(range(len(shapes)), key=lambda each: -costs[each]):
        makers[number] = busy.index(min(busy))
        busy[makers[number]] += costs[number]
    return makers


def orthogonal(matrix: Float[Tensor, "m n"]) -> BFloat16[Tensor, "m n"]:
    """The matrix with its singular values brought near one, by five steps of a quintic iteration in bfloat16."""
    a, b, c = QUINTIC
    wide = matrix.shape[0] <= matrix.shape[1]
    x = (matrix if wide else matrix.mT).bfloat16()
    x = x / x.norm().clamp_min(1e-7)
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x if wide else x.mT).contiguous()
