"""One Adam over named groups, and surgery on it when the number of splats changes."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from gen3d.pipeline.fitting.settings import RateSettings
from gen3d.renderers.gaussians import GaussianParameters

RATE_OF = {
    "means": "means",
    "log_scales": "scales",
    "quats": "quats",
    "logit_opacities": "opacities",
    "sh0": "sh0",
    "sh_rest": "sh_rest",
}


def make_optimizer(splats: GaussianParameters, rates: RateSettings, extent: float) -> torch.optim.Adam:
    """Adam (fused) with one group for each tensor of the splats; the position rate is scaled by the scene's extent."""
    groups = []
    for name in GaussianParameters.NAMES:
        rate = getattr(rates, RATE_OF[name]) * (extent if name == "means" else 1.0)
        groups.append({"params": [getattr(splats, name)], "lr": rate, "base_lr": rate, "name": name})
    return torch.optim.Adam(groups, eps=1e-15, betas=(0.9, 0.999), fused=True)


def rewrite(
    splats: GaussianParameters,
    optimizer: torch.optim.Optimizer,
    change: Callable[[str, Tensor], Tensor],
    change_state: Callable[[Tensor], Tensor],
) -> None:
    """Replace every tensor of the splats, and Adam's moments of it, by changed ones of a new count.

    Args:
        splats: changed in place; the parameter objects stay, only their data is new.
        optimizer: the Adam of `make_optimizer`.
        change: name and tensor -> new tensor.
        change_state: moments -> new moments, the same rows.
    """
    for name in GaussianParameters.NAMES:
        parameter: nn.Parameter = getattr(splats, name)
        parameter.data = change(name, parameter.data).contiguous()
        parameter.grad = None
        state = optimizer.state.get(parameter, {})
        for key in ("exp_avg", "exp_avg_sq"):
            if key in state:
                state[key] = change_state(state[key]).contiguous()
