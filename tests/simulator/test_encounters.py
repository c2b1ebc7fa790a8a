"""A drive along a mapped road: what the assembled look-ups say of known places."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrecon.dynamics import VehicleState
from jaxrecon.geometry.transforms import rigid, yaw_to_matrix
from jaxrecon.logs.driving_log import DrivingLog, RoadMap, Track, TrafficLight
from jaxrecon.scene import occupancy
from jaxrecon.simulator.encounters import surroundings_of
from jaxrecon.simulator.moments import moment_at
from jaxrecon.simulator.world import build_world, join_worlds

FRAMES, SPEED, DT = 40, 10.0, 0.1
STOP = 30.0  # metres along the road where the line is
CLIP = 25.0


def lane(y: float, back: bool = False) -> np.ndarray:
    x = np.arange(-60.0, 120.0, 2.0)
    return np.stack([x[::-1] if back else x, 0 * x + y, 0 * x], axis=-1)


def make_log(**changes) -> DrivingLog:
    """40 frames along y = 0 at 10 m/s, an oncoming lane on the left, the kerb on the right; a car stands at (20, 4).

    The light at x = 30 says stop until frame 20.
    """
    x = SPEED * DT * np.arange(FRAMES)
    level = np.zeros(FRAMES)
    standing = rigid(yaw_to_matrix(level), np.tile([20.0, 4.0, 0.75], (FRAMES, 1)))
    state = np.where(np.arange(FRAMES) < 20, 1, 3)
    log = DrivingLog(
        name="mapped",
        timestamps=DT * np.arange(FRAMES),
        world_from_ego=rigid(yaw_to_matrix(level), np.stack([x, level, level], axis=-1)),
        tracks=(Track("standing", "vehicle", np.array([4.0, 2.0, 1.5]), standing, np.ones(FRAMES, bool)),),
        road_map=RoadMap(lane_centres=(lane(0.0), lane(3.5, back=True))),
        lights=(TrafficLight(0, np.array([STOP, 0.0, 0.0]), state),),
    )
    return dataclasses.replace(log, **changes)


@pytest.fixture(scope="module")
def world():
    mapped = build_world(make_log(), None, None, occupancy.empty())
    return join_worlds([mapped, build_world(make_log(road_map=None, lights=()), None, None, occupancy.empty())])


@jax.jit
def look(world, scene, frame, before, now):
    moment = moment_at(world, scene, frame, now, now.position[..., 0] + 50.0)
    return surroundings_of(world, before, moment, jnp.full(frame.shape, CLIP))


def cars(x, y=0.0, yaw=0.0, speed=SPEED) -> VehicleState:
    x, y, yaw, speed = jnp.broadcast_arrays(*(jnp.asarray(v, jnp.float32) for v in (x, y, yaw, speed)))
    return VehicleState(jnp.stack([x, y], -1), yaw, speed, jnp.zeros_like(x), jnp.zeros_like(x))


def test_known_places_with_and_without_a_map(world):
    # in lane; in the oncoming lane; over the kerb; turned round in the own lane
    now = cars([0.0, 0.0, 0.0, 5.0], [0.0, 3.5, -1.0, 0.0], [0.0, 0.0, 0.0, np.pi])
    frame = jnp.full(4, 5)
    seen = look(world, jnp.zeros(4, int), frame, now, now)
    # lanes are 1.75 m to each side; the car's sides are 0.915 m from its centre
    np.testing.assert_allclose(seen.off_road_distance[jnp.asarray([0, 2])], [-0.835, 0.165], atol=1e-3)
    assert seen.off_road.tolist() == [False, False, True, False]
    # half-precision grids are good to 4 mm at 4 m
    np.testing.assert_allclose(seen.own_lane_distance, [0.0, 3.5, 1.0, 3.5], atol=4e-3)
    np.testing.assert_allclose(seen.log_divergence, np.hypot([5, 5, 5, 0], [0, 3.5, 1, 0]), rtol=1e-5, atol=1e-5)
    assert seen.clip_route.tolist() == [CLIP] * 4
    blind = look(world, jnp.ones(4, int), frame, now, now)
    for name in ("off_road", "wrong_way", "red_light", "surface_known", "lanes_known", "lights_known"):
        assert not jnp.any(getattr(blind, name)), name
    np.testing.assert_array_equal(blind.time_to_collision, seen.time_to_collision)


def test_meeting_the_standing_car(world):
    # beside it in lane; into it from behind; touching its side from the own lane's edge
    now = cars([18.0, 13.0, 17.0], [0.0, 4.0, 2.2])
    seen = look(world, jnp.zeros(3, int), jnp.full(3, 5), now, now)
    assert seen.overlap.tolist() == [False, False, True] and seen.at_fault.tolist() == [False, False, True]
    np.testing.assert_allclose(seen.time_to_collision, [3.0, (18 - 13 - 3.77) / SPEED, 0.0], atol=1e-4)


def test_the_red_light_is_run_only_while_it_is_red(world):
    x = STOP - 3.77 + jnp.asarray([-0.5, 0.5])
    before, now = cars(x - 1.0), cars(x)
    red = look(world, jnp.zeros(2, int), jnp.full(2, 19), before, now)
    green = look(world, jnp.zeros(2, int), jnp.full(2, 20), before, now)
    assert red.red_light.tolist() == [False, True] and green.red_light.tolist() == [False, False]


def test_a_side_swipe_without_a_map_is_judged_by_the_recorded_path():
    moving = make_log().tracks[0]
    position = np.stack([10.0 + SPEED * DT * np.arange(FRAMES), np.full(FRAMES, 2.0), np.full(FRAMES, 0.75)], axis=-1)
    track = dataclasses.replace(moving, world_from_box=rigid(yaw_to_matrix(np.zeros(FRAMES)), position))
    world = build_world(make_log(road_map=None, lights=(), tracks=(track,)), None, None, occupancy.empty())
    # at frame 10 the actor reaches from x = 18 to 22, behind the ego's bumper, and its right side is at y = 1
    now = cars([19.0, 19.0], [0.2, 1.0])
    seen = look(world, jnp.zeros(2, int), jnp.full(2, 10), now, now)
    assert seen.overlap.tolist() == [True, True]
    assert seen.at_fault.tolist() == [False, True]
