"""The route's target against lanes of closed form, and that it does not betray how the recorded driver drove."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrecon.geometry.transforms import rigid, yaw_to_matrix
from jaxrecon.logs.driving_log import DrivingLog, RoadMap
from jaxrecon.scene import occupancy
from jaxrecon.simulator import build_world
from jaxrecon.simulator.observation import navigation
from jaxrecon.simulator.route_target import route_target

FRAMES, SPEED, LANE = 120, 10.0, 3.5
RESOLUTION = 0.3  # metres; cells of half a metre, read between them, round the lane's centre by a quarter of one
targets = jax.jit(route_target, static_argnums=3)


def drive(y: np.ndarray, lanes: tuple[float, ...]) -> DrivingLog:
    """A drive along x at 10 m/s, at these y, on lanes that lead along x at others."""
    x = 0.1 * SPEED * np.arange(FRAMES)
    yaw = np.arctan2(np.gradient(y), np.gradient(x))
    along = np.arange(-60.0, 360.0, 2.0)
    centres = tuple(np.stack([along, np.full_like(along, at), np.zeros_like(along)], axis=-1) for at in lanes)
    position = np.stack([x, y, 0 * x], axis=-1)
    return DrivingLog(
        name="drive",
        timestamps=0.1 * np.arange(FRAMES),
        world_from_ego=rigid(yaw_to_matrix(yaw), position),
        road_map=RoadMap(lane_centres=centres) if centres else None,
    )


def along_the_drive(log: DrivingLog):
    world = build_world(log, None, None, occupancy.empty())
    route = jnp.arange(50.0, 130.0, 2.0)  # the path begins 50 m before the first frame
    return targets(world, jnp.zeros(len(route), jnp.int32), route, 30.0), world, route


def test_swerves_within_a_lane_do_not_show():
    x = SPEED * 0.1 * np.arange(FRAMES)
    (point, _), _, route = along_the_drive(drive(1.2 * np.sin(x / 8.0), (0.0,)))
    assert np.abs(point[:, 1]).max() < RESOLUTION
    # A swerving path is a little longer than the lane.
    assert (np.diff(point[:, 0]) > 0).all() and np.abs(point[:, 0] - (route - 50 + 30)).max() < 1.5


def test_a_change_of_lanes_is_a_step_from_centre_to_centre():
    x = SPEED * 0.1 * np.arange(FRAMES)
    (point, _), _, _ = along_the_drive(drive(LANE / (1 + np.exp(-(x - 60) / 8.0)), (0.0, LANE)))
    y = np.asarray(point[:, 1])
    assert np.minimum(np.abs(y), np.abs(y - LANE)).max() < RESOLUTION
    assert y[0] < 1 < y[-1] and (np.abs(np.diff(y)) > 1).sum() == 1


@pytest.mark.parametrize("lanes", [(), (9.0,)])
def test_without_a_lane_nearby_it_stays_on_the_path(lanes):
    (point, heading), world, route = along_the_drive(drive(np.zeros(FRAMES), lanes))
    expected, turned = world.reference.at_route(jnp.zeros(len(route), jnp.int32), route + 30.0)
    np.testing.assert_array_equal(point, expected)
    np.testing.assert_array_equal(heading, turned)


def test_lanes_of_the_other_way_are_not_taken():
    log = drive(np.full(FRAMES, 1.0), (0.0, 2.0))
    against = dataclasses.replace(
        log.road_map, lane_centres=(log.road_map.lane_centres[0], log.road_map.lane_centres[1][::-1])
    )
    (point, _), _, _ = along_the_drive(dataclasses.replace(log, road_map=against))
    assert np.abs(point[:, 1]).max() < RESOLUTION


def test_the_policy_is_shown_this_target():
    (point, _), world, _ = along_the_drive(drive(np.full(FRAMES, 0.8), (0.0,)))
    scene = jnp.zeros(1, jnp.int32)
    vehicle = world.reference.motion_at(scene, scene + 20)
    shown = jax.jit(navigation, static_argnums=4)(world, scene, vehicle, jnp.asarray([70.0]), 30.0)
    np.testing.assert_allclose(shown[0, 4:], [30.0, point[10, 1] - 0.8], atol=1e-3)
    np.testing.assert_array_equal(shown[0, :4], [1, 0, 0, 0])
