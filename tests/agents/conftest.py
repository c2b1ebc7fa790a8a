"""Small problems with known answers: tabular environments and a policy that fits them."""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from plain_result import PlainResult

from jaxrecon.agents import ConvolutionalConfig, ImitationConfig, PolicyConfig, PPOConfig
from jaxrecon.agents.networks import policy_of
from jaxrecon.agents.outputs import PolicyOutput


@flax.struct.dataclass
class TableState:
    at: Any
    done: Any
    key: Any


@flax.struct.dataclass
class Table:
    """A deterministic decision process given by tables, with a random start; all of them share one compilation.

    Attributes:
        features: (place, feature) what is observed at a place.
        start: (place,) probability of starting there.
        following: (place, lateral, longitudinal) the next place.
        reward: (place, lateral, longitudinal, reward).
        terminates, truncates: (place, lateral, longitudinal) bool.
    """

    features: Any
    start: Any
    following: Any
    reward: Any
    terminates: Any
    truncates: Any

    def reset(self, key, environments, params):
        key_start, key_state = jax.random.split(key)
        at = jax.random.choice(key_start, len(self.start), (environments,), p=self.start)
        state = TableState(at=at, done=jnp.zeros(environments, bool), key=key_state)
        return state, self.features[at]

    def step(self, state, action, params):
        key, key_start = jax.random.split(state.key)
        here = (state.at, action[:, 0], action[:, 1])
        fresh = jax.random.choice(key_start, len(self.start), state.at.shape, p=self.start)
        at = jnp.where(state.done, fresh, self.following[here])
        terminated, truncated = self.terminates[here] & ~state.done, self.truncates[here] & ~state.done
        result = PlainResult(
            observation=self.features[at],
            reward=jnp.where(state.done[:, None], 0.0, self.reward[here]),
            terminated=terminated,
            truncated=truncated,
            valid=~state.done,
        )
        return TableState(at=at, done=terminated | truncated, key=key), result


PLACES, ANCHORS, REWARDS = 3, 3, 2


def table(reward, *, following=0, start=(1, 0, 0), terminates=True, truncates=False) -> Table:
    """Build a table from functions of, or constants for, (place, lateral, longitudinal)."""
    grid = np.indices((PLACES, ANCHORS, ANCHORS))

    def fill(value, kind):
        value = value(*grid) if callable(value) else value
        return jnp.asarray(np.broadcast_to(value, grid.shape[1:]).astype(kind))

    return Table(
        features=jnp.eye(PLACES),
        start=jnp.asarray(start, jnp.float32),
        following=fill(following, np.int32),
        reward=jnp.stack([fill(r, np.float32) for r in reward], axis=-1),
        terminates=fill(terminates, bool),
        truncates=fill(truncates, bool),
    )


class TablePolicy(nnx.Module):
    def __init__(self, rngs: nnx.Rngs):
        self.hidden = nnx.Linear(PLACES, 16, rngs=rngs)
        self.lateral = nnx.Linear(16, ANCHORS, rngs=rngs)
        self.longitudinal = nnx.Linear(16, ANCHORS, rngs=rngs)
        self.critic = nnx.Linear(16, REWARDS, rngs=rngs)

    def __call__(self, observation):
        x = nnx.tanh(self.hidden(observation))
        return PolicyOutput(
            lateral_logits=self.lateral(x), longitudinal_logits=self.longitudinal(x), values=self.critic(x)
        )


@pytest.fixture
def make_table():
    return table


@pytest.fixture
def table_policy():
    return policy_of(TablePolicy(nnx.Rngs(0)), "table")


@pytest.fixture(scope="session")
def table_config():
    """One shape for all runs on tables, so that they share one compilation; reward 0 is longitudinal, 1 lateral."""
    return PPOConfig(
        updates=60, environments=32, steps=8, epochs=4, minibatches=2, lateral_rewards=(1,), longitudinal_rewards=(0,),
        critic_updates=0, save_every=5,
    )  # fmt: skip


@pytest.fixture(scope="session")
def small_config():
    """One small camera policy for all tests, for the same reason."""
    encoder = ConvolutionalConfig(channels=(8, 8))
    return PolicyConfig(width=8, height=8, encoder=encoder, camera_features=16, state_features=8, trunk=(32,))


@pytest.fixture(scope="session")
def imitation_config(small_config):
    """One schedule, for sets of 60 rows."""
    return ImitationConfig(
        policy=small_config, epochs=240, batch=16, epochs_per_call=80, held_out_block=4, select="last"
    )
