"""State is a value: copied, branched, written and read back, and the same key gives the same drive."""

import os
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrecon.simulator import Simulator, branch, default_params, load_state, save_state
from jaxrecon.storage import StorageError

PARAMS = default_params()


@jax.jit
def drive(simulator, state, actions):
    def body(state, action):
        state, result = simulator.step(state, action, PARAMS, draw=False)
        return state, result.outcome

    return jax.lax.scan(body, state, actions)


@pytest.fixture(scope="module")
def state(simulator):
    reset = jax.jit(Simulator.reset, static_argnames=("environments", "draw"))
    return reset(simulator, jax.random.key(3), 4, PARAMS, draw=False)[0]


def actions(environments, steps=60):
    return jax.random.randint(jax.random.key(9), (steps, environments, 2), 10, 50)


def equal(first, second):
    jax.tree.map(np.testing.assert_array_equal, first, second)


def test_futures_share_their_past_and_part_by_their_actions_and_keys(simulator, state):
    shared, own = branch(state, 3), branch(state, 3, jax.random.key(8))
    for copies in (shared, own):
        equal(jax.tree.map(lambda leaf: leaf[::3], copies.vehicle), state.vehicle)
        equal(jax.tree.map(lambda leaf: leaf[2::3], copies.vehicle), state.vehicle)
    same = jnp.repeat(actions(4), 3, axis=1)
    outcomes = drive(simulator, shared, same)[1]
    for other in (1, 2):
        equal(*(jax.tree.map(lambda leaf, at=at: leaf[:, at::3], outcomes) for at in (0, other)))
    apart = drive(simulator, own, same)[1]
    first_end = np.argmax(np.asarray(apart.terminated | apart.truncated), axis=0)
    for at in range(0, 12, 3):
        end = first_end[at]
        position = np.asarray(apart.trace.position)
        np.testing.assert_array_equal(position[: end + 1, at], position[: end + 1, at + 1])
        assert not np.array_equal(position[end + 1 :, at], position[end + 1 :, at + 1])
    with pytest.raises(ValueError, match="branch got 0 futures"):
        branch(state, 0)


def test_a_saved_state_goes_on_bit_for_bit(simulator, state, tmp_path):
    middle, _ = drive(simulator, state, actions(4))
    save_state(middle, tmp_path / "state")
    again = load_state(tmp_path / "state")
    equal(jax.random.key_data(middle.key), jax.random.key_data(again.key))
    equal(drive(simulator, middle, actions(4))[1], drive(simulator, again, actions(4))[1])
    with pytest.raises(StorageError, match="state"):
        save_state(middle, tmp_path / "state")


RESTART = """
import sys
import numpy as np
sys.path.insert(0, sys.argv[1])
from tests.simulator.conftest import PoseSource, make_log
from tests.simulator.test_branches import actions, drive
from jaxrecon.scene import occupancy
from jaxrecon.simulator import Simulator, build_world, load_state, policy_rig
log = make_log()
simulator = Simulator(build_world(log, PoseSource(), policy_rig(log, 8, 3), occupancy.empty()))
_, outcome = drive(simulator, load_state(sys.argv[2]), actions(4))
np.savez(sys.argv[3], position=outcome.trace.position, valid=outcome.valid, events=outcome.events)
"""


def test_another_process_repeats_the_drive(simulator, state, tmp_path):
    expected = drive(simulator, state, actions(4))[1]
    save_state(state, tmp_path / "state")
    root, found = pathlib.Path(__file__).resolve().parents[2], tmp_path / "found.npz"
    command = [sys.executable, "-c", RESTART, str(root), str(tmp_path / "state"), str(found)]
    result = subprocess.run(command, env=dict(os.environ), cwd=root, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-3000:]
    with np.load(found) as arrays:
        np.testing.assert_array_equal(arrays["valid"], expected.valid)
        np.testing.assert_array_equal(arrays["events"], expected.events)
        # The stated tolerance across restarts: another compilation may round differently, over 60 steps of some 1 m.
        np.testing.assert_allclose(arrays["position"], expected.trace.position, atol=1e-3)
