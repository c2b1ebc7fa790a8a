import math

import jax.numpy as jnp
import numpy as np
import pytest

from jaxrecon.dynamics import (
    LATERAL,
    LONGITUDINAL,
    VehicleLimits,
    VehicleState,
    aim,
    feasible,
    nearest,
    step,
    to_control,
)

LOOSE = VehicleLimits(steering_rate=math.inf)
WIDE = VehicleLimits(steering=1.5, acceleration=1e6, braking=1e6)


def vehicle(speed) -> VehicleState:
    speed = jnp.asarray(speed, jnp.float32)
    zero = jnp.zeros_like(speed)
    return VehicleState(jnp.zeros((*speed.shape, 2)), zero, speed, zero, zero)


def test_anchor_grid():
    assert LATERAL.shape == LONGITUDINAL.shape == (61,)
    np.testing.assert_allclose(LATERAL[[0, 30, 60]], [-0.75, 0.0, 0.75], atol=1e-7)
    np.testing.assert_allclose(LONGITUDINAL[[0, 1, 60]], [0.0, 0.25, 15.0])


@pytest.mark.parametrize("batch", [(), (1,), (2, 3)])
def test_masks_are_never_empty(batch):
    lateral, longitudinal = feasible(jnp.full(batch, 3.0))
    assert lateral.shape == longitudinal.shape == (*batch, 61)
    lateral, longitudinal = feasible(jnp.linspace(0.0, 40.0, 401))
    assert bool(jnp.all(lateral.any(-1))) and bool(jnp.all(longitudinal.any(-1)))
    assert bool(jnp.all(lateral[:, 30]))


def test_masks_at_known_speeds():
    _, longitudinal = feasible(jnp.asarray([0.0, 10.0]))
    # standing: 6 m/s2 over 0.5 s is 0.75 m; at 10 m/s: 5 m, -1 m at 8 m/s2 braking, +0.75 m
    np.testing.assert_array_equal(LONGITUDINAL[np.asarray(longitudinal[0])], [0, 0.25, 0.5, 0.75])
    assert LONGITUDINAL[np.asarray(longitudinal[1])][[0, -1]].tolist() == [4.0, 5.75]


@pytest.mark.parametrize("speed", [0.0, 1.0, 3.0, 8.0, 20.0])
def test_feasible_anchors_are_reached_when_their_control_is_held(speed):
    lateral_mask, longitudinal_mask = (np.asarray(mask) for mask in feasible(jnp.asarray(speed)))
    grid = np.meshgrid(np.flatnonzero(lateral_mask), np.flatnonzero(longitudinal_mask), indexing="ij")
    lateral, longitudinal = (jnp.asarray(indices.ravel()) for indices in grid)
    state = vehicle(np.full(lateral.shape, speed))
    controls = to_control(lateral, longitudinal, state)
    # a joint target may be beyond the limits though each of its parts is not
    free = aim(jnp.asarray(LATERAL)[lateral], jnp.asarray(LONGITUDINAL)[longitudinal], state, limits=WIDE)
    within = np.isclose(controls[0], free[0], atol=1e-5) & np.isclose(controls[1], free[1], atol=1e-5)
    for _ in range(5):
        state = step(state, *controls, 0.1, 2.765, LOOSE)
    target = np.stack([LONGITUDINAL[longitudinal], LATERAL[lateral]], axis=-1)
    assert within.sum() >= 8
    np.testing.assert_allclose(state.position[within], target[within], atol=2e-3)


def test_anchors_invert_to_themselves():
    speed = jnp.full(61, 10.0)
    lateral, longitudinal = feasible(jnp.asarray(10.0))
    index = jnp.arange(61)
    found_lateral, found_longitudinal = nearest(jnp.asarray(LATERAL), jnp.asarray(LONGITUDINAL), speed)
    np.testing.assert_array_equal(found_lateral[lateral], index[lateral])
    np.testing.assert_array_equal(found_longitudinal[longitudinal], index[longitudinal])
    # what cannot be reached becomes the nearest that can
    assert found_longitudinal[0] == 16 and found_longitudinal[60] == 23


def test_stopping_short_of_the_horizon_stops_at_the_anchor():
    state = vehicle(1.0)
    acceleration, _ = aim(jnp.asarray(0.0), jnp.asarray(0.1), state)
    for _ in range(10):
        state = step(state, acceleration, jnp.asarray(0.0), 0.1, 2.765, LOOSE)
    assert state.speed == 0.0 and state.position[0] == pytest.approx(0.1, abs=1e-4)


def test_standing_still_is_finite():
    acceleration, steering = to_control(jnp.asarray(30), jnp.asarray(0), vehicle(0.0))
    assert acceleration == 0.0 and steering == 0.0
