"""Each check passes a sound cousin and catches a violation that was planted for it alone."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrecon.dynamics import DEFAULT_LIMITS
from jaxrecon.scene.ground import HeightField
from jaxrecon.scene.roads import stack_roads, unknown_road
from jaxrecon.simulator.standing import stack_heights
from jaxrecon.trajectories import CHECKS, NAMES, CousinConfig, CousinError, checks, generate
from jaxrecon.trajectories.adapted import Adapted, adapt, as_logged, others
from jaxrecon.trajectories.checks import CheckLimits
from jaxrecon.trajectories.driving import Driven
from jaxrecon.trajectories.generate import _judged, _planned, _Wanted
from tests.trajectories.conftest import DT, LANE, LIGHT_AT, SPEED, driven, straight

LIMITS, STEPS, WHEELBASE = CheckLimits(), 51, 2.765


def ways(**changes):
    """A sound way, in the recorded car's lane five metres behind it, from the log's frame 30 on, and changes to it."""
    x = 25.0 + SPEED * DT * np.arange(STEPS)
    position = np.stack([x, np.zeros(STEPS)], axis=-1)
    return driven(changes.pop("position", position), **changes)


FRAMES = jnp.arange(30, 30 + STEPS)[None]


@pytest.mark.parametrize(
    ("y", "good"), [(0.0, True), (LANE, True), (-1.3, False), (8.3, False)], ids=["own", "next", "kerb", "far kerb"]
)
def test_the_road_ends_at_its_kerbs(world, y, good):
    vehicle = driven(np.stack([30.0 + np.arange(20.0) * 0.8, np.full(20, y)], axis=-1))
    assert bool(jax.jit(checks.drivable, static_argnames="limits")(world, vehicle, LIMITS)[0]) == good


@pytest.mark.parametrize(("height", "good"), [(0.0, True), (0.3, False)], ids=["level", "pavement"])
def test_without_a_map_the_ground_that_the_lidar_saw_counts(world, height, good):
    ground = np.zeros((60, 500), np.float32)
    ground[:20] = height  # south of y = -2.25
    field = HeightField(jnp.asarray(ground), jnp.asarray([-50.0, -12.25]), jnp.float32(0.5))
    unmapped = dataclasses.replace(world, roads=stack_roads([unknown_road()]), ground=stack_heights([field]))
    assert checks.ground_known(unmapped)
    vehicle = driven(np.stack([30.0 + np.arange(20.0) * 0.8, np.full(20, -2.0)], axis=-1))
    assert bool(checks.drivable(unmapped, vehicle, LIMITS)[0]) == good


@pytest.mark.parametrize(("y", "good"), [(0.0, True), (LANE, True), (2 * LANE, False)], ids=["own", "next", "oncoming"])
def test_no_cousin_drives_in_the_oncoming_lane(world, y, good):
    vehicle = driven(np.stack([30.0 + np.arange(20.0) * 0.8, np.full(20, y)], axis=-1))
    assert bool(checks.right_way(world, vehicle, LIMITS)[0]) == good


@pytest.mark.parametrize(("frame", "good"), [(20, False), (50, True)], ids=["red", "green"])
def test_a_red_light_is_not_crossed(world, frame, good):
    vehicle = driven(np.stack([LIGHT_AT - 8.0 + np.arange(15.0) * 0.8, np.zeros(15)], axis=-1))
    frames = jnp.full((1, 15), frame) + jnp.arange(15)
    assert bool(checks.lights(world, vehicle, frames)[0]) == good


@pytest.mark.parametrize(("y", "good"), [(-0.5, False), (LANE, True)], ids=["post", "past it"])
def test_obstacles_are_not_touched(world, y, good):
    vehicle = driven(np.stack([90.0 + np.arange(20.0) * 0.8, np.full(20, y)], axis=-1))
    assert bool(checks.obstacles(world, vehicle)[0]) == good


@pytest.mark.parametrize(("gap", "good"), [(30.0, True), (4.6, False)], ids=["far", "bumper to bumper"])
def test_others_are_given_room(world, gap, good):
    # The lead car's centre is at 45 m in frame 0; the ego's lies 1.385 m ahead of its rear axle.
    vehicle = driven(straight(45.0 - 1.385 - gap, SPEED, 0.0)[:30])
    frames = jnp.arange(30)[None]
    actors = others(world.traffic, as_logged(world.traffic, frames), frames)
    assert bool(checks.traffic(checks.outline(world, vehicle), actors, 0.25)[0]) == good


def test_wheels_that_jump_are_not_kinematic():
    vehicle = ways()
    turned = dataclasses.replace(vehicle, steering=vehicle.steering.at[0, 20:].set(0.2))
    zero = jnp.zeros((1, STEPS - 1))
    sound = Driven(vehicle, zero, zero, jnp.zeros((1, STEPS)))
    assert bool(checks.kinematic(sound, DEFAULT_LIMITS, DT)[0])
    for broken in (
        dataclasses.replace(sound, vehicle=turned),
        dataclasses.replace(sound, acceleration=zero.at[0, 3].set(6.0)),
        dataclasses.replace(sound, steering=zero.at[0, 3].set(0.86)),
        dataclasses.replace(sound, vehicle=ways(speed=32.0)),
    ):
        assert not bool(checks.kinematic(broken, DEFAULT_LIMITS, DT)[0])


@pytest.mark.parametrize("field", ["acceleration", "braking", "jerk", "lateral", "yaw rate"])
def test_discomfort_is_felt(field):
    vehicle = ways()
    assert bool(checks.comfort(vehicle, jnp.float32(WHEELBASE), DT, LIMITS)[0])
    ramp = jnp.linspace(0.0, 1.0, STEPS)
    changes = {
        "acceleration": {"acceleration": 2.8 * ramp[None]},
        "braking": {"acceleration": -4.8 * ramp[None]},
        "jerk": {"acceleration": vehicle.acceleration.at[0, 20:].set(2.2)},
        "lateral": {"steering": 0.2 * ramp[None]},  # 8^2 tan(0.2) / 2.765 = 4.7 m/s2
        "yaw rate": {"steering": 0.75 * ramp[None], "speed": jnp.full((1, STEPS), 3.0)},  # 3.03 m/s2, 1.01 rad/s
    }[field]
    assert not bool(checks.comfort(dataclasses.replace(vehicle, **changes), jnp.float32(WHEELBASE), DT, LIMITS)[0])


@pytest.fixture(scope="module")
def judged(world):
    """Names of the checks that a target way fails, from a start on it."""

    def judge(position, done=True, inside=True, frame=30):
        position = jnp.asarray(position, jnp.float32)[None]
        start = jax.tree.map(lambda leaf: leaf[:, 0], driven(position[0]))
        wanted = _Wanted(position, start, jnp.zeros((1, 45, 2)), jnp.asarray([done]), jnp.asarray([inside]))
        frames = jnp.arange(frame, frame + position.shape[1])[None]
        _, passed = _judged(world, wanted, frames, LIMITS, DEFAULT_LIMITS)
        return [name for name, good in zip(CHECKS, np.asarray(passed)[0], strict=True) if not good]

    return judge


def test_a_sound_way_passes_and_each_flag_says_what_it_is(judged):
    way = np.stack([25.0 + SPEED * DT * np.arange(STEPS), np.zeros(STEPS)], axis=-1)
    assert judged(way, frame=39) == []
    assert judged(way, frame=39, done=False) == ["complete"]
    assert judged(way, frame=39, inside=False) == ["on_course"]
    # Sideways by a metre from one step to the next: no bicycle does that.
    jumps = way + np.where(np.arange(STEPS) > 20, 1.0, 0.0)[:, None] * np.array([0.0, 1.0])
    assert "trackable" in judged(jumps, frame=39)


def test_the_one_behind_brakes_for_a_cousin_that_stops(world):
    """Replayed, the car 14 m behind drives into a cousin that stands; adapted it stops, and the check passes."""
    steps = 61
    speed = np.clip(SPEED - 3.0 * DT * np.arange(steps), 0.0, None)
    x = 16.0 + np.concatenate([[0.0], np.cumsum(0.5 * (speed[1:] + speed[:-1]) * DT)])
    vehicle = dataclasses.replace(
        driven(np.stack([x, np.zeros(steps)], axis=-1)), speed=jnp.asarray(speed, jnp.float32)[None]
    )
    frames = jnp.arange(20, 20 + steps)[None]
    box = checks.outline(world, vehicle)
    logged = as_logged(world.traffic, frames)
    assert not bool(checks.traffic(box, others(world.traffic, logged, frames), 0.25)[0])
    found: Adapted = jax.jit(adapt)(world, vehicle, frames)
    assert bool(checks.traffic(box, others(world.traffic, found, frames), 0.25)[0])
    assert bool(found.sound[0])
    lag = np.asarray(found.lag)[0]
    assert lag[-1, 1] > 20 and (np.diff(lag[:, 1]) >= -1e-5).all()
    np.testing.assert_array_equal(lag[:, 0], 0.0)  # the lead car has nobody to brake for


def test_accepted_cousins_pass_every_check_and_rejected_ones_fail_some(made):
    assert made.cousins.checks.all() and not made.rejected.checks.all(axis=1).any()
    assert made.cousins.count >= 12
    for name, drawn in made.drawn.items():
        assert made.passed[name] + sum(made.failed[name].values()) >= drawn  # some fail several
        assert (made.cousins.family == NAMES.index(name)).sum() == min(made.passed[name], 2)
    assert made.known == dict.fromkeys(CHECKS, True) | {"confidence": False}
    assert made.failed["lane_change"]["right_way"] + made.failed["lane_change"]["drivable"] > 0


def test_the_same_key_gives_the_same_cousins(log, world, made, few):
    again = generate(log, world, jax.random.key(0), few, progress=False)
    for first, second in zip(jax.tree.leaves(made.cousins), jax.tree.leaves(again.cousins), strict=True):
        np.testing.assert_array_equal(first, second)


def test_what_was_never_recorded_is_not_shown(log, world, few):
    """Only cousins whose worst place is trusted are kept; the share is asked of those alone that pass all else."""
    asked = []

    def unsupported(vehicle, frame):
        asked.append(len(frame))
        return np.where(np.arange(len(frame)) % 2 == 0, 0.2, 0.8)

    some = dataclasses.replace(few, families=(("offset", dict(few.families)["offset"]),))
    found = generate(log, world, jax.random.key(0), some, unsupported, progress=False)
    column = CHECKS.index("confidence")
    assert found.known["confidence"] and sum(asked) >= 2
    assert found.failed["offset"]["confidence"] == sum(count // 2 for count in asked)
    alone = ~found.rejected.checks[:, column]
    assert alone.any() and (found.rejected.checks[alone].sum(axis=1) == len(CHECKS) - 1).all()


def test_errors_name_what_is_wrong(log, world, few):
    with pytest.raises(CousinError, match=r"the world holds .*'straight'.*; expected that of log other alone"):
        generate(dataclasses.replace(log, name="other"), world, jax.random.key(0), few)
    with pytest.raises(
        CousinError, match=r"would last 11 frames of 0.10 s, of 90; it needs at least \d+: take a longer"
    ):
        generate(log, world, jax.random.key(0), dataclasses.replace(few, seconds=1.0))
    nothing = dataclasses.replace(few, limits=CheckLimits(tracking=0.0), rounds=1)
    with pytest.raises(CousinError, match=r"no cousin of log straight passed all checks.*trackable"):
        generate(log, world, jax.random.key(0), nothing, progress=False)
    with pytest.raises(ValueError, match="families names 'loop'; expected some of"):
        CousinConfig(families=(("loop", dict(few.families)["offset"]),))
    with pytest.raises(ValueError, match=r"CheckLimits.kerb is -1\.0; expected at least 0"):
        CheckLimits(kerb=-1.0)


def test_plans_of_a_family_compile_once(drive):
    before = _planned._cache_size()
    parameters = {name: jnp.full(4, 0.5) for name in ("lateral", "pace", "side", "which")}
    for frame in (3, 7):
        at = jnp.full((4, 1), frame) + jnp.arange(20)
        _planned(drive, at, parameters, "offset", jnp.float32(DT), jnp.float32(WHEELBASE))
    assert _planned._cache_size() == before + 1
