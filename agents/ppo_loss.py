"""The objective of PPO with two decoupled heads and one critic for each reward."""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxrecon.agents.auxiliary import auxiliary_loss
from jaxrecon.agents.outputs import HEADS, Output
from jaxrecon.agents.ppo_config import PPOConfig, PPOParams
from jaxrecon.agents.returns import deviation, generalised_advantages, masked_mean, normalise
from jaxrecon.agents.rollout import Experience


@flax.struct.dataclass
class Samples:
    """What is learned from steps besides what was observed; rows of a minibatch, or (time, env) in front.

    Attributes:
        action, log_prob: (b, 2) as drawn.
        advantage: (b, 2) of each head, normalised.
        returns: (b, reward) targets of the critics.
        valid: (b,) rows that count.
        reward_advantage: (b, reward) of each reward alone, in the unit of its head; None where no sides are known.
        sides: (b, reward) from where each reward's event threatens, see ``auxiliary``; None likewise.
    """

    action: Any
    log_prob: Any
    advantage: Any
    returns: Any
    valid: Any
    reward_advantage: Any = None
    sides: Any = None


def head_advantages(
    advantages: Float[Array, "*b reward"],
    valid: Bool[Array, "*b"],
    rewards_of_heads: tuple[tuple[int, ...], ...],
    floor: Any,
) -> Float[Array, "*b head"]:
    """Advantage of each head: the sum over its own rewards alone, normalised over the valid rows."""
    columns = [normalise(jnp.sum(advantages[..., list(own)], axis=-1), valid, floor) for own in rewards_of_heads]
    return jnp.stack(columns, axis=-1)


def reward_advantages(
    advantages: Float[Array, "*b reward"],
    valid: Bool[Array, "*b"],
    rewards_of_heads: tuple[tuple[int, ...], ...],
    floor: Any,
) -> Float[Array, "*b reward"]:
    """Advantage of each reward in the unit of its head, its sign kept; zero for rewards that no head learns from."""
    scaled = jnp.zeros_like(advantages)
    for own in rewards_of_heads:
        unit = deviation(jnp.sum(advantages[..., list(own)], axis=-1), valid, floor)
        scaled = scaled.at[..., list(own)].set(advantages[..., list(own)] / unit)
    return jnp.where(valid[..., None], scaled, 0.0)


def samples_of(
    experience: Experience, params: PPOParams, config: PPOConfig
) -> tuple[Samples, Float[Array, "time env reward"]]:
    """Estimate advantages of all steps, axes (time, env) in front; returns the raw advantages too."""
    valid, floor = experience.valid, params.advantage_floor
    advantages, returns = generalised_advantages(
        experience.reward,
        experience.values,
        experience.terminated,
        experience.truncated,
        valid,
        params.discount,
        params.decay,
    )
    heads = config.rewards_of_heads
    samples = Samples(
        action=experience.action,
        log_prob=experience.log_prob,
        advantage=head_advantages(advantages, valid, heads, floor),
        returns=returns,
        valid=valid,
        reward_advantage=None if experience.sides is None else reward_advantages(advantages, valid, heads, floor),
        sides=experience.sides,
    )
    return samples, advantages


def ppo_loss(
    output: Output,
    samples: Samples,
    params: PPOParams,
    policy_weight: Any,
    rewards_of_heads: tuple[tuple[int, ...], ...] = ((1, 2, 3), (0,)),
    value_unit: Any = 1.0,
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """Clipped surrogate of each head, squared error of each critic, the auxiliary losses and the entropy bonus.

        L = sum_head -mean(min(r A, clip(r, 1 - c, 1 + c) A)) + value_weight mean_reward mean (V - G)^2 / 2
            + auxiliary_weight auxiliary - entropy_weight entropy

    with r the ratio of the head's own probabilities: one head's rewards never reach the other's logits.

    Args:
        output: of the policy on the samples' observations.
        samples: minibatch; rows that are not valid do not count.
        params: clips and weights.
        policy_weight: factor on all but the critics' error, 0 while only the critics learn.
        rewards_of_heads: that each head learns from, in the order of ``HEADS``.
        value_unit: of the critics' errors, (reward,) or a number.

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
    error = jnp.mean(mean(0.5 * ((output.values - samples.returns) / value_unit) ** 2, samples.valid))
    policy = -jnp.sum(mean(surrogate, samples.valid)) - params.entropy_weight * jnp.sum(entropy)
    figures = {"value_loss": error}
    if samples.sides is not None:
        below = output.below(samples.action)
        aside = auxiliary_loss(below, samples.reward_advantage, samples.sides, samples.valid, rewards_of_heads)
        policy += params.auxiliary_weight * aside
        figures["auxiliary_loss"] = aside
    clipped = mean((jnp.abs(ratio - 1) > clip).astype(jnp.float32), samples.valid)
    drift = mean(ratio - 1 - difference, samples.valid)
    for i, head in enumerate(HEADS):
        figures |= {f"{head}_entropy": entropy[i], f"{head}_clipped": clipped[i], f"{head}_kl": drift[i]}
    return policy_weight * policy + params.value_weight * error, figures
