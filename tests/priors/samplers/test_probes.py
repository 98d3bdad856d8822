"""Probes and next views: hallucinations are found, and the view that tells most."""

import json
import math
import re

import pytest
import torch
from oracles import leaning, normal, two_modes

from gen3d.priors.samplers.analytic import Mixture
from gen3d.priors.samplers.driver import Step, draw, sample
from gen3d.priors.samplers.grids import flow_shift, karras, log_snr
from gen3d.priors.samplers.next_view import disagreement, next_views
from gen3d.priors.samplers.paths import EDM, Flow
from gen3d.priors.samplers.predictions import Prediction, implied_eps
from gen3d.priors.samplers.probes import Trajectory, TrajectoryVariance, renoise_score, suspicious, thresholds
from gen3d.priors.samplers.reporting import Report, report
from gen3d.priors.samplers.solvers.exponential import DDIM

WITHIN = 0.05
MODES = Mixture(torch.ones(3).double(), torch.tensor([[-1.0], [0.0], [1.0]]).double(), WITHIN**2 * torch.ones(3, 1, 1).double())


FLOOR = 0.3  # noise below which a network gets no sharper: its slope between modes is limited


def limited(x, c, condition=None):
    """A denoiser whose slope is limited, as a network's is: it leaves samples between modes."""
    x0 = MODES(x, EDM().at(max(c.sb, FLOOR))).x0
    return Prediction(x0, implied_eps(x, x0, c))


def auc(scores, bad):
    order = scores.argsort()
    rank = torch.empty_like(scores)
    rank[order] = torch.arange(len(scores)).to(scores)
    positive = int(bad.sum())
    return float((rank[bad].sum() - positive * (positive - 1) / 2) / (positive * (len(scores) - positive)))


@pytest.fixture(scope="module")
def made():
    """Samples of an ODE in 20 steps, and which of them lie between the modes."""
    x = sample(limited, DDIM(), karras(EDM(), 20, sb_min=0.02, sb_max=20.0), 20 * normal(4000, 1)).x
    distance = (x - MODES.means[:, 0]).abs().amin(1)
    return x, distance > 4 * WITHIN


def test_t12_renoising_finds_hallucinations(made):
    x, bad = made
    assert 0.001 < float(bad.double().mean()) < 0.2
    generator = torch.Generator().manual_seed(1)
    score = renoise_score(
        limited, EDM(), x, lambda shape: torch.randn(shape, generator=generator, dtype=torch.float64), levels=[2 * WITHIN]
    )[:, 0]
    assert auc(score, bad) >= 0.97
    kept = score <= thresholds(score[~bad][:, None], kept=0.96)[0]
    assert float(kept[~bad].double().mean()) == pytest.approx(0.96, abs=0.002)
    assert float((~kept)[bad].double().mean()) >= 0.95


def test_trajectory_variance_needs_many_noisy_steps(made):
    probe = TrajectoryVariance(3 * WITHIN)
    sample(limited, DDIM(1.0), karras(EDM(), 100, sb_min=0.02, sb_max=20.0), 20 * normal(50, 1), probes=[probe])
    assert probe.count >= 6
    assert probe.score().shape == (50,)
    with pytest.raises(ValueError, match="0 evaluations had sigma / alpha of at most 1e-06"):
        TrajectoryVariance(1e-6).score()


def test_the_variance_is_that_of_the_predictions():
    seen = []

    def watch(moment):
        if moment.c.sb <= 1.0:
            seen.append(moment.prediction.x0)

    probe = TrajectoryVariance(1.0)
    sample(two_modes(), DDIM(1.0), karras(EDM(), 30, sb_max=5.0), 5 * normal(4, 2), probes=[probe, watch])
    assert torch.allclose(probe.score(), torch.stack(seen).var(0, unbiased=False).mean(1))


def test_probes_follow_particles_that_change_places():
    """Swapping the samples of two modes at every step leaves the statistics of each way as they were."""

    def swap(moment):
        state, swapped = moment.transition.state, torch.tensor([1, 0])
        return Step(state.index(swapped), ancestors=swapped)

    x, found = torch.tensor([[-3.0, 0.5], [3.0, 0.5]]).double(), []
    for controller in (draw, swap):
        variance, watch = TrajectoryVariance(1.0), Trajectory()
        sample(two_modes(), DDIM(), log_snr(EDM(), 21, sb_min=0.02, sb_max=3.0), x, controller=controller, probes=[variance, watch])
        found.append((variance.score().sort().values, watch.changes, watch.effective_rank(), watch.bend()))
    for plain, swapped in zip(*found, strict=True):
        assert swapped == pytest.approx(plain)


def test_the_worst_view_counts():
    x = torch.tensor([[1.0, 0.45]]).double()[..., None]  # the second view lies between modes

    def each(x, c, condition=None):
        known = limited(x.reshape(-1, 1), c)
        return Prediction(known.x0.reshape(x.shape), known.eps.reshape(x.shape))

    generator = torch.Generator().manual_seed(0)

    def noise(shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    scores = [renoise_score(each, EDM(), part, noise, levels=[0.1], draws=400, views=True) for part in (x, x[:, 1:], x[:, :1])]
    assert scores[0] == pytest.approx(scores[1], rel=0.3)
    assert scores[0] > 4 * scores[2]
    with pytest.raises(ValueError, match="1 draws have no variance"):
        renoise_score(each, EDM(), x, noise, levels=[0.1], draws=1)


def test_good_samples_score_less_than_their_mode_is_wide():
    x = MODES.sample(2000, torch.Generator().manual_seed(0))
    score = renoise_score(MODES, EDM(), x, lambda shape: torch.randn(shape, dtype=torch.float64), levels=[WITHIN, 2 * WITHIN])
    assert (score.mean(0) < WITHIN**2).all()
    assert torch.equal(suspicious(score, torch.ones(2)), score.amax(1))


def test_normal_data_move_in_a_plane():
    gaussian, _, _ = leaning()
    probe = Trajectory()
    sample(gaussian, DDIM(), log_snr(EDM(), 60, sb_min=0.01, sb_max=60.0), 60 * normal(32, 3), probes=[probe])
    assert 1.0 < probe.effective_rank() < 2.2
    assert len(probe.changes) == 59
    assert probe.norms[0] == pytest.approx(60, rel=0.3)


def test_two_hypotheses_have_the_entropy_of_their_mixture():
    """Log 2 - log(1 + exp(-d^2 / (4 s^2))) for every pixel."""
    views, s = torch.tensor([0.0, 0.3]).double().view(2, 1, 1, 1, 1), 0.1
    assert float(disagreement(views, noise_std=s)) == pytest.approx(math.log(2) - math.log1p(math.exp(-(0.3**2) / (4 * s**2))))


def test_a_straight_way_does_not_change_its_mind():
    probe = Trajectory()

    def certain(x, c, condition=None):
        return Prediction(torch.ones_like(x), implied_eps(x, torch.ones_like(x), c))

    sample(certain, DDIM(), flow_shift(Flow(), 5), normal(2, 3), probes=[probe])
    assert probe.changes == [0.0] * 4
    assert probe.bend() == pytest.approx(0.0, abs=1e-12)


def test_a_report_tells_numbers_to_files_and_sentences_to_people():
    probe = Trajectory()
    x = torch.tensor([[1.0], [0.45]]).double()
    result = sample(limited, DDIM(), karras(EDM(), 20, sb_min=0.02, sb_max=20.0), 20 * normal(2, 1), probes=[probe])
    good = renoise_score(limited, EDM(), MODES.sample(500), lambda shape: torch.randn(shape, dtype=torch.float64), levels=[0.1])
    seen = renoise_score(limited, EDM(), x, lambda shape: torch.randn(shape, dtype=torch.float64), levels=[0.1])
    told = report(result, trajectory=probe, renoised=(seen, thresholds(good)), dimension=torch.ones(2))
    assert told.facts().keys() == {"evaluations", "suspicion", "changes", "effective_rank", "bend", "dimension"}
    assert json.loads(json.dumps(told.facts()))["evaluations"] == 20
    assert told.suspicion[0] < 1 < told.suspicion[1]
    (note,) = told.notes()
    assert re.fullmatch(r"sample 1 looks made up: .* \(\d+\.\d x the limit\); take another of the samples", note)
    assert Report(5, suspicion=(2.0, 1.5)).notes()[0].startswith("samples 0, 1 look made up")
    assert Report(5, suspicion=(2.0, 1.5)).notes()[0].endswith("take another seed")
    assert Report(5, suspicion=(0.4,)).notes() == []


def test_t21_the_most_uncertain_pixel_is_looked_at():
    """A linear-Gaussian field: hypotheses from its posterior, one candidate view for each pixel."""
    root = normal(6, 6, seed=2)
    deviation = (root @ root.mT).diagonal().sqrt()
    fields = normal(4000, 6, seed=3) @ root.mT
    views = fields[:, :, None, None, None]
    score = disagreement(views, kind="variance")
    assert int(score.argmax()) == int(deviation.argmax())
    assert ((score.sqrt() - deviation).abs() < 0.1 * deviation).all()


def test_t21_two_groups_tell_more_than_one_outlier():
    wins = 0
    for seed in range(100):
        generator = torch.Generator().manual_seed(seed)
        bimodal = torch.cat([torch.zeros(8), torch.ones(8)]) + 0.05 * torch.randn(16, generator=generator)
        outlier = torch.cat([torch.zeros(15), torch.tensor([4.0])]) + 0.05 * torch.randn(16, generator=generator)
        views = torch.stack([bimodal, outlier], 1)[..., None, None, None]
        wins += int(disagreement(views, noise_std=0.1).argmax() == 0)
    assert wins >= 95


def test_the_same_hypothesis_many_times_tells_nothing():
    views = normal(1, 3, 3, 4, 4).expand(5, 3, 3, 4, 4)
    assert disagreement(views, patch=2).abs().max() < 1e-12
    assert disagreement(views, kind="variance").abs().max() < 1e-12
    with pytest.raises(ValueError, match="patches of 3 pixels do not divide pictures of 4 x 4"):
        disagreement(views, patch=3)
    with pytest.raises(ValueError, match="the noise is 0"):
        disagreement(views, noise_std=0)


def test_transparent_pixels_do_not_count():
    views = normal(5, 2, 3, 4, 4)
    weight = torch.ones(2, 4, 4).double()
    weight[0] = 0
    assert disagreement(views, weight=weight)[0] == 0
    assert disagreement(views, weight=weight)[1] == pytest.approx(float(disagreement(views)[1]))


def test_views_are_chosen_apart():
    directions = torch.nn.functional.normalize(torch.tensor([[1.0, 0, 0], [1, 0.1, 0], [0, 1, 0], [0, 0, 1]]), dim=-1)
    scores = torch.tensor([3.0, 2.9, 2.0, 1.0])
    assert next_views(scores, directions, 3) == [0, 2, 3]
    assert next_views(scores, directions, 2, cost=torch.tensor([2.5, 0, 0, 0])) == [1, 2]
    assert next_views(scores, directions, 9) == [0, 2, 3]
