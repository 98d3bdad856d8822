"""diffusers out: our solvers and grids as a scheduler of a stock `DiffusionPipeline`, with save and load.

The module must be imported before `from_pretrained` reads a pipeline that was saved with it: diffusers looks it up by name.
"""

from dataclasses import replace
from typing import Any

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.schedulers.scheduling_utils import KarrasDiffusionSchedulers, SchedulerMixin, SchedulerOutput
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor

from gen3d.priors.samplers import interchange
from gen3d.priors.samplers.grids import Grid
from gen3d.priors.samplers.paths import Flow
from gen3d.priors.samplers.predictions import Prediction, implied_eps, to_x0
from gen3d.priors.samplers.solvers.exponential import DDIM, DPMSolver
from gen3d.priors.samplers.stepping import Solver, State


class GenScheduler(SchedulerMixin, ConfigMixin):  # type: ignore[misc]  # both of them name the file of their configuration
    """A scheduler for networks with integer timesteps (variance preserving) or for rectified flows.

    Args:
        num_train_timesteps: of the network.
        beta_start: of its schedule, like the next five.
        beta_end: see above.
        beta_schedule: linear, scaled_linear or squaredcos_cap_v2.
        trained_betas: instead of the three.
        rescale_betas_zero_snr: move the last step to pure noise.
        snr_shift_scale: of CogVideoX.
        prediction_type: epsilon, sample, v_prediction or flow_prediction; the last makes it a flow.
        use_flow_sigmas: it is a flow, whatever the network predicts.
        timestep_spacing: trailing, leading or linspace.
        steps_offset: added to the steps of leading.
        use_karras_sigmas: steps after Karras et al. 2022 instead.
        shift: of a flow's times.
        use_dynamic_shifting: the shift of a flow comes with `set_timesteps` instead.
        time_shift_type: what comes is its logarithm (exponential), or itself (linear).
        solver: ddim, dpm, heun, unipc or momentum.
        solver_order: of dpm and unipc.
        momentum_number: of momentum, see `Momentum`.
        eta: noise of ddim and dpm.
    """

    _compatibles = [*(each.name for each in KarrasDiffusionSchedulers), "FlowMatchEulerDiscreteScheduler"]  # noqa: RUF012  diffusers' way
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
        snr_shift_scale: float = 1.0,
        prediction_type: str = "epsilon",
        use_flow_sigmas: bool = False,
        timestep_spacing: str = "trailing",
        steps_offset: int = 0,
        use_karras_sigmas: bool = False,
        shift: float = 1.0,
        use_dynamic_shifting: bool = False,
        time_shift_type: str = "exponential",
        solver: interchange.SolverName = "dpm",
        solver_order: int = 2,
        momentum_number: float = 1.8,
        eta: float = 0.0,
    ) -> None:
        self._path, self._kind = interchange.path_from_config(self.config), interchange.kind_from_config(self.config)
        self._flow = isinstance(self._path, Flow)
        self._solver = interchange.solver_from_config(self.config)
        self.order = self._solver.stages
        self._scale = num_train_timesteps if self._flow else 1
        self._grid: Grid | None = None
        self._calls: list[State] = []
        self._state: State | None = None
        self._begin: int | None = None
        self.num_inference_steps: int | None = None
        self.timesteps = torch.arange(num_train_timesteps).flip(0)

    @classmethod
    def from_config(cls, config: Any = None, return_unused_kwargs: bool = False, **kwargs: Any) -> Any:
        """A scheduler for the network of another: `from_config(pipe.scheduler.config, solver="unipc")`.

        The other's choices of steps are left aside, apart from those that are arguments here.

        Raises:
            ValueError: its path is not known here, see `settings_from_config`.
        """
        told = interchange.settings_from_config(config) if isinstance(config, dict) else config
        return super().from_config(told, return_unused_kwargs, **kwargs)

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: str | torch.device | None = None,
        sigmas: list[float] | None = None,
        timesteps: list[float] | None = None,
        mu: float | None = None,
    ) -> None:
        """Choose the steps; `timesteps` has one entry for each evaluation of the network, and `sigmas` its noise.

        Args:
            num_inference_steps: how many.
            device: of `timesteps`.
            sigmas: of a flow before its shift, falling from 1, without the final 0; instead of a number.
            timesteps: falling, instead of a number.
            mu: what `use_dynamic_shifting` wants, see `time_shift_type`; left aside without, as pipelines always give it.
        """
        self._grid = interchange.grid_from_config(self.config, num_inference_steps, sigmas=sigmas, timesteps=timesteps, mu=mu)
        self._calls = _calls(self._solver, self._grid)
        self.num_inference_steps, self._state, self._begin = len(self._grid), None, None
        nodes = [*(self._solver.node(call, self._grid) for call in self._calls), self._grid.coefs[-1]]
        told = torch.tensor([float(c.t) * self._scale for c in nodes[:-1]])
        self.timesteps = (told.long() if not self._flow and torch.equal(told, told.round()) else told).to(device or "cpu")
        self.sigmas = torch.tensor([float(c.t if self._flow else c.sb) for c in nodes])

    def set_begin_index(self, begin_index: int = 0) -> None:
        """Start at this entry of `timesteps`, as image-to-image pipelines do; without it, at that of the first `step`."""
        if not 0 <= begin_index < len(self.timesteps):
            raise ValueError(f"the run is to begin at entry {begin_index} of timesteps; they are 0 to {len(self.timesteps) - 1}")
        self._begin = begin_index

    def scale_model_input(self, sample: Tensor, timestep: Any = None) -> Tensor:
        """The sample: states have unit variance already."""
        return sample

    def step(
        self, model_output: Tensor, timestep: Any, sample: Tensor, generator: Any = None, return_dict: bool = True, eta: float = 0.0
    ) -> SchedulerOutput | tuple[Tensor]:
        """One evaluation further.

        The sample that is given counts. If it is not what the last step returned, but for rounding to another type, then a pipeline has
        edited it, and the solver starts anew from there, without its memory and at order one. In the middle of a step of `heun` an
        edited sample counts as the end of that step: it comes back as it is, without the correction by the second evaluation.

        Args:
            model_output: of the network, of the sample's shape.
            timestep: the entry of `timesteps` that it was called with; it says where to start, then steps are counted.
            sample: current state.
            generator: of noise, or several of them.
            return_dict: return an object.
            eta: of ddim and dpm, instead of the configuration's; 0, which pipelines give unasked, leaves that.

        Raises:
            ValueError: there are no steps yet, or no more; shapes differ; or the solver has no eta.
        """
        if self._grid is None:
            raise ValueError("the scheduler has no steps yet; call set_timesteps first")
        if model_output.shape != sample.shape:
            shapes = f"shape {tuple(model_output.shape)} and the sample {tuple(sample.shape)}"
            raise ValueError(f"the network's output has {shapes}; they must be the same, so split off a variance that it may predict")
        x = sample.to(torch.promote_types(sample.dtype, torch.float32))
        state = self._taken_up(x, timestep)
        if state.i == len(self._grid):
            raise ValueError(f"all {len(self._calls)} evaluations are made; call set_timesteps before another run")
        if state.stage and not state.memory:
            self._state = State(x, state.i + 1)
        else:
            self._state = self._moved(state, model_output.to(x.dtype), generator, eta)
        moved = self._state.x.to(sample.dtype, copy=True)  # pipelines may edit it in place
        return SchedulerOutput(prev_sample=moved) if return_dict else (moved,)

    def _taken_up(self, x: Tensor, timestep: Any) -> State:
        """Where to go on: with the solver's memory if x is what it has returned."""
        if self._state is not None:
            return replace(self._state, x=x, memory=self._state.memory if _same(x, self._state.x) else ())
        if self._begin is None:
            far = (self.timesteps.cpu().double() - float(torch.as_tensor(timestep).flatten()[0])).abs()
            self._begin = int((far == far.min()).nonzero()[-1])  # a time that Heun calls twice at, for the start of a step
        return replace(self._calls[self._begin], x=x, memory=())

    def _moved(self, state: State, output: Tensor, generator: Any, eta: float) -> State:
        assert self._grid is not None  # for the type checker
        solver = self._solver
        if eta:
            if not isinstance(solver, DDIM | DPMSolver):
                raise ValueError(f"eta is {eta} and the solver {self.config['solver']}, which adds no noise; choose ddim or dpm")
            solver = replace(solver, eta=eta)
        c = solver.node(state, self._grid)
        x0 = to_x0(self._kind, output, state.x, c)
        prediction = Prediction(x0, output if self._kind == "eps" else implied_eps(state.x, x0, c))
        transition = solver.transition(state, prediction, self._grid)
        z = randn_tensor(x0.shape, generator=generator, device=x0.device, dtype=x0.dtype) if transition.noisy else None
        return transition.commit(z)

    def add_noise(self, original_samples: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Clean samples, noised to timesteps, one for each or one for all."""
        return self._path.noised(original_samples, noise, timesteps.double().cpu() / self._scale)

    def scale_noise(self, sample: Tensor, timestep: Tensor, noise: Tensor) -> Tensor:
        """The same, as pipelines of flows call it."""
        return self.add_noise(sample, noise, timestep)

    def __len__(self) -> int:
        """Steps of training."""
        return int(self.config["num_train_timesteps"])


def _calls(solver: Solver, grid: Grid) -> list[State]:
    """The states, of one number, at which a solver calls the network."""
    state, calls = State(torch.zeros(1)), []
    while state.i < len(grid):
        calls.append(state)
        state = solver.transition(state, Prediction(state.x, state.x), grid).state
    return calls


def _same(x: Tensor, returned: Tensor) -> bool:
    """Whether a sample is a state that was returned, perhaps rounded by a pipeline of less precision on the way."""
    kinds = (returned.dtype, torch.float32, torch.bfloat16, torch.float16)
    return x.shape == returned.shape and any(torch.equal(x, returned.to(kind).to(x)) for kind in kinds)
