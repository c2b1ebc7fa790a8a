import math

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxrecon.dynamics import VehicleLimits, VehicleState, curvature, inverse, step, travel, yaw_rate

WHEELBASE, DT = 2.765, 0.1
LOOSE = VehicleLimits(steering_rate=math.inf)


def vehicle(speed=10.0, yaw=0.0, steering=0.0, batch=()) -> VehicleState:
    full = lambda value: jnp.full(batch, value, jnp.float32)  # noqa: E731
    return VehicleState(jnp.zeros((*batch, 2)), full(yaw), full(speed), full(0.0), full(steering))


def drive(state, acceleration, steering, limits=LOOSE):
    def body(state, control):
        after = step(state, *control, DT, WHEELBASE, limits)
        return after, after

    return jax.lax.scan(body, state, (acceleration, steering))[1]


@pytest.mark.parametrize("steering", [0.3, -0.12, 0.0])
def test_constant_steering_follows_the_exact_circle(steering):
    states = drive(vehicle(steering=steering), jnp.zeros(80), jnp.full(80, steering))
    distance = 10.0 * DT * np.arange(1, 81)
    kappa = math.tan(steering) / WHEELBASE
    if steering == 0.0:
        expected = np.stack([distance, 0 * distance], axis=-1)
    else:
        expected = np.stack([np.sin(kappa * distance), 1 - np.cos(kappa * distance)], axis=-1) / kappa
    # 80 float32 additions at 80 m
    np.testing.assert_allclose(states.position, expected, atol=1e-4)
    np.testing.assert_allclose(np.exp(1j * np.asarray(states.yaw)), np.exp(1j * kappa * distance), atol=1e-5)
    np.testing.assert_allclose(yaw_rate(states, WHEELBASE), 10.0 * kappa, rtol=1e-5)


@jax.jit
def solve(speed, acceleration, steering, yaw):
    def field(t, y, args):
        theta, v = y[2:]
        return v * jnp.cos(theta), v * jnp.sin(theta), v * jnp.tan(steering) / WHEELBASE, acceleration

    start = (jnp.asarray(0.0), jnp.asarray(0.0), yaw, speed)
    return diffrax.diffeqsolve(diffrax.ODETerm(field), diffrax.Tsit5(), 0.0, DT, DT / 20, start).ys


@settings(max_examples=25, deadline=None)
@given(st.floats(0, 31), st.floats(-6, 6), st.floats(-0.8, 0.8), st.floats(-3, 3))
def test_one_step_agrees_with_a_fine_diffrax_solution(speed, acceleration, steering, yaw):
    if speed + acceleration * DT < 0 or speed + acceleration * DT > 32:
        return

    speed, acceleration, steering, yaw = (jnp.asarray(value) for value in (speed, acceleration, steering, yaw))
    solved = solve(speed, acceleration, steering, yaw)
    after = step(vehicle(speed, yaw), acceleration, steering, DT, WHEELBASE, LOOSE)
    np.testing.assert_allclose(after.position, [solved[0][0], solved[1][0]], atol=2e-5)
    np.testing.assert_allclose(np.exp(1j * after.yaw), np.exp(1j * solved[2][0]), atol=2e-5)


def test_braking_past_zero_stops_where_it_should():
    after = step(vehicle(0.4), jnp.asarray(-8.0), jnp.asarray(0.2), DT, WHEELBASE, LOOSE)
    assert after.speed == 0.0
    assert jnp.linalg.norm(after.position) == pytest.approx(0.4**2 / 16, abs=1e-6)
    assert after.acceleration == pytest.approx(-4.0)
    still = step(after, jnp.asarray(-8.0), jnp.asarray(0.2), DT, WHEELBASE, LOOSE)
    assert still.speed == 0.0 and jnp.array_equal(still.position, after.position)


def test_top_speed_ends_acceleration_within_the_step():
    distance, speed = travel(jnp.asarray(31.8), jnp.asarray(4.0), DT, 32.0)
    assert speed == 32.0
    assert distance == pytest.approx(31.8 * 0.05 + 2 * 0.05**2 + 32 * 0.05, abs=1e-5)


def test_limits_hold():
    after = step(vehicle(10.0), jnp.asarray(50.0), jnp.asarray(3.0), DT, WHEELBASE, VehicleLimits())
    assert after.acceleration == pytest.approx(6.0, abs=1e-4) and after.steering == pytest.approx(0.1)
    after = step(vehicle(10.0), jnp.asarray(-50.0), jnp.asarray(-3.0), DT, WHEELBASE, LOOSE)
    assert after.acceleration == pytest.approx(-8.0, abs=1e-4)
    assert after.steering == pytest.approx(-math.radians(49.0))


@pytest.mark.parametrize("field", ["steering", "speed", "acceleration", "braking", "steering_rate"])
def test_bad_limits_are_named(field):
    with pytest.raises(ValueError, match=rf"VehicleLimits.{field} is -1.0; expected"):
        VehicleLimits(**{field: -1.0})


def test_inverse_recovers_controls_and_drive():
    rng = np.random.default_rng(0)
    acceleration = jnp.asarray(rng.uniform(-2, 2, (80, 3)), jnp.float32)
    steering = jnp.asarray(rng.uniform(-0.4, 0.4, (80, 3)), jnp.float32)
    start = vehicle(12.0, 0.4, batch=(3,))
    states = drive(start, acceleration, steering)
    position = jnp.concatenate([start.position[None], states.position])
    yaw = jnp.concatenate([start.yaw[None], states.yaw])
    found = inverse(jnp.moveaxis(position, 0, -2), yaw.T, start.speed, DT, WHEELBASE)
    again = drive(start, found[0].T, found[1].T)
    # Positions tell distances to some 1e-5 m in float32, whose errors add up along the drive.
    np.testing.assert_allclose(again.position, states.position, atol=1e-3)
    np.testing.assert_allclose(found[1].T, steering, atol=1e-3)


@pytest.mark.parametrize("batch", [(), (1,), (2, 3)])
def test_batches_and_finite_gradients(batch):
    state = vehicle(0.0, batch=batch)

    def cost(steering, acceleration):
        after = step(state, acceleration, steering, DT, WHEELBASE, LOOSE)
        return jnp.sum(after.position**2) + jnp.sum(after.speed)

    zero = jnp.zeros(batch)
    gradients = jax.grad(cost, argnums=(0, 1))(zero, zero + 1.0)
    assert all(g.shape == batch and bool(jnp.all(jnp.isfinite(g))) for g in gradients)
    assert curvature(zero, WHEELBASE).shape == batch
