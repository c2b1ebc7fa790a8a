"""CartPole-v1 to its published score, by the same PPO."""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from plain_result import PlainResult

from jaxrecon.agents import PPOConfig, PPOParams, ppo
from jaxrecon.agents.networks import policy_of
from jaxrecon.agents.outputs import PolicyOutput

GRAVITY, CART, POLE, HALF_LENGTH, FORCE, TICK = 9.8, 1.0, 0.1, 0.5, 10.0, 0.02
FARTHEST, STEEPEST, LONGEST = 2.4, 12 * np.pi / 180, 500
SOLVED = 475.0  # mean return over a hundred episodes, as Gymnasium registers it


@flax.struct.dataclass
class PoleState:
    at: Any
    elapsed: Any
    done: Any
    key: Any


@flax.struct.dataclass
class CartPole:
    """Barto, Sutton & Anderson 1983 as Gymnasium's CartPole-v1; the lateral anchor is the push."""

    def reset(self, key, environments, params):
        key, key_start = jax.random.split(key)
        at = self._start(key_start, environments)
        none = jnp.zeros(environments, jnp.int32)
        return PoleState(at=at, elapsed=none, done=none > 0, key=key), at

    def step(self, state, action, params):
        key, key_start = jax.random.split(state.key)
        x, v, angle, turn = jnp.moveaxis(state.at, 1, 0)
        force = jnp.where(action[:, 0] == 1, FORCE, -FORCE)
        cos, sin, mass = jnp.cos(angle), jnp.sin(angle), CART + POLE
        pushed = (force + POLE * HALF_LENGTH * turn**2 * sin) / mass
        turning = (GRAVITY * sin - cos * pushed) / (HALF_LENGTH * (4 / 3 - POLE * cos**2 / mass))
        moving = pushed - POLE * HALF_LENGTH * turning * cos / mass
        driven = jnp.stack([x + TICK * v, v + TICK * moving, angle + TICK * turn, turn + TICK * turning], axis=1)
        at = jnp.where(state.done[:, None], self._start(key_start, len(x)), driven)
        elapsed = jnp.where(state.done, 0, state.elapsed + 1)
        fallen = (jnp.abs(at[:, 0]) > FARTHEST) | (jnp.abs(at[:, 2]) > STEEPEST)
        terminated = fallen & ~state.done
        truncated = (elapsed >= LONGEST) & ~terminated & ~state.done
        reward = jnp.where(state.done, 0.0, 1.0)[:, None]
        result = PlainResult(at, reward, terminated, truncated, ~state.done)
        return PoleState(at=at, elapsed=elapsed, done=terminated | truncated, key=key), result

    def _start(self, key, environments):
        return jax.random.uniform(key, (environments, 4), minval=-0.05, maxval=0.05)


class PolePolicy(nnx.Module):
    def __init__(self, rngs: nnx.Rngs):
        self.hidden = nnx.List([nnx.Linear(4, 64, rngs=rngs), nnx.Linear(64, 64, rngs=rngs)])
        self.critic_hidden = nnx.List([nnx.Linear(4, 64, rngs=rngs), nnx.Linear(64, 64, rngs=rngs)])
        small = nnx.initializers.normal(1e-2)
        self.push = nnx.Linear(64, 2, kernel_init=small, rngs=rngs)
        self.critic = nnx.Linear(64, 1, rngs=rngs)

    def __call__(self, observation):
        x = y = observation
        for layer in self.hidden:
            x = nnx.tanh(layer(x))
        for layer in self.critic_hidden:
            y = nnx.tanh(layer(y))
        # The second head has one anchor: it has nothing to decide.
        return PolicyOutput(self.push(x), jnp.zeros((*x.shape[:-1], 1)), self.critic(y))


@jax.jit
def returns_of(policy, key):
    """Of a hundred episodes, most probable actions."""
    environment = CartPole()
    state, observation = environment.reset(key, 100, None)

    def step(carry, _):
        state, observation, over, total = carry
        state, result = environment.step(state, policy(observation).mode(), None)
        total += jnp.where(over, 0.0, result.reward[:, 0])
        return (state, result.observation, over | result.terminated | result.truncated, total), None

    start = (state, observation, jnp.zeros(100, bool), jnp.zeros(100))
    (*_, over, total), _ = jax.lax.scan(step, start, length=LONGEST)
    return over, total


@pytest.mark.slow
def test_cartpole_is_solved():
    config = PPOConfig(
        updates=60, environments=32, steps=128, epochs=10, minibatches=8, lateral_rewards=(0,),
        longitudinal_rewards=(0,), critic_updates=0,
    )  # fmt: skip
    params = PPOParams(
        learning_rate=1e-3, final_learning_rate=1e-4, discount=0.99, lateral_clip=0.2, entropy_weight=0.0
    )
    policy = policy_of(PolePolicy(nnx.Rngs(0)), "pole")
    policy, curves = ppo.fit(CartPole(), policy, config, jax.random.key(0), params=params, progress=False)
    over, total = returns_of(policy, jax.random.key(100))
    assert over.all() and total.mean() >= SOLVED
    # A pole that never falls ends its episodes by time alone, once in 501 steps.
    assert curves["event_rate"][0] > 0.02 and curves["event_rate"][-1] < 0.002
