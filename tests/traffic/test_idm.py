"""Car following against its closed forms, against the street's own (NumPy, one car at a time), and against geometry."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrecon.geometry.boxes import Boxes
from jaxrecon.street import traffic as street_traffic
from jaxrecon.traffic.idm import (
    FREE,
    Followers,
    IdmParams,
    PathAhead,
    equilibrium_gap,
    idm_acceleration,
    idm_step,
    leader_gaps,
    path_leader,
    places_along,
)

DT = 0.1


def platoon(count: int, gap: float, speed: float, desired: float = 14.0) -> Followers:
    """Cars of 4 m on one lane, the first slot at the back."""
    ones = jnp.ones(count)
    return Followers(
        arc=(gap + 4.0) * jnp.arange(count, dtype=jnp.float32),
        speed=speed * ones,
        desired=desired * ones,
        length=4.0 * ones,
        lane=jnp.zeros(count, jnp.int32),
        valid=jnp.ones(count, bool),
    )


def test_agrees_with_the_streets_own_model():
    random = np.random.default_rng(0)
    speed, desired = random.uniform(0, 15, 200), random.uniform(0, 15, 200)
    gap, closing = random.uniform(-1, 80, 200), random.uniform(-10, 10, 200)
    expected = street_traffic.idm(speed, desired, gap, closing)
    ours = idm_acceleration(*(jnp.asarray(x, jnp.float32) for x in (speed, desired, gap, closing)))
    # float32 against float64; the fourth power of up to 150 times the desired speed ends at the bound.
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("batch", [(), (1,), (2, 3)])
def test_equilibrium_gap_is_where_nothing_changes(batch):
    speed, desired = jnp.full(batch, 8.0), jnp.full(batch, 12.0)
    gap = equilibrium_gap(speed, desired)
    assert gap.shape == batch
    np.testing.assert_allclose(gap, street_traffic.equilibrium_gap(8.0, 12.0), rtol=1e-6)
    np.testing.assert_allclose(idm_acceleration(speed, desired, gap, jnp.zeros(batch)), 0.0, atol=1e-5)
    assert np.isinf(equilibrium_gap(jnp.asarray(12.0), jnp.asarray(12.0)))


def test_a_platoon_settles_at_the_equilibrium_gap():
    cars = platoon(5, gap=30.0, speed=4.0)
    # The leader's own wish is the platoon's speed.
    cars = cars.replace(desired=cars.desired.at[-1].set(8.0))
    cars, _ = jax.lax.scan(lambda c, _: (idm_step(c, DT)[0], None), cars, length=3000)
    np.testing.assert_allclose(cars.speed, 8.0, atol=1e-2)
    gap, closing = leader_gaps(cars)
    # What is left of the approach after 300 s, and float32 places of two kilometres.
    np.testing.assert_allclose(gap[:-1], equilibrium_gap(jnp.asarray(8.0), jnp.asarray(14.0)), atol=0.05)
    assert gap[-1] == FREE and closing[-1] == 0


def test_nobody_rolls_backwards_or_runs_into_the_car_ahead():
    cars = platoon(4, gap=12.0, speed=8.0)
    cars = cars.replace(desired=cars.desired.at[-1].set(0.0))
    trace = jax.lax.scan(lambda c, _: (idm_step(c, DT)[0],) * 2, cars, length=300)[1]
    assert (np.diff(trace.arc, axis=0) >= 0).all()
    assert np.min(jax.vmap(leader_gaps)(trace)[0][:, :-1]) > 0.5
    # Drivers creep up on the jam gap, ever more slowly: as the inverse of time.
    assert (trace.speed[-1] < 0.1).all() and (trace.speed[-1] < trace.speed[150]).any()


def test_what_else_stands_in_the_way_holds_them_too():
    cars = platoon(1, gap=0.0, speed=9.0)
    front = lambda c: c.arc + 2.0  # noqa: E731

    def step(cars, _):
        return idm_step(cars, DT, gap=60.0 - front(cars))[0], None

    cars, _ = jax.lax.scan(step, cars, length=600)
    # IDM stands at the jam gap, 2.5 m; it creeps up on it for ever.
    assert 57.0 < float(front(cars)[0]) <= 57.6


def test_lanes_and_empty_slots_do_not_mix():
    cars = platoon(3, gap=10.0, speed=5.0)
    assert leader_gaps(cars.replace(lane=jnp.asarray([0, 1, 0])))[0].tolist() == [24.0, FREE, FREE]
    assert leader_gaps(cars.replace(valid=jnp.asarray([True, False, True])))[0].tolist() == [24.0, FREE, FREE]
    level = leader_gaps(cars.replace(arc=jnp.zeros(3)))[0]
    assert (level[:2] < 0).all() and level[2] == FREE, "cars in one place see one another once"


def test_gradients_are_finite_with_every_slot_invalid():
    cars = platoon(3, gap=10.0, speed=0.0).replace(valid=jnp.zeros(3, bool))

    def cost(speed, params):
        moved, chosen = idm_step(cars.replace(speed=speed), DT, params)
        return jnp.sum(moved.arc) + jnp.sum(moved.speed) + jnp.sum(chosen)

    gradients = jax.grad(cost, argnums=(0, 1))(cars.speed, jax.tree.map(jnp.float32, IdmParams()))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))


def straight(samples: int = 61) -> PathAhead:
    arc = jnp.arange(samples, dtype=jnp.float32)
    return PathAhead(jnp.stack([arc, 0 * arc], axis=-1), 0 * arc, arc)


def circle(radius: float) -> PathAhead:
    arc = 0.5 * jnp.arange(200, dtype=jnp.float32)
    turn = arc / radius
    return PathAhead(radius * jnp.stack([jnp.sin(turn), 1 - jnp.cos(turn)], axis=-1), turn, arc)


def test_places_on_a_straight_path_are_exact():
    boxes = Boxes(
        jnp.asarray([[20.25, 1.0], [70.0, 0.0]]), jnp.asarray([np.pi / 2, 0.0]), jnp.full(2, 4.0), jnp.full(2, 2.0)
    )
    places = places_along(straight(), boxes, jnp.asarray([[3.0, -2.0], [0.0, 0.0]]))
    np.testing.assert_allclose(places.arc, [20.25, 70.0], rtol=1e-6)
    np.testing.assert_allclose(places.lateral, [1.0, 0.0], atol=1e-6)
    np.testing.assert_allclose(places.half_along, [1.0, 2.0], rtol=1e-6)
    np.testing.assert_allclose(places.half_across, [2.0, 1.0], rtol=1e-6)
    np.testing.assert_allclose([places.speed[0], places.drift[0]], [3.0, -2.0], rtol=1e-6)


def test_places_on_a_bend_are_those_of_the_circle():
    radius, turn = 30.0, np.linspace(0.2, 2.5, 7)
    aside = np.linspace(-3, 3, 7)
    centre = np.stack([(radius - aside) * np.sin(turn), radius - (radius - aside) * np.cos(turn)], axis=-1)
    boxes = Boxes(jnp.asarray(centre, jnp.float32), jnp.asarray(turn, jnp.float32), jnp.full(7, 4.0), jnp.full(7, 2.0))
    velocity = 5.0 * np.stack([np.cos(turn), np.sin(turn)], axis=-1)
    places = places_along(circle(radius), boxes, jnp.asarray(velocity, jnp.float32))
    # A sample is at most 0.25 m off along the arc: 0.25^2 / 2R across, and its turn of 0.25/R in the rest.
    np.testing.assert_allclose(places.lateral, aside, atol=5e-3)
    np.testing.assert_allclose(places.arc, radius * turn, atol=0.03)
    np.testing.assert_allclose(places.speed, 5.0, atol=1e-2)


@pytest.mark.parametrize("batch", [(), (1,), (2, 3)])
def test_the_leader_is_the_nearest_box_in_the_way(batch):
    centre = jnp.asarray([[30.0, 0.5], [20.0, 4.0], [3.0, 0.0], [45.0, 0.0]])
    boxes = Boxes(centre, jnp.zeros(4), jnp.full(4, 4.0), jnp.full(4, 2.0))
    spread = lambda x: jnp.broadcast_to(x, (*batch, *x.shape))  # noqa: E731
    path, boxes = jax.tree.map(spread, (straight(), boxes))
    places = places_along(path, boxes, spread(jnp.tile(jnp.asarray([6.0, 0.0]), (4, 1))))
    front, speed, half = jnp.full(batch, 4.0), jnp.full(batch, 10.0), jnp.full(batch, 1.0)
    everyone = jnp.ones((*batch, 4), bool)
    gap, closing = path_leader(places, everyone, front, speed, half)
    np.testing.assert_allclose(gap, np.full(batch, 30.0 - 2.0 - 4.0), rtol=1e-6)
    np.testing.assert_allclose(closing, np.full(batch, 4.0), rtol=1e-6)
    gap, _ = path_leader(places, everyone, front, speed, half, lateral=jnp.full(batch, 3.0))
    np.testing.assert_allclose(gap, np.full(batch, 20.0 - 2.0 - 4.0), rtol=1e-6)
    gap, closing = path_leader(places, jnp.zeros((*batch, 4), bool), front, speed, half)
    assert (gap == FREE).all() and (closing == 0).all()
