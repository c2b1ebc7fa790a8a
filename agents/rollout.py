"""Collecting experience: the policy drives a batch of environments for a fixed number of steps, all on the device."""

import dataclasses
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PRNGKeyArray

from jaxrecon.agents import histories
from jaxrecon.agents.auxiliary import event_sides
from jaxrecon.agents.environment import Environment


@flax.struct.dataclass
class Experience:
    """What was seen and done, with the axes (time, env) in front; each frame is kept once, as the uint8 that was drawn.

    Attributes:
        frames: (slot - 1 + time, env, camera, height, width, 3) uint8: those that the first histories reach back to,
            then one a step; None where observations have none.
        recall: (time, env, slot) int32, rows of ``frames`` that made up each history, newest first.
        rest: the observations that the actions were chosen on, without frames.
        action: (time, env, 2) as drawn.
        log_prob: (time, env, 2) of the action under each head when it was drawn.
        values: (time + 1, env, reward) of the observations, the one after the last step included.
        reward: (time, env, reward).
        sides: (time, env, reward) from where events threaten, see ``auxiliary``; None where that is unknown.
        terminated, truncated, valid: (time, env) bool.
        overflow: (time, env) bool, the observation after the step is damaged; all false where the environment has no
            such thing.
    """

    frames: Any
    recall: Any
    rest: Any
    action: Any
    log_prob: Any
    values: Any
    reward: Any
    sides: Any
    terminated: Any
    truncated: Any
    valid: Any
    overflow: Any

    def observations(self, time: Int[Array, " b"], env: Int[Array, " b"]) -> Any:
        """What the policy saw at these steps of these environments, histories gathered by index."""
        rest = jax.tree.map(lambda x: x[time, env], self.rest)
        if self.frames is None:
            return rest
        recall = self.recall[time, env]
        frames = self.frames[recall, env[:, None]] if recall.shape[1] > 1 else self.frames[recall[:, 0], env]
        return histories.with_frames(rest, frames)


def collect(
    policy: Any,
    environment: Environment,
    start: tuple[Any, Any, Any],
    key: PRNGKeyArray,
    steps: int,
    environment_params: Any,
    sided: bool = True,
) -> tuple[tuple[Any, Any, Any], Experience]:
    """Drive every environment for ``steps`` steps with sampled actions.

    Args:
        policy: draws the actions and values the observations.
        environment: what is driven in.
        start: state of the environments, observation that belongs to it, and what the policy remembers
            (``histories.begin``), that observation included.
        key: for the actions.
        steps: how many.
        environment_params: handed to the environment's ``step``.
        sided: whether to tell from where events threaten.

    Returns:
        State, observation and memory to go on from, and the experience.
    """

    def step(carry: Any, key: PRNGKeyArray) -> tuple[Any, Any]:
        state, observation, memory = carry
        output = policy(histories.seen(observation, memory))
        action = output.sample(key)
        frames, rest = histories.without_frames(observation)
        sides = event_sides(environment, state) if sided else None
        state, result = environment.step(state, action, environment_params)
        memory = histories.extend(memory, result.observation, ~result.valid)
        row = Experience(
            frames=frames,
            recall=None,
            rest=rest,
            action=action,
            log_prob=output.log_prob(action),
            values=output.values,
            reward=result.reward,
            sides=sides,
            terminated=result.terminated,
            truncated=result.truncated,
            valid=result.valid,
            overflow=getattr(result, "overflow", jnp.zeros_like(result.valid)),
        )
        return (state, result.observation, memory), row

    end, rows = jax.lax.scan(step, start, jax.random.split(key, steps))
    last = policy(histories.seen(*end[1:])).values
    rows = dataclasses.replace(rows, values=jnp.concatenate([rows.values, last[None]]))
    return end, _with_recall(rows, start[2])


def _with_recall(rows: Experience, memory: Any) -> Experience:
    """The frames before the first step, and where each history's are."""
    if rows.frames is None:
        return rows
    # A step that is not valid shows the first frame of the next clip; the memory knows of starts before the first row.
    started = jnp.concatenate([jnp.zeros_like(rows.valid[:1]), ~rows.valid[:-1]])
    if memory is None:
        return dataclasses.replace(rows, recall=histories.rollout_rows(started, 1))
    frames = jnp.concatenate([histories.earlier_frames(memory), rows.frames])
    return dataclasses.replace(rows, frames=frames, recall=histories.rollout_rows(started, memory.frames.shape[1]))
