"""PPO on tabular problems whose values and best actions are known exactly."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrecon.agents import PPOParams, ppo

DISCOUNT = 0.5
PARAMS = PPOParams(learning_rate=1e-2, final_learning_rate=1e-3, discount=DISCOUNT, entropy_weight=0.0)


@pytest.fixture
def train(table_policy, table_config):
    return lambda table: run(table, table_policy, table_config)


def run(table, policy, config):
    policy, history = ppo.fit(table, policy, config, jax.random.key(1), params=PARAMS, progress=False)
    output = policy(jnp.eye(3))
    lateral, longitudinal = (np.asarray(jax.nn.softmax(x)) for x in output.logits)
    return np.asarray(output.values), lateral, longitudinal, history


def test_constant_reward_at_the_end_of_one_step_is_the_value(make_table, train):
    values, *_ = train(make_table((1.0, -0.5)))
    np.testing.assert_allclose(values[0], [1.0, -0.5], atol=0.02)


def test_reward_that_depends_on_the_observation(make_table, train):
    reward = lambda place, *_: place - 1.0  # noqa: E731
    values, *_ = train(make_table((reward, 0.0), start=(0.3, 0.3, 0.4)))
    np.testing.assert_allclose(values, [[-1, 0], [0, 0], [1, 0]], atol=0.03)


def test_delayed_reward_is_discounted(make_table, train):
    table = make_table(
        (lambda place, *_: place == 2, 0.0),
        following=lambda place, *_: np.minimum(place + 1, 2),
        terminates=lambda place, *_: place == 2,
    )
    values, *_ = train(table)
    np.testing.assert_allclose(values[:, 0], [DISCOUNT**2, DISCOUNT, 1.0], atol=0.03)


def test_truncation_is_worth_what_would_have_followed_and_termination_nothing(make_table, train):
    last = lambda place, *_: place == 2  # noqa: E731
    onwards = lambda place, *_: np.minimum(place + 1, 2)  # noqa: E731
    truncated, *_ = train(make_table((1.0, 1.0), following=onwards, terminates=False, truncates=last))
    terminated, *_ = train(make_table((1.0, 1.0), following=onwards, terminates=last))
    np.testing.assert_allclose(truncated, np.full((3, 2), 1 / (1 - DISCOUNT)), atol=0.05)
    np.testing.assert_allclose(terminated[:, 0], [1.75, 1.5, 1.0], atol=0.05)


def test_each_head_finds_the_action_that_its_reward_depends_on(make_table, train):
    table = make_table((lambda place, a, b: b == 1, lambda place, a, b: a == 2))
    values, lateral, longitudinal, _ = train(table)
    assert lateral[0, 2] > 0.95 and longitudinal[0, 1] > 0.95
    np.testing.assert_allclose(values[0], [1.0, 1.0], atol=0.06)


def test_action_that_depends_on_the_observation(make_table, train):
    table = make_table(
        (lambda place, a, b: b == place, lambda place, a, b: a == (place + 1) % 3), start=(0.3, 0.3, 0.4)
    )
    values, lateral, longitudinal, history = train(table)
    assert (lateral.argmax(1) == [1, 2, 0]).all() and (longitudinal.argmax(1) == [0, 1, 2]).all()
    assert min(lateral.max(1).min(), longitudinal.max(1).min()) > 0.9
    np.testing.assert_allclose(values, np.ones((3, 2)), atol=0.1)
    assert history["reward"][-5:].mean() > 1.8 and history["reward"][0] < 1.2


def test_a_head_does_not_learn_from_the_reward_of_the_other(make_table, train):
    crossed = make_table((lambda place, a, b: a == 2, lambda place, a, b: b == 1))
    _, lateral, longitudinal, _ = train(crossed)
    # Neither can know better than chance, which drifts; a head that saw the other's reward would be above 0.95.
    assert lateral[0, 2] < 0.5 and longitudinal[0, 1] < 0.5


@pytest.mark.parametrize("bad", ["reward", "observation"])
def test_nan_is_skipped_counted_and_stopped_with_a_report(make_table, table_policy, table_config, bad):
    table = make_table((1.0, 1.0))
    nan = {"reward": {"reward": table.reward * jnp.nan}, "observation": {"features": table.features * jnp.nan}}[bad]
    seen = []
    with pytest.raises(ppo.optimise.NonFiniteError, match=r"update 2: the last 24 gradient steps were NaN"):
        ppo.fit(
            table.replace(**nan), table_policy, table_config, jax.random.key(0), progress=False,
            callback=lambda number, figures: seen.append(int(figures["skipped"])),
        )  # fmt: skip
    assert seen == [8, 16]
