import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrecon.dynamics import VehicleState, step
from jaxrecon.geometry.boxes import Boxes, overlap
from jaxrecon.logs.driving_log import EgoVehicle
from jaxrecon.scene.roads import StopLines
from jaxrecon.simulator import interaction
from jaxrecon.simulator.shapes import EgoShape, ego_shapes
from jaxrecon.traffic import Actors

EGO = EgoVehicle()
FRONT = EGO.length - EGO.rear_overhang  # the bumper is 3.77 m ahead of the rear axle
DT = 0.1


def shape_of(batch: tuple[int, ...] = ()) -> EgoShape:
    return ego_shapes([EGO]).at(jnp.zeros(batch, jnp.int32))


def car(x=0.0, y=0.0, yaw=0.0, speed=0.0, acceleration=0.0, steering=0.0) -> VehicleState:
    values = [jnp.asarray(v, jnp.float32) for v in (yaw, speed, acceleration, steering)]
    return VehicleState(jnp.asarray([x, y], jnp.float32), *values)


def others(*rows, valid=True) -> Actors:
    """Actors (x, y, heading, vx, vy), all 4 m by 2 m."""
    values = jnp.asarray(rows, jnp.float32).reshape(-1, 5)
    count = len(values)
    return Actors(
        centre=values[:, :2],
        heading=values[:, 2],
        velocity=values[:, 3:],
        sizes=jnp.broadcast_to(jnp.asarray([4.0, 2.0, 1.5]), (count, 3)),
        valid=jnp.full(count, valid),
        parked=jnp.zeros(count, bool),
    )


@jax.jit
def judge(ego, actors, several_lanes):
    shape = shape_of(ego.yaw.shape)
    seen = interaction.relative(ego, actors, shape)
    lanes = jnp.broadcast_to(several_lanes, ego.yaw.shape)
    return (
        interaction.overlaps(seen, shape),
        interaction.at_fault(seen, ego.speed, lanes, shape),
        interaction.time_to_collision(seen, ego.speed, lanes, shape),
    )


def random_encounters(seed: int, batch: tuple[int, ...], actors: int, spread: float) -> tuple[VehicleState, Actors]:
    keys = iter(jax.random.split(jax.random.key(seed), 9))

    def draw(shape, low, high):
        return jax.random.uniform(next(keys), shape, minval=low, maxval=high)

    ego = VehicleState(draw((*batch, 2), -5, 5), draw(batch, -3, 3), draw(batch, 1, 12), *jnp.zeros((2, *batch)))
    rows = (*batch, actors)
    return ego, Actors(
        centre=draw((*rows, 2), -spread, spread),
        heading=draw(rows, -3, 3),
        velocity=draw((*rows, 2), -8, 8),
        sizes=jnp.broadcast_to(jnp.asarray([4.4, 1.9, 1.5]), (*rows, 3)),
        valid=draw(rows, 0, 1) > 0.2,
        parked=jnp.zeros(rows, bool),
    )


@pytest.mark.parametrize("batch", [(), (1,), (2, 3)])
def test_overlaps_are_those_of_the_boxes(batch):
    ego, actors = random_encounters(1, batch, 200, 8.0)
    box = shape_of(batch).box(ego)
    one = Boxes(box.centre[..., None, :], box.heading[..., None], box.length[..., None], box.width[..., None])
    expected = jax.jit(overlap)(one, actors.boxes) & actors.valid
    hit, fault, time = judge(ego, actors, True)
    np.testing.assert_array_equal(hit, expected)
    assert jnp.sum(hit) > 10 and fault.shape == time.shape == batch


def test_time_to_collision_of_closed_forms():
    # head-on: the gap from bumper to bumper is 30 - 2 - 3.77 m, closing at 10 + 5 m/s
    ego = car(speed=10.0)
    head_on = (30.0, 0.0, np.pi, -5.0, 0.0)
    assert judge(ego, others(head_on), False)[2] == pytest.approx((28 - FRONT) / 15, rel=1e-5)
    # a lead car as fast as the ego is never met; a slower one is
    assert judge(ego, others((30.0, 0.0, 0.0, 10.0, 0.0)), False)[2] == interaction.HORIZON
    slower = judge(ego, others((14.0, 0.5, 0.0, 5.0, 0.0)), False)[2]
    assert slower == pytest.approx((12 - FRONT) / 5, rel=1e-5)
    # from the right, nose first: there when the nose reaches the ego's side, while the ego has come along
    crossing = (15.0, -12.0, np.pi / 2, 0.0, 8.0)
    side = (12 - 2 - EGO.width / 2) / 8
    assert judge(ego, others(crossing), False)[2] == pytest.approx(side, rel=1e-5)
    assert 10 * side + FRONT > 14 and 10 * side - EGO.rear_overhang < 16
    assert judge(ego, others(head_on, crossing), False)[2] == pytest.approx(side, rel=1e-5)
    assert judge(ego, others(head_on, valid=False), False)[2] == interaction.HORIZON
    assert judge(ego, others((4.0, 0.0, 0.0, 0.0, 0.0)), False)[2] == 0.0


def test_time_to_collision_against_stepping_the_boxes():
    ego, actors = random_encounters(2, (1500,), 1, 25.0)
    actors = dataclasses.replace(actors, valid=jnp.ones_like(actors.valid))
    found = np.asarray(judge(ego, actors, True)[2])
    seen = jax.jit(interaction.relative)(ego, actors, shape_of((1500,)))
    behind = np.asarray(seen.ahead + EGO.centre_ahead < -0.866 * jnp.hypot(seen.ahead + EGO.centre_ahead, seen.left))
    fine = 0.01
    times = fine * np.arange(int(interaction.HORIZON / fine))
    box = shape_of((1500,)).box(ego)
    velocity = ego.speed[:, None] * jnp.stack([jnp.cos(ego.yaw), jnp.sin(ego.yaw)], -1)

    @jax.jit
    @jax.vmap
    def at(time):
        moved = Boxes(box.centre + time * velocity, box.heading, box.length, box.width)
        other = dataclasses.replace(actors, centre=actors.centre + time * actors.velocity).boxes
        return overlap(moved, Boxes(other.centre[:, 0], other.heading[:, 0], other.length[:, 0], other.width[:, 0]))

    hit = np.asarray(at(jnp.asarray(times, jnp.float32)))
    stepped = np.where(hit.any(axis=0), times[hit.argmax(axis=0)], interaction.HORIZON)
    counted = ~behind[:, 0]
    assert np.sum(stepped[counted] < 2.9) > 60
    # the first step after the moment of contact, unless contact is over before it: 100 us for rounding
    late = stepped - found
    within = (late > -1e-4) & (late < fine + 1e-4)
    grazed = counted & ~within
    assert np.sum(grazed) <= 3 and np.all(late[grazed] > 0)
    # coarser steps, NAVSIM's, find their first step after contact
    coarse = np.where(hit[::30].any(axis=0), times[::30][hit[::30].argmax(axis=0)], interaction.HORIZON)
    assert np.all(coarse[counted] >= found[counted] - 1e-4)
    assert np.all(found[~counted] == interaction.HORIZON)


def test_who_counts_for_the_time_to_collision():
    ego = car(speed=10.0)
    beside = (2.0, 4.0, 0.0, 10.0, -3.0)  # drifts in from the next lane, headed like the ego
    assert judge(ego, others(beside), False)[2] == interaction.HORIZON
    assert judge(ego, others(beside), True)[2] == pytest.approx((4 - 1 - EGO.width / 2) / 3, rel=1e-5)
    chaser = (-10.0, 0.0, 0.0, 20.0, 0.0)
    assert judge(ego, others(chaser), True)[2] == interaction.HORIZON
    assert judge(car(speed=0.0), others((9.0, 0.0, 0.0, -10.0, 0.0)), True)[2] == interaction.HORIZON


@pytest.mark.parametrize(
    ("name", "speed", "other", "several_lanes", "fault"),
    [
        ("ego stands", 0.04, (5.0, 0.0, 0.0, -5.0, 0.0), True, False),
        ("parked car", 3.0, (5.0, 0.0, 0.0, 0.0, 0.0), False, True),
        ("parked car at the side", 3.0, (1.5, 1.8, 0.0, 0.0, 0.0), False, True),
        ("hit from behind", 3.0, (-2.5, 0.0, 0.0, 9.0, 0.0), True, False),
        ("front bumper", 3.0, (5.0, 0.5, 0.0, 1.0, 0.0), False, True),
        ("cut in at the side", 3.0, (1.4, 1.8, 0.0, 3.0, -1.0), False, False),
        ("at the side while changing lanes", 3.0, (1.4, 1.8, 0.0, 3.0, -1.0), True, True),
        ("no contact", 3.0, (9.0, 0.0, 0.0, 0.0, 0.0), True, False),
    ],
)
def test_whose_fault(name, speed, other, several_lanes, fault):
    hit, blamed, _ = judge(car(speed=speed), others(other), several_lanes)
    assert bool(hit[0]) == (name != "no contact")
    assert bool(blamed) == fault
    turned = jax.tree.map(lambda leaf: leaf, car(speed=speed, yaw=2.0))
    x, y, yaw, vx, vy = other
    cos, sin = np.cos(2.0), np.sin(2.0)
    moved = (x * cos - y * sin, x * sin + y * cos, yaw + 2.0, vx * cos - vy * sin, vx * sin + vy * cos)
    assert bool(judge(turned, others(moved), several_lanes)[1]) == fault


def test_one_guilty_contact_among_innocent_ones_is_enough():
    behind, ahead = (-2.5, 0.0, 0.0, 9.0, 0.0), (5.0, 0.0, 0.0, 1.0, 0.0)
    assert judge(car(speed=3.0), others(behind, ahead), False)[1]
    assert not judge(car(speed=3.0), others(behind, behind), False)[1]


def test_reaching_beyond_a_lane():
    shape = shape_of((4,))
    edge = 1.75 - EGO.width / 2
    straight = interaction.in_several_lanes(jnp.asarray([0.0, edge - 0.01, edge + 0.01, -9.0]), jnp.zeros(4), shape)
    assert straight.tolist() == [False, False, True, True]
    # across the lane the box is its length wide
    across = interaction.in_several_lanes(jnp.zeros(4), jnp.asarray([0.0, 0.1, np.pi / 2, np.pi]), shape)
    assert across.tolist() == [False, False, True, False]


def line_at(x: float, stop=True, valid=True, direction=(1.0, 0.0)) -> StopLines:
    return StopLines(
        point=jnp.asarray([[x, 0.0]]),
        direction=jnp.asarray([direction]),
        half_width=jnp.full(1, 1.75),
        stop=jnp.full(1, stop),
        valid=jnp.full(1, valid),
    )


@pytest.mark.parametrize(
    ("name", "before", "after", "line", "ran"),
    [
        ("crossed", car(9.0), car(10.0), line_at(10.0 + FRONT - 0.5), True),
        ("just there", car(9.0), car(10.0), line_at(10.0 + FRONT), True),
        ("not yet", car(9.0), car(10.0), line_at(10.0 + FRONT + 0.01), False),
        ("long past", car(9.0), car(10.0), line_at(9.0 + FRONT), False),
        ("green", car(9.0), car(10.0), line_at(10.0 + FRONT - 0.5, stop=False), False),
        ("no line", car(9.0), car(10.0), line_at(10.0 + FRONT - 0.5, valid=False), False),
        ("next lane", car(9.0, 1.8), car(10.0, 1.8), line_at(10.0 + FRONT - 0.5), False),
        ("oncoming", car(9.0), car(10.0), line_at(10.0 + FRONT - 0.5, direction=(-1.0, 0.0)), False),
        ("side road", car(9.0), car(10.0), line_at(10.0 + FRONT - 0.5, direction=(0.0, 1.0)), False),
    ],
)
def test_running_a_red_light(name, before, after, line, ran):
    assert bool(interaction.red_light(before, after, line, shape_of())) == ran, name


def test_without_stop_lines_and_without_actors_nothing_happens():
    none = StopLines(*(jnp.zeros((0, 2)),) * 2, jnp.zeros(0), *(jnp.zeros(0, bool),) * 2)
    assert not interaction.red_light(car(9.0), car(10.0), none, shape_of())
    hit, fault, time = judge(car(speed=5.0), others(), True)
    assert hit.shape == (0,) and not fault and time == interaction.HORIZON


def test_motion_on_a_circle_and_at_a_step_of_the_steering():
    shape, before = shape_of(), car(speed=8.0, steering=0.1)
    after = step(before, jnp.float32(1.5), jnp.float32(0.1), DT, EGO.wheelbase)
    felt = interaction.motion(before, after, shape, DT)
    curvature = np.tan(0.1) / EGO.wheelbase
    speed = 8.15
    assert felt.longitudinal_acceleration == pytest.approx(1.5, rel=1e-4)
    assert felt.lateral_acceleration == pytest.approx(speed**2 * curvature, rel=1e-4)
    assert felt.yaw_rate == pytest.approx(speed * curvature, rel=1e-4)
    assert felt.yaw_acceleration == pytest.approx(1.5 * curvature, rel=1e-3)
    assert felt.longitudinal_jerk == pytest.approx(15.0, rel=1e-3)
    magnitude = np.hypot(1.5, speed**2 * curvature) - 64 * curvature
    assert felt.jerk == pytest.approx(magnitude / DT, rel=1e-3)


def test_gradients_are_finite_with_every_slot_invalid():
    empty = jax.tree.map(jnp.zeros_like, others(*[(0.0,) * 5] * 3))

    def cost(ego):
        shape = shape_of()
        seen = interaction.relative(ego, empty, shape)
        felt = interaction.motion(ego, ego, shape, DT)
        return interaction.time_to_collision(seen, ego.speed, jnp.bool_(True), shape) + felt.jerk + felt.yaw_rate

    slope = jax.jit(jax.grad(cost))
    for start in (car(), car(speed=5.0)):
        assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(slope(start)))
