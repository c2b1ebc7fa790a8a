"""Corner cases in training and in evaluation sets: what was failed is drawn, and what was frozen is played again."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from challenged_road import LEADER, WALKER, cases, road_casting, road_log, road_world

from jaxrecon.agents.challenged import challenged
from jaxrecon.agents.challengers import AdversaryChallenger, NonReacting, challenges_of
from jaxrecon.agents.driving import drive
from jaxrecon.agents.evaluate import evaluate
from jaxrecon.agents.evaluation_draws import draw_challenged
from jaxrecon.agents.evaluation_sets import Challenge, EvaluationSetError, load_set, save_set, scene_hash
from jaxrecon.simulator import Start, default_params
from jaxrecon.simulator.casting import SEEN_SHARE
from jaxrecon.simulator.judging import Judged
from jaxrecon.traffic.behaviours import BEHAVIOURS, NAMES, TESTS_ONLY

PARAMS = default_params()
SCENES = [("road", scene_hash(road_log()))]


@pytest.fixture(scope="module")
def casting():
    return road_casting(road_world((LEADER, WALKER)))


@pytest.fixture(scope="module")
def environment(casting):
    """A mild walker far away that nobody hits and a leader that brakes hard, without any judge."""
    drawn, plan = cases(casting, np.array([NAMES.index("hard_brake"), NAMES.index("crossing")]), 1.0)
    harmless = dataclasses.replace(plan, valid=plan.valid & jnp.asarray([[True], [False]]))
    none = jnp.zeros(2, jnp.int32)
    told = Judged(drawn.start, harmless, jnp.zeros((2, 3)), drawn.unit, jnp.ones((2, 6), bool), none > 0, none, none)
    return challenged(casting.simulator, casting, told)


@partial(jax.jit, static_argnames=("count", "steps"))
def drive_on(environment, key, count, steps):
    state, _ = type(environment).reset(environment, key, count, PARAMS)

    def step(state, _):
        state, result = environment.step(state, jnp.zeros((count, 2)), PARAMS)
        return state, result.terminated

    return jax.lax.scan(step, state, None, steps)


def test_what_is_failed_sometimes_is_drawn_more_than_what_never_is(environment):
    state, ended = drive_on(environment, jax.random.key(0), 32, 400)
    told = {name: np.asarray(values) for name, values in environment.figures(state).items()}
    brake, walk = NAMES.index("hard_brake"), NAMES.index("crossing")
    known = state.curriculum
    assert int(known.played.sum()) > 100 and ended.any()
    # Who rolls on runs into one that brakes to a stop, unless it started slow; nothing happens in the other case.
    assert told["case_failure_rate"][brake] > 0.5 > told["case_failure_rate"][walk]
    assert told["case_share"].sum() == pytest.approx(1.0, abs=1e-5)
    assert told["case_difficulty"][brake] == pytest.approx(1.0)
    assert np.isnan(told["case_failure_rate"][NAMES.index("merge")]) and told["case_played"].sum() == known.played.sum()


@pytest.fixture(scope="module")
def sets(casting):
    """A small set of either kind."""
    return {
        kind: draw_challenged(
            kind, casting.simulator, SCENES, 5, 6, PARAMS, AdversaryChallenger(casting, PARAMS, kind), rounds=4
        )
        for kind in ("corner_cases", "unseen_behaviours")
    }


def test_sets_hold_what_training_never_plays(sets, casting):
    for challenge in sets["corner_cases"].challenges:
        behaviour = BEHAVIOURS[NAMES.index(challenge.behaviour)]
        assert not behaviour.tests_only
        shares = [(challenge.parameters[one.name] - one.mild) / (one.severe - one.mild) for one in behaviour.parameters]
        assert max(shares) >= SEEN_SHARE - 1e-4
    held_out = {NAMES[number] for number in TESTS_ONLY}
    assert {challenge.behaviour for challenge in sets["unseen_behaviours"].challenges} <= held_out
    challenger = AdversaryChallenger(casting, PARAMS, "corner_cases")
    again = draw_challenged("corner_cases", casting.simulator, SCENES, 5, 6, PARAMS, challenger, rounds=4)
    assert again.content_hash == sets["corner_cases"].content_hash
    with pytest.raises(EvaluationSetError, match="kind is 'log_replay'; expected one of"):
        AdversaryChallenger(casting, PARAMS, "log_replay")


def test_frozen_challenges_are_played_again_as_they_were(sets, casting, tmp_path):
    save_set(sets["unseen_behaviours"], tmp_path / "set.json")
    chosen = load_set(tmp_path / "set.json", SCENES)
    clips = chosen.clips
    starts = Start(clips.scenes, clips.start_frames, clips.perturbation)
    bank = challenges_of(casting, starts, chosen.challenges)
    assert bank.count == 6 and bank.plan.valid.all()
    told = [NAMES[number] for number in np.asarray(bank.plan.behaviour)[:, 0]]
    assert told == [challenge.behaviour for challenge in chosen.challenges]
    np.testing.assert_array_equal(
        bank.plan.begin[:, 0] + clips.start_frames, [challenge.frame for challenge in chosen.challenges]
    )
    simulator = dataclasses.replace(casting.simulator, challenges=bank)
    none = jnp.zeros(0, jnp.int32)
    hits = [
        np.asarray(drive(simulator, NonReacting(), one, jax.random.key(0), PARAMS, none).rollout.events)[..., 0]
        for one in (clips, dataclasses.replace(clips, cases=jnp.full(6, -1)))
    ]
    # The recorded traffic hits nobody; some of the corner cases do.
    assert hits[0].any() and not hits[1].any()


def test_challenges_that_nobody_knows_are_refused(sets, casting):
    clips = sets["corner_cases"].clips
    starts = Start(clips.scenes[:1], clips.start_frames[:1], jax.tree.map(lambda leaf: leaf[:1], clips.perturbation))
    good = sets["corner_cases"].challenges[0]
    first = next(iter(BEHAVIOURS[NAMES.index(good.behaviour)].parameters)).name
    lacking = {name: value for name, value in good.parameters.items() if name != first}
    for bad, problem in (
        (dataclasses.replace(good, behaviour="teleport"), "challenge 0 is 'teleport'; this version knows"),
        (dataclasses.replace(good, parameters=lacking), f"lacks '{first}'; draw the set again"),
        (Challenge(good.behaviour, 0, 3, {**good.parameters, "speeed": 1.0}), r"has \['speeed'\], which nobody knows"),
    ):
        with pytest.raises(EvaluationSetError, match=problem):
            challenges_of(casting, starts, [bad])
    before = int(starts.frame[0]) - 1
    for bad in (dataclasses.replace(good, actor=1000), dataclasses.replace(good, frame=before)):
        with pytest.raises(EvaluationSetError, match=r"of actor \d+ of \d+ from frame \d+ on; expected"):
            challenges_of(casting, starts, [bad])
    with pytest.raises(EvaluationSetError, match="2 challenges came with 1 starts"):
        challenges_of(casting, starts, [good, good])


def test_clips_of_another_bank_are_refused(sets, casting):
    chosen = sets["corner_cases"]
    clips = chosen.clips
    bank = challenges_of(casting, Start(clips.scenes, clips.start_frames, clips.perturbation), chosen.challenges)
    simulator = dataclasses.replace(casting.simulator, challenges=bank)
    for wrong, problem in (
        (dataclasses.replace(clips, cases=clips.cases + 6), "plays case 11 of a bank of 6"),
        (dataclasses.replace(clips, start_frames=clips.start_frames + 1), r"clip 0 starts in frame \d+, its case 0 in"),
    ):
        with pytest.raises(ValueError, match=problem):
            evaluate(simulator, NonReacting(), wrong, PARAMS, jax.random.key(0), progress=False)
