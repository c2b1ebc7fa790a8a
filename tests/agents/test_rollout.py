"""Experience: frames kept once, histories rebuilt by index, and the policy seeing the same in rollout and update."""

import dataclasses
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from plain_result import PlainResult

from jaxrecon.agents import PPOConfig, create_policy, histories, ppo
from jaxrecon.agents.rollout import collect
from jaxrecon.simulator import Demonstrations, Observation

ENVIRONMENTS, STEPS = 3, 12


@flax.struct.dataclass
class FlickerState:
    clock: Any
    clip: Any
    done: Any


@flax.struct.dataclass
class Flicker:
    """Every frame differs from all others: it is painted with its environment's number, clip and clock."""

    def reset(self, key, environments, params):
        none = jnp.zeros(environments, jnp.int32)
        state = FlickerState(clock=none, clip=none, done=none > 0)
        return state, self._observation(state)

    def step(self, state, action, params):
        fresh = state.done
        clock, clip = jnp.where(fresh, 0, state.clock + 1), jnp.where(fresh, state.clip + 1, state.clip)
        # Clips of 2, 3, 4, ... steps, of every environment its own.
        length = 2 + (clip + jnp.arange(len(clock))) % 4
        ended = (clock >= length) & ~fresh
        state = FlickerState(clock=clock, clip=clip, done=ended)
        event = ended & (clip % 2 == 0)
        result = PlainResult(
            observation=self._observation(state),
            reward=jnp.tile(jnp.where(event, -1.0, 0.0)[:, None], (1, 4)),
            terminated=event,
            truncated=ended & ~event,
            valid=~fresh,
        )
        return state, result

    def _observation(self, state):
        number = jnp.arange(len(state.clock))
        colour = jnp.stack([number, state.clip, state.clock], axis=-1).astype(jnp.uint8) * 20
        frames = jnp.broadcast_to(colour[:, None, None, None], (len(number), 1, 8, 8, 3))
        ego = jnp.tile(jnp.array([8.0, 0.0, 0.0, 0.0]), (len(number), 1))
        return Observation(frames=frames, ego=ego, navigation=jnp.zeros((len(number), 6)))


@pytest.fixture(scope="module")
def policies(small_config):
    return {
        length: create_policy(dataclasses.replace(small_config, history=length), jax.random.key(0)) for length in (1, 3)
    }


@pytest.fixture(scope="module")
def rollouts(policies):
    """Two rollouts of each policy, one after the other."""
    made = {}
    for length, policy in policies.items():
        state, observation = Flicker().reset(None, ENVIRONMENTS, None)
        start = (state, observation, histories.begin(policy, observation))
        run = jax.jit(lambda policy, start, key: collect(policy, Flicker(), start, key, STEPS, None))
        middle, first = run(policy, start, jax.random.key(1))
        _, second = run(policy, middle, jax.random.key(2))
        made[length] = (first, second)
    return made


def rows() -> tuple[jax.Array, jax.Array]:
    time, env = np.indices((STEPS, ENVIRONMENTS)).reshape(2, -1)
    return jnp.asarray(time), jnp.asarray(env)


@pytest.mark.parametrize("length", [1, 3])
def test_update_sees_what_the_rollout_saw_bit_for_bit(policies, rollouts, length):
    again = jax.jit(lambda policy, seen, action: (policy(seen).log_prob(action), policy(seen).values))
    for experience in rollouts[length]:
        time, env = rows()
        log_prob, values = again(policies[length], experience.observations(time, env), experience.action[time, env])
        # The same numbers go in; another batch size may round them differently on the way.
        np.testing.assert_allclose(log_prob, experience.log_prob[time, env], atol=1e-5)
        np.testing.assert_allclose(values, experience.values[time, env], atol=1e-6)


def test_histories_are_those_of_a_list_kept_by_hand(rollouts):
    kept: list[list[np.ndarray]] = [[] for _ in range(ENVIRONMENTS)]
    started = np.ones(ENVIRONMENTS, bool)
    for experience in rollouts[3]:
        newest = np.asarray(experience.frames)[2:]
        for t in range(STEPS):
            for e in range(ENVIRONMENTS):
                kept[e] = [newest[t, e]] * 3 if started[e] else [newest[t, e], *kept[e][:2]]
            seen = experience.observations(jnp.full(ENVIRONMENTS, t), jnp.arange(ENVIRONMENTS)).frames
            np.testing.assert_array_equal(seen, np.stack([np.stack(one) for one in kept]))
            started = ~np.asarray(experience.valid)[t]


def test_frames_are_stored_once_as_they_were_drawn(rollouts):
    for length, (first, _) in rollouts.items():
        assert first.frames.shape == (length - 1 + STEPS, ENVIRONMENTS, 1, 8, 8, 3) and first.frames.dtype == jnp.uint8
        assert first.recall.shape == (STEPS, ENVIRONMENTS, length)
        assert not [leaf for leaf in jax.tree.leaves(first.rest) if leaf.ndim > 3], "nothing else holds frames"


def test_the_step_after_an_ending_is_invalid_and_the_value_of_the_ending_is_kept(rollouts, policies):
    first, second = rollouts[1]
    ended = np.concatenate([np.asarray(x.terminated | x.truncated) for x in (first, second)])
    valid = np.concatenate([np.asarray(x.valid) for x in (first, second)])
    assert ended.any() and not (ended & ~valid).any()
    np.testing.assert_array_equal(valid[1:], ~ended[:-1])
    np.testing.assert_allclose(first.values[-1], second.values[0], atol=1e-6)


def test_training_with_histories_goes_on_bit_for_bit(small_config, tmp_path):
    """Continuous heads, three frames, both kinds of moments, and demonstrations, all in one state."""
    shape = dataclasses.replace(
        small_config, history=3, action="continuous", normalise_state=True, normalise_values=True
    )
    policy = create_policy(shape, jax.random.key(0))
    config = PPOConfig(updates=3, environments=ENVIRONMENTS, steps=8, epochs=2, minibatches=2, save_every=2)
    _, seen = Flicker().reset(None, 10, None)
    none = jnp.full(10, 30, jnp.int32)
    shown = Demonstrations(observation=seen, lateral=none, longitudinal=none, valid=jnp.arange(10) > 1)

    def train(folder=None, callback=None):
        return ppo.fit(
            Flicker(), policy, config, jax.random.key(1), demonstrations=shown, folder=folder, callback=callback,
            progress=False,
        )  # fmt: skip

    def stop(number, figures):
        if number == 2:
            raise KeyboardInterrupt

    whole, curves = train()
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, stop)
    resumed, again = train(tmp_path)
    jax.tree.map(np.testing.assert_array_equal, whole.parameters, resumed.parameters)
    for name in curves.keys() - {"steps_per_second"}:
        np.testing.assert_array_equal(curves[name], again[name], err_msg=name)
    assert np.isfinite(curves["imitation_loss"]).all() and not curves["skipped"].any()
    # Of the first rollout's first steps; then of all steps that belong to a clip.
    driven = ENVIRONMENTS + int((curves["valid_share"] * ENVIRONMENTS * config.steps).sum().round())
    assert whole.parameters["state_moments"]["count"] == driven
    assert whole.parameters["value_moments"]["count"] == driven - ENVIRONMENTS
    before, after = (one.parameters["encoder"]["dense"]["kernel"] for one in (policy, whole))
    assert not np.array_equal(before, after)
