"""diffusers in: paths, kinds of prediction, grids and solvers from the configurations and schedulers of that library."""

import math
from collections.abc import Iterable, Mapping
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from gen3d.priors.samplers.grids import Grid, flow_shift, from_sigmas, from_times, karras, respaced
from gen3d.priors.samplers.paths import EDM, Flow, Path, VPDiscrete, zero_terminal_snr
from gen3d.priors.samplers.predictions import Kind
from gen3d.priors.samplers.solvers.exponential import DDIM, DPMSolver
from gen3d.priors.samplers.solvers.heun import Coordinate, Heun
from gen3d.priors.samplers.solvers.momentum import Momentum
from gen3d.priors.samplers.solvers.unipc import UniPC
from gen3d.priors.samplers.stepping import Solver

SolverName = Literal["ddim", "dpm", "heun", "unipc", "momentum"]

KINDS: dict[str, Kind] = {"epsilon": "eps", "sample": "x0", "v_prediction": "v", "flow_prediction": "flow"}
BETAS = ("beta_schedule", "beta_start", "trained_betas")


def path_from_config(config: Mapping[str, Any]) -> Path:
    """The path of a scheduler_config.json, or of the `config` of a scheduler, which may lack the name of its class.

    Raises:
        ValueError: it has no schedule of betas, one that is not known, or times of a flow that are inverted.
    """
    if config.get("invert_sigmas"):
        raise ValueError(
            "invert_sigmas is set, so that times rise from noise to data; here they fall, as in other flows: turn the network's"
        )
    if is_flow(config):
        return Flow()
    if is_edm(config):
        return EDM(float(config.get("sigma_max", 80.0)))
    return VPDiscrete(alphas_cumprod(config))


def is_flow(config: Mapping[str, Any]) -> bool:
    """Whether the scheduler is one of rectified flows: by its name or settings, or because it has a shift and no betas."""
    named = "FlowMatch" in str(config.get("_class_name", "")) or config.get("prediction_type") == "flow_prediction"
    return named or bool(config.get("use_flow_sigmas")) or ("shift" in config and not config.keys() & set(BETAS))


def is_edm(config: Mapping[str, Any]) -> bool:
    """Whether the scheduler has EDM's noise and preconditioning."""
    return str(config.get("_class_name", "")).startswith("EDM") or "sigma_schedule" in config


def kind_from_config(config: Mapping[str, Any]) -> Kind:
    """What the network of a scheduler_config.json predicts.

    Raises:
        ValueError: it is something else.
    """
    told = str(config.get("prediction_type", "flow_prediction" if is_flow(config) else "epsilon"))
    if is_edm(config):
        if told != "epsilon":
            raise ValueError(f"the prediction type of an EDM scheduler is {told!r}, a residual of another sign; only epsilon is known here")
        return "edm"
    if told not in KINDS:
        raise ValueError(f"the prediction type is {told!r}; known are {', '.join(KINDS)}")
    return KINDS[told]


def settings_from_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration of a scheduler in the words of `GenScheduler`; of a flow, what it predicts and its shift.

    Raises:
        ValueError: the path is one that `GenScheduler` has not got, or see `path_from_config`.
    """
    path = path_from_config(config)
    if isinstance(path, EDM):
        raise ValueError("the configuration is EDM's, whose scheduler scales the network's input; use `sample` and a Network of kind 'edm'")
    # Diffusers drops what these name. Defaults of another class say what its network is, all but the choice of steps.
    told: dict[str, Any] = {"_use_default_values": [name for name in config.get("_use_default_values", ()) if name == "timestep_spacing"]}
    if isinstance(path, Flow):
        shift = config.get("shift", config.get("flow_shift", 1.0))
        told |= {"use_flow_sigmas": True, "prediction_type": config.get("prediction_type", "flow_prediction"), "shift": shift}
    return {**config, **told}


def alphas_cumprod(config: Mapping[str, Any]) -> Tensor:
    """alpha^2 of a discrete schedule, float64.

    Raises:
        ValueError: there is none, or it is not known.
    """
    if not config.keys() & set(BETAS):
        name = config.get("_class_name", "a scheduler")
        raise ValueError(f"the configuration of {name} has no schedule of betas and is no flow; give one of {', '.join(BETAS)}")
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
    table, scale = (1 - betas).cumprod(0).double(), float(config.get("snr_shift_scale", 1.0))
    table = table / (scale + (1 - scale) * table)
    return zero_terminal_snr(table) if config.get("rescale_betas_zero_snr") else table


def grid_from_config(
    config: Mapping[str, Any],
    steps: int | None = None,
    *,
    sigmas: Iterable[float] | None = None,
    timesteps: Iterable[float] | None = None,
    mu: float | None = None,
) -> Grid:
    """The grid that a configuration asks for, to clean data.

    Args:
        config: its path, and its words timestep_spacing, steps_offset, use_karras_sigmas, shift, use_dynamic_shifting, time_shift_type.
        steps: how many, unless nodes are given.
        sigmas: times of a flow before its shift, falling from 1, without the final 0.
        timesteps: falling, as the network is told them.
        mu: the shift that `use_dynamic_shifting` wants, or its logarithm where `time_shift_type` is exponential.

    Raises:
        ValueError: neither steps nor nodes are given, or what is given does not fit the path.
    """
    path, total = path_from_config(config), int(config.get("num_train_timesteps", 1000))
    flow = isinstance(path, Flow)
    if sigmas is not None:
        if not flow:
            raise ValueError("sigmas are times of a flow; this scheduler's network has timesteps, give those")
        shift = _shift(config, mu)
        return from_times(path, [*(float(t / (t + (1 - t) / shift)) for t in sigmas), path.cleanest])
    if timesteps is not None:
        return from_times(path, [*(float(t) / (total if flow else 1) for t in timesteps), path.cleanest])
    if steps is None:
        raise ValueError("no steps are asked for; give num_inference_steps, sigmas or timesteps")
    if not isinstance(path, VPDiscrete):
        if config.get("use_karras_sigmas"):
            raise ValueError("use_karras_sigmas is set, but steps of a flow follow its shift; give use_karras_sigmas=False")
        return flow_shift(path, steps, shift=_shift(config, mu))
    if config.get("use_karras_sigmas"):
        return karras(path, steps, sb_min=float(path(0.0).sb), sb_max=path.most)
    spacing = config.get("timestep_spacing", "trailing")
    if spacing != "leading":
        return respaced(path, steps, spacing=spacing)
    offset, stride = int(config.get("steps_offset", 0)), total // steps
    return from_times(path, [*(float(offset + i * stride) for i in reversed(range(steps))), path.cleanest])


def _shift(config: Mapping[str, Any], mu: float | None) -> float:
    """Of a flow; mu is left aside where shifting is not dynamic, because pipelines give it to every flow."""
    if not config.get("use_dynamic_shifting"):
        return float(config.get("shift", 1.0))
    if mu is None:
        raise ValueError("use_dynamic_shifting is set, so that the shift depends on the size of the picture; give set_timesteps a mu")
    return mu if config.get("time_shift_type") == "linear" else math.exp(mu)


def solver_from_config(config: Mapping[str, Any]) -> Solver:
    """The solver that a configuration of `GenScheduler` names; on flows those that have a choice go by velocity.

    Raises:
        ValueError: the name is not known.
    """
    name, order, eta = config["solver"], int(config["solver_order"]), float(config["eta"])
    coordinate: Coordinate = "velocity" if is_flow(config) else "noise"
    if name == "ddim":
        return DDIM(eta)
    if name == "dpm":
        return DPMSolver(order, eta)
    if name == "heun":
        return Heun(coordinate)
    if name == "unipc":
        return UniPC(order)
    if name == "momentum":
        return Momentum(float(config["momentum_number"]), coordinate)
    raise ValueError(f"the solver is {name!r}; choose one of {', '.join(get_args(SolverName))}")


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
        return from_times(path, [*(float(t) for t in scheduler.timesteps), last], clean=False)
    values = [float(value) for value in sigmas]
    once = list(dict.fromkeys(values)) if scheduler.order == 2 else values  # Heun and its kin list nodes twice
    return from_times(path, once, clean=False) if is_flow(config) else from_sigmas(path, once, clean=False)
