"""Advantages against a loop that adds up each episode by itself, and closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxrecon.agents.returns import generalised_advantages, masked_mean, normalise

compiled = jax.jit(generalised_advantages)


def by_episode(rewards, values, terminated, truncated, valid, discount, decay):
    """Each advantage as its own forward sum of temporal differences, up to the end of its own episode."""
    steps, environments, _ = rewards.shape
    advantages = np.zeros(rewards.shape)
    for t, e in np.ndindex(steps, environments):
        if not valid[t, e]:
            continue
        weight = 1.0
        for k in range(t, steps):
            after = 0.0 if terminated[k, e] else values[k + 1, e]
            advantages[t, e] += weight * (rewards[k, e] + discount * after - values[k, e])
            weight *= discount * decay
            if terminated[k, e] or truncated[k, e]:
                break
    return advantages


def random_rollout(seed: int, steps: int, environments: int, rewards: int):
    rng = np.random.default_rng(seed)
    ends = rng.random((steps, environments)) < 0.3
    valid = np.ones((steps, environments), bool)
    for t in range(1, steps):
        valid[t] = ~(ends[t - 1] & valid[t - 1])
        ends[t] &= valid[t]
    terminated = ends & (rng.random(ends.shape) < 0.5)
    return (
        rng.normal(size=(steps, environments, rewards)),
        rng.normal(size=(steps + 1, environments, rewards)),
        terminated,
        ends & ~terminated,
        valid,
    )


def on_device(arrays):
    return [jnp.asarray(a, jnp.float32 if a.dtype == float else bool) for a in arrays]


# Few shapes, many values: a new shape is a new compilation.
@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**31),
    st.sampled_from([(1, 1, 1), (9, 3, 4)]),
    st.floats(0, 1, width=32),
    st.floats(0, 1, width=32),
)
def test_equals_the_sum_over_each_episode(seed, shape, discount, decay):
    rollout = random_rollout(seed, *shape)
    advantages, returns = compiled(*on_device(rollout), discount, decay)
    expected = by_episode(*rollout, discount, decay)
    # Sums of ten float32 terms of order one.
    np.testing.assert_allclose(advantages, expected, atol=2e-5)
    np.testing.assert_allclose(returns, expected + rollout[1][:-1], atol=2e-5)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31))
def test_rows_that_belong_to_no_episode_change_nothing(seed):
    rewards, values, terminated, truncated, valid = random_rollout(seed, 9, 3, 4)
    before, _ = compiled(*on_device((rewards, values, terminated, truncated, valid)), 0.9, 0.95)
    rewards = np.where(valid[..., None], rewards, 1e6)
    after, _ = compiled(*on_device((rewards, values, terminated, truncated, valid)), 0.9, 0.95)
    np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("ending", ["terminated", "truncated", "none"])
def test_constant_reward_is_a_geometric_series_with_or_without_a_bootstrap(ending):
    steps, discount, last = 5, 0.8, 3.0
    ends = np.zeros((steps, 1), bool)
    ends[-1] = True
    none = np.zeros_like(ends)
    values = np.zeros((steps + 1, 1, 1))
    values[-1] = last
    rollout = (np.ones((steps, 1, 1)), values, ends if ending == "terminated" else none,
               ends if ending == "truncated" else none, np.ones_like(ends))  # fmt: skip
    _, returns = compiled(*on_device(rollout), discount, 1.0)
    left = steps - np.arange(steps)
    expected = (1 - discount**left) / (1 - discount) + (0 if ending == "terminated" else discount**left * last)
    np.testing.assert_allclose(returns[:, 0, 0], expected, rtol=1e-6)


def test_wrong_number_of_values_is_named():
    rewards, values, *flags = random_rollout(0, 9, 3, 4)
    with pytest.raises(ValueError, match="values has 9 rows, expected 10"):
        generalised_advantages(*on_device((rewards, values[:-1], *flags)), 0.9, 0.95)


def test_normalise_ignores_invalid_rows_and_leaves_small_noise_small():
    x = jnp.array([1.0, 3.0, 1e9, 5.0])
    valid = jnp.array([True, True, False, True])
    normal = normalise(x, valid, 1e-3)
    np.testing.assert_allclose(normal, np.array([-2.0, 0.0, 0.0, 2.0]) / np.std([1, 3, 5]), rtol=1e-6)
    np.testing.assert_allclose(normalise(1e-3 * x, valid, 1.0), [-2e-3, 0.0, 0.0, 2e-3], atol=1e-9)
    assert masked_mean(x, jnp.zeros(4, bool)) == 0
