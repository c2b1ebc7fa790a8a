"""The ring that an agent acts on, and the same stacks gathered from frames stored once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrecon.simulator import begin_history, extend_history, history_rows

LENGTH, STEPS, ENVIRONMENTS = 3, 12, 4


def test_the_ring_and_the_gathered_rows_agree():
    rng = np.random.default_rng(0)
    frames = jnp.asarray(rng.integers(0, 256, (STEPS, ENVIRONMENTS, 1, 2, 2, 3)), jnp.uint8)
    started = jnp.asarray(rng.random((STEPS, ENVIRONMENTS)) < 0.3)
    rows = np.asarray(history_rows(started, LENGTH))
    history = begin_history(frames[0], LENGTH)
    extend = jax.jit(extend_history)
    for time in range(STEPS):
        if time:
            history = extend(history, frames[time], started[time])
        for environment in range(ENVIRONMENTS):
            expected = np.asarray(frames)[rows[time, environment], environment]
            np.testing.assert_array_equal(history.stacked[environment], expected)
    first = np.where(np.asarray(started), np.arange(STEPS)[:, None], 0)
    first = np.maximum.accumulate(first, axis=0)
    assert (rows >= first[..., None]).all() and (rows[..., 0] == np.arange(STEPS)[:, None]).all()


def test_no_history_is_named():
    with pytest.raises(ValueError, match="history of 0 frames"):
        begin_history(jnp.zeros((1, 1, 2, 2, 3), jnp.uint8), 0)
