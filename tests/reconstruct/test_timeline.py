import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from jaxrecon.reconstruct.timeline import in_time, lies_between, roughness, time_weights


@given(st.lists(st.booleans(), min_size=1, max_size=20))
def test_frames_that_were_not_fitted_lie_on_the_line_between_their_neighbours(fitted):
    fitted = np.array(fitted)
    frames = np.arange(len(fitted), dtype=np.float32)
    values = jnp.asarray(np.where(fitted, 3 * frames + 1, 1e3))[:, None]
    filled = np.asarray(in_time(time_weights(fitted), values))[:, 0]
    if not fitted.any():
        np.testing.assert_array_equal(filled, values[:, 0])
        return
    known = np.flatnonzero(fitted)
    np.testing.assert_allclose(filled, 3 * np.clip(frames, known[0], known[-1]) + 1, rtol=1e-5)


def test_what_is_fitted_stays_and_what_is_not_has_no_gradient_of_its_own():
    weights = time_weights(np.array([True, False, False, True, True]))
    values = jax.random.normal(jax.random.key(0), (5, 2, 3))
    filled = in_time(weights, values)
    np.testing.assert_allclose(filled[jnp.array([0, 3, 4])], values[jnp.array([0, 3, 4])], atol=1e-6)
    gradient = jax.grad(lambda v: jnp.sum(in_time(weights, v) ** 2))(values)
    assert np.all(np.asarray(gradient[1:3]) == 0)
    assert np.all(np.asarray(gradient[0]) != 0)


def test_roughness_is_what_bends():
    line = jnp.linspace(0, 5, 9)[:, None] * jnp.array([1.0, -2.0])
    np.testing.assert_allclose(roughness(line), 0.0, atol=1e-10)
    # One frame off by one bends itself by one and its two neighbours by a half, of seven that have neighbours.
    np.testing.assert_allclose(roughness(line.at[4, 0].add(1.0)), 1.5 / 7, rtol=1e-5)
    assert float(roughness(jnp.ones((2, 3)))) == 0.0


def test_a_frame_lies_between_fitted_ones_that_are_near_each_other():
    fitted = np.array([False, True, False, True, False, False, True, False])
    assert lies_between(fitted, 2).tolist() == [False, False, True, False, False, False, False, False]
    assert lies_between(fitted, 3).tolist() == [False, False, True, False, True, True, False, False]
    assert not lies_between(np.zeros(3, bool), 3).any()
