import math

import pytest
import torch

from gen3d.errors import UsageError
from gen3d.pipeline.fitting.densification import STRATEGIES, make_densification
from gen3d.pipeline.fitting.densification.default import draw, grow, reset_opacities
from gen3d.pipeline.fitting.densification.mcmc import add, relocate, shake, shared_opacity_and_scale
from gen3d.pipeline.fitting.optimizer import make_optimizer
from gen3d.pipeline.fitting.schedule import Schedule
from gen3d.pipeline.fitting.settings import DensifySettings, FittingSettings, RateSettings
from gen3d.renderers.gaussians import GaussianParameters, Gaussians


def make_splats(count=10, opacity=0.5, scale=0.1):
    generator = torch.Generator().manual_seed(1)
    splats = GaussianParameters.from_gaussians(
        Gaussians(
            means=torch.randn(count, 3, generator=generator),
            scales=torch.full((count, 3), scale),
            quats=torch.randn(count, 4, generator=generator),
            opacities=torch.full((count,), opacity),
            sh=torch.randn(count, 4, 3, generator=generator),
        )
    )
    optimizer = make_optimizer(splats, RateSettings(), extent=1.0)
    sum(parameter.square().sum() for parameter in splats.parameters()).backward()
    optimizer.step()  # so that there are moments
    optimizer.zero_grad()
    return splats, optimizer


def consistent(splats, optimizer):
    sizes = {parameter.shape[0] for parameter in splats.parameters()}
    for parameter in splats.parameters():
        sizes |= {optimizer.state[parameter][key].shape[0] for key in ("exp_avg", "exp_avg_sq")}
    return sizes == {splats.count}


def strategy(name="default", **densify):
    settings = FittingSettings(densify=DensifySettings(strategy=name, every=1, start=0, stop=1, prune_stop=1, **densify))
    return make_densification(Schedule(settings, steps=10, initial_count=10), extent=1.0, seed=0)


def test_grow_clones_and_splits():
    splats, optimizer = make_splats(scale=0.1)
    before = {name: getattr(splats, name).data.clone() for name in GaussianParameters.NAMES}
    clone, split = torch.zeros(2, 10, dtype=torch.bool)
    clone[0] = split[1] = True
    grow(splats, optimizer, clone=clone, split=split, shrink=1.6, generator=torch.Generator().manual_seed(0))
    assert splats.count == 12
    assert consistent(splats, optimizer)
    kept = [0, *range(2, 10)]
    for name, tensor in before.items():
        assert torch.equal(getattr(splats, name).data[:9], tensor[kept]), name
        assert torch.equal(getattr(splats, name).data[9], tensor[0]), name
    halves = splats.log_scales.data[10:]
    assert torch.allclose(halves, before["log_scales"][1] - math.log(1.6))
    offset = splats.means.data[10:] - before["means"][1]
    assert (offset.norm(dim=-1) > 0).all()
    assert (offset.norm(dim=-1) < 6 * 0.12).all()
    assert (optimizer.state[splats.means]["exp_avg"][9:] == 0).all()
    assert (optimizer.state[splats.means]["exp_avg"][:9] != 0).any()


def test_default_grows_to_the_cap_by_gradient():
    splats, optimizer = make_splats()
    densification = strategy(cap=13)
    gradients = torch.zeros(10, 2)
    gradients[3:6] = 1.0  # only these may be drawn
    densification.observe(gradients, torch.ones(10, 2, dtype=torch.int32))
    chosen = splats.means.data[3:6].clone()
    densification.after_step(8, splats, optimizer)
    assert splats.count == 13
    assert consistent(splats, optimizer)
    assert not any((splats.means.data == mean).all(-1).any() for mean in chosen)  # each was split


def test_default_threshold_clones_small_and_splits_large():
    splats, optimizer = make_splats(scale=0.001)
    splats.log_scales.data[5] = math.log(0.5)
    densification = strategy(cap=100, grow_gradient=0.5)
    gradients = torch.zeros(10, 2)
    gradients[4:6] = 1.0
    densification.observe(gradients, torch.ones(10, 2, dtype=torch.int32))
    small = splats.means.data[4].clone()
    densification.after_step(0, splats, optimizer)
    assert splats.count == 12
    assert (splats.means.data == small).all(-1).sum() == 2  # cloned in place


def test_gradients_are_averaged_over_views_that_see_the_splat():
    densification = strategy(cap=100, grow_gradient=0.9)
    splats, optimizer = make_splats(scale=0.001)
    seen, unseen = torch.ones(10, 2, dtype=torch.int32), torch.zeros(10, 2, dtype=torch.int32)
    densification.observe(torch.full((10, 2), 1.0), seen)
    densification.observe(torch.zeros(10, 2), unseen)
    densification.after_step(0, splats, optimizer)
    assert splats.count == 20


def test_default_prunes_faint_splats_and_keeps_the_cap():
    splats, optimizer = make_splats()
    splats.logit_opacities.data[:4] = -8.0
    densification = strategy(cap=10)
    densification.observe(torch.ones(10, 2), torch.ones(10, 2, dtype=torch.int32))
    densification.after_step(8, splats, optimizer)
    assert splats.count == 6
    assert consistent(splats, optimizer)


def test_reset_lowers_opacities_only():
    splats, optimizer = make_splats()
    splats.logit_opacities.data[0] = -9.0
    reset_opacities(splats, optimizer, 0.01)
    assert splats.logit_opacities.data.sigmoid()[1:] == pytest.approx(torch.full((9,), 0.01))
    assert splats.logit_opacities.data[0] == -9.0
    assert (optimizer.state[splats.logit_opacities]["exp_avg"] == 0).all()


def test_draw_takes_exactly_the_count_and_prefers_weight():
    weights = torch.cat([torch.zeros(50), torch.full((50,), 1.0)])
    mask = draw(weights, 20, torch.Generator().manual_seed(0))
    assert mask.sum() == 20
    assert not mask[:50].any()
    assert draw(weights, 0, torch.Generator()).sum() == 0
    assert draw(weights, 200, torch.Generator().manual_seed(0)).all()


def test_copies_share_opacity_and_scale_as_the_paper_says():
    opacities, copies = torch.tensor([0.1, 0.5, 0.9, 0.99]), torch.tensor([2, 3, 10, 51])
    new, scales = shared_opacity_and_scale(opacities, torch.ones(4, 3), copies)
    for i, (opacity, n) in enumerate(zip(opacities.tolist(), copies.tolist(), strict=True)):
        expected = 1 - (1 - opacity) ** (1 / n)
        total = sum(math.comb(j - 1, k) * (-1) ** k * expected ** (k + 1) / math.sqrt(k + 1) for j in range(1, n + 1) for k in range(j))
        assert new[i] == pytest.approx(expected, rel=1e-5)
        assert scales[i, 0] == pytest.approx(opacity / total, rel=1e-5)


def test_relocation_moves_the_dead_onto_the_living():
    splats, optimizer = make_splats()
    splats.logit_opacities.data[:4] = -9.0
    living = splats.means.data[4:].clone()
    relocate(splats, optimizer, 0.005, torch.Generator().manual_seed(0))
    assert splats.count == 10
    assert consistent(splats, optimizer)
    assert all((living == mean).all(-1).any() for mean in splats.means.data[:4])
    assert (splats.logit_opacities.data.sigmoid() > 0.005).all()
    assert (splats.logit_opacities.data.sigmoid() <= 0.501).all()


def test_adding_keeps_the_picture_opacity():
    splats, optimizer = make_splats(count=1, opacity=0.8)
    before = 1 - splats.logit_opacities.data.sigmoid()[0]
    add(splats, optimizer, 1, 0.005, torch.Generator().manual_seed(0))
    assert splats.count == 2
    assert consistent(splats, optimizer)
    through = (1 - splats.logit_opacities.data.sigmoid()).prod()
    assert float(through) == pytest.approx(float(before), rel=1e-4)


def test_noise_moves_faint_splats_only():
    splats, _ = make_splats(count=2, opacity=0.5)
    splats.logit_opacities.data[1] = -9.0
    before = splats.means.data.clone()
    shake(splats, 100.0, torch.Generator().manual_seed(0))
    moved = (splats.means.data - before).norm(dim=-1)
    assert moved[0] < 1e-10
    assert moved[1] > 1e-3


def test_mcmc_grows_by_a_twentieth_or_as_fast_as_the_cap_needs():
    splats, optimizer = make_splats(count=100)
    strategy("mcmc", cap=110, noise=0.0).after_step(0, splats, optimizer)
    assert splats.count == 105
    strategy("mcmc", cap=1010, noise=0.0).after_step(4, splats, optimizer)
    assert splats.count == 510


@pytest.mark.parametrize("name", STRATEGIES)
def test_the_same_seed_makes_the_same_change(name):
    results = []
    for _ in range(2):
        splats, optimizer = make_splats()
        densification = strategy(name, cap=14)
        densification.observe(torch.arange(20.0).view(10, 2), torch.ones(10, 2, dtype=torch.int32))
        densification.after_step(4, splats, optimizer)
        results.append(splats.means.data.clone())
    assert torch.equal(*results)


def test_unknown_strategy():
    with pytest.raises(UsageError, match="default, mcmc"):
        DensifySettings(strategy="magic")
    assert set(STRATEGIES) == {"default", "mcmc"}
