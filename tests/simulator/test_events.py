import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrecon.dynamics import VehicleState
from jaxrecon.logs.driving_log import EgoVehicle
from jaxrecon.scene import occupancy
from jaxrecon.scene.fields import stack_fields
from jaxrecon.simulator import EVENTS, Simulator, SimulatorConfig, default_params, reward_weights
from jaxrecon.simulator.events import collisions
from jaxrecon.simulator.shapes import ego_probes, ego_shapes
from jaxrecon.traffic import Replay


def drive(simulator, step, state, action, params, steps):
    """The result of the first step with an event, and at which step; actions are repeated."""
    for number in range(1, steps + 1):
        state, result = step(simulator, state, action, params, draw=False, auto_reset=False)
        if bool(result.terminated.any()):
            return number, result
    raise AssertionError(f"no event in {steps} steps")


@pytest.fixture(scope="module")
def continuous(build):
    return build(SimulatorConfig(action="continuous"))


def only(result) -> str:
    assert int(result.events.sum()) == 1
    return EVENTS[int(jnp.argmax(result.events[0]))]


def test_speeding_up_hits_the_lead_car(continuous, step, reset_at):
    state = reset_at(continuous, [0], speed=1.3)[0]
    number, result = drive(continuous, step, state, jnp.asarray([[6.0, 0.0]]), default_params(), 40)
    # gap 25 + 2.25 - centre ahead - half length = 25 - 1.385 - 2.25 - 2.385 metres, closed at 3 m/s + 6 m/s2
    gap = 25 - 1.385 - 2.25 - 2.385
    assert only(result) == "dynamic"
    assert number * 0.1 == pytest.approx((-3 + np.sqrt(9 + 12 * gap)) / 6, abs=0.1)
    np.testing.assert_array_equal(result.reward, -result.events.astype(jnp.float32))


def test_drifting_straight_on_in_the_curve_leaves_the_path(continuous, step, reset_at):
    state = reset_at(continuous, [55])[0]
    number, result = drive(continuous, step, state, jnp.asarray([[0.0, 0.0]]), default_params(), 40)
    assert only(result) == "position"
    # straight on from the arc's start: sqrt(R^2 + s^2) - R = 2 m
    assert number == 5 + int(np.ceil(np.sqrt(32.0**2 - 30.0**2)))


def test_turning_sharply_departs_in_heading_before_position(continuous, step, reset_at):
    slow = reset_at(continuous, [0], speed=0.2)[0]
    _, result = drive(continuous, step, slow, jnp.asarray([[0.0, 0.8]]), default_params(), 40)
    assert only(result) == "heading"
    assert abs(float(result.trace.path_heading_error[0])) > np.deg2rad(40)


def test_a_wall_is_hit_at_its_edge(build, step, reset_at):
    occupied = np.zeros((8, 80), bool)
    occupied[:, 40] = True
    # the wall's near edge is at x = 30 m
    wall = occupancy.distance_field(occupied, np.array([20.125, -0.875]), 0.25)
    simulator = build(SimulatorConfig(action="continuous"), obstacles=wall, tracks=())
    state = reset_at(simulator, [0])[0]
    number, result = drive(simulator, step, state, jnp.asarray([[0.0, 0.0]]), default_params(), 60)
    assert only(result) == "static"
    # the bumper is 3.77 m ahead of the rear axle
    assert number == int(np.ceil(30 - 3.77))


def one_box(position, valid=True, parked=False) -> Replay:
    return Replay(
        world_from_actor=jnp.eye(4).at[:2, 3].set(jnp.asarray(position, jnp.float32))[None, None, None],
        valid=jnp.full((1, 1, 1), valid),
        heading=jnp.zeros((1, 1, 1)),
        centre=jnp.asarray(position, jnp.float32)[None, None, None],
        velocity=jnp.zeros((1, 1, 1, 2)),
        sizes=jnp.asarray([[[4.0, 2.0, 1.5]]]),
        category=jnp.zeros((1, 1), int),
        parked=jnp.full((1, 1), parked),
    )


def ego(batch=()) -> VehicleState:
    zero = jnp.zeros(batch)
    return VehicleState(jnp.zeros((*batch, 2)), zero, zero, zero, zero)


@jax.jit
def touched(state, traffic, fields):
    scene = jnp.zeros(state.yaw.shape, jnp.int32)
    shape, probes = ego_shapes([EgoVehicle()]).at(scene), ego_probes([EgoVehicle()])
    return collisions(state, traffic.at(scene, scene), shape, probes, fields, scene)


def hits(traffic, field=None, state=None):
    state = ego() if state is None else state
    field = occupancy.empty() if field is None else field
    return np.asarray(touched(state, traffic, stack_fields([field])))


def test_the_box_reaches_from_bumper_to_bumper():
    # front bumper at 3.77 m, rear bumper at -1 m, sides at 0.915 m
    assert hits(one_box([5.7, 0.0]))[0] and not hits(one_box([5.8, 0.0]))[0]
    assert hits(one_box([-2.9, 0.0]))[0] and not hits(one_box([-3.1, 0.0]))[0]
    assert hits(one_box([1.0, 1.9]))[0] and not hits(one_box([1.0, 1.93]))[0]
    assert not hits(one_box([0.0, 0.0], valid=False))[0]


@pytest.mark.parametrize("batch", [(), (1,), (2, 3)])
def test_collisions_of_a_batch(batch):
    assert hits(one_box([3.0, 0.0]), state=ego(batch)).tolist() == np.broadcast_to([True, False], (*batch, 2)).tolist()


def test_a_pole_inside_the_outline_is_a_collision():
    occupied = np.zeros((80, 80), bool)
    occupied[40, 46] = True
    field = occupancy.distance_field(occupied, np.array([-10.0, -10.0]), 0.25)
    nowhere = one_box([99.0, 99.0])
    assert hits(nowhere, field)[1]
    aside = dataclasses.replace(ego(), position=jnp.asarray([0.0, 1.3]))
    assert not hits(nowhere, field, aside)[1]


def test_weights_scale_rewards_and_thresholds_are_traced(continuous, step, reset_at):
    params = default_params(reward_weights({"position": 5.0}), position_threshold=0.5)
    state = reset_at(continuous, [55])[0]
    number, result = drive(continuous, step, state, jnp.asarray([[0.0, 0.0]]), params, 40)
    assert number == 5 + int(np.ceil(np.sqrt(30.5**2 - 30.0**2))) and result.reward[0].tolist() == [0, 0, -5, 0]
    assert isinstance(continuous, Simulator)


def test_a_parked_car_is_a_static_obstacle():
    moving, parked = (hits(one_box((3.0, 0.0), parked=stands)) for stands in (False, True))
    np.testing.assert_array_equal(moving, [True, False])
    np.testing.assert_array_equal(parked, [False, True])
