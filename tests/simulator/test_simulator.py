import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrecon.metrics.closed_loop import per_clip, summarise
from jaxrecon.simulator import (
    Perturbation,
    Rollout,
    Simulator,
    SimulatorConfig,
    default_params,
    demonstrations,
    expert_action,
    policy_rig,
    recorded_frames,
    recorded_rollout,
)

PARAMS = default_params()
STRAIGHT_ON = jnp.asarray([30, 20], jnp.int32)  # anchors: no lateral, 5 m in half a second: holds 10 m/s


@jax.jit
def rollout(simulator, key):
    """120 steps of random anchors in 8 environments, with auto-reset, and the last state."""
    state, _ = simulator.reset(key, 8, PARAMS)

    def body(state, key):
        action = jax.random.randint(key, (8, 2), 10, 50)
        return simulator.step(state, action, PARAMS)

    return jax.lax.scan(body, state, jax.random.split(key, 120))


def test_same_key_same_rollout_bit_for_bit(simulator):
    first, second = (rollout(simulator, jax.random.key(5))[1] for _ in range(2))
    for one, two in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        np.testing.assert_array_equal(one, two)
    other = rollout(simulator, jax.random.key(6))[1]
    assert not np.array_equal(first.trace.position, other.trace.position)


def test_auto_reset_happens_on_the_next_step(simulator):
    state, results = rollout(simulator, jax.random.key(1))
    ended = np.asarray(results.terminated | results.truncated)
    valid, time = np.asarray(results.valid), np.asarray(results.trace.time)
    assert ended[:-1].sum() > 8
    # the call after an ending one, and no other, starts a clip
    np.testing.assert_array_equal(~valid[1:], ended[:-1])
    assert valid[0].all()
    assert np.all(time[~valid] == 0) and np.all(time[valid] > 0)
    assert np.all(np.asarray(results.reward)[~valid] == 0) and not (ended & ~valid).any()
    assert np.all(np.asarray(results.trace.path_distance)[~valid] < 1.5)
    # within a clip time goes on by one step
    going_on = valid[1:] & valid[:-1]
    np.testing.assert_allclose(np.diff(time, axis=0)[going_on], 0.1, atol=1e-5)
    assert int(state.episode.sum()) == ended[:-1].sum()


def test_an_ending_step_shows_its_own_clip_and_the_next_another(simulator, step, reset_at):
    state, _ = reset_at(simulator, [45, 0, 0])
    action = jnp.tile(STRAIGHT_ON, (3, 1))
    for _ in range(81):
        before = state
        state, result = step(simulator, state, action, PARAMS)
        if bool(result.terminated[0] | result.truncated[0]):
            break
    assert bool(result.terminated[0])
    position = np.asarray(result.trace.position[0])
    heading = float(result.trace.heading[0])
    camera = position + 1.5 * np.array([np.cos(heading), np.sin(heading)])
    np.testing.assert_array_equal(result.observation.frames[0, 0, 0, 0, :2], np.round(10 * camera).astype(int) % 256)
    first = step(simulator, state, action, PARAMS)
    again = step(simulator, state, action * 0, PARAMS)
    # the action does nothing
    np.testing.assert_array_equal(first[1].observation.frames[0], again[1].observation.frames[0])
    np.testing.assert_array_equal(first[1].observation.ego[0], again[1].observation.ego[0])
    assert not bool(first[1].valid[0]) and int(first[0].elapsed[0]) == 0 and int(before.episode[0]) == 0


def test_without_auto_reset_an_ended_clip_is_frozen(simulator, step, reset_at):
    state, _ = reset_at(simulator, [0, 45, 0])
    action = jnp.tile(STRAIGHT_ON, (3, 1))
    for _ in range(60):
        state, result = step(simulator, state, action, PARAMS, draw=False, auto_reset=False)
    assert state.done.tolist() == [False, True, False] and result.valid.tolist() == [True, False, True]
    after, result = step(simulator, state, action, PARAMS, draw=False, auto_reset=False)
    still, _ = step(simulator, after, action, PARAMS, draw=False, auto_reset=False)
    for leaf, other in zip(jax.tree.leaves(after.vehicle), jax.tree.leaves(still.vehicle), strict=True):
        np.testing.assert_array_equal(leaf[1], other[1])
    assert not result.events[1].any() and not result.reward[1].any() and not result.terminated[1]


def test_clips_end_at_eight_seconds_and_at_the_logs_end(simulator, step, reset_at):
    state, _ = reset_at(simulator, [0, 20, 100])
    lengths = np.zeros(3, int)
    for _ in range(82):
        action = expert_action(simulator, state.vehicle, state.start_frame + state.elapsed)
        state, result = step(simulator, state, action, PARAMS, draw=False, auto_reset=False)
        lengths += np.asarray(result.valid)
    assert lengths.tolist() == [80, 80, 29]


def test_starts_leave_room_and_perturbations_have_their_size(simulator):
    params = default_params(start_lateral=0.4, start_heading=0.05, start_speed=0.0)
    reset = jax.jit(Simulator.reset, static_argnames=("environments", "draw"))
    state, _ = reset(simulator, jax.random.key(3), 4000, params, draw=False)
    reference = simulator.world.reference
    assert set(np.unique(state.start_frame)) == set(range(50))
    kept = ~np.asarray(state.unperturbed)
    offset = np.linalg.norm(state.vehicle.position - reference.motion.position[0, state.start_frame], axis=-1)[kept]
    assert np.sqrt(np.mean(offset**2)) == pytest.approx(0.4, rel=0.1)
    turn = np.asarray(state.vehicle.yaw - reference.motion.yaw[0, state.start_frame])[kept]
    assert np.std(turn) == pytest.approx(0.05, rel=0.1)


def test_a_start_in_a_collision_takes_the_recorded_pose_and_says_so(simulator, reset_at):
    # the parked car is 4 m to the left at x = 30: an offset beyond 4 - 0.9 - 0.915 m reaches it
    params = default_params(position_threshold=3.0)
    state, _ = reset_at(simulator, [28, 28, 5], params, lateral=[1.95, 2.5, 2.5])
    assert state.unperturbed.tolist() == [False, True, False]
    np.testing.assert_allclose(state.vehicle.position, [[28.0, 1.95], [28.0, 0.0], [5.0, 2.5]], atol=1e-4)


def test_recorded_driver_has_no_deviation_and_full_progress(simulator):
    clips = jax.jit(recorded_rollout)(simulator, jnp.asarray([0, 25, 49, 100]), PARAMS)
    assert isinstance(clips, Rollout) and clips.valid.sum(axis=0).tolist() == [80, 80, 80, 29]
    assert clips.truncated.sum(axis=0).tolist() == [1, 1, 1, 1]
    result = {name: float(value) for name, value in summarise(per_clip(clips.trace, clips.events, clips.valid)).items()}
    assert result["progress"] == 1.0 and result["CR"] == result["DR"] == 0.0
    assert result["ADD"] < 1e-5
    lateral = np.asarray(clips.trace.lateral_acceleration)
    np.testing.assert_allclose(lateral[75, 0], 10.0**2 / 30, rtol=1e-3)


@pytest.mark.parametrize("action", ["anchors", "continuous"])
def test_expert_actions_drive_the_recorded_path(build, step, reset_at, action):
    simulator = build(SimulatorConfig(action=action))
    state, _ = reset_at(simulator, [0, 45, 10], lateral=[0.0, 0.0, 0.8])
    act, distance = jax.jit(expert_action), []
    for _ in range(80):
        frame = state.start_frame + state.elapsed
        state, result = step(
            simulator, state, act(simulator, state.vehicle, frame), PARAMS, draw=False, auto_reset=False
        )
        distance.append(np.asarray(result.trace.path_distance))
    distance = np.array(distance)
    assert distance[:, :2].max() < 0.15
    # started 0.8 m aside it returns
    assert distance[40:, 2].max() < 0.15
    assert state.elapsed.tolist() == [80, 80, 80]


def test_demonstrations_repeat_the_half_second_that_follows(simulator, log):
    frames = jnp.arange(130)
    given = recorded_frames(log, policy_rig(log, 8, 3))
    assert given.shape == (130, 1, 3, 8, 3) and (given[77] == 77).all()
    data = jax.jit(demonstrations)(simulator, frames, PARAMS, images=jnp.asarray(given))
    valid = np.asarray(data.valid)
    assert valid.tolist() == [True] * 125 + [False] * 5
    assert np.all(np.asarray(data.longitudinal)[valid] == 20)
    # 5 m along the arc of radius 30 m leads 0.416 m aside: anchor 30 + 0.416 / 0.025 = 46.6
    assert np.all(np.asarray(data.lateral)[:55] == 30) and np.all(np.asarray(data.lateral)[60:125] == 47)
    np.testing.assert_allclose(data.observation.ego[80], [10.0, 0.0, np.arctan(2.765 / 30), 1 / 3], atol=2e-2)
    np.testing.assert_array_equal(data.observation.frames, given)


def test_demonstrations_beside_the_path_lead_back(simulator):
    aside = Perturbation(lateral=jnp.asarray([0.6, -0.6]), heading=jnp.zeros(2), speed=jnp.ones(2))
    data = jax.jit(demonstrations)(simulator, jnp.asarray([10, 10]), PARAMS, perturbation=aside)
    assert data.lateral.tolist() == [6, 54]
    with pytest.raises(ValueError, match="give images or perturbation, not both"):
        demonstrations(simulator, jnp.asarray([0]), PARAMS, aside, images=jnp.zeros((1, 1, 3, 8, 3), jnp.uint8))


def test_rig_elsewhere_than_the_log_is_named(log):
    rig = policy_rig(log, 8, 3)
    with pytest.raises(ValueError, match="camera 'front' of the rig is mounted elsewhere"):
        recorded_frames(log, dataclasses.replace(rig, ego_from_camera=rig.ego_from_camera.at[0, 0, 3].add(1.0)))
    wide = dataclasses.replace(rig, intrinsics=rig.intrinsics.at[:, :2].multiply(0.5))
    with pytest.raises(ValueError, match="take a rig inside the recorded view"):
        recorded_frames(log, wide)


def test_observation_of_the_route_and_the_actors(simulator, reset_at):
    _, observation = reset_at(simulator, [0, 45, 101])
    assert observation.frames.dtype == jnp.uint8 and observation.frames.shape == (3, 1, 3, 8, 3)
    # the lead car has left by frame 101
    assert observation.frames[:, 0, 0, 0, 2].tolist() == [2, 2, 1]
    np.testing.assert_allclose(observation.navigation[0], [1, 0, 0, 0, 30, 0], atol=1e-3)
    np.testing.assert_allclose(
        observation.navigation[1], [0, 1, 0, 0, 15 + 30 * np.sin(0.5), 30 * (1 - np.cos(0.5))], atol=2e-2
    )


def test_bad_actions_are_corrected_and_counted(simulator, build, step, reset_at):
    state, _ = reset_at(simulator, [0, 0, 0])
    state, _ = step(simulator, state, jnp.asarray([[61, 20], [30, 20], [30, -1]]), PARAMS, draw=False, auto_reset=False)
    assert state.corrected_actions.tolist() == [1, 0, 1]
    continuous = build(SimulatorConfig(action="continuous"))
    state, _ = reset_at(continuous, [0, 0, 0])
    bad = jnp.asarray([[jnp.nan, 0.0], [0.0, jnp.inf], [-jnp.inf, 0.0]])
    for _ in range(3):
        state, result = step(continuous, state, bad, PARAMS, draw=False, auto_reset=False)
    assert state.corrected_actions.tolist() == [3, 3, 3]
    # Steering turns by at most 0.1 rad a step, braking takes 0.8 m/s a step off 10 m/s.
    np.testing.assert_allclose(state.vehicle.steering, [0.0, 0.3, 0.0], atol=1e-5)
    np.testing.assert_allclose(result.trace.speed, [10.0, 10.0, 7.6], atol=1e-3)
    np.testing.assert_allclose(result.trace.position[0], [3.0, 0.0], atol=1e-3)


def test_bad_use_is_named(simulator, build):
    state, _ = simulator.reset(jax.random.key(0), 2, PARAMS, draw=False)
    with pytest.raises(ValueError, match=r"dtype float32 but SimulatorConfig\.action is 'anchors': integer"):
        simulator.step(state, jnp.zeros((2, 2)), PARAMS)
    with pytest.raises(ValueError, match=r"SimulatorConfig\.action is 'wheel'; expected one of"):
        SimulatorConfig(action="wheel")
    with pytest.raises(ValueError, match=r"SimulatorConfig\.clip_seconds is 0; expected"):
        SimulatorConfig(clip_seconds=0)
    blind = Simulator(dataclasses.replace(simulator.world, source=None))
    with pytest.raises(ValueError, match="no camera source: step it with draw=False"):
        blind.reset(jax.random.key(0), 2, PARAMS)


def test_one_compilation_serves_all_params_and_all_steps(simulator, step, reset_at):
    state, _ = reset_at(simulator, [0, 0, 0])
    sizes, action = [], jnp.tile(STRAIGHT_ON, (3, 1))
    for threshold in (1.0, 2.0, 3.0):
        params = default_params(position_threshold=threshold)
        state, _ = step(simulator, state, action, params, draw=False, auto_reset=False)
        sizes.append(step._cache_size())
    assert sizes[0] == sizes[2]
