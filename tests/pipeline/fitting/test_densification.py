import math

import pytest
import torch

from gen3d.errors import UsageError
from gen3d.pipeline.fitting.densification import STRATEGIES, make_densification
from gen3d.pipeline.fitting.densification.default import draw, grow, reset_opacities
from gen3d.pipeline.fitting.densification.mcmc import add, relocate, shake, shared_opacity_and_scale
from gen3d.pipeline.fitting.densification.pool import settle
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
    return make_densification(Schedule(settings, steps=10, initial_count=8 if name == "pool" else 10), extent=1.0, seed=0)


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
        splats, optimizer = make_splats(count=8)
        densification = strategy(name, cap=14, nodes=2)
        densification.observe(torch.arange(16.0).view(8, 2), torch.ones(8, 2, dtype=torch.int32))
        densification.after_step(4, splats, optimizer)
        results.append(splats.means.data.clone())
    assert torch.equal(*results)


def test_unknown_strategy():
    with pytest.raises(UsageError, match="default, mcmc, pool"):
        DensifySettings(strategy="magic")
    assert set(STRATEGIES) == {"default", "mcmc", "pool"}
    with pytest.raises(UsageError, match="the fit begins with 8 splats and the strategy pool with one at each of 3"):
        strategy("pool", nodes=3)


class TestPool:
    SIZE = 5  # nodes along a side: cells of a quarter

    def node(self, x, y, z):
        return (x * self.SIZE + y) * self.SIZE + z

    def free(self, *nodes):
        mask = torch.zeros(self.SIZE**3, dtype=torch.bool)
        mask[[self.node(*each) for each in nodes]] = True
        return mask

    def test_places_get_the_nearest_free_node_within_reach(self):
        free = self.free((2, 2, 2), (3, 2, 2), (0, 0, 0))
        places = torch.tensor([[0.01, 0.0, 0.0], [0.2, 0.0, 0.0], [0.0, 0.49, 0.0], [-0.5, -0.5, -0.5], [9.0, 9.0, 9.0]])
        found = settle(places, free, self.SIZE)
        assert found.tolist() == [self.node(2, 2, 2), self.node(3, 2, 2), -1, self.node(0, 0, 0), -1]

    def test_reach_is_a_cell_and_a_half_along_each_axis(self):
        free = self.free((2, 2, 2))
        inside, outside = torch.tensor([[0.37, -0.37, 0.37]]), torch.tensor([[0.38, 0.0, 0.0]])
        assert settle(inside, free, self.SIZE).tolist() == [self.node(2, 2, 2)]
        assert settle(outside, free, self.SIZE).tolist() == [-1]

    def test_the_nearest_of_several_gets_a_node(self):
        places = torch.tensor([[0.1, 0.0, 0.0], [0.02, 0.0, 0.0], [-0.05, 0.0, 0.0]])
        assert settle(places, self.free((2, 2, 2)), self.SIZE).tolist() == [-1, self.node(2, 2, 2), -1]
        assert settle(places[:0], self.free(), self.SIZE).tolist() == []

    def test_it_finds_what_a_search_over_all_nodes_finds(self):
        generator = torch.Generator().manual_seed(0)
        size = 8
        free, places = torch.rand(size**3, generator=generator) < 0.3, torch.rand(200, 3, generator=generator) - 0.5
        axes = torch.stack(torch.meshgrid(*(torch.arange(size),) * 3, indexing="ij"), -1).flatten(0, 2) / (size - 1) - 0.5
        off = places[:, None] - axes
        distance = off.square().sum(-1).masked_fill(~free | (off.abs().amax(-1) > 1.5 / (size - 1)), math.inf)
        found = settle(places, free, size)
        nearest, best = distance.min(1)
        assert all(int(found[i]) in (-1, int(best[i])) for i in range(200) if nearest[i] < math.inf)
        for node in found[found >= 0].unique():
            wanting = (best == node) & nearest.isfinite()
            assert int((found == node).sum()) == 1
            assert nearest[found == node] == nearest[wanting].min()
        assert {int(each) for each in best[nearest.isfinite()]} == {int(each) for each in found[found >= 0]}

    def make(self, steps=10, **densify):
        settings = DensifySettings(
            strategy="pool", nodes=self.SIZE, every=1, start=0, stop=0.5, prune_stop=0.5, grow_gradient=1.0, **densify
        )
        pool = make_densification(Schedule(FittingSettings(densify=settings), steps=steps, initial_count=125), extent=10.0, seed=0)
        splats, optimizer = make_splats(self.SIZE**3, scale=0.05)
        splats.means.data = pool._places(pool.homes, splats.means.data)
        return pool, splats, optimizer

    def test_faint_splats_give_their_node_back_and_others_move_in(self):
        pool, splats, optimizer = self.make()
        splats.logit_opacities.data[:60] = -9.0
        pool.total, pool.views = torch.zeros(125), torch.ones(125)
        pool.total[60:] = 5.0
        pool.after_step(0, splats, optimizer)
        assert consistent(splats, optimizer)
        assert splats.count == len(pool.homes) == len(pool.homes.unique())
        assert set(range(60, 100)) <= set(pool.homes.tolist())
        moved_in = splats.count - 65
        assert 20 < moved_in <= 60
        off = (splats.means.data - pool._places(pool.homes, splats.means.data)).abs()
        assert float(off.max()) <= 1.5 * pool.cell + 1e-6
        assert float(pool.penalty(splats.activated())) == 0
        splats.means.data[0] += 1.0
        assert float(pool.penalty(splats.activated()).detach()) == pytest.approx(
            20 * (3 * (1 - 1.5 * pool.cell)) / (3 * splats.count), rel=1e-4
        )

    def test_in_the_end_every_node_has_a_splat(self):
        pool, splats, optimizer = self.make()
        splats.logit_opacities.data[:60] = -9.0
        marks = splats.sh0.data[60:].clone()
        for step in range(5):
            pool.after_step(step, splats, optimizer)
        assert consistent(splats, optimizer)
        assert pool.homes.tolist() == list(range(125))
        assert torch.equal(splats.sh0.data[60:], marks)
        assert torch.allclose(splats.logit_opacities.data[:60].sigmoid(), torch.full((60,), 1e-4))
        assert torch.allclose(splats.means.data[:60], pool._places(torch.arange(60), splats.means.data))

    def test_a_checkpoint_keeps_the_nodes(self):
        pool, splats, optimizer = self.make()
        splats.logit_opacities.data[:60] = -9.0
        pool.after_step(0, splats, optimizer)
        again, _, _ = self.make()
        again.load_kept(pool.kept())
        assert torch.equal(again.homes, pool.homes)
