from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gen3d.pipeline.fitting.schedule import Schedule, mix_seed, views_of_step
from gen3d.pipeline.fitting.settings import DensifySettings, FittingSettings


@given(seed=st.integers(0, 2**32), count=st.integers(1, 12), per_step=st.integers(1, 5))
def test_every_view_once_before_any_twice(seed, count, per_step):
    seen = Counter(view for step in range(count) for view in views_of_step(seed, step, count, per_step))
    assert set(seen) == set(range(count))
    assert set(seen.values()) == {per_step}


def test_orders_differ_between_epochs_and_seeds():
    def epoch(seed, number):
        return [views_of_step(seed, step, 20, 1)[0] for step in range(20 * number, 20 * number + 20)]

    assert epoch(0, 0) == epoch(0, 0)
    assert epoch(0, 0) != epoch(0, 1)
    assert epoch(0, 0) != epoch(1, 0)


def test_mixed_seeds_are_distinct_and_fit_a_generator():
    seeds = {mix_seed(purpose, seed, number) for purpose in "ab" for seed in range(50) for number in range(50)}
    assert len(seeds) == 5000
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_a_schedule_from_start_to_end():
    densify = DensifySettings(cap=1000, every=10, start=0.1, stop=0.5, prune_stop=0.8)
    settings = FittingSettings(sh_degree=2, half_resolution=0.25, densify=densify)
    schedule = Schedule(settings, steps=400, initial_count=100)
    assert [schedule.reduction(step) for step in (0, 99, 100, 399)] == [2, 2, 1, 1]
    assert [schedule.sh_degree(step) for step in (0, 66, 67, 134, 200, 399)] == [0, 0, 1, 2, 2, 2]
    assert [schedule.rate(step) for step in (0, 320, 360)] == pytest.approx([1, 1, 0.5])  # the cooldown is the last fifth
    assert schedule.rate(400) == 0
    assert schedule.decay(0) == 1
    assert schedule.decay(400) == pytest.approx(settings.rates.means_end)
    assert not schedule.densifies(29)  # due, but before the start
    assert schedule.densifies(49)
    assert not schedule.densifies(50)
    assert not schedule.densifies(329)  # after the end of pruning
    assert schedule.grows(199)
    assert not schedule.grows(200)
    assert schedule.target_count(199) == 1000
    assert schedule.target_count(99) == 550
    assert schedule.target_count(399) == 1000


def test_short_fits_change_often_enough():
    settings = FittingSettings(densify=DensifySettings(every=100, start=0.0, stop=0.5))
    for steps in (60, 600, 6000):
        schedule = Schedule(settings, steps=steps, initial_count=1)
        assert sum(schedule.densifies(step) for step in range(steps // 2)) >= min(12, steps // 2)
    assert Schedule(settings, steps=6000, initial_count=1).interval == 100
    without = FittingSettings(densify=DensifySettings(every=100, start=0.0, stop=0.0))
    assert Schedule(without, steps=600, initial_count=1).interval == 100


def test_checkpoints_are_spread_evenly_and_leave_out_the_end():
    schedule = Schedule(FittingSettings(checkpoints=3), steps=100, initial_count=1)
    assert [step + 1 for step in range(100) if schedule.checkpoints(step)] == [25, 50, 75]
    assert sum(Schedule(FittingSettings(checkpoints=10), 20, 1).checkpoints(step) for step in range(20)) == 10
