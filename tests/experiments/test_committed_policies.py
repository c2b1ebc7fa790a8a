"""The policies that the repository holds can be loaded, and drive."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from training_presets import TERMS

from jaxrecon import agents
from jaxrecon.simulator import Observation

POLICIES = pathlib.Path(__file__).parents[2] / "benchmarks" / "policies"


@pytest.mark.parametrize(("name", "trained"), [("il", "imitation"), ("il-ppo", "ppo")])
def test_a_committed_policy_drives(name, trained):
    policy, note = agents.load_policy(POLICIES / name)
    assert note["trained"] == trained and policy.config.rewards == len(TERMS)
    frames = jnp.full((2, 1, policy.config.height, policy.config.width, 3), 90, jnp.uint8)
    ego = jnp.asarray([[0.0, 0.0, 0.0, 0.0], [8.0, 0.0, 0.0, 0.0]])
    ahead = jnp.asarray([[0.0, 1.0, 0.0, 0.0, 40.0, 0.0]] * 2)
    output = jax.jit(lambda policy, seen: policy(seen))(policy, Observation(frames, ego, ahead))
    action = np.asarray(output.mode())
    assert action.shape == (2, 2) and (action >= 0).all() and (action < 61).all()
    assert action[1, 1] > action[0, 1], "who drives already is farther in half a second"
    assert np.isfinite(np.asarray(output.values)).all()
