"""Those are kept that add kinds of manoeuvres which are rare so far."""

import jax
import numpy as np

from jaxrecon.trajectories import CHECKS, entropy
from jaxrecon.trajectories.choosing import choose, kinds_of
from jaxrecon.trajectories.diversity import CLASSES, KINDS


def test_the_rare_are_chosen_first_and_come_in_the_order_drawn():
    windows = np.array([[0, 0, 0, 0], [0, 0, 0, 1], [2, 2, 3, 3], [0, 0, 0, 0], [4, 4, 4, 4]])
    counts = np.zeros(KINDS, int)
    counts[0] = 8
    chosen, after = choose(windows, counts, 2)
    assert chosen.tolist() == [2, 4] and counts.sum() == 8
    assert after[[0, 2, 3, 4]].tolist() == [8, 2, 2, 4] and after.sum() == 16
    # Nothing but the same is left: the first drawn of these.
    again, _ = choose(windows[[0, 3]], after, 1)
    assert again.tolist() == [0]


def test_all_are_kept_where_there_are_too_few():
    chosen, after = choose(np.array([[1, 1], [1, 1]]), np.zeros(KINDS, int), 5)
    assert chosen.tolist() == [0, 1] and after[1] == 4
    chosen, after = choose(np.zeros((0, 2), int), after, 5)
    assert chosen.tolist() == [] and after[1] == 4


def test_kept_ones_passed_and_vary_more_than_any_first_ones(made, world, few):
    cousins = made.cousins
    assert cousins.checks.shape[1] == len(CHECKS) and cousins.checks.all()
    assert np.bincount(cousins.family).max() == few.per_family
    windows = kinds_of(cousins, made.path, world.dt)
    assert windows.shape[0] == cousins.count and windows.max() < KINDS == np.prod([len(n) for _, n in CLASSES.values()])
    random = np.random.default_rng(0).permutation(cousins.count)
    chosen, counts = choose(windows, np.zeros(KINDS, int), 5)
    drawn = np.bincount(windows[random[:5]].ravel(), minlength=KINDS)
    assert entropy(counts) > entropy(drawn) and len(jax.tree.leaves(cousins.take(chosen))) > 0
