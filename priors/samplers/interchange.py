"""diffusers in: paths, kinds of prediction and grids from the configurations and schedulers of that library."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from gen3d.priors.samplers.grids import Grid, from_sigmas, from_times
from gen3d.priors.samplers.paths import EDM, Flow, Path, VPDiscrete, zero_terminal_snr
from gen3d.priors.samplers.predictions import Kind

KINDS: dict[str, Kind] = {"epsilon": "eps", "sample": "x0", "v_prediction": "v", "flow_prediction": "flow"}


def path_from_config(config: Mapping[str, Any]) -> Path:
    """The path of a scheduler_config.json.

    Raises:
        ValueError: the schedule of its betas is not known.
    """
    name = str(config.get("_class_name", ""))
    if is_flow(config):
        return Flow()
    if name.startswith("EDM"):
        return EDM(float(config.get("sigma_max", 80.0)))
    return VPDiscrete(alphas_cumprod(config))


def is_flow(config: Mapping[str, Any]) -> bool:
    """Whether the scheduler is one of rectified flows."""
    return "FlowMatch" in str(config.get("_class_name", "")) or bool(config.get("use_flow_sigmas"))


def kind_from_config(config: Mapping[str, Any]) -> Kind:
    """What the network of a scheduler_config.json predicts.

    Raises:
        ValueError: it is something else.
    """
    if "FlowMatch" in str(config.get("_class_name", "")):
        return "flow"
    told = str(config.get("prediction_type", "epsilon"))
    if told not in KINDS:
        raise ValueError(f"the prediction type is {told!r}; known are {', '.join(KINDS)}")
    return KINDS[told]


def alphas_cumprod(config: Mapping[str, Any]) -> Tensor:
    """alpha^2 of a discrete schedule, float64.

    Raises:
        ValueError: the schedule is not known.
    """
    steps, first, last = int(config.get("num_train_timesteps", 1000)), config.get("beta_start", 1e-4), config.get("beta_end", 0.02)
    schedule = config.get("beta_schedule", "linear")
    # In float32 like the networks' training code, so that tables agree to the last bit.
    if config.get("trained_betas") is not None:
        betas = torch.tensor(config["trained_betas"], dtype=torch.float32)
    elif schedule == "linear":
        betas = torch.linspace(first, last, steps, dtype=torch.float32)
    elif schedule == "scaled_linear":
        betas = torch.linspace(first**0.5, last**0.5, steps, dtype=torch.float32) ** 2
    elif schedule == "squaredcos_cap_v2":
        t = torch.linspace(0, 1, steps + 1, dtype=torch.float64)
        bar = torch.cos((t + 0.008) / 1.008 * torch.pi / 2) ** 2
        betas = (1 - bar[1:] / bar[:-1]).clamp(max=0.999).float()
    else:
        raise ValueError(f"the schedule of betas is {schedule!r}; known are linear, scaled_linear and squaredcos_cap_v2")
    table = (1 - betas).cumprod(0).double()
    return zero_terminal_snr(table) if config.get("rescale_betas_zero_snr") else table


def from_scheduler(scheduler: Any) -> Grid:
    """The grid that a diffusers scheduler has after `set_timesteps`, number for number.

    Raises:
        ValueError: it has no steps yet, or its grid repeats a node, as DEIS does at the end of a flow.
    """
    if getattr(scheduler, "num_inference_steps", None) is None:
        raise ValueError(f"{type(scheduler).__name__} has no steps yet; call its set_timesteps first")
    config = {"_class_name": type(scheduler).__name__, **scheduler.config}
    path, sigmas = path_from_config(config), getattr(scheduler, "sigmas", None)
    if sigmas is None:
        last = -1.0 if config.get("set_alpha_to_one", True) else 0.0
        return from_times(path, [*(float(t) for t in scheduler.timesteps), last])
    values = [float(value) for value in sigmas]
    once = list(dict.fromkeys(values)) if scheduler.order == 2 else values  # Heun and its kin list nodes twice
    return from_times(path, once) if is_flow(config) else from_sigmas(path, once)
