import jax.numpy as jnp
import numpy as np

from jaxrecon.reconstruct.exposure import Exposure, expose, interpolate, neutral


def test_neutral_exposure_changes_nothing():
    rgb = jnp.linspace(0, 1, 24).reshape(2, 4, 3)
    np.testing.assert_array_equal(expose(neutral(3), jnp.int32(1), rgb), rgb)


def test_exposure_is_gain_and_bias_of_its_frame():
    exposure = Exposure(jnp.log(jnp.array([[1.0, 1, 1], [2.0, 1, 0.5]])), jnp.array([[0.0, 0, 0], [0.1, 0, 0]]))
    np.testing.assert_allclose(
        expose(exposure, jnp.int32(1), jnp.full((1, 1, 3), 0.2))[0, 0], [0.5, 0.2, 0.1], rtol=1e-6
    )


def test_heldout_frames_interpolate_their_fitted_neighbours():
    frames = np.array([0, 1, 99, 3, 4, 5, 99, 7, 8, 9, 99], np.float32)
    values = jnp.tile(jnp.asarray(frames)[:, None], (1, 3))
    fitted = jnp.asarray(frames != 99)
    filled = interpolate(Exposure(values, -values), fitted)
    expected = np.minimum(np.arange(11), 9)  # constant past the last fitted frame
    np.testing.assert_allclose(filled.log_gain[:, 1], expected, atol=1e-6)
    np.testing.assert_allclose(filled.bias[:, 2], -expected, atol=1e-6)
    first = interpolate(Exposure(values, values), jnp.asarray(np.arange(11) >= 3))
    np.testing.assert_allclose(first.bias[:3, 0], np.full(3, 3.0), atol=1e-6)
