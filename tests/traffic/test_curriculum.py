"""The curriculum finds what a policy can just about do, and follows it as it learns."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrecon.traffic.curriculum import (
    CurriculumParams,
    begin_curriculum,
    failure_rate,
    report,
    sample,
    update,
    weights,
)

CASES, PLAYS = 200, 64
DIFFICULTY = jnp.linspace(0.0, 1.0, CASES)


def fails(skill: float, difficulty: jax.Array) -> jax.Array:
    """Rate of a toy policy that fails what is harder than its skill."""
    return jax.nn.sigmoid(20.0 * (difficulty - skill))


@jax.jit
def play(state, key, skill):
    def round_of(state, key):
        key_sample, key_play = jax.random.split(key)
        case = sample(state, key_sample, PLAYS)
        failed = jax.random.uniform(key_play, (PLAYS,)) < fails(skill, DIFFICULTY[case])
        return update(state, case, failed, jnp.ones(PLAYS, bool)), None

    return jax.lax.scan(round_of, state, jax.random.split(key, 150))[0]


def begin():
    return begin_curriculum((jnp.arange(CASES) >= 100).astype(jnp.int32), DIFFICULTY, 3)


def drawn_difficulty(state) -> float:
    return float(jnp.sum(weights(state) * DIFFICULTY))


@pytest.mark.parametrize("skill", [0.3, 0.6])
def test_it_draws_what_is_failed_half_the_time(skill):
    state = play(begin(), jax.random.key(0), skill)
    share = weights(state)
    assert float(jnp.sum(share)) == pytest.approx(1.0, abs=1e-5)
    # Learnable are cases within 0.15 of the skill, 30 % of all; a fifth of the draws is uniform.
    near = jnp.abs(DIFFICULTY - skill) < 0.15
    assert float(jnp.sum(jnp.where(near, share, 0))) > 0.6
    estimate = np.asarray(failure_rate(state))
    known = np.asarray(state.plays) > 15
    assert known.sum() > 40
    truth = np.asarray(fails(skill, DIFFICULTY))
    assert np.abs(estimate - truth)[known].mean() < 0.12


def test_it_follows_a_policy_that_learns():
    early = play(begin(), jax.random.key(0), 0.3)
    late = play(early, jax.random.key(1), 0.75)
    assert drawn_difficulty(early) < 0.42 and drawn_difficulty(late) > 0.6


def test_only_what_ended_in_a_case_counts():
    state = begin()
    after = update(state, jnp.asarray([-1, 3, 3, 5]), jnp.asarray([True, True, False, True]),
                   jnp.asarray([True, True, True, False]))  # fmt: skip
    assert np.flatnonzero(after.played).tolist() == [3] and int(after.played[3]) == 2
    assert float(after.plays[3]) == pytest.approx(2.0) and float(after.failures[3]) == pytest.approx(1.0)


def test_old_outcomes_fade():
    params = CurriculumParams(memory=10.0)
    state, one = begin(), jnp.zeros(10, jnp.int32)
    every = jnp.ones(10, bool)
    failed = update(state, one, every, every, params)
    better = update(failed, one, ~every, every, params)
    assert float(better.failures[0]) == pytest.approx(10 * np.exp(-1), rel=1e-5)
    assert float(better.plays[0]) == pytest.approx(10 * np.exp(-1) + 10, rel=1e-5)


def test_the_report_says_how_behaviours_stand():
    told = report(play(begin(), jax.random.key(0), 0.3))
    assert float(told.share[:2].sum()) == pytest.approx(1.0, abs=1e-4)
    assert 0 < float(told.failure_rate[0]) < float(told.failure_rate[1]) <= 1
    assert float(told.difficulty[0]) < 0.5 < float(told.difficulty[1])
    assert np.isnan(told.failure_rate[2]) and int(told.played[2]) == 0 and int(told.played.sum()) == 150 * PLAYS
