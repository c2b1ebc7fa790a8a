"""Each behaviour does what its name says, told from where its road user goes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from challenged_road import DT, FOLLOWER, LEADER, LEFT, ONCOMING, PARKED, RIGHT, WALKER, one_of_each

from jaxrecon.simulator.challenges import _seen
from jaxrecon.traffic.adversary import advance, begin
from jaxrecon.traffic.behaviours import BEHAVIOURS, NAMES, PARAMETERS, TESTS_ONLY, TRAINED

STEPS = 80
WHO = {
    "cut_in_left": {LEFT}, "cut_in_right": {RIGHT, PARKED}, "hard_brake": {LEADER}, "sudden_lane_change": {LEFT},
    "merge": {PARKED}, "tailgate": {FOLLOWER}, "stopped_ahead": {LEADER}, "oncoming_drift": {ONCOMING},
    "crossing": {WALKER}, "brake_check": {LEFT}, "hesitant_crossing": {WALKER}, "weave_and_brake": {LEADER},
}  # fmt: skip


@pytest.fixture(scope="module")
def drives(road) -> dict[str, dict[str, np.ndarray]]:
    """Of each behaviour in the middle of its ranges, beside the recorded ego: what happened, step by step."""
    _, plan = one_of_each(road)
    world, count = road.simulator.world, len(NAMES)
    scene = jnp.zeros(count, jnp.int32)

    def step(acting, elapsed):
        frame = jnp.full(count, elapsed)
        ego = _seen(world, scene, world.reference.motion_at(scene, frame), world.reference.route[scene, frame])
        acting = advance(road.course, world.traffic, scene, frame, frame, plan, acting, ego, ego, DT)
        return acting, (acting, world.reference.motion_at(scene, frame + 1).position[:, 0])

    @jax.jit
    def drive(acting):
        return jax.lax.scan(step, acting, jnp.arange(STEPS))[1]

    acting, ego = drive(begin(road.course, world.traffic, scene, scene, plan))
    # The road runs along x, the ego's lane along y = 0; the ego is 4.77 m long, its centre 1.385 m before its axle.
    ahead = acting.user.position[..., 0, 0] + 0.28 * 4.5 - (np.asarray(ego) + 1.385)
    names = {"left": acting.user.position[..., 0, 1], "ahead": ahead, "speed": acting.user.speed[..., 0],
             "active": acting.active[..., 0]}  # fmt: skip
    told = {name: {key: np.asarray(values[:, i]) for key, values in names.items()} for i, name in enumerate(NAMES)}
    for i, name in enumerate(NAMES):
        told[name]["slot"] = np.asarray(plan.slot[i, 0])
        told[name]["valid"] = np.asarray(plan.valid[i, 0] & ~plan.staged[i, 0])
        told[name] |= {f"its {one.name}": float(plan.parameters[i, 0, k])
                       for k, one in enumerate(BEHAVIOURS[i].parameters)}  # fmt: skip
    return told


@pytest.mark.parametrize("name", NAMES)
def test_somebody_in_the_right_place_does_it(drives, name):
    one = drives[name]
    assert one["valid"] and int(one["slot"]) in WHO[name]
    assert one["active"].any() and not one["active"][:3].any()
    # Once begun it goes on.
    assert (np.diff(one["active"].astype(int)) >= 0).all()


def crossed(one, lane: float = 0.9) -> float:
    """Seconds from leaving its lane (half a metre) to being in the ego's."""
    moved = np.flatnonzero(np.abs(one["left"] - one["left"][0]) > 0.5)
    inside = np.flatnonzero(np.abs(one["left"]) < lane)
    return (inside[0] - moved[0]) * DT if len(inside) and len(moved) else np.inf


@pytest.mark.parametrize("name", ["cut_in_left", "cut_in_right", "sudden_lane_change", "brake_check"])
def test_cut_ins_cross_the_lane_in_time_and_close_by(drives, name):
    one = drives[name]
    assert crossed(one) < 1.5 * one["its duration"] + 0.3
    entering = np.flatnonzero(np.abs(one["left"]) < 1.8)[0]
    gap = one["ahead"][entering] - (4.5 + 4.77) / 2
    assert 0 < gap < one["its gap"] + 6.0


def test_who_cuts_in_comes_from_its_side(drives):
    assert drives["cut_in_left"]["left"][0] > 2 and drives["cut_in_right"]["left"][0] < -2


@pytest.mark.parametrize("name", ["cut_in_left", "cut_in_right"])
def test_who_cuts_in_ends_slower_than_the_ego(drives, name):
    assert drives[name]["speed"][-1] < 0.85 * 10.0


@pytest.mark.parametrize("name", ["hard_brake", "brake_check", "weave_and_brake", "stopped_ahead"])
def test_brakers_brake_as_hard_as_they_say(drives, name):
    one = drives[name]
    deceleration = -np.diff(one["speed"]) / DT
    # The strongest over half a second, for pure pursuit is no part of it.
    assert np.convolve(deceleration, np.ones(5) / 5, "valid").max() == pytest.approx(one["its deceleration"], rel=0.05)
    assert one["speed"].min() < 0.35 * 10.0


def test_a_stopped_vehicle_stands_in_the_lane(drives):
    one = drives["stopped_ahead"]
    assert one["speed"][-5:].max() < 0.05 and abs(one["left"][-1] - one["its offset"]) < 0.4
    assert abs(one["left"][-1]) < 1.2


def test_who_merges_ends_in_the_lane_and_up_to_speed(drives):
    one = drives["merge"]
    assert one["left"][0] < -4 and abs(one["left"][-1]) < 0.5
    assert one["speed"][0] == 0 and one["speed"].max() > 0.5 * one["its share"] * 10.0


def test_a_tailgater_comes_close_from_behind(drives):
    one = drives["tailgate"]
    behind = -one["ahead"] - (4.5 + 4.77) / 2
    assert behind[0] > 4 and behind.min() < one["its closest"] + 0.6
    assert np.abs(one["left"]).max() < 0.3


def test_oncoming_drifts_in_and_back_while_it_comes_the_other_way(drives):
    one = drives["oncoming_drift"]
    assert (np.diff(one["ahead"]) < 0).all()
    assert one["left"].min() < one["left"][0] - 2.5
    lowest = int(one["left"].argmin())
    assert lowest < STEPS - 1 and one["left"][-1] > one["left"][lowest] + 0.2


def test_walkers_cross_as_the_ego_arrives(drives):
    one = drives["crossing"]
    arrives = np.flatnonzero(one["ahead"] < 4.77 / 2 + 1.0)[0]
    # Short of the lane's middle by what it says, to within a step's length.
    assert one["left"][arrives] == pytest.approx(one["its short"], abs=0.9)
    assert one["left"][-1] < one["left"][0] - 4


def test_hesitant_walkers_stand_in_the_road(drives):
    one = drives["hesitant_crossing"]
    stands = (one["speed"] < 0.2) & (np.abs(one["left"]) < 2.5) & one["active"]
    assert stands.sum() * DT > 0.6 * one["its pause"]


def test_weaving_swings_out_and_back(drives):
    one = drives["weave_and_brake"]
    assert one["left"].max() > 0.5 * one["its swing"] and abs(one["left"][-1]) < 0.6


def test_at_least_two_whole_behaviours_are_kept_for_tests():
    assert len(TESTS_ONLY) >= 2 and not set(TESTS_ONLY) & set(TRAINED)
    assert len(set(NAMES)) == len(NAMES)
    for behaviour in BEHAVIOURS:
        assert 0 < len(behaviour.parameters) <= PARAMETERS
        for one in behaviour.parameters:
            assert one.bounds[0] < one.bounds[1]
