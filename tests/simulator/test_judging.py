"""Corner cases that are called sound: somebody can drive out of them, and each unsound one is found."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from challenged_road import LEADER, PARKED, WALKER, one_of_each, road_casting, road_world

from jaxrecon.simulator import default_params
from jaxrecon.simulator.escapes import controls, nothing_done
from jaxrecon.simulator.judging import generate, judge, tally
from jaxrecon.traffic.behaviours import BEHAVIOURS, NAMES
from jaxrecon.traffic.checks import CHECKS

PARAMS = default_params()


@pytest.fixture(scope="module")
def judged():
    # Nobody follows: a recorded car behind would run into whoever brakes.
    casting = road_casting(road_world((LEADER, PARKED, WALKER)))
    drawn, plan = one_of_each(casting, unit=0.3)
    return casting, drawn, plan, judge(casting, drawn, plan, PARAMS, together=8)


def test_sound_cases_can_be_driven_out_of(judged):
    casting, drawn, plan, told = judged
    sound = np.asarray(told.sound)
    names = {NAMES[i] for i in np.flatnonzero(sound)}
    assert {"hard_brake", "stopped_ahead", "crossing"} <= names
    simulator = dataclasses.replace(casting.simulator, challenges=casting.challenges(drawn.start, plan, told.detour))
    count = len(NAMES)

    @jax.jit
    def ends(simulator, escaping):
        none = jnp.zeros(count, jnp.int32)
        state, _ = simulator.reset_at(jax.random.key(0), none, None, PARAMS, False, none, jnp.arange(count))

        def step(carry, _):
            action, escaping = controls(simulator.world, *carry, simulator.config.limits)
            state, result = simulator.step(carry[0], action, PARAMS, draw=False, auto_reset=False)
            return (state, escaping), result.terminated

        return jnp.any(jax.lax.scan(step, (state, escaping), None, simulator.clip_steps)[1], axis=0)

    assert not ends(simulator, told.escaping)[sound].any()
    hit = np.asarray(ends(simulator, nothing_done(count)))
    np.testing.assert_array_equal(hit & sound, np.asarray(told.hits) & sound)
    assert {NAMES[i] for i in np.flatnonzero(hit)} >= {"hard_brake", "stopped_ahead"}
    counted = tally(told)
    assert counted.drawn.sum() == count and (counted.sound == sound).all()
    assert counted.passed.shape == (len(BEHAVIOURS), len(CHECKS))


def test_what_nobody_can_avoid_is_unsound(judged):
    casting, drawn, plan, _ = judged
    # A car stands across both sides of the road's middle, nearer than anybody can stop.
    wall = dataclasses.replace(
        plan,
        behaviour=jnp.full_like(plan.behaviour, NAMES.index("stopped_ahead")),
        staged=jnp.ones_like(plan.staged),
        valid=jnp.ones_like(plan.valid),
        slot=jnp.zeros_like(plan.slot),
        place=jnp.tile(jnp.asarray([9.5, 0.0, 0.0, 0.0]), (len(NAMES), 1, 1)),
    )
    told = judge(casting, drawn, wall, PARAMS, together=8)
    checks = dict(zip(CHECKS, np.asarray(told.checks).T, strict=True))
    assert not checks["avoidable"].any() and bool(told.hits.all())
    assert all(checks[name].all() for name in ("happens", "kinematic", "continuous", "on_ground"))


def test_generation_returns_sound_cases_only_and_compiles_once(judged, caplog):
    casting = judged[0]
    weights = jnp.asarray([float(one.name in ("hard_brake", "stopped_ahead")) for one in BEHAVIOURS])
    found, counted = generate(
        casting, jax.random.key(0), weights, PARAMS, 6, batch=len(NAMES), together=8, adversaries=1, progress=False
    )
    assert found.detour.shape == (6, 3) and bool(found.sound.all())
    assert counted.sound.sum() >= 6 and set(np.flatnonzero(counted.drawn)) <= set(np.flatnonzero(weights))
    assert float(found.unit.max()) <= 0.8
    caplog.clear()
    with jax.log_compiles():
        for seed in (1, 2):
            generate(
                casting, jax.random.key(seed), weights, PARAMS, 6, batch=len(NAMES), together=8, adversaries=1,
                progress=False,
            )  # fmt: skip
    assert not [one for one in caplog.messages if one.startswith("Compiling")]
    with pytest.raises(ValueError, match="0 of 5 corner cases were found in 1 batches of 12"):
        generate(
            casting, jax.random.key(0), jnp.asarray(np.eye(len(NAMES))[NAMES.index("tailgate")]), PARAMS, 5,
            batch=len(NAMES), together=8, rounds=1, adversaries=1, progress=False, second_share=1.0, hardest=1e9,
        )  # fmt: skip
