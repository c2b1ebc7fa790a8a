"""Categorical action heads over anchors, some of which are infeasible and masked.

An infeasible anchor carries the logit ``MASKED`` instead of minus infinity: its probability underflows to exactly zero
while every expression below, and its gradient, stays finite.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

MASKED = -1e9


def mask_logits(logits: Float[Array, "*b anchor"], feasible: Bool[Array, "*b anchor"]) -> Float[Array, "*b anchor"]:
    """Logits that give infeasible anchors probability zero and no gradient; at least one anchor must be feasible."""
    return jnp.where(feasible, logits, MASKED)


def log_prob(logits: Float[Array, "*b anchor"], anchor: Int[Array, "*b"]) -> Float[Array, "*b"]:
    """Log-probability (nats) of an anchor's index; about ``MASKED`` where it is infeasible."""
    return jnp.take_along_axis(jax.nn.log_softmax(logits), anchor[..., None], axis=-1)[..., 0]


def entropy(logits: Float[Array, "*b anchor"]) -> Float[Array, "*b"]:
    """Entropy in nats, between zero and the logarithm of the number of feasible anchors."""
    log_p = jax.nn.log_softmax(logits)
    return -jnp.sum(jnp.exp(log_p) * log_p, axis=-1)


def kl_divergence(logits_p: Float[Array, "*b anchor"], logits_q: Float[Array, "*b anchor"]) -> Float[Array, "*b"]:
    """Kullback-Leibler divergence KL(p || q) in nats; huge where p uses an anchor that q masks."""
    log_p, log_q = jax.nn.log_softmax(logits_p), jax.nn.log_softmax(logits_q)
    return jnp.sum(jnp.exp(log_p) * (log_p - log_q), axis=-1)


def cross_entropy(logits: Float[Array, "*b anchor"], target: Float[Array, "*b anchor"]) -> Float[Array, "*b"]:
    """Cross-entropy in nats of a target distribution that puts nothing on masked anchors."""
    return -jnp.sum(target * jax.nn.log_softmax(logits), axis=-1)


def sample(key: PRNGKeyArray, logits: Float[Array, "*b anchor"]) -> Int[Array, "*b"]:
    """One anchor's index per row, drawn independently; never a masked one."""
    return jax.random.categorical(key, logits).astype(jnp.int32)


def mode(logits: Float[Array, "*b anchor"]) -> Int[Array, "*b"]:
    """Index of the most probable anchor; the lower index wins a tie."""
    return jnp.argmax(logits, axis=-1).astype(jnp.int32)


def below(logits: Float[Array, "*b anchor"], anchor: Int[Array, "*b"]) -> Float[Array, "*b"]:
    """Probability of all anchors of a lower index than this one."""
    lower = jnp.arange(logits.shape[-1]) < anchor[..., None]
    return jnp.sum(jnp.where(lower, jax.nn.softmax(logits), 0.0), axis=-1)
