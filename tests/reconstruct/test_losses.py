import jax
import jax.numpy as jnp
import numpy as np

from jaxrecon.reconstruct.losses import LossWeights, depth_loss, ground_loss, photometric_loss, regularisation
from jaxrecon.scene import ground
from jaxrecon.scene.gaussians import empty

WEIGHTS = LossWeights()


def test_photometric_loss_of_flat_images_is_closed_form():
    x, y = 0.2, 0.6
    similarity = (2 * x * y + 1e-4) / (x * x + y * y + 1e-4)
    expected = 0.8 * (y - x) + 3.0 * (y - x) ** 2 + 0.2 * (1 - similarity)
    weights = LossWeights(absolute=0.8, squared=3.0, similarity=0.2)
    loss = photometric_loss(jnp.full((12, 14, 3), x), jnp.full((12, 14, 3), y), weights)
    np.testing.assert_allclose(loss, expected, rtol=1e-3)  # variances of a flat image are rounding errors


def test_depth_loss_is_the_ratio_of_depths_and_the_missing_cover():
    depth, alpha = jnp.full((3, 4), 20.0), jnp.full((3, 4), 0.9)
    pixel, measured = jnp.array([1, 7, 0]), jnp.array([10.0, 40.0, 5.0])
    valid = jnp.array([True, True, False])
    expected = WEIGHTS.depth * np.log(2.0) + WEIGHTS.cover * 0.1
    np.testing.assert_allclose(depth_loss(depth, alpha, pixel, measured, valid, WEIGHTS), expected, rtol=1e-5)


def test_regularisation_is_the_mean_over_valid_slots():
    gaussians = empty(4).replace(valid=jnp.array([True, True, False, False]), log_scales=jnp.log(jnp.full((4, 3), 0.3)))
    expected = WEIGHTS.opacity * 0.5 + WEIGHTS.size * 0.3
    np.testing.assert_allclose(regularisation(gaussians, WEIGHTS), expected, rtol=1e-5)


def test_gradients_are_finite_without_lidar_and_without_valid_slots():
    nothing = (jnp.zeros(3, jnp.int32), jnp.zeros(3), jnp.zeros(3, bool))
    by_depth = jax.grad(lambda d: depth_loss(d, d, *nothing, WEIGHTS))(jnp.zeros((3, 4)))
    np.testing.assert_array_equal(by_depth, np.zeros((3, 4)))
    gradients = jax.grad(lambda g: regularisation(g, WEIGHTS), allow_int=True)(empty(4))
    np.testing.assert_array_equal(gradients.log_scales, np.zeros((4, 3)))
    np.testing.assert_array_equal(gradients.opacity_logits, np.zeros(4))


def test_what_lies_on_the_ground_is_drawn_into_its_surface_and_nothing_else():
    flat, upright = jnp.array([1.0, 0, 0, 0]), jnp.array([np.sqrt(0.5), 0, np.sqrt(0.5), 0])
    thin_z = jnp.log(jnp.array([0.3, 0.3, 0.02]))
    gaussians = empty(5).replace(
        means=jnp.array([[0.0, 0, 0.1], [1, 0, 0.1], [2, 0, 0.5], [3, 0, 0.1], [4, 0, 0.1]]),
        quaternions=jnp.stack([flat, upright, flat, flat, flat]),
        log_scales=jnp.tile(thin_z, (5, 1)),
        valid=jnp.array([True, True, True, True, False]),
    )
    group = jnp.array([0, 0, 0, 2, 0])  # a sign, something 50 cm up, an actor and an unused slot stay as they are
    value, gradient = jax.value_and_grad(ground_loss, allow_int=True)(gaussians, group, ground.flat(0.0))
    np.testing.assert_allclose(value, 0.1 + 0.02, rtol=1e-4)
    np.testing.assert_allclose(gradient.means[:, 2], [1.0, 0, 0, 0, 0], atol=1e-6)
    assert float(gradient.log_scales[0, 2]) > 0.01
    assert np.all(np.isfinite(gradient.quaternions))
