import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from jaxrecon.reconstruct.relocate import DEAD_OPACITY, exploration
from jaxrecon.reconstruct.relocate import relocate as relocate_eagerly
from jaxrecon.reconstruct.relocate import shared as shared_eagerly
from jaxrecon.scene.gaussians import empty
from jaxrecon.scene.scene import Scene

relocate, shared = jax.jit(relocate_eagerly), jax.jit(shared_eagerly)


def _scene(opacities, valid, scale=0.1) -> Scene:
    count = len(opacities)
    gaussians = empty(count).replace(
        means=jnp.arange(count * 3.0).reshape(count, 3),
        log_scales=jnp.full((count, 3), jnp.log(scale)),
        opacity_logits=jax.scipy.special.logit(jnp.array(opacities)),
        valid=jnp.array(valid),
    )
    return Scene(gaussians, jnp.arange(count) % 2, jnp.zeros((2, 4, 3)), jnp.ones((1, 3)))


@pytest.mark.parametrize("sharers", [1, 2, 5, 16])
def test_sharers_agree_with_the_published_sum(sharers):
    opacities = np.array([0.02, 0.3, 0.7, 0.95])
    each, factor = shared(jnp.array(opacities), jnp.full(4, sharers))
    expected = 1 - (1 - opacities) ** (1 / sharers)
    np.testing.assert_allclose(each, expected, rtol=1e-4)
    total = sum(
        scipy.special.binom(i - 1, k) * (-1) ** k * expected ** (k + 1) / np.sqrt(k + 1)
        for i in range(1, sharers + 1)
        for k in range(i)
    )
    np.testing.assert_allclose(factor, opacities / total, rtol=1e-3)  # an alternating sum in float32


def test_sharers_together_draw_one_gaussian():
    """Along its axis, N copies composited draw the same mass as the one (what eq. 9 preserves)."""
    x = np.linspace(-6, 6, 4001)
    for sharers in (2, 4):
        each, factor = (float(v[0]) for v in shared(jnp.array([0.8]), jnp.array([sharers])))
        alone = 0.8 * np.exp(-0.5 * x**2)
        together = 1 - (1 - each * np.exp(-0.5 * (x / factor) ** 2)) ** sharers
        np.testing.assert_allclose(np.trapezoid(together, x), np.trapezoid(alone, x), rtol=1e-3)
        np.testing.assert_allclose(together[2000], 0.8, rtol=1e-4)


def test_dead_ones_move_to_living_ones_with_their_group():
    scene = _scene([0.9, 0.001, 0.002, 0.8], [True, True, True, True])
    moved, changed = relocate(scene, jax.random.key(0), jnp.float32(0))
    means, group = np.asarray(moved.gaussians.means), np.asarray(moved.group)
    sources = np.asarray(scene.gaussians.means)[[0, 3]]
    for slot in (1, 2):
        assert changed[slot]
        source = [0, 3][int(np.argmin(np.abs(sources - means[slot]).sum(axis=1)))]
        np.testing.assert_array_equal(means[slot], scene.gaussians.means[source])
        assert group[slot] == scene.group[source]
        assert changed[source]
        np.testing.assert_allclose(moved.gaussians.opacities[slot], moved.gaussians.opacities[source])
        assert moved.gaussians.opacities[source] < scene.gaussians.opacities[source]
    assert moved.gaussians.valid.all()


def test_unused_slots_come_in_up_to_the_number_given():
    scene = _scene([0.9, 0.5, 0.5, 0.5, 0.5], [True, False, False, False, False])
    moved, _ = relocate(scene, jax.random.key(0), jnp.float32(2))
    np.testing.assert_array_equal(moved.gaussians.valid, [True, True, True, False, False])
    np.testing.assert_array_equal(moved.gaussians.means[1:3], np.tile(scene.gaussians.means[0], (2, 1)))


@pytest.mark.parametrize("valid", [[False] * 3, [True] * 3])
def test_nothing_moves_where_nothing_lives_or_nothing_is_dead(valid):
    opacity = 0.001 if not any(valid) else 0.5
    scene = _scene([opacity] * 3, valid)
    moved, changed = relocate(scene, jax.random.key(0), jnp.float32(0))
    assert not changed.any()
    for before, after in zip(jax.tree.leaves(scene), jax.tree.leaves(moved), strict=True):
        np.testing.assert_array_equal(before, after)


def test_draws_follow_opacity():
    scene = _scene([0.9, 0.3] + [0.001] * 4000, [True] * 4002)
    moved, _ = relocate(scene, jax.random.key(1), jnp.float32(0))
    to_first = np.mean(np.asarray(moved.gaussians.means)[2:, 0] == 0.0)
    assert abs(to_first - 0.75) < 0.03  # four standard errors of 4000 draws


def test_only_the_nearly_transparent_are_stirred():
    scene = _scene([0.5, DEAD_OPACITY / 5, 0.001], [True, True, False], scale=0.2)
    keys = jax.random.split(jax.random.key(0), 400)
    noise = jax.vmap(lambda key: exploration(scene.gaussians, key))(keys)
    spread = np.asarray(jnp.std(noise, axis=0))
    assert spread[0].max() < 1e-6
    np.testing.assert_allclose(spread[1], 0.2 / (1 + np.exp(100 * (0.001 - 0.005))), rtol=0.2)
    assert (spread[2] == 0).all()
