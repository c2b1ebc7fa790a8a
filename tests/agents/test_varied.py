"""Environments that look different in every clip, and whose mirror image is driven as what it shows."""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from plain_result import PlainResult

from jaxrecon.agents import AugmentConfig
from jaxrecon.agents.environment import Environment
from jaxrecon.agents.varied import VariedEnvironment
from jaxrecon.dynamics import anchors
from jaxrecon.simulator import Observation, SimulatorConfig
from jaxrecon.simulator.rewards import progress

ENVIRONMENTS, LENGTH = 16, 5
TERMS = tuple((name, progress) for name in ("dynamic", "static", "position", "heading", "progress"))
MIRROR = AugmentConfig(brightness=0.0, contrast=0.0, mirror_cameras=(0,))


@flax.struct.dataclass
class Slide:
    """A car that the lateral anchor moves aside, metres left; clips of five steps, brighter in their left half."""

    config: Any = flax.struct.field(pytree_node=False, default=SimulatorConfig(terms=TERMS))

    def reset(self, key, environments, params):
        state = {"aside": jnp.zeros(environments), "step": jnp.zeros(environments, jnp.int32)}
        return state, self.seen(state)

    def seen(self, state):
        count = len(state["aside"])
        frames = jnp.full((count, 1, 4, 8, 3), 100, jnp.uint8).at[:, :, :, :4].set(150)
        ego = jnp.stack([jnp.full(count, 5.0), jnp.zeros(count), state["aside"], jnp.zeros(count)], axis=-1)
        return Observation(frames=frames, ego=ego, navigation=jnp.zeros((count, 6)))

    def step(self, state, action, params):
        fresh = state["step"] == LENGTH
        meant = jnp.asarray(anchors.LATERAL)[action[:, 0]] if action.dtype == jnp.int32 else action[:, 0]
        aside = jnp.where(fresh, 0.0, state["aside"] + meant)
        state = {"aside": aside, "step": jnp.where(fresh, 0, state["step"] + 1)}
        ended = state["step"] == LENGTH
        none, reward = jnp.zeros_like(fresh), jnp.zeros((len(fresh), len(TERMS)))
        return state, PlainResult(self.seen(state), reward, none, ended, ~fresh)

    def event_sides(self, state):
        return jnp.ones((len(state["aside"]), len(TERMS)))


def driven(config, action, steps=LENGTH + 3):
    environment = VariedEnvironment(Slide(), config)
    state, observation = environment.reset(jax.random.key(0), ENVIRONMENTS, None)
    rows = [(state, observation, None)]
    for _ in range(steps):
        state, result = environment.step(state, action, None)
        rows.append((state, result.observation, result))
    return environment, rows


@pytest.mark.parametrize(
    "action", [jnp.tile(jnp.array([[40, 20]], jnp.int32), (ENVIRONMENTS, 1)), jnp.full((16, 2), 0.25)]
)
def test_who_goes_left_sees_itself_go_left_in_either_world(action):
    environment, rows = driven(MIRROR, action)
    assert isinstance(environment, Environment)
    state, observation, _ = rows[3]
    mirrored = np.asarray(state.look.mirrored)
    assert 0 < mirrored.sum() < ENVIRONMENTS
    np.testing.assert_allclose(observation.ego[:, 2], 3 * 0.25, atol=1e-6)
    np.testing.assert_allclose(state.inner["aside"], np.where(mirrored, -0.75, 0.75), atol=1e-6)
    brighter_left = np.asarray(observation.frames[:, 0, 0, 0, 0]) > np.asarray(observation.frames[:, 0, 0, -1, 0])
    np.testing.assert_array_equal(brighter_left, ~mirrored)


def test_events_at_the_side_change_sides_and_those_ahead_do_not():
    environment, rows = driven(MIRROR, jnp.full((ENVIRONMENTS, 2), 30, jnp.int32), 1)
    sides, mirrored = np.asarray(environment.event_sides(rows[0][0])), np.asarray(rows[0][0].look.mirrored)
    np.testing.assert_array_equal(sides[~mirrored], 1)
    np.testing.assert_array_equal(sides[mirrored], np.tile([1, -1, -1, -1, 1], (mirrored.sum(), 1)))
    assert environment.figures(rows[0][0]) == {}


def test_a_look_lasts_as_long_as_its_clip():
    _, rows = driven(
        AugmentConfig(brightness=0.3, contrast=0.3, colour=0.3), jnp.full((ENVIRONMENTS, 2), 30, jnp.int32)
    )
    frames = np.stack([np.asarray(observation.frames) for _, observation, _ in rows])
    started = np.array([bool((~result.valid).all()) for _, _, result in rows[1:]])
    assert np.flatnonzero(started).tolist() == [LENGTH]
    for i, new in enumerate(started):
        same = (frames[i] == frames[i + 1]).all((1, 2, 3, 4))
        assert same.all() if not new else same.mean() < 0.2
    assert len({tuple(one) for one in frames[0, :, 0, 0, 0].tolist()}) > ENVIRONMENTS // 2
