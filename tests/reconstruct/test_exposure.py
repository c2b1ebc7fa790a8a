import jax.numpy as jnp
import numpy as np

from jaxrecon.reconstruct.exposure import Exposure, expose, fill_exposure, neutral
from jaxrecon.reconstruct.timeline import time_weights


def test_neutral_exposure_changes_nothing():
    rgb = jnp.linspace(0, 1, 24).reshape(2, 4, 3)
    np.testing.assert_array_equal(expose(neutral(3), jnp.int32(1), rgb), rgb)


def test_exposure_is_gain_and_bias_of_its_frame():
    exposure = Exposure(jnp.log(jnp.array([[1.0, 1, 1], [2.0, 1, 0.5]])), jnp.array([[0.0, 0, 0], [0.1, 0, 0]]))
    np.testing.assert_allclose(
        expose(exposure, jnp.int32(1), jnp.full((1, 1, 3), 0.2))[0, 0], [0.5, 0.2, 0.1], rtol=1e-6
    )


def test_heldout_frames_interpolate_their_fitted_neighbours():
    values = jnp.array([[0.0] * 3, [9.0] * 3, [2.0] * 3])
    filled = fill_exposure(Exposure(values, -values), jnp.asarray(time_weights(np.array([True, False, True]))))
    np.testing.assert_allclose(filled.log_gain[:, 1], [0.0, 1.0, 2.0], atol=1e-6)
    np.testing.assert_allclose(filled.bias[:, 2], [0.0, -1.0, -2.0], atol=1e-6)
