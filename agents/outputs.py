"""What policies say: decoupled distributions over actions, and one value for each reward.

Both kinds have the same methods, with the axis ``head`` in the order of ``HEADS``, so that losses need not know which
kind they are given.
"""

import math
from typing import Any, TypeAlias

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from jaxrecon.agents import heads

HEADS = ("lateral", "longitudinal")
_NORMAL = 0.5 * math.log(2 * math.pi)


@flax.struct.dataclass
class PolicyOutput:
    """RAD's decoupled anchors: what a policy says about a batch of observations.

    Attributes:
        lateral_logits: Float (b, lateral anchor), infeasible anchors masked.
        longitudinal_logits: Float (b, longitudinal anchor), infeasible anchors masked.
        values: Float (b, reward), the discounted sum expected of each reward.
    """

    lateral_logits: Any
    longitudinal_logits: Any
    values: Any

    @property
    def logits(self) -> tuple[Array, Array]:
        """Both heads' logits, in the order of ``HEADS``."""
        return self.lateral_logits, self.longitudinal_logits

    def sample(self, key: PRNGKeyArray) -> Int[Array, "b 2"]:
        """An action drawn from each head independently, in the order of ``HEADS``."""
        keys = jax.random.split(key)
        return jnp.stack([heads.sample(k, x) for k, x in zip(keys, self.logits, strict=True)], axis=-1)

    def mode(self) -> Int[Array, "b 2"]:
        """The most probable action of each head."""
        return jnp.stack([heads.mode(x) for x in self.logits], axis=-1)

    def log_prob(self, action: Int[Array, "b 2"]) -> Float[Array, "b 2"]:
        """Log-probability of an action under each head, nats."""
        return jnp.stack([heads.log_prob(x, action[:, i]) for i, x in enumerate(self.logits)], axis=-1)

    def entropy(self) -> Float[Array, "b 2"]:
        """Entropy of each head, nats."""
        return jnp.stack([heads.entropy(x) for x in self.logits], axis=-1)

    def below(self, action: Int[Array, "b 2"]) -> Float[Array, "b 2"]:
        """Probability of an action farther right than this one, and of a slower one."""
        return jnp.stack([heads.below(x, action[:, i]) for i, x in enumerate(self.logits)], axis=-1)


@flax.struct.dataclass
class ContinuousOutput:
    """Acceleration and steering as two independent Gaussians, which the car's limits cut off in the environment.

    Steering is the lateral head, acceleration the longitudinal one; actions are (acceleration, steering) like the
    simulator's.

    Attributes:
        mean: Float (b, head), rad of steering and m/s2 of acceleration, in the order of ``HEADS``.
        log_deviation: Float (b, head), logarithm of their standard deviations.
        values: Float (b, reward).
    """

    mean: Any
    log_deviation: Any
    values: Any

    def sample(self, key: PRNGKeyArray) -> Float[Array, "b 2"]:
        """An action (acceleration, steering) drawn from each head independently."""
        return (self.mean + jnp.exp(self.log_deviation) * jax.random.normal(key, self.mean.shape))[:, ::-1]

    def mode(self) -> Float[Array, "b 2"]:
        """The most probable action (acceleration, steering)."""
        return self.mean[:, ::-1]

    def log_prob(self, action: Float[Array, "b 2"]) -> Float[Array, "b 2"]:
        """Logarithm of an action's density under each head."""
        return -0.5 * self._away(action) ** 2 - self.log_deviation - _NORMAL

    def entropy(self) -> Float[Array, "b 2"]:
        """Differential entropy of each head, nats."""
        return self.log_deviation + 0.5 + _NORMAL

    def below(self, action: Float[Array, "b 2"]) -> Float[Array, "b 2"]:
        """Probability of steering farther right than this, and of accelerating less."""
        return jax.scipy.stats.norm.cdf(self._away(action))

    def _away(self, action: Float[Array, "b 2"]) -> Float[Array, "b 2"]:
        """Deviations from the mean."""
        return (action[:, ::-1] - self.mean) * jnp.exp(-self.log_deviation)


Output: TypeAlias = PolicyOutput | ContinuousOutput
