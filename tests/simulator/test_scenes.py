"""Several scenes in one world: each environment drives as it would in its scene alone."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrecon.logs.driving_log import EgoVehicle
from jaxrecon.scene import ground, occupancy
from jaxrecon.simulator import (
    Simulator,
    SimulatorConfig,
    build_world,
    default_params,
    join_worlds,
    policy_rig,
)

PARAMS = default_params()
CONFIG = SimulatorConfig(action="continuous")


def wall(x: float) -> occupancy.DistanceField:
    occupied = np.zeros((80, 12), bool)
    occupied[:, 4:8] = True
    return occupancy.distance_field(occupied, np.array([x, -10.0]), 0.25)


@pytest.fixture(scope="module")
def logs(log):
    """The closed-form drive, its first half with a bus for an ego and no actors, and all of it moved and renamed."""
    half = slice(0, 80)
    bus = dataclasses.replace(
        log,
        name="bus",
        timestamps=log.timestamps[half],
        world_from_ego=log.world_from_ego[half],
        tracks=(),
        ego=EgoVehicle(length=9.0, width=2.5, height=3.0, wheelbase=5.0, rear_overhang=2.0),
        cameras=tuple(dataclasses.replace(one, images=one.images[half]) for one in log.cameras),
    )
    moved = log.world_from_ego.copy()
    moved[:, :3, 3] += [300.0, -50.0, 2.0]
    return log, bus, dataclasses.replace(log, name="moved", world_from_ego=moved, tracks=())


@pytest.fixture(scope="module")
def worlds(logs):
    obstacles = (occupancy.empty(), wall(40.0), occupancy.empty())
    return [build_world(log, None, None, field) for log, field in zip(logs, obstacles, strict=True)]


@jax.jit
def drive(simulator, frames, scenes, actions):
    state, _ = simulator.reset_at(jax.random.key(0), frames, None, PARAMS, False, scenes)

    def body(state, action):
        state, result = simulator.step(state, action, PARAMS, draw=False, auto_reset=False)
        return state, (result.outcome, result.reward, result.observation.navigation)

    return jax.lax.scan(body, state, actions)[1]


def test_each_environment_drives_as_in_its_scene_alone(worlds):
    joined = join_worlds([join_worlds(worlds[:2]), worlds[2]])
    assert joined.names == ("closed-form", "bus", "moved") and joined.scenes == 3
    scenes, frames = jnp.asarray([2, 1, 1]), jnp.asarray([55, 3, 30])
    noise = jax.random.normal(jax.random.key(1), (60, 3, 2)) * jnp.asarray([2.0, 0.02])
    together = drive(Simulator(joined, CONFIG), frames, scenes, noise)
    ended = np.zeros(3, bool)
    for number in range(3):
        alone = drive(
            Simulator(worlds[int(scenes[number])], CONFIG), frames[number][None], scenes[:1] * 0,
            noise[:, number][:, None],
        )  # fmt: skip
        # Padding changes only how sums are vectorised.
        jax.tree.map(
            lambda a, b, number=number: np.testing.assert_allclose(a[:, number], b[:, 0], atol=2e-4), together, alone
        )
        ended[number] = np.asarray(alone[0].terminated).any()
    assert ended[1], "the bus must meet its wall, or this test compares nothing but free driving"


def test_resets_draw_scenes_and_starts_by_their_weights(worlds):
    simulator = Simulator(join_worlds(worlds), CONFIG)
    reset = jax.jit(Simulator.reset, static_argnames=("environments", "draw"))
    state, _ = reset(simulator, jax.random.key(0), 3000, PARAMS, draw=False)
    # A share of a third has a standard deviation of 0.0086 over 3000 draws.
    np.testing.assert_allclose(np.bincount(state.scene, minlength=3) / 3000, 1 / 3, atol=0.035)
    allowed = np.asarray(simulator.start_frames)
    assert allowed[state.scene, state.start_frame].all()
    assert set(np.unique(state.start_frame[state.scene == 0])) == set(np.flatnonzero(allowed[0]))
    params = dataclasses.replace(PARAMS, scene_weights=jnp.asarray([0.0, 3.0, 1.0]))
    state, _ = reset(simulator, jax.random.key(0), 3000, params, draw=False)
    np.testing.assert_allclose(np.bincount(state.scene, minlength=3) / 3000, [0, 0.75, 0.25], atol=0.035)


def test_auto_reset_goes_to_other_scenes(worlds, step):
    simulator = Simulator(join_worlds(worlds), dataclasses.replace(CONFIG, clip_seconds=0.3))
    state, _ = jax.jit(Simulator.reset, static_argnames=("environments", "draw"))(
        simulator, jax.random.key(2), 16, PARAMS, draw=False
    )
    scenes, starts = [np.asarray(state.scene)], [np.asarray(state.start_frame)]
    for _ in range(12):
        state, _ = step(simulator, state, jnp.zeros((16, 2)), PARAMS, draw=False)
        scenes.append(np.asarray(state.scene))
        starts.append(np.asarray(state.start_frame))
    assert np.all([len(set(column)) > 1 for column in np.stack(starts, axis=1)])
    assert np.mean([len(set(column)) for column in np.stack(scenes, axis=1)]) > 1.5
    assert int(state.episode.min()) == 3


def test_some_environments_may_be_drawn_or_none(simulator, step, reset_at):
    state, _ = reset_at(simulator, [0, 20, 40])
    action = jnp.tile(jnp.asarray([30, 20]), (3, 1))
    whole_state, whole = step(simulator, state, action, PARAMS)
    some_state, some = step(simulator, state, action, PARAMS, drawn=jnp.asarray([2, 0]))
    np.testing.assert_array_equal(some.observation.frames, whole.observation.frames[jnp.asarray([2, 0])])
    np.testing.assert_array_equal(some.observation.ego, whole.observation.ego)
    blind_state, blind = step(simulator, state, action, PARAMS, draw=False)
    assert not blind.observation.frames.any() and blind.observation.frames.shape == whole.observation.frames.shape
    for other in (some_state, blind_state):
        jax.tree.map(np.testing.assert_array_equal, other.vehicle, whole_state.vehicle)
    seen, _ = jax.jit(Simulator.observe)(simulator, blind_state)
    np.testing.assert_array_equal(seen.frames, whole.observation.frames)


def test_an_ego_stands_on_the_ground_where_it_is_mapped(log, worlds):
    x, y = np.meshgrid(np.arange(-10.0, 50.0), np.arange(-20.0, 20.0))
    heights = ground.HeightField(
        jnp.asarray(0.05 * x + 0.02 * y + 1.0, jnp.float32), jnp.asarray([-10.0, -20.0]), jnp.asarray(1.0)
    )
    hilly = build_world(log, None, None, occupancy.empty(), ground=heights)
    from jaxrecon.simulator.moments import recorded_moment
    from jaxrecon.simulator.observation import world_from_ego

    joined = join_worlds([worlds[2], hilly])
    frames, scenes = jnp.asarray([10, 30, 90, 10]), jnp.asarray([1, 1, 1, 0])
    pose = np.asarray(world_from_ego(joined, recorded_moment(joined, scenes, frames)))
    normal = np.array([-0.05, -0.02, 1.0]) / np.linalg.norm([-0.05, -0.02, 1.0])
    np.testing.assert_allclose(pose[:2, :3, 2], np.tile(normal, (2, 1)), atol=1e-5)
    np.testing.assert_allclose(pose[:2, 2, 3], 1.0 + 0.05 * np.array([10.0, 30.0]), atol=1e-4)
    # beyond the map, and in a scene without one, the recorded road counts
    np.testing.assert_allclose(pose[2], log.world_from_ego[90], atol=1e-3)
    np.testing.assert_allclose(pose[3, 2, 3], 2.0, atol=1e-4)


def test_worlds_that_do_not_go_together_are_named(log, worlds, simulator):
    with pytest.raises(ValueError, match="join_worlds got no worlds; expected at least one"):
        join_worlds([])
    slow = dataclasses.replace(log, name="slow", timestamps=2 * log.timestamps)
    with pytest.raises(ValueError, match=r"world slow has steps of 0.2000 s but closed-form of 0.1000 s"):
        join_worlds([worlds[0], build_world(slow, None, None, occupancy.empty())])
    with pytest.raises(ValueError, match="has 2 tracks but capacity is 1"):
        build_world(log, None, None, occupancy.empty(), actor_capacity=1)

    source, sizes = simulator.world.source, ((8, 3), (16, 6))
    seeing = [build_world(log, source, policy_rig(log, *size), occupancy.empty()) for size in sizes]
    with pytest.raises(ValueError, match=r"rigs differ in cameras \(1 of 8x3, 1 of 16x6\)"):
        join_worlds(seeing)
    with pytest.raises(ValueError, match=r"different ways \(PoseSource\); give join_worlds one source"):
        join_worlds([seeing[0], seeing[0]])


def test_starts_outside_the_world_or_in_a_collision_are_named(worlds):
    joined = Simulator(join_worlds(worlds), CONFIG)
    cases = [
        ([20], [3], "start 0 is in scene 3; the world has scenes 0 to 2"),
        ([5, 80], [0, 1], "start 1 is at frame 80; log bus has frames 0 to 79"),
        ([35], [1], "start 0 is at frame 35 of log bus, where the recorded car overlaps an actor or an obstacle"),
    ]
    for frames, scenes, message in cases:
        with pytest.raises(ValueError, match=message):
            joined.reset_at(jax.random.key(0), jnp.asarray(frames), None, PARAMS, False, jnp.asarray(scenes))
    with pytest.raises(ValueError, match="no starts were given"):
        joined.reset_at(jax.random.key(0), jnp.zeros(0, int), None, PARAMS, False)
