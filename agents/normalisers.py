"""Running moments that policies carry with them: of what they see besides frames, and of the returns.

They are stored among a policy's parameters, under names that no optimiser touches, and change between updates only: a
rollout and the gradient steps on it see the same policy.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

STATE_MOMENTS, VALUE_MOMENTS = "state_moments", "value_moments"
FIXED = (STATE_MOMENTS, VALUE_MOMENTS)  # no gradient reaches them
SMALLEST = 1e-3  # standard deviation that anything is divided by
FARTHEST = 10.0  # standard deviations


class Moments(nnx.Module):
    """Mean and variance of vectors seen so far; the identity before the first."""

    def __init__(self, size: int):
        self.count = nnx.Variable(jnp.zeros(()))
        self.mean = nnx.Variable(jnp.zeros((size,)))
        self.variance = nnx.Variable(jnp.ones((size,)))

    def centre_and_deviation(self) -> tuple[Float[Array, " size"], Float[Array, " size"]]:
        """Mean and standard deviation, without gradients."""
        return jax.lax.stop_gradient(self.mean[...]), jax.lax.stop_gradient(deviation(self.variance[...]))

    def __call__(self, x: Float[Array, "*b size"]) -> Float[Array, "*b size"]:
        """Standardised vectors, clipped far out."""
        centre, scale = self.centre_and_deviation()
        return jnp.clip((x - centre) / scale, -FARTHEST, FARTHEST)


def deviation(variance: Float[Array, " size"]) -> Float[Array, " size"]:
    """Standard deviation, not below ``SMALLEST``."""
    return jnp.sqrt(jnp.maximum(variance, SMALLEST**2))


def absorb(moments: dict[str, Any], x: Float[Array, "*b size"], valid: Bool[Array, "*b"]) -> dict[str, Any]:
    """Moments of everything before and of the valid ones among these vectors; those that are not finite do not count.

    Source:
        Chan et al. 1979, pairwise update.
    """
    axes = tuple(range(valid.ndim))
    counted = valid & jnp.all(jnp.isfinite(x), axis=-1)
    mask = counted[..., None]
    count = jnp.sum(counted, dtype=jnp.float32)
    mean = jnp.sum(jnp.where(mask, x, 0.0), axis=axes) / jnp.maximum(count, 1.0)
    squares = jnp.sum(jnp.where(mask, (x - mean) ** 2, 0.0), axis=axes)
    before, total = moments["count"], moments["count"] + count
    apart = mean - moments["mean"]
    joined = before * moments["variance"] + squares + apart**2 * before * count / jnp.maximum(total, 1.0)
    some = count > 0
    return {
        "count": total,
        "mean": jnp.where(some, moments["mean"] + apart * count / jnp.maximum(total, 1.0), moments["mean"]),
        "variance": jnp.where(some, joined / jnp.maximum(total, 1.0), moments["variance"]),
    }


def rescaled_critic(critic: dict[str, Any], before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """The last layer of the critics so that their values stay what they were when the moments change.

    Source:
        van Hasselt et al. 2016 (PopArt), equation 2.
    """
    old, new = deviation(before["variance"]), deviation(after["variance"])
    return {
        "kernel": critic["kernel"] * old / new,
        "bias": (old * critic["bias"] + before["mean"] - after["mean"]) / new,
    }


def having_seen(
    policy: Any, observation: Any, returns: Float[Array, "*b reward"] | None, valid: Bool[Array, "*b"]
) -> Any:
    """A policy with what it has just seen among its moments, or among those of the policy that it holds.

    Args:
        policy: with a method ``having_seen``, or an attribute ``policy`` that has one; any other stays as it is.
        observation: (*b, ...), frames are not looked at.
        returns: of the critics, for their moments; None changes only those of what is observed.
        valid: rows that count.
    """
    if hasattr(policy, "having_seen"):
        return policy.having_seen(observation, returns, valid)
    if hasattr(policy, "policy"):
        return dataclasses.replace(policy, policy=having_seen(policy.policy, observation, returns, valid))
    return policy


def value_unit(policy: Any) -> Any:
    """Unit of the critics' errors of a policy, or of the one that it holds: (reward,), or 1."""
    inner = getattr(policy, "policy", policy)
    return getattr(inner, "value_deviation", 1.0)
