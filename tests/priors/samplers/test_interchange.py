"""diffusers in and out: the same numbers as its own schedulers, and a scheduler that its pipelines take."""

import pytest
import torch
from oracles import normal, two_modes

diffusers = pytest.importorskip("diffusers", reason="diffusers is not installed")

from gen3d.priors.samplers.coefficients import Coef  # noqa: E402
from gen3d.priors.samplers.driver import sample  # noqa: E402
from gen3d.priors.samplers.grids import angular, log_snr  # noqa: E402
from gen3d.priors.samplers.interchange import from_scheduler, kind_from_config, path_from_config  # noqa: E402
from gen3d.priors.samplers.paths import EDM, Cosine, Flow, VPDiscrete  # noqa: E402
from gen3d.priors.samplers.scheduler import GenScheduler  # noqa: E402
from gen3d.priors.samplers.solvers.exponential import DDIM, DPMSolver  # noqa: E402
from gen3d.priors.samplers.solvers.heun import Heun  # noqa: E402
from gen3d.priors.samplers.solvers.momentum import Momentum  # noqa: E402
from gen3d.priors.samplers.solvers.unipc import UniPC  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")
BETAS = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}


def theirs(scheduler, x, *, explode=False):
    """Run a scheduler with the exact denoiser of two modes, told the noise that its sigmas say."""
    flow, x = "FlowMatch" in type(scheduler).__name__ or scheduler.config.get("use_flow_sigmas"), x.clone()
    for i, t in enumerate(scheduler.timesteps):
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
        (lambda: diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0), DDIM()),
    ],
    ids=["dpm", "unipc", "ddim", "flow"],
)
def test_t19_solvers_give_what_diffusers_gives(scheduler, solver):
    scheduler = scheduler()
    scheduler.set_timesteps(10)  # a divisor of 1000: for others DDIM steps to nodes that it does not evaluate at
    x = normal(32, 2)
    grid = from_scheduler(scheduler)
    assert (sample(two_modes(), solver, grid, x).x - theirs(scheduler, x)).abs().max() < 1e-5


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
    assert path_from_config({"_class_name": "EDMEulerScheduler", "sigma_max": 20.0}) == EDM(20.0)
    assert kind_from_config({"prediction_type": "v_prediction"}) == "v"
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


@pytest.mark.parametrize("solver", ["ddim", "dpm", "heun", "unipc", "momentum"])
@pytest.mark.parametrize("kind", ["epsilon", "flow_prediction"])
def test_stepping_from_outside_is_the_loop(solver, kind):
    scheduler = GenScheduler(**BETAS, solver=solver, prediction_type=kind)
    scheduler.set_timesteps(8)
    x = normal(4, 2)
    whole = sample(two_modes(), scheduler._solver, scheduler._grid, x).x
    evaluated = scheduler._evaluated()
    assert len(evaluated) == len(scheduler.timesteps) == (15 if solver == "heun" else 8)
    for c, t in zip(evaluated, scheduler.timesteps, strict=True):
        known = two_modes()(x, c)
        x = scheduler.step(known.eps - known.x0 if kind == "flow_prediction" else known.eps, t, x).prev_sample
    assert (x - whole).abs().max() < 1e-9


def test_t20_latents_that_are_edited_between_steps_count():
    scheduler = GenScheduler(**BETAS, solver="ddim")
    scheduler.set_timesteps(3)
    scheduler.step(torch.zeros(1, 2), scheduler.timesteps[0], torch.ones(1, 2))
    moved = scheduler.step(torch.zeros(1, 2), scheduler.timesteps[1], torch.full((1, 2), 5.0)).prev_sample
    c, d = scheduler._grid.coefs[1:3]
    assert torch.allclose(moved, torch.full((1, 2), 5.0 * d.alpha / c.alpha))


def test_wrong_requests_are_told():
    scheduler = GenScheduler()
    with pytest.raises(ValueError, match="call set_timesteps first"):
        scheduler.step(torch.zeros(1), 0, torch.zeros(1))
    with pytest.raises(ValueError, match="no steps are asked for"):
        scheduler.set_timesteps()
    with pytest.raises(ValueError, match="sigmas are times of a flow"):
        scheduler.set_timesteps(sigmas=[1.0, 0.5])
    with pytest.raises(ValueError, match="choose one of ddim, dpm"):
        GenScheduler(solver="best")


def test_t20_a_stock_pipeline_runs_saves_and_loads(tmp_path):
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    torch.manual_seed(0)
    unet = diffusers.UNet2DConditionModel(
        block_out_channels=(4, 8),
        layers_per_block=1,
        sample_size=8,
        in_channels=4,
        out_channels=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=8,
        norm_num_groups=2,
        attention_head_dim=2,
    )
    vae = diffusers.AutoencoderKL(
        block_out_channels=(4, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        norm_num_groups=2,
        latent_channels=4,
    )
    config = transformers.CLIPTextConfig(
        hidden_size=8, intermediate_size=16, num_attention_heads=2, num_hidden_layers=1, vocab_size=100, projection_dim=8
    )
    pipe = diffusers.StableDiffusionPipeline(
        vae=vae,
        text_encoder=transformers.CLIPTextModel(config),
        tokenizer=None,
        unet=unet,
        scheduler=diffusers.DDIMScheduler(**BETAS),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipe.scheduler = GenScheduler.from_config(pipe.scheduler.config, solver="momentum", momentum_number=1.8)
    pipe.set_progress_bar_config(disable=True)
    words = {"prompt_embeds": torch.randn(1, 5, 8), "negative_prompt_embeds": torch.randn(1, 5, 8), "output_type": "np"}
    first = pipe(**words, num_inference_steps=4, generator=torch.Generator().manual_seed(1)).images
    pipe.save_pretrained(tmp_path)
    again = diffusers.StableDiffusionPipeline.from_pretrained(tmp_path, tokenizer=None, safety_checker=None, feature_extractor=None)
    again.set_progress_bar_config(disable=True)
    assert isinstance(again.scheduler, GenScheduler)
    assert again.scheduler.config.solver == "momentum"
    assert again.scheduler.config.beta_start == 0.00085
    second = again(**words, num_inference_steps=4, generator=torch.Generator().manual_seed(1)).images
    assert abs(first - second).max() < 1e-5
