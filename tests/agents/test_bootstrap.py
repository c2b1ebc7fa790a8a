"""The bootstrap against the closed form of its variance, against a plain loop, and on cases of known answer."""

import jax
import numpy as np
import pytest

from jaxrecon.agents.bootstrap import (
    difference_intervals,
    mean_intervals,
    named,
    ratio_intervals,
    resampled_means,
    tabulate,
)
from jaxrecon.metrics.closed_loop import Measure

KEY = jax.random.key(3)
SCENES, CLIPS = 6, 5


def measure(values, valid=None) -> Measure:
    values = np.asarray(values, np.float32)
    return Measure(values, np.ones(len(values), bool) if valid is None else np.asarray(valid))


@pytest.fixture(scope="module")
def data():
    """Scenes that differ, clips within them that differ less, in shuffled order: values (scene, clip), and the rows."""
    random = np.random.default_rng(0)
    values = 2.0 * random.normal(size=(SCENES, 1)) + random.normal(size=(SCENES, CLIPS))
    order = random.permutation(SCENES * CLIPS)
    return values, order, np.repeat(np.arange(SCENES), CLIPS)[order]


def test_spread_is_that_of_the_closed_form(data):
    values, order, scene = data
    table = tabulate([measure(values.ravel()[order])], scene)
    samples = np.asarray(resampled_means(table, KEY, 20_000))[:, 0]
    # Law of total variance: scene means drawn S at a time, and clips within each.
    expected = values.mean(axis=1).var() / SCENES + values.var(axis=1).mean() / (SCENES * CLIPS)
    # The standard error of a variance from n samples is sqrt(2 / n) of it, 1%; four of them.
    assert samples.var() == pytest.approx(expected, rel=0.04)
    assert samples.mean() == pytest.approx(values.mean(), abs=4 * np.sqrt(expected / 20_000))
    np.testing.assert_allclose(table.means[0], values.mean(), rtol=1e-5)


def test_seeds_are_a_level_of_their_own(data):
    values, _, _ = data
    by_seed = values + np.array([-1.0, 0.0, 4.0])[:, None, None]
    seed, scene, _ = np.indices(by_seed.shape).reshape(3, -1)
    table = tabulate([measure(by_seed.ravel())], scene, seed)
    samples = np.asarray(resampled_means(table, KEY, 20_000))[:, 0]
    between_seeds = by_seed.mean(axis=(1, 2)).var() / 3
    scenes = values.mean(axis=1).var() / SCENES
    clips = values.var(axis=1).mean() / (SCENES * CLIPS)
    assert samples.var() == pytest.approx(between_seeds + scenes + clips, rel=0.05)


def test_the_same_clips_again_under_another_seed_tell_nothing_new(data):
    values, _, _ = data
    scene = np.repeat(np.arange(SCENES), CLIPS)
    once = tabulate([measure(values.ravel())], scene)
    again = tabulate([measure(np.tile(values.ravel(), 4))], np.tile(scene, 4), np.repeat(np.arange(4), len(scene)))
    spread = [np.asarray(resampled_means(table, KEY, 20_000)).var() for table in (once, again)]
    assert spread[1] == pytest.approx(spread[0], rel=0.06)


def test_agrees_with_a_plain_loop_where_scenes_and_validity_are_uneven():
    random = np.random.default_rng(1)
    scene = np.repeat([7, 2, 9], [2, 6, 4])
    values, valid = random.exponential(size=12), random.uniform(size=12) < 0.7
    samples = np.asarray(resampled_means(tabulate([measure(values, valid)], scene), KEY, 20_000))[:, 0]

    def one():
        rows = [random.choice(np.flatnonzero(scene == s), (scene == s).sum()) for s in random.choice([2, 7, 9], 3)]
        rows = np.concatenate(rows)
        return values[rows][valid[rows]].mean() if valid[rows].any() else np.nan

    plain = np.array([one() for _ in range(4000)])
    quantiles = [0.025, 0.25, 0.5, 0.75, 0.975]
    # Quantiles of 4000 samples wander by about sqrt(p (1 - p) / n) in probability: 0.008 in the middle.
    shares = [(samples <= bound).mean() for bound in np.nanquantile(plain, quantiles)]
    np.testing.assert_allclose(shares, quantiles, atol=0.03)


def test_one_scene_leaves_the_bootstrap_over_clips():
    values = np.random.default_rng(2).normal(size=400)
    interval = named(mean_intervals(tabulate([measure(values)], np.zeros(400, int)), KEY), ["x"])["x"]
    error = values.std() / np.sqrt(400)
    # The normal limit; 4000 samples place its ends to within a few per cent.
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * error, rel=0.08)
    assert interval.low < interval.mean < interval.high


def test_differences_are_paired_and_ratios_follow(data):
    values, order, scene = data
    second = tabulate([measure(np.abs(values.ravel()[order]) + 1.0)], scene)
    first = tabulate([measure(3 * (np.abs(values.ravel()[order]) + 1.0))], scene)
    ratio = ratio_intervals(first, second, KEY)
    # Every sample has the same ratio: float32 rounding alone.
    np.testing.assert_allclose([ratio.low[0], ratio.mean[0], ratio.high[0]], 3.0, rtol=1e-5)
    shifted = tabulate([measure(values.ravel()[order] + 0.5)], scene)
    difference = difference_intervals(shifted, tabulate([measure(values.ravel()[order])], scene), KEY)
    np.testing.assert_allclose([difference.low[0], difference.high[0]], 0.5, atol=1e-5)


def test_ratios_to_nothing_are_infinite_and_nothing_to_nothing_says_nothing():
    scene = np.repeat(np.arange(4), 4)
    none, some = tabulate([measure(np.zeros(16))], scene), tabulate([measure(np.ones(16))], scene)
    assert np.isinf(ratio_intervals(some, none, KEY).low[0])
    assert ratio_intervals(none, some, KEY).high[0] == 0
    assert np.isnan(ratio_intervals(none, none, KEY).high[0])
    never = tabulate([measure(np.zeros(16), np.zeros(16, bool))], scene)
    assert np.isnan(mean_intervals(never, KEY).mean[0])


def test_bad_tables_are_named():
    with pytest.raises(ValueError, match=r"0 measures, of \[\] clips, with 3 scenes"):
        tabulate([], np.zeros(3, int))
    with pytest.raises(ValueError, match=r"of \[2\] clips, with 3 scenes and 3 seeds"):
        tabulate([measure([1.0, 2.0])], np.zeros(3, int))
    with pytest.raises(ValueError, match="0 scenes and 0 seeds; expected at least one measure and one clip"):
        tabulate([measure([])], np.zeros(0, int))
    with pytest.raises(ValueError, match="seed 1 has no clip in scene 5"):
        tabulate([measure(np.ones(3))], np.array([4, 5, 4]), np.array([0, 0, 1]))
    two = tabulate([measure(np.ones(4))], np.array([0, 0, 1, 1]))
    other = tabulate([measure(np.ones(4))], np.array([0, 1, 1, 1]))
    with pytest.raises(ValueError, match="hold other clips"):
        ratio_intervals(two, other, KEY)
