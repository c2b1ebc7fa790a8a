"""Each check finds a violation that was planted, and passes the same motion without it."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from challenged_road import DT, LEADER, one_of_each

from jaxrecon.scene import occupancy
from jaxrecon.scene.fields import stack_fields
from jaxrecon.scene.roads import stack_roads, unknown_road
from jaxrecon.traffic import checks
from jaxrecon.traffic.adversary import begin, overridden
from jaxrecon.traffic.behaviours import NAMES
from jaxrecon.traffic.road_users import limits_of

STEPS = 30
LIMITS = limits_of(jnp.zeros(1, jnp.int32), jnp.asarray([[4.5, 1.8, 1.5]]))


def motion(x: np.ndarray, y: np.ndarray, heading: np.ndarray | None = None):
    centre = jnp.asarray(np.stack([x, y], axis=-1)[:, None], jnp.float32)
    heading = np.zeros(len(x)) if heading is None else heading
    return centre, jnp.asarray(heading[:, None], jnp.float32), jnp.ones((len(x), 1), bool)


def is_kinematic(x, y, heading=None) -> bool:
    return bool(checks.kinematic(*motion(x, y, heading), LIMITS, DT)[0])


def test_motions_within_limits_pass():
    time = DT * np.arange(STEPS)
    assert is_kinematic(10 * time, 0 * time)
    assert is_kinematic(10 * time - 4 * time**2 / 2, 0 * time)  # brakes at 4 m/s2
    turn = 0.4 * time  # 4 m/s2 sideways at 10 m/s
    assert is_kinematic(10 / 0.4 * np.sin(turn), 10 / 0.4 * (1 - np.cos(turn)), turn)


@pytest.mark.parametrize("plant", ["jump", "sideways", "brakes", "turns", "fast"])
def test_motions_beyond_limits_are_found(plant):
    time = DT * np.arange(STEPS)
    x, y, heading = 10 * time, 0 * time, 0 * time
    if plant == "jump":
        x[12:] += 1.5
    elif plant == "sideways":
        y[12:] += 1.0 * (time[12:] - time[12])
        y[12:] *= 15
    elif plant == "brakes":
        x[12:] = x[12] + 10 * (time[12:] - time[12]) - 15 * (time[12:] - time[12]) ** 2 / 2
    elif plant == "turns":
        heading = 1.5 * time
        x, y = 10 / 1.5 * np.sin(heading), 10 / 1.5 * (1 - np.cos(heading))
    else:
        x = 60 * time
    assert not is_kinematic(x, y, heading)


def test_what_is_not_active_is_not_looked_at():
    x = np.where(np.arange(STEPS) < 10, 50.0, 0.0)
    centre, heading, _ = motion(x, 0 * x)
    active = jnp.asarray(np.arange(STEPS) >= 10)[:, None]
    assert bool(checks.kinematic(centre, heading, active, LIMITS, DT)[0])


@pytest.fixture(scope="module")
def scene(road):
    """The road at frame 0, every adversary acting at its log place."""
    world = road.simulator.world
    _, plan = one_of_each(road)
    scene = jnp.zeros(len(NAMES), jnp.int32)
    acting = begin(road.course, world.traffic, scene, scene, plan)
    return world, scene, plan, dataclasses.replace(acting, steps=jnp.ones_like(acting.steps))


def clear(scene, acting, obstacles=None) -> np.ndarray:
    world, at, plan, _ = scene
    actors = overridden(world.traffic.at(at, at), world.traffic, at, plan, acting)
    obstacles = world.obstacles if obstacles is None else obstacles
    return np.asarray(checks.clear(plan, acting, world.traffic, at, actors, obstacles))[:, 0]


def test_overlaps_with_others_and_obstacles_are_found(scene):
    world, at, _, acting = scene
    assert clear(scene, acting).all()
    leader = world.traffic.centre[0, 0, LEADER]
    one = NAMES.index("cut_in_left")
    moved = acting.user.position.at[one, 0].set(leader - jnp.array([1.0, 0.5]))
    onto = dataclasses.replace(acting, user=dataclasses.replace(acting.user, position=moved))
    assert np.flatnonzero(~clear(scene, onto)).tolist() == [one]
    # One that has not begun is where the log has it, whatever its place says.
    waiting = dataclasses.replace(onto, steps=onto.steps.at[one].set(-1))
    assert clear(scene, waiting).all()
    occupied = np.zeros((8, 8), bool)
    occupied[3:5, 3:5] = True
    field = occupancy.distance_field(occupied, np.asarray(leader) - 3.5 * 0.5, 0.5)
    hit = ~clear(scene, acting, stack_fields([field]))
    assert {NAMES[i] for i in np.flatnonzero(hit)} == {"hard_brake", "stopped_ahead", "weave_and_brake"}
    assert at.shape == (len(NAMES),)


def test_leaving_the_road_is_found():
    cells = np.linspace(-20, 20, 81)
    off = np.tile((np.abs(cells) - 6.0)[:, None], (1, 81))
    known = dataclasses.replace(
        unknown_road(), origin=np.array([-20.0, -20.0]), cell=0.5, off_road=off, lane_heading=0 * off,
        lane_distance=np.zeros((81, 81, 8)), surface_known=True,
    )  # fmt: skip
    roads, at = stack_roads([known]), jnp.zeros(1, jnp.int32)
    y = jnp.linspace(0.0, 8.0, STEPS)
    box = checks.Boxes(jnp.stack([0 * y, y], -1), 0 * y, 0 * y + 4.5, 0 * y + 1.8)
    beyond = checks.off_ground(roads, at, box.__class__(*(jnp.asarray(v)[None] for v in (
        box.centre, box.heading, box.length, box.width))), y[None])[0][:, None]  # fmt: skip
    active = jnp.ones((STEPS, 1), bool)
    np.testing.assert_allclose(beyond[:, 0], y + 0.9 - 6.0, atol=1e-4)
    car, walks = jnp.zeros(1, bool), jnp.ones(1, bool)
    inside = y[:, None] < 5.0
    assert bool(checks.on_ground(beyond, active & inside, car)[0])
    assert not bool(checks.on_ground(beyond, active, car)[0])
    assert bool(checks.on_ground(beyond, active, walks)[0])
    # Without a map a strip beside the recorded path counts.
    ones = jnp.ones((1, 2))
    small = checks.Boxes(jnp.zeros((1, 2, 2)), 0 * ones, ones, ones)
    strip = checks.off_ground(stack_roads([unknown_road()]), at, small, jnp.asarray([[2.0, 7.5]]))
    np.testing.assert_allclose(strip, [[-4.0, 1.5]])


@pytest.mark.parametrize("plant", ["none", "place", "heading", "speed", "late"])
def test_leaving_the_log_with_a_jump_is_found(plant):
    time = DT * np.arange(STEPS)
    centre, heading, _ = motion(10 * time, 0 * time)
    speed, first = jnp.full((STEPS, 1), 10.0), 12
    logged = (centre, heading, speed)
    active = jnp.asarray(np.arange(STEPS) >= first)[:, None]
    if plant == "place":
        centre = centre.at[first:].add(1.0)
    elif plant == "heading":
        heading = heading.at[first:].add(0.5)
    elif plant == "speed":
        speed = speed.at[first:].add(3.0)
    staged = jnp.asarray([plant == "late"])
    found = bool(checks.continuous(centre, heading, speed, active, logged, staged)[0])
    assert found == (plant == "none")
    if plant == "late":
        # A staged one is there from the first moment.
        assert bool(checks.continuous(centre + 9, heading, speed, active.at[:].set(True), logged, staged)[0])
