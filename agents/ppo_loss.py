"""The objective of PPO with two decoupled heads and one critic for each reward."""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxrecon.agents.networks import HEADS, PolicyOutput
from jaxrecon.agents.ppo_config import PPOParams
from jaxrecon.agents.returns import generalised_advantages, masked_mean, normalise
from jaxrecon.agents.rollout import Experience


@flax.struct.dataclass
class Samples:
    """Experience as independent rows, ready for minibatches.

    Attributes:
        observation: (b, ...).
        action, log_prob: (b, 2) as drawn.
        advantage: (b, 2) of each head, normalised.
        returns: (b, reward) targets of the critics.
        valid: (b,) rows that count.
    """

    observation: Any
    action: Any
    log_prob: Any
    advantage: Any
    returns: Any
    valid: Any


def head_advantages(
    advantages: Float[Array, "*b reward"],
    valid: Bool[Array, "*b"],
    rewards_of_heads: tuple[tuple[int, ...], ...],
    floor: Any,
) -> Float[Array, "*b head"]:
    """Advantage of each head: the sum over its own rewards alone, normalised over the valid rows."""
    columns = [normalise(jnp.sum(advantages[..., list(own)], axis=-1), valid, floor) for own in rewards_of_heads]
    return jnp.stack(columns, axis=-1)


def samples_of(
    experience: Experience, params: PPOParams, rewards_of_heads: tuple[tuple[int, ...], ...]
) -> tuple[Samples, Float[Array, "time env reward"]]:
    """Estimate advantages and flatten time and environments into rows; returns the raw advantages too."""
    advantages, returns = generalised_advantages(
        experience.reward,
        experience.values,
        experience.terminated,
        experience.truncated,
        experience.valid,
        params.discount,
        params.decay,
    )
    samples = Samples(
        observation=experience.observation,
        action=experience.action,
        log_prob=experience.log_prob,
        advantage=head_advantages(advantages, experience.valid, rewards_of_heads, params.advantage_floor),
        returns=returns,
        valid=experience.valid,
    )
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), samples), advantages


def ppo_loss(
    output: PolicyOutput, samples: Samples, params: PPOParams, policy_weight: Any
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """Clipped surrogate of each head, squared error of each critic, and the entropy bonus.

        L = sum_head -mean(min(r A, clip(r, 1 - c, 1 + c) A)) + value_weight mean_reward mean (V - G)^2 / 2 - entropy

    with r the ratio of the head's own probabilities: one head's rewards never reach the other's logits.

    Args:
        output: of the policy on the samples' observations.
        samples: minibatch; rows that are not valid do not count.
        params: clips and weights.
        policy_weight: factor on surrogate and entropy, 0 while only the critics learn.

    Returns:
        The loss, and figures of the minibatch.
    """
    clip = jnp.stack([jnp.asarray(params.lateral_clip), jnp.asarray(params.longitudinal_clip)])
    mean = jax.vmap(masked_mean, (1, None))
    difference = output.log_prob(samples.action) - samples.log_prob
    # Rows that do not count may hold an action that the policy finds impossible: keep ratio and gradient finite.
    difference = jnp.where(samples.valid[:, None], difference, 0.0)
    ratio = jnp.exp(difference)
    surrogate = jnp.minimum(ratio * samples.advantage, jnp.clip(ratio, 1 - clip, 1 + clip) * samples.advantage)
    entropy = mean(output.entropy(), samples.valid)
    error = jnp.mean(mean(0.5 * (output.values - samples.returns) ** 2, samples.valid))
    policy = -jnp.sum(mean(surrogate, samples.valid)) - params.entropy_weight * jnp.sum(entropy)
    clipped = mean((jnp.abs(ratio - 1) > clip).astype(jnp.float32), samples.valid)
    drift = mean(ratio - 1 - difference, samples.valid)
    figures = {"value_loss": error}
    for i, head in enumerate(HEADS):
        figures |= {f"{head}_entropy": entropy[i], f"{head}_clipped": clipped[i], f"{head}_kl": drift[i]}
    return policy_weight * policy + params.value_weight * error, figures
