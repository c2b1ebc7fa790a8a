"""Masked categorical heads against closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxrecon.agents import heads


def masked(seed: int, batch: tuple[int, ...] = (4,), anchors: int = 7):
    rng = np.random.default_rng(seed)
    feasible = rng.random((*batch, anchors)) < 0.5
    feasible[..., rng.integers(anchors)] = True
    raw = jnp.asarray(rng.normal(size=(*batch, anchors)) * 3, jnp.float32)
    return raw, jnp.asarray(feasible)


def test_uniform_over_feasible_anchors_has_log_count_entropy():
    feasible = jnp.array([[True, False, True, True], [False, True, False, False]])
    logits = heads.mask_logits(jnp.full((2, 4), 1.3), feasible)
    np.testing.assert_allclose(heads.entropy(logits), [np.log(3), 0.0], atol=1e-6)
    np.testing.assert_allclose(heads.log_prob(logits, jnp.array([2, 1])), [-np.log(3), 0.0], atol=1e-6)


@pytest.mark.parametrize("batch", [(), (1,), (2, 3)])
def test_equals_the_categorical_over_feasible_anchors_alone(batch):
    raw, feasible = masked(0, batch)
    raw_q, _ = masked(1, batch)
    p, q = heads.mask_logits(raw, feasible), heads.mask_logits(raw_q, feasible)
    entropy, divergence = heads.entropy(p), heads.kl_divergence(p, q)
    assert entropy.shape == divergence.shape == heads.mode(p).shape == batch
    for i in np.ndindex(*batch):
        keep = np.flatnonzero(feasible[i])
        lp, lq = (np.asarray(x[i], np.float64)[keep] for x in (raw, raw_q))
        lp, lq = lp - np.log(np.exp(lp).sum()), lq - np.log(np.exp(lq).sum())
        np.testing.assert_allclose(entropy[i], -(np.exp(lp) * lp).sum(), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(divergence[i], (np.exp(lp) * (lp - lq)).sum(), rtol=1e-4, atol=1e-5)
        assert heads.mode(p)[i] == keep[lp.argmax()]


@jax.jit
@jax.grad
def gradient_of(raw, feasible, action):
    logits = heads.mask_logits(raw, feasible)
    other = heads.mask_logits(jnp.zeros_like(raw), feasible)
    target = jax.nn.softmax(other)
    terms = (
        heads.log_prob(logits, action),
        heads.entropy(logits),
        heads.kl_divergence(logits, other),
        heads.cross_entropy(logits, target),
    )
    return sum(jnp.sum(term) for term in terms)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31))
def test_gradients_are_finite_and_zero_where_masked(seed):
    raw, feasible = masked(seed)
    action = jnp.argmax(feasible, axis=-1)

    gradient = gradient_of(raw, feasible, action)
    assert jnp.isfinite(gradient).all()
    assert (jnp.where(feasible, 0.0, gradient) == 0).all()


def test_samples_never_leave_the_mask_and_follow_the_probabilities():
    feasible = jnp.array([True, False, True, True])
    logits = heads.mask_logits(jnp.array([0.0, 9.0, 1.0, 2.0]), feasible)
    drawn = heads.sample(jax.random.key(0), jnp.tile(logits, (20000, 1)))
    frequency = np.bincount(np.asarray(drawn), minlength=4) / 20000
    assert frequency[1] == 0
    # Standard error of a frequency is below 0.0036.
    np.testing.assert_allclose(frequency, jax.nn.softmax(logits), atol=0.015)
