import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrecon.scene.gaussians import Gaussians, concatenate, empty
from jaxrecon.scene.scene import sky_colour

ROWS, COLUMNS = 9, 16


def _direction(elevation: float, azimuth: float) -> jax.Array:
    return jnp.array([np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)])


def test_the_sky_at_a_texel_is_its_colour():
    sky = np.random.default_rng(0).uniform(size=(ROWS, COLUMNS, 3)).astype(np.float32)
    for row in range(1, ROWS - 1):
        for column in range(COLUMNS):
            elevation = np.pi * (0.5 - row / (ROWS - 1))
            azimuth = 2 * np.pi * ((column + 0.5) / COLUMNS - 0.5)
            colour = sky_colour(jnp.asarray(sky), 3.0 * _direction(elevation, azimuth))
            np.testing.assert_allclose(colour, sky[row, column], atol=2e-5)  # angles in float32


@pytest.mark.parametrize("batch", [(), (1,), (2, 3)])
def test_a_uniform_sky_is_uniform(batch):
    directions = jax.random.normal(jax.random.key(1), (*batch, 3))
    colour = sky_colour(jnp.full((ROWS, COLUMNS, 3), 0.4), directions)
    np.testing.assert_allclose(colour, np.full((*batch, 3), 0.4), atol=1e-6)


def test_the_sky_is_linear_between_rows_and_wraps_around():
    sky = np.tile(np.linspace(1.0, 0.0, ROWS, dtype=np.float32)[:, None, None], (1, COLUMNS, 3))
    for elevation in np.linspace(-1.5, 1.5, 7):
        expected = 0.5 + elevation / np.pi
        np.testing.assert_allclose(sky_colour(jnp.asarray(sky), _direction(elevation, 2.0)), expected, atol=1e-5)
    sky = np.random.default_rng(0).uniform(size=(ROWS, COLUMNS, 3)).astype(np.float32)
    across = [sky_colour(jnp.asarray(sky), _direction(0.0, azimuth)) for azimuth in (np.pi - 1e-4, -np.pi + 1e-4)]
    np.testing.assert_allclose(across[0], across[1], atol=1e-3)  # 2e-4 rad apart
    np.testing.assert_allclose(across[0], (sky[4, 0] + sky[4, -1]) / 2, atol=1e-3)


def test_the_sky_has_finite_gradients_straight_up_and_down():
    for direction in ([0.0, 0.0, 1.0], [0.0, 0.0, -1.0]):
        gradient = jax.grad(lambda d: sky_colour(jnp.ones((ROWS, COLUMNS, 3)), d).sum())(jnp.array(direction))
        assert np.all(np.isfinite(gradient))


def test_covariance_of_an_aligned_gaussian_is_its_squared_scales():
    gaussians = empty(2).replace(log_scales=jnp.log(jnp.array([[1.0, 2.0, 3.0], [0.5, 0.5, 0.1]])))
    expected = [np.diag([1.0, 4.0, 9.0]), np.diag([0.25, 0.25, 0.01])]
    np.testing.assert_allclose(gaussians.covariances, expected, rtol=1e-5)


def test_invalid_slots_are_transparent_with_finite_gradients():
    gaussians = empty(3, sh_degree=1)
    assert gaussians.capacity == 3
    np.testing.assert_array_equal(gaussians.opacities, np.zeros(3))

    def total(quaternions: jax.Array) -> jax.Array:
        changed: Gaussians = gaussians.replace(quaternions=quaternions)
        return changed.covariances.sum() + changed.opacities.sum()

    assert np.all(np.isfinite(jax.grad(total)(gaussians.quaternions)))


def test_concatenation_keeps_order():
    sets = [empty(2).replace(opacity_logits=jnp.full((2,), value)) for value in (1.0, 2.0)]
    joined = concatenate(sets)
    assert joined.capacity == 4
    np.testing.assert_array_equal(joined.opacity_logits, [1.0, 1.0, 2.0, 2.0])
