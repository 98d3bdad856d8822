"""diffusers out: our solvers and grids as a scheduler of a stock `DiffusionPipeline`, with save and load.

The module must be imported before `from_pretrained` reads a pipeline that was saved with it: diffusers looks it up by name.
"""

from dataclasses import replace
from typing import Any, Literal

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.schedulers.scheduling_utils import KarrasDiffusionSchedulers, SchedulerMixin, SchedulerOutput
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor

from gen3d.priors.samplers.coefficients import Coef
from gen3d.priors.samplers.grids import Grid, flow_shift, from_times, karras, respaced
from gen3d.priors.samplers.interchange import KINDS, alphas_cumprod
from gen3d.priors.samplers.paths import Flow, Path, VPDiscrete
from gen3d.priors.samplers.predictions import Prediction, implied_eps, to_x0
from gen3d.priors.samplers.solvers.exponential import DDIM, DPMSolver
from gen3d.priors.samplers.solvers.heun import Heun
from gen3d.priors.samplers.solvers.momentum import Momentum
from gen3d.priors.samplers.solvers.unipc import UniPC
from gen3d.priors.samplers.stepping import Solver, State

SolverName = Literal["ddim", "dpm", "heun", "unipc", "momentum"]


class GenScheduler(SchedulerMixin, ConfigMixin):  # type: ignore[misc]  # both of them name the file of their configuration
    """A scheduler for networks with integer timesteps (variance preserving) or for rectified flows.

    Args:
        num_train_timesteps: of the network.
        beta_start: of its schedule, like the next three.
        beta_end: see above.
        beta_schedule: linear, scaled_linear or squaredcos_cap_v2.
        trained_betas: instead of the three.
        rescale_betas_zero_snr: move the last step to pure noise.
        prediction_type: epsilon, sample, v_prediction or flow_prediction; the last makes it a flow.
        timestep_spacing: trailing, leading or linspace.
        use_karras_sigmas: steps after Karras et al. 2022 instead.
        shift: of a flow's times.
        solver: ddim, dpm, heun, unipc or momentum.
        solver_order: of dpm and unipc.
        momentum_number: of momentum, see `Momentum`.
        eta: noise of ddim and dpm.
    """

    _compatibles = [each.name for each in KarrasDiffusionSchedulers]  # noqa: RUF012  diffusers reads it from the class
    order = 1
    init_noise_sigma = 1.0

    @register_to_config
    def __init__(
        self,
        num_train_timesteps: int = 1000,
        beta_start: float = 1e-4,
        beta_end: float = 0.02,
        beta_schedule: str = "linear",
        trained_betas: list[float] | None = None,
        rescale_betas_zero_snr: bool = False,
        prediction_type: str = "epsilon",
        timestep_spacing: str = "trailing",
        use_karras_sigmas: bool = False,
        shift: float = 1.0,
        solver: SolverName = "dpm",
        solver_order: int = 2,
        momentum_number: float = 1.8,
        eta: float = 0.0,
    ) -> None:
        self._flow = prediction_type == "flow_prediction"
        self._path: Path = Flow() if self._flow else VPDiscrete(alphas_cumprod(dict(self.config)))
        self._kind = KINDS[prediction_type]
        self._solver = _solver(solver, solver_order, momentum_number, eta, flow=self._flow)
        self.order = self._solver.stages
        self._scale = num_train_timesteps if self._flow else 1
        self._grid: Grid | None = None
        self._state: State | None = None
        self._begin = 0
        self.num_inference_steps: int | None = None
        self.timesteps = torch.arange(num_train_timesteps).flip(0)

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: str | torch.device | None = None,
        sigmas: list[float] | None = None,
        timesteps: list[float] | None = None,
        mu: float | None = None,
    ) -> None:
        """Choose the steps; `timesteps` has one entry for each evaluation of the network.

        Args:
            num_inference_steps: how many.
            device: of `timesteps`.
            sigmas: of a flow, falling from 1, without the final 0; instead of a number.
            timesteps: falling, instead of a number.
            mu: log of the shift of a flow.
        """
        given = sigmas if sigmas is not None else None if timesteps is None else [float(t) / self._scale for t in timesteps]
        shift = self.config["shift"] if mu is None else float(torch.tensor(mu).exp())
        if given is not None:
            if sigmas is not None and not self._flow:
                raise ValueError("sigmas are times of a flow; this scheduler's network has timesteps, give those")
            moved = [shift * t / (1 + (shift - 1) * t) for t in given] if sigmas is not None else given
            self._grid = from_times(self._path, [*moved, self._path.cleanest])
        elif num_inference_steps is None:
            raise ValueError("no steps are asked for; give num_inference_steps, sigmas or timesteps")
        elif self._flow:
            self._grid = flow_shift(self._path, num_inference_steps, shift=shift)
        elif self.config["use_karras_sigmas"]:
            low, high = (float(self._path(t).sb) for t in (0.0, self._path.noisiest))
            self._grid = karras(self._path, num_inference_steps, sb_min=low, sb_max=high)
        else:
            assert isinstance(self._path, VPDiscrete)  # for the type checker
            self._grid = respaced(self._path, num_inference_steps, spacing=self.config["timestep_spacing"])
        self.num_inference_steps, self._state, self._begin = len(self._grid), None, 0
        told = torch.tensor([float(c.t) * self._scale for c in self._evaluated()])
        self.timesteps = (told.long() if torch.equal(told, told.round()) else told).to(device or "cpu")

    def _evaluated(self) -> list[Coef]:
        """The nodes at which the network is called, in order."""
        assert self._grid is not None  # for the type checker
        nodes = [[c, self._grid.coefs[i + 1]] if self._twice(i) else [c] for i, c in enumerate(self._grid.coefs[:-1])]
        return [c for step in nodes for c in step]

    def _twice(self, i: int) -> bool:
        assert self._grid is not None  # for the type checker
        return self._solver.stages == 2 and bool(self._grid.coefs[i + 1].sigma != 0)

    def set_begin_index(self, begin_index: int = 0) -> None:
        """Start at this entry of `timesteps`, as image-to-image pipelines do."""
        self._begin = begin_index

    def scale_model_input(self, sample: Tensor, timestep: Any = None) -> Tensor:
        """The sample: states have unit variance already."""
        return sample

    def step(
        self, model_output: Tensor, timestep: Any, sample: Tensor, generator: Any = None, return_dict: bool = True
    ) -> SchedulerOutput | tuple[Tensor]:
        """One evaluation further; the sample that is given counts, so that pipelines may edit it between steps.

        Args:
            model_output: of the network.
            timestep: the entry of `timesteps` that it was called with; steps are counted.
            sample: current state.
            generator: of noise, or several of them.
            return_dict: return an object.
        """
        if self._grid is None:
            raise ValueError("the scheduler has no steps yet; call set_timesteps first")
        x = sample.to(torch.promote_types(sample.dtype, torch.float32))
        state = replace(self._state, x=x) if self._state is not None else State(x, self._begin // self._solver.stages)
        c = self._solver.node(state, self._grid)
        x0 = to_x0(self._kind, model_output.to(x.dtype), x, c)
        eps = model_output.to(x.dtype) if self._kind == "eps" else implied_eps(x, x0, c)
        transition = self._solver.transition(state, Prediction(x0, eps), self._grid)
        z = randn_tensor(x.shape, generator=generator, device=x.device, dtype=x.dtype) if transition.noisy else None
        self._state = transition.commit(z)
        moved = self._state.x.to(sample.dtype)
        return SchedulerOutput(prev_sample=moved) if return_dict else (moved,)

    def add_noise(self, original_samples: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Clean samples, noised to timesteps, one for each or one for all."""
        return self._path.noised(original_samples, noise, timesteps.double().cpu() / self._scale)

    def __len__(self) -> int:
        """Steps of training."""
        return int(self.config["num_train_timesteps"])


def _solver(name: str, order: int, number: float, eta: float, *, flow: bool) -> Solver:
    """The solver of a configuration.

    Raises:
        ValueError: the name is not known.
    """
    coordinate: Literal["velocity", "noise"] = "velocity" if flow else "noise"
    solvers: dict[str, Any] = {
        "ddim": lambda: DDIM(eta),
        "dpm": lambda: DPMSolver(order, eta),
        "heun": lambda: Heun(coordinate),
        "unipc": lambda: UniPC(order),
        "momentum": lambda: Momentum(number, coordinate),
    }
    if name not in solvers:
        raise ValueError(f"the solver is {name!r}; choose one of {', '.join(solvers)}")
    return solvers[name]()
