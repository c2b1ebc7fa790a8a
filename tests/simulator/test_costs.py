"""Gradients of a drive's smooth costs, against finite differences and where nothing is there."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrecon.scene import occupancy
from jaxrecon.simulator import Costs, Simulator, SimulatorConfig, build_world, default_params, rollout_costs

CONFIG = SimulatorConfig(action="continuous")
STEPS = 12


@pytest.fixture(scope="module")
def simulator(log):
    occupied = np.zeros((20, 200), bool)
    occupied[:4] = True
    beside = occupancy.distance_field(occupied, np.array([0.0, -4.0]), 0.25)
    return Simulator(build_world(log, None, None, beside), CONFIG)


@pytest.fixture(scope="module")
def start(simulator):
    reset = jax.jit(Simulator.reset_at, static_argnames="draw")
    state, _ = reset(simulator, jax.random.key(0), jnp.asarray([22, 50]), None, default_params(), draw=False)
    return state


def total(costs: Costs):
    return sum(jnp.sum(leaf) for leaf in jax.tree.leaves(costs))


def cost_of(simulator, start, actions, centre=None):
    if centre is not None:
        traffic = dataclasses.replace(simulator.world.traffic, centre=centre)
        simulator = dataclasses.replace(simulator, world=dataclasses.replace(simulator.world, traffic=traffic))
    return total(rollout_costs(simulator, start, actions))


gradient = jax.jit(jax.grad(cost_of, argnums=(2, 3)))
value = jax.jit(cost_of)


@pytest.fixture(scope="module")
def actions():
    return 0.3 * jax.random.normal(jax.random.key(2), (STEPS, 2, 2)) * jnp.asarray([1.0, 0.1])


def test_gradients_agree_with_finite_differences(simulator, start, actions):
    centre = simulator.world.traffic.centre
    slopes = gradient(simulator, start, actions, centre)
    for number, (leaf, slope) in enumerate(zip((actions, centre), slopes, strict=True)):
        assert jnp.isfinite(slope).all()
        direction = jax.random.normal(jax.random.key(number), leaf.shape)
        direction = direction / jnp.linalg.norm(direction) if number == 0 else direction * (slope != 0)
        size = 1e-2
        ends = []
        for sign in (1, -1):
            moved = [actions, centre]
            moved[number] = leaf + sign * size * direction
            ends.append(float(value(simulator, start, *moved)))
        expected = float(jnp.sum(slope * direction))
        # Costs of some hundred in float32 differ by 1e-5 for rounding; the second-order term of a central difference.
        assert (ends[0] - ends[1]) / (2 * size) == pytest.approx(expected, rel=0.02, abs=0.05)
        assert abs(expected) > 0.1, "a direction without slope would test nothing"


def test_gradients_are_finite_without_actors_and_on_the_path(log, start):
    empty = dataclasses.replace(log, tracks=())
    simulator = Simulator(build_world(empty, None, None, occupancy.empty(), actor_capacity=2), CONFIG)
    zeros = jnp.zeros((STEPS, 2, 2))
    slopes = gradient(simulator, start, zeros, simulator.world.traffic.centre)
    assert all(bool(jnp.isfinite(leaf).all()) for leaf in slopes)
    assert not slopes[1].any()


def test_nearer_actors_and_walls_cost_more(simulator, start):
    zeros = jnp.zeros((STEPS, 2, 2))
    costs = jax.jit(rollout_costs)(simulator, start, zeros)
    left, right = (jax.jit(rollout_costs)(simulator, start, zeros.at[..., 1].set(angle)) for angle in (0.03, -0.03))
    # The parked car stands to the left of the first clip's way, the wall to its right.
    assert left.actors[0] > costs.actors[0] > right.actors[0]
    assert right.obstacles[0] > costs.obstacles[0] > left.obstacles[0]
    np.testing.assert_allclose(costs.progress, -10.0 * 0.1 * STEPS, rtol=0.02)
    np.testing.assert_allclose(costs.path[0], 0.0, atol=1e-3)


def test_anchors_have_no_derivative(log, start):
    simulator = Simulator(build_world(log, None, None, occupancy.empty()))
    with pytest.raises(ValueError, match="is 'anchors'; costs are differentiable in 'continuous' actions"):
        rollout_costs(simulator, start, jnp.zeros((2, 2, 2)))
