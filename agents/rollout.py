"""Collecting experience: the policy drives a batch of environments for a fixed number of steps, all on the device."""

import dataclasses
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray

from jaxrecon.agents.environment import Environment
from jaxrecon.agents.networks import Policy


@flax.struct.dataclass
class Experience:
    """What was seen and done, with the axes (time, env) in front; frames are kept once, as the uint8 that was drawn.

    Attributes:
        observation: that the action was chosen on.
        action: (time, env, 2) anchors' indices, lateral and longitudinal.
        log_prob: (time, env, 2) of the action under each head when it was drawn, nats.
        values: (time + 1, env, reward) of the observations, the one after the last step included.
        reward: (time, env, reward).
        terminated, truncated, valid: (time, env) bool.
        overflow: (time, env) bool, the observation after the step is damaged; all false where the environment has no
            such thing.
    """

    observation: Any
    action: Any
    log_prob: Any
    values: Any
    reward: Any
    terminated: Any
    truncated: Any
    valid: Any
    overflow: Any


def collect(
    policy: Policy,
    environment: Environment,
    state: Any,
    observation: Any,
    key: PRNGKeyArray,
    steps: int,
    environment_params: Any,
) -> tuple[Any, Any, Experience]:
    """Drive every environment for ``steps`` steps with sampled actions.

    Args:
        policy: draws the actions and values the observations.
        environment: what is driven in.
        state: of the environments.
        observation: that belongs to ``state``.
        key: for the actions.
        steps: how many.
        environment_params: handed to the environment's ``step``.

    Returns:
        The state and observation to go on from, and the experience.
    """

    def step(carry, key):
        state, observation = carry
        output = policy(observation)
        action = output.sample(key)
        state, result = environment.step(state, action, environment_params)
        row = Experience(
            observation=observation,
            action=action,
            log_prob=output.log_prob(action),
            values=output.values,
            reward=result.reward,
            terminated=result.terminated,
            truncated=result.truncated,
            valid=result.valid,
            overflow=getattr(result, "overflow", jnp.zeros_like(result.valid)),
        )
        return (state, result.observation), row

    (state, observation), rows = jax.lax.scan(step, (state, observation), jax.random.split(key, steps))
    last = policy(observation).values
    return state, observation, dataclasses.replace(rows, values=jnp.concatenate([rows.values, last[None]]))
