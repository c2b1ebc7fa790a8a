"""Corner cases in the compiled step: nothing changes without them, and what is called sound is."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from challenged_road import FOLLOWER, LEADER, cases, road_casting, road_world

from jaxrecon.simulator import Simulator, default_params, load_state, save_state
from jaxrecon.simulator.moments import path_distance
from jaxrecon.traffic.behaviours import NAMES
from jaxrecon.traffic.cast import actors_at, detour_at, poses_at

PARAMS = default_params()
HARMLESS = dataclasses.replace(PARAMS, case_share=jnp.asarray(0.0))
STEP = jax.jit(Simulator.step, static_argnames=("draw", "auto_reset"))
STEPS = 75


@pytest.fixture(scope="module")
def road():
    return road_casting(road_world((LEADER,)))


@pytest.fixture(scope="module")
def each(road):
    """Hard braking, mild to severe, with and without seeing the ego."""
    behaviour = np.array([NAMES.index("hard_brake")] * 2 + [NAMES.index("weave_and_brake")] * 2)
    drawn, plan = cases(road, behaviour, 0.5)
    reactive = jnp.asarray([[True], [False], [True], [False]])
    return drawn, dataclasses.replace(plan, reactive=reactive)


@pytest.fixture(scope="module")
def challenged(road, each) -> Simulator:
    drawn, plan = each
    bank = road.challenges(drawn.start, plan, jnp.zeros((4, 3)))
    return dataclasses.replace(road.simulator, challenges=bank)


BEGIN = jax.jit(Simulator.reset_at, static_argnames="draw")


def begin(simulator, frames, played=None):
    scenes = jnp.zeros_like(frames)
    return BEGIN(simulator, jax.random.key(0), frames, None, PARAMS, draw=False, scenes=scenes, cases=played)[0]


@partial(jax.jit, static_argnames="steps")
def _driven(simulator, state, action, steps):
    def step(state, _):
        state, result = simulator.step(state, action, PARAMS, draw=False, auto_reset=False)
        return state, result.events

    return jax.lax.scan(step, state, None, steps)


def drive(simulator, state, braking: float = 0.0, steps: int = STEPS):
    """Straight on, and what happened."""
    action = jnp.tile(jnp.asarray([-braking, 0.0]), (state.route.shape[0], 1))
    state, events = _driven(simulator, state, action, steps)
    return state, np.asarray(events)


def test_without_adversaries_nothing_changes(road, challenged):
    frames = jnp.asarray([0, 4, 9, 9], jnp.int32)
    plain, with_bank = begin(road.simulator, frames), begin(challenged, frames)
    assert plain.cast is None and with_bank.cast is not None
    action = jnp.asarray([[0.5, 0.01], [-1.0, 0.0], [0.0, -0.02], [6.0, 0.0]])
    for _ in range(10):
        plain, one = STEP(road.simulator, plain, action, PARAMS, draw=False, auto_reset=False)
        with_bank, other = STEP(challenged, with_bank, action, PARAMS, draw=False, auto_reset=False)
        for first, second in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
            # Two programs, which fuse differently: places of some ten metres round by a micrometre.
            np.testing.assert_allclose(np.asarray(first, float), np.asarray(second, float), atol=1e-5)
    assert not bool(with_bank.cast.acting.active.any())


def test_a_braking_leader_is_run_into_by_who_does_not_react(road, challenged):
    numbers, frames = jnp.arange(4), jnp.zeros(4, jnp.int32)
    _, events = drive(road.simulator, begin(road.simulator, frames))
    assert not events.any()
    state, events = drive(challenged, begin(challenged, frames, numbers))
    assert events[..., 0].any(axis=0).all() and not events[..., 1:].any()
    _, events = drive(challenged, begin(challenged, frames, numbers), braking=6.0)
    assert not events.any()
    # The hit leader stands where the ego's box meets it, not where the log has it.
    leader = np.asarray(actors_at(challenged.world.traffic, state.scene, state.elapsed, state.cast).centre)[:, 0, 0]
    assert (leader < 25 + 10 * 0.1 * np.asarray(state.elapsed) - 5).all()
    poses, valid = poses_at(challenged.world.traffic, state.scene, state.elapsed, state.cast)
    np.testing.assert_allclose(poses[:, 0, 0, 3], leader, atol=1e-4)
    np.testing.assert_allclose(poses[:, 0, 2, 3], 0.75, atol=1e-4)
    assert bool(valid.all())


def test_the_reactive_see_the_ego_and_the_others_the_recording(challenged):
    frames = jnp.zeros(4, jnp.int32)
    numbers = jnp.asarray([0, 1, 0, 1])
    slow, _ = drive(challenged, begin(challenged, frames, numbers), braking=6.0)
    # Braking at once, the ego never comes within the headway at which the reactive leader brakes.
    headway = np.asarray(challenged.challenges.plan.parameters)[0, 0, 2]
    assert headway * 10 > 25 - 1.4 - (4.5 + 4.77) / 2
    active = np.asarray(slow.cast.acting.active)[:, 0]
    assert active.tolist() == [True] * 4
    apart = dataclasses.replace(challenged, challenges=dataclasses.replace(
        challenged.challenges,
        plan=dataclasses.replace(challenged.challenges.plan, begin=jnp.full((4, 1), 20, jnp.int32))))  # fmt: skip
    slow, _ = drive(apart, begin(apart, frames, numbers), braking=6.0)
    assert np.asarray(slow.cast.acting.active)[:, 0].tolist() == [False, True] * 2


def test_clips_are_cases_as_often_as_the_weights_say(challenged):
    params = dataclasses.replace(PARAMS, case_share=0.5, case_weights=jnp.asarray([0.0, 3.0, 0.0, 1.0]))
    state, _ = jax.jit(Simulator.reset, static_argnums=2, static_argnames="draw")(
        challenged, jax.random.key(1), 600, params, draw=False
    )
    counts = np.bincount(np.asarray(state.cast.case) + 1, minlength=5) / 600
    # Standard errors are at most 0.02; four of them.
    np.testing.assert_allclose(counts, [0.5, 0.0, 0.375, 0.0, 0.125], atol=0.08)
    assert (np.asarray(state.start_frame)[np.asarray(state.cast.case) >= 0] == 0).all()


def test_states_with_adversaries_come_back_from_disk(challenged, tmp_path):
    state, _ = drive(challenged, begin(challenged, jnp.zeros(4, jnp.int32), jnp.arange(4)))
    save_state(state, tmp_path / "state")
    back = load_state(tmp_path / "state")
    assert jax.tree.structure(back) == jax.tree.structure(state)
    for one, other in zip(jax.tree.leaves(back), jax.tree.leaves(state), strict=True):
        assert (one == other).all()
    with pytest.raises(ValueError, match="reset_at got cases, but the simulator has no challenges"):
        begin(dataclasses.replace(challenged, challenges=None), jnp.zeros(2, jnp.int32), jnp.arange(2))


def test_bad_use_is_named(road, each, challenged):
    drawn, plan = each
    nothing = jax.tree.map(lambda leaf: leaf[:0], (drawn.start, plan))
    with pytest.raises(ValueError, match="a bank of challenges got no cases; expected at least one"):
        road.challenges(*nothing, jnp.zeros((0, 3)))
    frames = jnp.zeros(2, jnp.int32)

    def reset(frames, cases):
        challenged.reset_at(jax.random.key(0), frames, None, PARAMS, draw=False, cases=jnp.asarray(cases))

    with pytest.raises(ValueError, match="clip 1 plays case 4 of a bank of 4; expected 0 to 3, or -1 for none"):
        reset(frames, [0, 4])
    with pytest.raises(ValueError, match=r"clip 1 starts in scene 0 at frame 1, but its case 3 in scene 0 at frame 0"):
        reset(jnp.asarray([5, 1]), [-1, 3])
    for simulator, other, have in (
        (road.simulator, challenged, "no challenges and the state a cast"),
        (challenged, road.simulator, "challenges and the state no cast"),
    ):
        with pytest.raises(ValueError, match=f"the simulator has {have}; step a state with the simulator"):
            simulator.step(begin(other, frames), jnp.zeros((2, 2)), PARAMS, draw=False)


def test_a_detour_moves_the_reference_aside(challenged):
    state = begin(challenged, jnp.zeros(4, jnp.int32), jnp.arange(4))
    arc = np.asarray(state.route)
    past, before = [arc[0] - 20.0, 10.0, 3.3], [arc[1] + 5.0, 10.0, 3.3]
    detour = jnp.asarray([past, before, past, before])
    moment = challenged.moment(dataclasses.replace(state, cast=dataclasses.replace(state.cast, detour=detour)))
    # The first is past its ramp and still on the expert's path; the second has not reached its own.
    np.testing.assert_allclose(path_distance(moment), [3.3, 0.0, 3.3, 0.0], atol=1e-3)
    aside, slope = detour_at(detour[:1], jnp.asarray([arc[0] - 15.0]))
    np.testing.assert_allclose([float(aside[0]), float(slope[0])], [1.65, 3.3 * 1.5 / 10], rtol=1e-5)


def test_others_brake_for_an_ego_that_the_log_did_not_have_there():
    world = road_world((LEADER, FOLLOWER))
    frames, events = jnp.zeros(1, jnp.int32), {}
    casting = road_casting(world)
    drawn, plan = cases(casting, np.array([NAMES.index("hard_brake")]), 0.0)
    for reacting in (False, True):
        casting = dataclasses.replace(casting, reacting=reacting)
        idle = dataclasses.replace(plan, valid=jnp.zeros_like(plan.valid))
        simulator = dataclasses.replace(
            casting.simulator, challenges=casting.challenges(drawn.start, idle, jnp.zeros((1, 3)))
        )
        state, events[reacting] = drive(simulator, begin(simulator, frames, jnp.zeros(1, jnp.int32)), braking=4.0)
        if reacting:
            lag = np.asarray(state.cast.following.lag)[0]
            assert lag[0] == 0 and lag[1] > 10
    assert events[False][..., 0].any() and not events[True].any()
