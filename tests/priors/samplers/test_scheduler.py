"""diffusers out: a scheduler that its pipelines take, for networks with betas and for flows."""

import inspect

import pytest
import torch
from oracles import normal, two_modes

diffusers = pytest.importorskip("diffusers", reason="diffusers is not installed")

from gen3d.priors.samplers.driver import sample  # noqa: E402
from gen3d.priors.samplers.grids import Grid  # noqa: E402
from gen3d.priors.samplers.scheduler import GenScheduler  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")
BETAS = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
SOLVERS = ["ddim", "dpm", "heun", "unipc", "momentum"]
KINDS = ["epsilon", "flow_prediction"]


def ready(steps, *, begin=None, **settings):
    """A scheduler with its steps."""
    scheduler = GenScheduler(**BETAS, **settings)
    scheduler.set_timesteps(steps)
    if begin is not None:
        scheduler.set_begin_index(begin)
    return scheduler


def stepped(scheduler, i, x, **options):
    """One step from entry i of the timesteps, with the exact denoiser of two modes as the network."""
    c, t = scheduler._solver.node(scheduler._calls[i], scheduler._grid), scheduler.timesteps[i]
    known = two_modes()(x, c)
    output = known.eps - known.x0 if scheduler.config.prediction_type == "flow_prediction" else known.eps
    return scheduler.step(output.to(x.dtype), t, x, **options).prev_sample


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("kind", KINDS)
def test_stepping_from_outside_is_the_loop(solver, kind):
    scheduler = ready(8, solver=solver, prediction_type=kind)
    x = normal(4, 2)
    whole = sample(two_modes(), scheduler._solver, scheduler._grid, x).x
    assert len(scheduler.timesteps) == (15 if solver == "heun" else 8)
    for i in range(len(scheduler.timesteps)):
        x = stepped(scheduler, i, x)
    assert (x - whole).abs().max() < 1e-9


def test_timesteps_are_those_of_the_solver_from_pure_noise_too():
    scheduler = ready(4, solver="heun", rescale_betas_zero_snr=True, prediction_type="v_prediction")
    assert scheduler.timesteps.tolist() == [999, 749, 499, 499, 249, 249]  # the first step and the last have one evaluation
    assert [float(s) for s in scheduler.sigmas[[0, -1]]] == [float("inf"), 0.0]
    assert ready(4, prediction_type="flow_prediction").sigmas.tolist() == [1.0, 0.75, 0.5, 0.25, 0.0]


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("in_place", [True, False])
def test_t20_an_edited_sample_goes_on_as_a_fresh_one_from_there(solver, kind, in_place):
    scheduler, x = ready(6, solver=solver, prediction_type=kind), normal(4, 2)
    edited = 4 if solver == "heun" else 3  # the start of a step
    for i in range(len(scheduler.timesteps)):
        if i == edited:
            x = x.add_(0.01) if in_place else x + 0.01
            begun, fresh = ready(6, begin=i, solver=solver, prediction_type=kind), x.clone()
        x = stepped(scheduler, i, x)
        if i >= edited:
            fresh = stepped(begun, i, fresh)
            assert torch.equal(x, fresh)


@pytest.mark.parametrize("solver", ["dpm", "unipc", "momentum"])
@pytest.mark.parametrize("casts", [(torch.bfloat16,), (torch.float16, torch.float32), (torch.bfloat16, torch.float64)])
def test_a_sample_that_is_rounded_keeps_the_memory(solver, casts):
    scheduler, x = ready(6, solver=solver), normal(4, 2)
    for i in range(3):
        x = stepped(scheduler, i, x)
    for kind in casts:
        x = x.to(kind)
    x = x.double()
    kept, fresh = stepped(scheduler, 3, x), stepped(ready(6, begin=3, solver=solver), 3, x)
    whole = sample(two_modes(), scheduler._solver, Grid(scheduler._grid.coefs[:5]), normal(4, 2)).x
    assert (kept - whole).abs().max() < 0.25 * (fresh - whole).abs().max()


def test_t20_an_edit_within_a_step_of_heun_ends_the_step():
    scheduler, x = ready(6, solver="heun"), normal(4, 2)
    x = stepped(scheduler, 0, x) + 0.5
    assert torch.equal(stepped(scheduler, 1, x), x)
    assert torch.equal(stepped(scheduler, 2, x), stepped(ready(6, begin=2, solver="heun"), 2, x))


def test_pipelines_give_eta_to_solvers_with_noise():
    assert "eta" in inspect.signature(GenScheduler.step).parameters  # where they look
    x, moved = normal(4, 2), []
    for own, given in ((1.0, 0.0), (0.0, 1.0), (0.0, 0.0)):
        generator = torch.Generator().manual_seed(0)
        moved.append(stepped(ready(6, solver="ddim", eta=own), 0, x, generator=generator, eta=given))
    assert torch.equal(moved[0], moved[1])
    assert not torch.equal(moved[1], moved[2])
    with pytest.raises(ValueError, match="the solver unipc, which adds no noise"):
        stepped(ready(6, solver="unipc"), 0, x, eta=0.5)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("told", [True, False])
def test_image_to_image_begins_within_the_steps(solver, kind, told):
    scheduler = ready(6, solver=solver, prediction_type=kind)
    begin = 3 * scheduler.order
    if told:
        scheduler.set_begin_index(begin)
    clean, noise = normal(4, 2), normal(4, 2, seed=1)
    x = scheduler.add_noise(clean, noise, scheduler.timesteps[begin : begin + 1].repeat(4))
    c = scheduler._grid.coefs[3]
    assert (x - (c.alpha * clean + c.sigma * noise)).abs().max() < 1e-6
    assert torch.equal(scheduler.scale_noise(clean, scheduler.timesteps[begin : begin + 1], noise), x)
    whole = sample(two_modes(), scheduler._solver, scheduler._grid.since(3), x).x
    for i in range(begin, len(scheduler.timesteps)):
        x = stepped(scheduler, i, x)
    assert (x - whole).abs().max() < 1e-9


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
    with pytest.raises(ValueError, match="prediction type is 'trigflow'"):
        GenScheduler(prediction_type="trigflow")
    scheduler = ready(2)
    with pytest.raises(ValueError, match=r"entry 2 of timesteps; they are 0 to 1"):
        scheduler.set_begin_index(2)
    for shape in ((3, 1), (1, 4)):
        with pytest.raises(ValueError, match=r"shape .* and the sample \(1, 2\)"):
            scheduler.step(torch.zeros(shape), 999, torch.zeros(1, 2))
    x = torch.zeros(1, 2)
    for i in range(2):
        x = stepped(scheduler, i, x)
    with pytest.raises(ValueError, match="all 2 evaluations are made"):
        scheduler.step(x, 0, x)
    with pytest.raises(ValueError, match="use_karras_sigmas=False"):
        ready(4, prediction_type="flow_prediction", use_karras_sigmas=True)


def autoencoder():
    return diffusers.AutoencoderKL(
        block_out_channels=(4, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        norm_num_groups=2,
        latent_channels=4,
    )


def test_t20_pipelines_of_flows_give_what_they_give_with_their_own():
    pytest.importorskip("transformers", reason="transformers is not installed")
    torch.manual_seed(0)
    transformer = diffusers.SD3Transformer2DModel(
        sample_size=8,
        patch_size=1,
        in_channels=4,
        out_channels=4,
        num_layers=1,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=8,
        caption_projection_dim=16,
        pooled_projection_dim=8,
        pos_embed_max_size=16,
    )
    absent = {f"{part}{number}": None for part in ("text_encoder", "tokenizer") for number in ("", "_2", "_3")}
    theirs = diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0)
    embeds = {f"{sign}prompt_embeds": torch.randn(1, 5, 8) for sign in ("", "negative_")}
    pooled = {f"{sign}pooled_prompt_embeds": torch.randn(1, 8) for sign in ("", "negative_")}
    asked = {**embeds, **pooled, "sigmas": [1.0, 0.75, 0.5, 0.25], "height": 16, "width": 16, "output_type": "latent"}
    picture = {"image": torch.ones(1, 4, 8, 8), "strength": 0.5, "num_inference_steps": 4}
    for kind, given in ((diffusers.StableDiffusion3Pipeline, {}), (diffusers.StableDiffusion3Img2ImgPipeline, picture)):
        made = []
        for scheduler in (theirs, GenScheduler.from_config(theirs.config, solver="ddim")):
            pipe = kind(transformer=transformer, scheduler=scheduler, vae=autoencoder(), **absent)
            pipe.set_progress_bar_config(disable=True)
            made.append(pipe(**asked, **given, generator=torch.Generator().manual_seed(1)).images)
        assert (made[0] - made[1]).abs().max() < 1e-4
        assert made[0].std() > 0.5


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
    config = transformers.CLIPTextConfig(
        hidden_size=8, intermediate_size=16, num_attention_heads=2, num_hidden_layers=1, vocab_size=100, projection_dim=8
    )
    pipe = diffusers.StableDiffusionPipeline(
        vae=autoencoder(),
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
