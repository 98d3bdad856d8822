"""Our densification against gsplat's own strategies, as far as those run on a CPU."""

import pytest
import torch

from gen3d.pipeline.fitting.densification import make_densification
from gen3d.pipeline.fitting.densification.mcmc import shake
from gen3d.pipeline.fitting.optimizer import make_optimizer
from gen3d.pipeline.fitting.schedule import Schedule
from gen3d.pipeline.fitting.settings import DensifySettings, FittingSettings, RateSettings
from gen3d.renderers.gaussians import GaussianParameters, Gaussians

THEIR_NAMES = {
    "means": "means",
    "scales": "log_scales",
    "quats": "quats",
    "opacities": "logit_opacities",
    "sh0": "sh0",
    "shN": "sh_rest",
}
COUNT = 200


@pytest.fixture
def splats():
    generator = torch.Generator().manual_seed(0)
    return GaussianParameters.from_gaussians(
        Gaussians(
            means=torch.randn(COUNT, 3, generator=generator),
            scales=(0.5 + torch.rand(COUNT, 3, generator=generator)) * torch.rand(COUNT, 1, generator=generator) * 0.02 + 1e-4,
            quats=torch.nn.functional.normalize(torch.randn(COUNT, 4, generator=generator), dim=-1),
            opacities=torch.rand(COUNT, generator=generator) * 0.02,
            sh=torch.randn(COUNT, 4, 3, generator=generator),
        )
    )


def theirs(splats):
    """The same splats as gsplat's strategies hold them, with an optimiser each."""
    params = torch.nn.ParameterDict({name: torch.nn.Parameter(getattr(splats, ours).data.clone()) for name, ours in THEIR_NAMES.items()})
    return params, {name: torch.optim.Adam([parameter]) for name, parameter in params.items()}


def rows(means):
    return {tuple(row) for row in means.tolist()}


def test_the_default_strategy_grows_and_prunes_the_same_splats(splats):
    module = pytest.importorskip("gsplat.strategy", reason="gsplat is not installed")
    reference = module.DefaultStrategy(grow_grad2d=0.5, grow_scale3d=0.01, prune_opa=0.005, refine_scale2d_stop_iter=0)
    params, optimizers = theirs(splats)
    gradients = torch.rand(COUNT, 2, generator=torch.Generator().manual_seed(1))
    state = reference.initialize_state(scene_scale=1.0)
    state["grad2d"], state["count"] = gradients.norm(dim=-1), torch.ones(COUNT)
    cloned, split = reference._grow_gs(params, optimizers, state, step=10)
    reference._prune_gs(params, optimizers, state, step=10)

    densify = DensifySettings(cap=10_000, grow_gradient=0.5, prune_opacity=0.005, every=1, start=0.0, stop=1.0, prune_stop=1.0)
    ours = make_densification(Schedule(FittingSettings(densify=densify), 100, COUNT), extent=1.0, seed=0)
    ours.observe(gradients, torch.ones(COUNT, 2, dtype=torch.int32))
    before = rows(splats.means.data)
    ours.after_step(10, splats, make_optimizer(splats, RateSettings(), 1.0))

    assert cloned > 10
    assert split > 10
    assert splats.count == len(params["means"])
    # The halves lie at random places; everything else is the same, clones included.
    kept, theirs_kept = ([tuple(row) for row in means.tolist() if tuple(row) in before] for means in (splats.means, params["means"]))
    assert sorted(kept) == sorted(theirs_kept)
    assert torch.allclose(splats.log_scales.data.sort(0).values, params["scales"].data.sort(0).values, atol=1e-6)
    assert torch.allclose(splats.logit_opacities.data.sort().values, params["opacities"].data.sort().values, atol=1e-6)


def test_the_noise_of_mcmc_is_the_same(splats, monkeypatch):
    ops = pytest.importorskip("gsplat.strategy.ops", reason="gsplat is not installed")
    formulas = pytest.importorskip("gsplat.cuda._torch_impl")
    covariance = formulas._quat_scale_to_covar_preci  # the formula behind the CUDA kernel that the strategy calls
    monkeypatch.setattr(
        ops, "quat_scale_to_covar_preci", lambda q, s, compute_covar, compute_preci, triu: covariance(q, s, True, False, triu)
    )
    params, optimizers = theirs(splats)
    before = splats.means.data.clone()
    torch.manual_seed(7)
    ops.inject_noise_to_position(params, optimizers, {}, scaler=3.0)
    generator = torch.Generator().manual_seed(7)
    shake(splats, 3.0, generator)
    assert (splats.means.data - before).norm() > 1e-6
    assert torch.allclose(splats.means.data, params["means"].data, atol=1e-5)
