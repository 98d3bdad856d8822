"""diffusers in: the same numbers as its own schedulers, and what their configurations say of networks."""

from itertools import pairwise

import pytest
import torch
from oracles import normal, two_modes

diffusers = pytest.importorskip("diffusers", reason="diffusers is not installed")

from gen3d.priors.samplers.coefficients import Coef  # noqa: E402
from gen3d.priors.samplers.driver import sample  # noqa: E402
from gen3d.priors.samplers.grids import Grid, angular, log_snr  # noqa: E402
from gen3d.priors.samplers.interchange import from_scheduler, kind_from_config, path_from_config, settings_from_config  # noqa: E402
from gen3d.priors.samplers.paths import EDM, Cosine, Flow, VPDiscrete  # noqa: E402
from gen3d.priors.samplers.predictions import to_x0  # noqa: E402
from gen3d.priors.samplers.scheduler import GenScheduler  # noqa: E402
from gen3d.priors.samplers.solvers.exponential import DDIM, DPMSolver  # noqa: E402
from gen3d.priors.samplers.solvers.heun import Heun  # noqa: E402
from gen3d.priors.samplers.solvers.momentum import Momentum  # noqa: E402
from gen3d.priors.samplers.solvers.unipc import UniPC  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")
BETAS = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}


def theirs(scheduler, x, *, explode=False, steps=None):
    """Run a scheduler, or its first steps, with the exact denoiser of two modes, told the noise that its sigmas say."""
    flow, x = "FlowMatch" in type(scheduler).__name__ or scheduler.config.get("use_flow_sigmas"), x.clone()
    for i, t in enumerate(scheduler.timesteps[:steps]):
        if getattr(scheduler, "sigmas", None) is None:
            square = float(scheduler.alphas_cumprod[int(t)])
            c = Coef(0.0, square**0.5, (1 - square) ** 0.5, 0.0, 0.0)
        else:
            sigma = float(scheduler.sigmas[i])
            scale = 1.0 if explode else (1 + sigma**2) ** -0.5
            c = Coef(sigma, 1 - sigma, sigma, -1.0, 1.0) if flow else Coef(0.0, scale, sigma * scale, 0.0, 0.0)
        known = two_modes()(x, c)
        output = known.eps - known.x0 if flow else known.eps
        x = scheduler.step(output, t, x).prev_sample
    return x


@pytest.mark.parametrize(
    ("scheduler", "solver"),
    [
        (lambda: diffusers.DPMSolverMultistepScheduler(**BETAS, use_karras_sigmas=True), DPMSolver(2, clamp=False)),
        (lambda: diffusers.UniPCMultistepScheduler(**BETAS, use_karras_sigmas=True), UniPC(2)),
        (lambda: diffusers.DDIMScheduler(**BETAS, timestep_spacing="trailing", clip_sample=False), DDIM()),
        (lambda: diffusers.DDIMScheduler(**BETAS, steps_offset=1, set_alpha_to_one=False, clip_sample=False), DDIM()),
        (lambda: diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0), DDIM()),
    ],
    ids=["dpm", "unipc", "ddim", "not-clean", "flow"],
)
def test_t19_solvers_give_what_diffusers_gives(scheduler, solver):
    scheduler = scheduler()
    scheduler.set_timesteps(10)  # a divisor of 1000: for others DDIM steps to nodes that it does not evaluate at
    x = normal(32, 2)
    grid = from_scheduler(scheduler)
    assert (sample(two_modes(), solver, grid, x).x - theirs(scheduler, x)).abs().max() < 1e-5


def test_t19_unipc_of_order_three_gives_what_diffusers_gives():
    scheduler = diffusers.UniPCMultistepScheduler(**BETAS, use_karras_sigmas=True, solver_order=3)
    scheduler.set_timesteps(20)
    x = normal(32, 2)
    first = Grid(from_scheduler(scheduler).coefs[:11])  # near the end of theirs, its order falls
    assert (sample(two_modes(), UniPC(3), first, x).x - theirs(scheduler, x, steps=10)).abs().max() < 1e-5


def test_t19_heun_gives_what_diffusers_gives():
    scheduler = diffusers.HeunDiscreteScheduler(**BETAS, use_karras_sigmas=True)
    scheduler.set_timesteps(12)
    grid = from_scheduler(scheduler)
    x = float(scheduler.sigmas[0]) * normal(32, 2)
    exploding = type(grid)(tuple(EDM().at(c.sb) for c in grid.coefs))
    result = sample(two_modes(), Heun(), exploding, x)
    assert result.evaluations == len(scheduler.timesteps) == 23
    assert (result.x - theirs(scheduler, x, explode=True)).abs().max() < 1e-5


@pytest.mark.parametrize("evaluations", [5, 8, 10])
def test_few_steps_beat_every_scheduler_of_diffusers(evaluations):
    """The best of them after the whole table of the benchmark: UniPC and DEIS on exponential grids, UniPC on a flow's."""
    data, z = two_modes(), normal(300, 2)
    best = [
        diffusers.UniPCMultistepScheduler(**BETAS, use_exponential_sigmas=True),
        diffusers.DEISMultistepScheduler(**BETAS, solver_order=3, use_exponential_sigmas=True),
        diffusers.UniPCMultistepScheduler(**BETAS, use_flow_sigmas=True, prediction_type="flow_prediction", flow_shift=3.0),
    ]
    errors = []
    for scheduler in best:
        scheduler.set_timesteps(evaluations)
        sb = float(scheduler.sigmas[0])
        sb = sb / (1 - sb) if scheduler.config.use_flow_sigmas else sb
        start, end = exact_way(z, sb)
        errors.append(
            (theirs(scheduler, start / (1 + sb if scheduler.config.use_flow_sigmas else (1 + sb**2) ** 0.5)) - end).norm(dim=1).mean()
        )
    grid = angular(Cosine(), evaluations, sb_max=14.6)
    start, end = exact_way(z, 14.6)
    made = sample(data, Momentum(2.0, coordinate="velocity"), grid, grid.coefs[0].alpha * start).x
    assert (made - end).norm(dim=1).mean() < 0.9 * min(errors)


def exact_way(z, sb):
    """States of the exploding path with noise sb, and the data that they go to."""
    if sb > 1000:  # pure noise, as good as
        return sb * z, exact_way(z, 14.6)[1]
    start = sample(two_modes(), Heun(), log_snr(EDM(2000.0), 300, sb_min=sb, sb_max=2000.0, clean=False), 2000 * z).x
    return start, sample(two_modes(), Heun(), log_snr(EDM(), 300, sb_max=sb), start).x


def test_configurations_name_their_path():
    for scheduler in (diffusers.DDIMScheduler(**BETAS), diffusers.DDPMScheduler(beta_schedule="squaredcos_cap_v2")):
        path = path_from_config(scheduler.config)
        assert isinstance(path, VPDiscrete)
        for t in (0, 400, 999):
            assert path(float(t)).alpha ** 2 == pytest.approx(float(scheduler.alphas_cumprod[t]), rel=1e-6)
    assert path_from_config({**BETAS, "rescale_betas_zero_snr": True})(999.0).alpha == 0
    assert path_from_config({"_class_name": "FlowMatchEulerDiscreteScheduler"}) == Flow()
    assert path_from_config(diffusers.FlowMatchHeunDiscreteScheduler().config) == Flow()  # in memory it has no name
    assert path_from_config({"_class_name": "EDMEulerScheduler", "sigma_max": 20.0}) == EDM(20.0)
    assert kind_from_config({"prediction_type": "v_prediction"}) == "v"
    assert kind_from_config(diffusers.FlowMatchEulerDiscreteScheduler().config) == "flow"
    with pytest.raises(ValueError, match="prediction type is 'trigflow'"):
        kind_from_config({"prediction_type": "trigflow"})
    with pytest.raises(ValueError, match="schedule of betas is 'sigmoid'"):
        path_from_config({"beta_schedule": "sigmoid"})
    with pytest.raises(ValueError, match="call its set_timesteps first"):
        from_scheduler(diffusers.DDIMScheduler())
    deis = diffusers.DEISMultistepScheduler(use_flow_sigmas=True, prediction_type="flow_prediction", flow_shift=3.0)
    deis.set_timesteps(5)
    with pytest.raises(ValueError, match=r"is repeated.*from node 4"):
        from_scheduler(deis)


@pytest.mark.parametrize("scheduler", ["EDMEulerScheduler", "EDMDPMSolverMultistepScheduler"])
@pytest.mark.parametrize("named", [True, False])
def test_edm_predicts_the_residual_of_its_preconditioning(scheduler, named):
    theirs = getattr(diffusers, scheduler)(sigma_data=0.7)
    config = {**theirs.config, "_class_name": scheduler} if named else theirs.config
    x, output, sigma = 3 * normal(4, 3), normal(4, 3, seed=1), torch.tensor(1.7).double()
    clean = to_x0(kind_from_config(config), output, x, path_from_config(config)(1.7), sigma_data=0.7)
    assert (clean - theirs.precondition_outputs(x, output, sigma)).abs().max() < 1e-6
    with pytest.raises(ValueError, match="EDM scheduler is 'v_prediction'"):
        kind_from_config({**config, "prediction_type": "v_prediction"})


@pytest.mark.parametrize("name", ["LCMScheduler", "CogVideoXDDIMScheduler", "DDIMScheduler"])
def test_defaults_of_other_schedulers_are_those_of_their_networks(name):
    theirs = getattr(diffusers, name)(rescale_betas_zero_snr=True)
    told = settings_from_config(theirs.config)
    assert set(told["_use_default_values"]) <= {"timestep_spacing"}
    path = path_from_config(told)
    for t in (0, 400, 999):
        assert path(float(t)).alpha ** 2 == pytest.approx(float(theirs.alphas_cumprod[t]), rel=1e-4, abs=1e-12)


def test_configurations_of_no_known_path_are_refused():
    with pytest.raises(ValueError, match="KarrasVeScheduler has no schedule of betas and is no flow"):
        path_from_config({"_class_name": "KarrasVeScheduler", "sigma_min": 0.02})
    with pytest.raises(ValueError, match="invert_sigmas is set"):
        path_from_config(diffusers.FlowMatchEulerDiscreteScheduler(invert_sigmas=True).config)
    with pytest.raises(ValueError, match="configuration is EDM's"):
        settings_from_config(diffusers.EDMEulerScheduler().config)


@pytest.mark.parametrize("offset", [0, 1])
def test_leading_steps_have_their_offset(offset):
    theirs = diffusers.DDIMScheduler(**BETAS, timestep_spacing="leading", steps_offset=offset)
    ours = GenScheduler.from_config(theirs.config)
    for scheduler in (theirs, ours):
        scheduler.set_timesteps(10)
    assert torch.equal(ours.timesteps, theirs.timesteps)


@pytest.mark.parametrize(
    "theirs",
    [
        diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0),
        diffusers.FlowMatchHeunDiscreteScheduler(shift=3.0),
        diffusers.DPMSolverMultistepScheduler(use_flow_sigmas=True, prediction_type="flow_prediction", flow_shift=3.0),
        diffusers.UniPCMultistepScheduler(use_flow_sigmas=True, prediction_type="flow_prediction", flow_shift=3.0),
    ],
    ids=lambda scheduler: type(scheduler).__name__,
)
def test_flows_stay_flows_with_their_shift(theirs, tmp_path):
    theirs.save_config(tmp_path)
    loaded = type(theirs).from_pretrained(tmp_path)  # its configuration has a name
    for config in (theirs.config, loaded.config):
        scheduler = GenScheduler.from_config(config, solver="momentum")
        assert (scheduler._path, scheduler._kind, scheduler.config.shift) == (Flow(), "flow", 3.0)
        scheduler.set_timesteps(4)
        assert scheduler.timesteps.tolist() == pytest.approx([1000, 900, 750, 500])
        scheduler.set_timesteps(timesteps=[1000, 500])
        assert scheduler.sigmas.tolist() == [1.0, 0.5, 0.0]
        GenScheduler.from_config(config, shift=5.0).save_pretrained(tmp_path)
        again = GenScheduler.from_pretrained(tmp_path)
        assert (again._path, again._kind, again.config.shift) == (Flow(), "flow", 5.0)
    assert isinstance(GenScheduler.from_config(diffusers.PNDMScheduler(**BETAS).config)._path, VPDiscrete)


@pytest.mark.parametrize(
    "settings", [{"shift": 3.0}, {"use_dynamic_shifting": True}, {"use_dynamic_shifting": True, "time_shift_type": "linear"}]
)
def test_mu_shifts_flows_as_it_does_in_diffusers(settings):
    theirs = diffusers.FlowMatchEulerDiscreteScheduler(**settings)
    ours = GenScheduler.from_config(theirs.config, solver="ddim")
    for scheduler in (theirs, ours):
        scheduler.set_timesteps(sigmas=[1.0, 0.75, 0.5, 0.25], mu=1.15)
    assert (ours.timesteps - theirs.timesteps).abs().max() < 1e-3
    assert (ours.sigmas - theirs.sigmas).abs().max() < 1e-6
    x = normal(4, 2)
    moved = [x, x]
    for i, (sigma, _) in enumerate(pairwise(theirs.sigmas)):
        known = [two_modes()(state, Flow()(float(sigma))) for state in moved]
        moved = [s.step(k.eps - k.x0, s.timesteps[i], m).prev_sample for s, k, m in zip((theirs, ours), known, moved, strict=True)]
    assert (moved[0] - moved[1]).abs().max() < 1e-5
    if "shift" not in settings:
        with pytest.raises(ValueError, match="give set_timesteps a mu"):
            ours.set_timesteps(4)
        ours.set_timesteps(4, mu=1.15)
        assert (ours.timesteps - theirs.timesteps).abs().max() < 1e-3
