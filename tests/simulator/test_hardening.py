"""Parameters found by gradient are harder than those that were drawn, and still leave a way out."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from challenged_road import LEADER, PARKED, cases, road_casting, road_world

from jaxrecon.simulator import default_params
from jaxrecon.simulator.casting import parameters_of
from jaxrecon.simulator.hardening import criticality, harden, way_out
from jaxrecon.simulator.judging import judge
from jaxrecon.simulator.verifying import avoided
from jaxrecon.traffic.behaviours import NAMES

PARAMS = default_params()
DRAWN = ("hard_brake", "hard_brake", "weave_and_brake", "merge")


@pytest.fixture(scope="module")
def drawn():
    """Sound cases in the milder half of their ranges."""
    casting = road_casting(road_world((LEADER, PARKED)))
    one, plan = cases(casting, np.array([NAMES.index(name) for name in DRAWN]), 0.3)
    unit = one.unit.at[1].set(0.1)
    plan = dataclasses.replace(plan, parameters=parameters_of(plan.behaviour, unit))
    told = judge(casting, dataclasses.replace(one, unit=unit), plan, PARAMS, together=4)
    assert bool(told.sound.all())
    return casting, told


@pytest.mark.torture
def test_the_ascent_is_harder_than_the_draw_and_stays_sound(drawn):
    casting, told = drawn
    found = harden(casting, told, PARAMS, steps=6, together=4)
    assert bool(found.moved.any()) and bool(found.cases.sound.all())
    moved = np.asarray(found.moved)
    assert (np.asarray(found.after) >= np.asarray(found.before) - 1e-3).all()
    assert (np.asarray(found.after - found.before)[moved] > 0).all()
    assert float(found.after.mean()) > 1.1 * float(found.before.mean())
    unit = np.asarray(found.cases.unit)
    assert (unit >= 0).all() and (unit <= 1).all()
    np.testing.assert_array_equal(unit[~moved], np.asarray(told.unit)[~moved])
    # The same cases from their numbers alone.
    assert bool(avoided(casting, found.cases, PARAMS).all())


@pytest.mark.torture
def test_the_gradient_is_that_of_differences(drawn):
    casting, told = drawn
    simulator, begin, actions = jax.jit(way_out)(casting, told, PARAMS)

    @jax.jit
    def at(parameters):
        plan = dataclasses.replace(told.plan, parameters=parameters)
        return criticality(simulator, begin, actions, plan)[0]

    slope = float(jax.jit(jax.grad(at))(told.plan.parameters)[0, 0, 0])
    nudge = jnp.zeros_like(told.plan.parameters).at[0, 0, 0].set(0.02)
    sides = [float(at(told.plan.parameters + sign * nudge)) for sign in (1, -1)]
    # The deceleration of the first; over 80 steps of float32 the difference has three digits.
    assert slope == pytest.approx((sides[0] - sides[1]) / 0.04, rel=0.1) and slope > 0


def test_a_way_out_that_is_none_is_found(drawn):
    casting, told = drawn
    spoiled = dataclasses.replace(told, manoeuvre=jnp.zeros_like(told.manoeuvre), reaction=told.reaction)
    late = dataclasses.replace(told, reaction=told.reaction - 3)
    hits = np.asarray(told.hits)
    assert hits.any() and not np.asarray(avoided(casting, spoiled, PARAMS))[hits].any()
    assert not avoided(casting, late, PARAMS).any()
