"""Advantages and returns from rollouts of environments that reset themselves on the step after an ending."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

Scalar = Float[Array, ""] | float


def generalised_advantages(
    rewards: Float[Array, "time env reward"],
    values: Float[Array, "time_and_one env reward"],
    terminated: Bool[Array, "time env"],
    truncated: Bool[Array, "time env"],
    valid: Bool[Array, "time env"],
    discount: Scalar,
    decay: Scalar,
) -> tuple[Float[Array, "time env reward"], Float[Array, "time env reward"]]:
    """Generalised advantage estimates, one for each reward, and the returns that its critic is fitted to.

    With v_t the value of the observation that action t was chosen on,

        delta_t = r_t + discount (1 - terminated_t) v_tp1 - v_t
        A_t = delta_t + discount decay (1 - terminated_t) (1 - truncated_t) A_tp1
        G_t = A_t + v_t

    A termination is worth nothing afterwards; a truncation, and the end of the rollout, are worth the value of the last
    observation of the episode itself. Since an environment resets itself one step late, that observation is the next
    row's: the row after an ending belongs to no episode (``valid`` is false, its action was ignored), it has A = 0,
    and nothing flows from it to the rows before, which the ending cuts off.

    Args:
        rewards: reward of each step, in the order of the critics.
        values: critics' values of the observation before each step, and after the last one.
        terminated: the step ended the episode by an event.
        truncated: the step ended the episode by time alone.
        valid: the step belongs to an episode.
        discount: gamma, in [0, 1].
        decay: lambda, in [0, 1].

    Returns:
        Advantages and returns; zero resp. the value itself on invalid rows.

    Raises:
        ValueError: when ``values`` does not have one row more than ``rewards``.

    Source:
        Schulman et al. 2016, equation 16; Pardo et al. 2018 for truncation.
    """
    if values.shape[0] != rewards.shape[0] + 1:
        raise ValueError(
            f"values has {values.shape[0]} rows, expected {rewards.shape[0] + 1}: one for each of the "
            f"{rewards.shape[0]} steps and one for the observation after the last"
        )
    continues = discount * (1.0 - terminated[..., None])
    delta = rewards + continues * values[1:] - values[:-1]
    carries = continues * decay * (1.0 - truncated[..., None])

    def backwards(advantage_tp1, row):
        delta_t, carry_t, valid_t = row
        advantage_t = jnp.where(valid_t[:, None], delta_t + carry_t * advantage_tp1, 0.0)
        return advantage_t, advantage_t

    _, advantages = jax.lax.scan(backwards, jnp.zeros_like(delta[0]), (delta, carries, valid), reverse=True)
    return advantages, advantages + values[:-1]


def masked_mean(x: Float[Array, "*b"], valid: Bool[Array, "*b"]) -> Float[Array, ""]:
    """Mean over valid entries; zero where there is none."""
    return jnp.sum(jnp.where(valid, x, 0.0)) / jnp.maximum(jnp.sum(valid), 1)


def normalise(x: Float[Array, "*b"], valid: Bool[Array, "*b"], floor: Scalar) -> Float[Array, "*b"]:
    """Entries with the mean of the valid ones removed, divided by their standard deviation or ``floor`` if greater.

    The floor keeps a head whose events hardly ever happen from training on its critic's noise. Invalid entries
    are zero.
    """
    return jnp.where(valid, x - masked_mean(x, valid), 0.0) / deviation(x, valid, floor)


def deviation(x: Float[Array, "*b"], valid: Bool[Array, "*b"], floor: Scalar) -> Float[Array, ""]:
    """Standard deviation of the valid entries, or ``floor`` if greater."""
    centred = x - masked_mean(x, valid)
    return jnp.maximum(jnp.sqrt(masked_mean(centred * centred, valid)), floor)
