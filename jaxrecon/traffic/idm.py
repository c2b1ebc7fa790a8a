"""The Intelligent Driver Model for any number of cars at once: along a lane, or along any path among boxes.

Source: Treiber, Hennecke, Helbing, "Congested traffic states in empirical observations and microscopic simulations",
Physical Review E 62, 2000.
"""

import flax.struct
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxrecon.dynamics import travel
from jaxrecon.geometry.boxes import Boxes
from jaxrecon.geometry.transforms import in_frame

FREE = 1e6  # metres: the gap to a leader that is not there; finite, so that gradients are
NARROWEST = 0.05  # metres: smaller gaps, overlaps too, count as this
SLOWEST = 0.1  # m/s: smaller desired speeds count as this


@flax.struct.dataclass
class IdmParams:
    """How a driver follows; traced, so that a sweep compiles once. Each is a number or has the cars' batch dimensions.

    Attributes:
        acceleration: largest, m/s2.
        braking: comfortable, m/s2, positive.
        headway: desired time gap, seconds.
        jam: gap at standstill, metres.
        exponent: of the free-road term.
        hardest: no driver brakes harder, m/s2, positive.
    """

    acceleration: Float[Array, "*#b"] | float = 1.6
    braking: Float[Array, "*#b"] | float = 2.0
    headway: Float[Array, "*#b"] | float = 1.4
    jam: Float[Array, "*#b"] | float = 2.5
    exponent: Float[Array, "*#b"] | float = 4.0
    hardest: Float[Array, "*#b"] | float = 6.0


IDM = IdmParams()


def idm_acceleration(
    speed: Float[Array, "*b"],
    desired: Float[Array, "*b"],
    gap: Float[Array, "*b"],
    closing: Float[Array, "*b"],
    params: IdmParams = IDM,
) -> Float[Array, "*b"]:
    """Acceleration that drivers choose, m/s2.

    Args:
        speed: own, m/s.
        desired: on a free road, m/s.
        gap: bumper to bumper to the leader, metres; ``FREE`` without one.
        closing: own speed less the leader's, m/s.
        params: how they follow.

    Source: Treiber et al. 2000, equations 2 and 3, bounded below.
    """
    reaction = speed * params.headway + speed * closing / (2 * jnp.sqrt(params.acceleration * params.braking))
    wanted = params.jam + jnp.maximum(reaction, 0.0)
    ratio = jnp.maximum(speed, 0.0) / jnp.maximum(desired, SLOWEST)
    crowded = wanted / jnp.maximum(gap, NARROWEST)
    return jnp.maximum(params.acceleration * (1 - ratio**params.exponent - crowded**2), -params.hardest)


def equilibrium_gap(
    speed: Float[Array, "*b"], desired: Float[Array, "*b"], params: IdmParams = IDM
) -> Float[Array, "*b"]:
    """Gap (metres) at which a driver behind an equally fast leader neither brakes nor accelerates.

    Infinite from the desired speed on.

    Source: Treiber et al. 2000, equation 4.
    """
    room = 1 - (speed / desired) ** params.exponent
    inside = room > 0
    return jnp.where(inside, (params.jam + params.headway * speed) / jnp.sqrt(jnp.where(inside, room, 1.0)), jnp.inf)


@flax.struct.dataclass
class Followers:
    """Cars on lanes, each lane with a coordinate along it; fields share the batch dimensions and the axis ``car``.

    Attributes:
        arc: of the car's middle along its lane, metres.
        speed: m/s, never negative.
        desired: speed on a free road, m/s.
        length: metres.
        lane: which lane; cars of one lane follow one another.
        valid: whatever else a slot holds means nothing where false.
    """

    arc: Float[Array, "*b car"]
    speed: Float[Array, "*b car"]
    desired: Float[Array, "*b car"]
    length: Float[Array, "*b car"]
    lane: Int[Array, "*b car"]
    valid: Bool[Array, "*b car"]


def leader_gaps(cars: Followers) -> tuple[Float[Array, "*b car"], Float[Array, "*b car"]]:
    """Gap (metres, bumper to bumper) of every car to the next of its lane, and how fast it closes (m/s).

    ``FREE`` and 0 without a leader. Of two cars at the same place the later slot counts as the leader.
    """
    slots = jnp.arange(cars.arc.shape[-1])
    ahead = cars.arc[..., None, :] - cars.arc[..., :, None]
    before = (ahead > 0) | ((ahead == 0) & (slots[None, :] > slots[:, None]))
    same = cars.lane[..., None, :] == cars.lane[..., :, None]
    candidate = before & same & cars.valid[..., None, :] & cars.valid[..., :, None]
    leader = jnp.argmin(jnp.where(candidate, ahead, jnp.inf), axis=-1)
    found = jnp.any(candidate, axis=-1)

    def of_leader(values: Array) -> Array:
        return jnp.take_along_axis(values, leader, axis=-1)

    gap = of_leader(cars.arc) - cars.arc - 0.5 * (cars.length + of_leader(cars.length))
    return jnp.where(found, gap, FREE), jnp.where(found, cars.speed - of_leader(cars.speed), 0.0)


def idm_step(
    cars: Followers,
    dt: float,
    params: IdmParams = IDM,
    gap: Float[Array, "*b car"] | None = None,
    closing: Float[Array, "*b car"] | None = None,
    top_speed: float = 60.0,
) -> tuple[Followers, Float[Array, "*b car"]]:
    """All cars one step on, each behind the next of its lane and behind whatever else is in its way.

    Args:
        cars: before the step.
        dt: seconds.
        params: how they follow.
        gap: metres to something else ahead of each car (a stop line, the ego), ``FREE`` where there is nothing.
        closing: own speed less that thing's, m/s; it stands where not given.
        top_speed: m/s.

    Returns:
        The cars after it, never rolling backwards, and the accelerations that they chose, m/s2; invalid ones stay.
    """
    chosen = idm_acceleration(cars.speed, cars.desired, *leader_gaps(cars), params)
    if gap is not None:
        towards = cars.speed if closing is None else closing
        chosen = jnp.minimum(chosen, idm_acceleration(cars.speed, cars.desired, gap, towards, params))
    chosen = jnp.where(cars.valid, chosen, 0.0)
    distance, speed = travel(cars.speed, chosen, dt, top_speed)
    arc, speed = jnp.where(cars.valid, cars.arc + distance, cars.arc), jnp.where(cars.valid, speed, cars.speed)
    return cars.replace(arc=arc, speed=speed), chosen  # type: ignore[attr-defined]


@flax.struct.dataclass
class PathAhead:
    """Samples of a path, a car's lane say, in the order in which it is driven.

    Attributes:
        point: (*b, sample, 2) world, metres.
        heading: (*b, sample) of the path, radians.
        arc: (*b, sample) length along the path, metres.
    """

    point: Float[Array, "*b sample 2"]
    heading: Float[Array, "*b sample"]
    arc: Float[Array, "*b sample"]


@flax.struct.dataclass
class Places:
    """Boxes in the coordinates of a path; every field is (*b, actor).

    Attributes:
        arc: of the centre along the path, metres; straight on beyond the path's ends.
        lateral: of the centre to the left of it, metres.
        half_along: half the box's extent along the path, metres.
        half_across: half its extent across it, metres.
        speed: of the box along the path, m/s, negative when it comes the other way.
        drift: its speed to the left of the path, m/s.
    """

    arc: Float[Array, "*b actor"]
    lateral: Float[Array, "*b actor"]
    half_along: Float[Array, "*b actor"]
    half_across: Float[Array, "*b actor"]
    speed: Float[Array, "*b actor"]
    drift: Float[Array, "*b actor"]


def places_along(path: PathAhead, boxes: Boxes, velocity: Float[Array, "*b actor 2"]) -> Places:
    """Where boxes are on a path: each in the frame of the sample nearest its centre, exact where the path is straight.

    Args:
        path: one a batch entry.
        boxes: (*b, actor).
        velocity: of their centres, world, m/s.
    """
    away = boxes.centre[..., :, None, :] - path.point[..., None, :, :]
    best = jnp.argmin(jnp.sum(away * away, axis=-1), axis=-1)
    heading = jnp.take_along_axis(path.heading, best, axis=-1)
    arc = jnp.take_along_axis(path.arc, best, axis=-1)
    offset = jnp.take_along_axis(away, best[..., None, None], axis=-2)[..., 0, :]
    (along, lateral), (speed, drift) = in_frame(offset, heading), in_frame(velocity, heading)
    turn = boxes.heading - heading
    c, s = jnp.abs(jnp.cos(turn)), jnp.abs(jnp.sin(turn))
    return Places(
        arc=arc + along,
        lateral=lateral,
        half_along=0.5 * (boxes.length * c + boxes.width * s),
        half_across=0.5 * (boxes.length * s + boxes.width * c),
        speed=speed,
        drift=drift,
    )


def path_leader(
    places: Places,
    valid: Bool[Array, "*b actor"],
    front: Float[Array, "*b"],
    speed: Float[Array, "*b"],
    half_width: Float[Array, "*b"],
    lateral: Float[Array, "*b"] | float = 0.0,
) -> tuple[Float[Array, "*b"], Float[Array, "*b"]]:
    """Gap (metres) of a car on a path to the nearest box that reaches into its way, and how fast it closes (m/s).

    Boxes whose centre lies behind the front bumper are no leaders. ``FREE`` and 0 without one.

    Args:
        places: of the boxes on the path.
        valid: which of them are there.
        front: arc of the car's front bumper, metres.
        speed: of the car, m/s.
        half_width: of its way, metres.
        lateral: of its way's middle to the left of the path, metres.
    """
    if not places.arc.shape[-1]:
        return jnp.full(front.shape, FREE), jnp.zeros(front.shape)
    beside = jnp.abs(places.lateral - jnp.asarray(lateral)[..., None]) < places.half_across + half_width[..., None]
    candidate = valid & beside & (places.arc > front[..., None])
    gap = jnp.where(candidate, places.arc - places.half_along - front[..., None], FREE)
    leader = jnp.argmin(gap, axis=-1, keepdims=True)
    closing = speed - jnp.take_along_axis(places.speed, leader, axis=-1)[..., 0]
    return jnp.min(gap, axis=-1), jnp.where(jnp.any(candidate, axis=-1), closing, 0.0)
