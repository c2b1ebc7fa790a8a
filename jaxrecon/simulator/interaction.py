"""How the ego meets other road users and the rules of the road: pure functions of what each environment holds.

Everything about another box is computed once, in the frame of the ego's own box, so that a step of an environment costs
a few hundred operations an actor and no intermediate larger than (env, actor).
"""

import flax.struct
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxrecon.dynamics import VehicleState, yaw_rate
from jaxrecon.geometry.boxes import corners
from jaxrecon.geometry.transforms import in_frame
from jaxrecon.metrics.comfort import Motion
from jaxrecon.metrics.surroundings import STANDING
from jaxrecon.scene.roads import StopLines
from jaxrecon.simulator.shapes import EgoShape
from jaxrecon.traffic.replay import Actors

STOPPED = 0.05  # m/s at or below which nuPlan takes a car in a collision to stand
AHEAD, BEHIND = 0.8660254, -0.8660254  # cosines of nuPlan's 30 and 150 degrees from the ego's heading
CROSSING = 0.5  # least sine of the angle between two cars' headings for their ways to cross: 30 degrees
HORIZON = 3.0  # seconds over which nuPlan looks for collisions
LANE_HALF_WIDTH = 1.75  # metres
ALONG = 0.5  # least cosine between the ego's heading and a stop line's lane for the line to be the ego's
STILL = 1e-6  # m/s below which two boxes keep their places along an axis


@flax.struct.dataclass
class Relative:
    """Other boxes in the frame of the ego's: origin at its centre, x ahead, y left; every field is (env, actor).

    Attributes:
        ahead, left: their centres, metres.
        cos, sin: of their headings.
        ahead_rate, left_rate: their velocities less the ego's, m/s.
        half_length, half_width: metres.
        speed: their own, m/s.
        valid: bool.
    """

    ahead: Float[Array, "*b actor"]
    left: Float[Array, "*b actor"]
    cos: Float[Array, "*b actor"]
    sin: Float[Array, "*b actor"]
    ahead_rate: Float[Array, "*b actor"]
    left_rate: Float[Array, "*b actor"]
    half_length: Float[Array, "*b actor"]
    half_width: Float[Array, "*b actor"]
    speed: Float[Array, "*b actor"]
    valid: Bool[Array, "*b actor"]


def relative(state: VehicleState, actors: Actors, shape: EgoShape) -> Relative:
    """The actors as the ego sees them.

    Args:
        state: of the ego, fields (env, ...).
        actors: in the world.
        shape: of the ego.
    """
    boxes, yaw = actors.boxes, state.yaw[..., None]
    ahead, left = in_frame(boxes.centre - state.position[..., None, :], yaw)
    ahead_rate, left_rate = in_frame(actors.velocity, yaw)
    turn = boxes.heading - yaw
    return Relative(
        ahead=ahead - shape.centre_ahead[..., None],
        left=left,
        cos=jnp.cos(turn),
        sin=jnp.sin(turn),
        ahead_rate=ahead_rate - state.speed[..., None],
        left_rate=left_rate,
        half_length=jnp.broadcast_to(0.5 * boxes.length, left.shape),
        half_width=jnp.broadcast_to(0.5 * boxes.width, left.shape),
        speed=jnp.sqrt(jnp.maximum(jnp.sum(actors.velocity * actors.velocity, axis=-1), 1e-12)),
        valid=actors.valid,
    )


def overlaps(others: Relative, shape: EgoShape) -> Bool[Array, "*b actor"]:
    """Which valid actors share area with the ego; boxes that only touch do not."""
    inside = jnp.ones_like(others.valid)
    for place, _, reach in _axes(others, shape):
        inside &= jnp.abs(place) < reach
    return inside & others.valid


def at_fault(
    others: Relative, speed: Float[Array, "*b"], several_lanes: Bool[Array, "*b"], shape: EgoShape
) -> Bool[Array, "*b"]:
    """Whether the ego is in a collision by its own fault.

    For each actor that it overlaps, the first of these that applies decides:
        the ego stands (at most 0.05 m/s): not its fault;
        the actor stands: its fault;
        the actor's centre lies more than 150 degrees from the ego's heading, seen from the rear axle: it was hit from
        behind, not its fault;
        the actor overlaps the front bumper: its fault;
        else contact is at the side: its fault if it was in several lanes, or partly off the road.

    Args:
        others: the actors.
        speed: of the ego, m/s.
        several_lanes: the ego is not within one lane of the road, see ``in_several_lanes``.
        shape: of the ego.

    Source: nuplan-devkit, no_ego_at_fault_collisions (collision types and their classification).
    """
    bumper = jnp.ones_like(others.valid)
    for place, _, reach in _axes(others, shape, bumper=True):
        bumper &= jnp.abs(place) < reach
    stands = others.speed <= STOPPED
    side = several_lanes[..., None] | bumper
    fault = stands | (~(_bearing(others, shape) < BEHIND) & side)
    return jnp.any(overlaps(others, shape) & fault, axis=-1) & (speed > STOPPED)


def time_to_collision(
    others: Relative,
    speed: Float[Array, "*b"],
    several_lanes: Bool[Array, "*b"],
    shape: EgoShape,
    horizon: float = HORIZON,
) -> Float[Array, "*b"]:
    """Seconds until the ego overlaps an actor if all keep their velocities and headings; at most the horizon.

    Two boxes overlap while their shadows do on all four face normals, and on each the shadows do so over one interval
    of time, for their distance changes evenly. The first moment of the intersection of the four intervals is exact:
    stepping the boxes forward in time, as nuPlan does every 0.1 s and NAVSIM every 0.3 s, finds the first of its steps
    after that moment.

    Like nuPlan's, the time counts actors ahead (within 30 degrees of the heading, seen from the rear axle) and, where
    the ego is in several lanes, all that are not behind (beyond 150 degrees). nuPlan counts the latter at junctions
    too, which it asks its map for; here those count whose heading crosses the ego's by more than 30 degrees. An ego
    that stands is in no danger of its own making: its time is the horizon.

    Args:
        others: the actors.
        speed: of the ego, m/s.
        several_lanes: see ``in_several_lanes``.
        shape: of the ego.
        horizon: seconds.

    Source: nuplan-devkit, time_to_collision_within_bound; the separating axis theorem for boxes in motion.
    """
    first, last = jnp.zeros_like(others.ahead), jnp.full_like(others.ahead, horizon)
    for place, rate, reach in _axes(others, shape):
        towards = jnp.where(rate < 0, place, -place)
        pace = jnp.maximum(jnp.abs(rate), STILL)
        first = jnp.maximum(first, (towards - reach) / pace)
        last = jnp.minimum(last, (towards + reach) / pace)
    bearing = _bearing(others, shape)
    beside = several_lanes[..., None] | (jnp.abs(others.sin) > CROSSING)
    counts = others.valid & ((bearing > AHEAD) | (beside & ~(bearing < BEHIND)))
    times = jnp.where(counts & (first < last), first, horizon)
    return jnp.where(speed > STANDING, jnp.min(times, axis=-1, initial=horizon), horizon)


def in_several_lanes(
    lane_distance: Float[Array, "*b"],
    heading_error: Float[Array, "*b"],
    shape: EgoShape,
    half_width: float = LANE_HALF_WIDTH,
) -> Bool[Array, "*b"]:
    """Whether the ego's box reaches beyond the edges of its lane.

    Args:
        lane_distance: from the box's centre to the lane's centre (of the recorded path, where the log has no lanes),
            metres.
        heading_error: the ego's heading less the lane's, radians.
        shape: of the ego.
        half_width: of a lane, metres.
    """
    reach = 0.5 * shape.width * jnp.abs(jnp.cos(heading_error)) + 0.5 * shape.length * jnp.abs(jnp.sin(heading_error))
    return jnp.abs(lane_distance) + reach > half_width


def footprint(state: VehicleState, shape: EgoShape) -> tuple[Float[Array, "*b 4 2"], Float[Array, "*b 2"]]:
    """Corners of the ego, counter-clockwise from the front left, and its centre, world, metres."""
    box = shape.box(state)
    return corners(box), box.centre


def red_light(before: VehicleState, after: VehicleState, lines: StopLines, shape: EgoShape) -> Bool[Array, "*b"]:
    """Whether the front bumper crossed, between two states, a stop line whose light says stop.

    Only a line counts whose lane the ego follows, to within 60 degrees.

    Args:
        before: the step before.
        after: this step.
        lines: of each environment's scene at this step, fields (env, line, ...).
        shape: of the ego.
    """
    beyond_before, _ = _past(before, lines, shape)
    beyond, beside = _past(after, lines, shape)
    along = lines.direction[..., 0] * jnp.cos(after.yaw)[..., None]
    along += lines.direction[..., 1] * jnp.sin(after.yaw)[..., None]
    crossed = (beyond_before < 0) & (beyond >= 0) & (jnp.abs(beside) < lines.half_width) & (along > ALONG)
    return jnp.any(crossed & lines.stop & lines.valid, axis=-1)


def motion(before: VehicleState, after: VehicleState, shape: EgoShape, dt: float) -> Motion:
    """How the ego moves, from the states of two steps ``dt`` seconds apart."""
    rate, rate_before = yaw_rate(after, shape.wheelbase), yaw_rate(before, shape.wheelbase)
    lateral, lateral_before = after.speed * rate, before.speed * rate_before
    magnitude, magnitude_before = (
        jnp.sqrt(jnp.maximum(along**2 + across**2, 1e-12))
        for along, across in ((after.acceleration, lateral), (before.acceleration, lateral_before))
    )
    return Motion(
        longitudinal_acceleration=after.acceleration,
        lateral_acceleration=lateral,
        yaw_rate=rate,
        yaw_acceleration=(rate - rate_before) / dt,
        longitudinal_jerk=(after.acceleration - before.acceleration) / dt,
        jerk=(magnitude - magnitude_before) / dt,
    )


def _axes(others: Relative, shape: EgoShape, bumper: bool = False) -> list[tuple[Array, Array, Array]]:
    """Distance of centres, its rate, and the reach of both shadows, on the four face normals.

    The first box is the ego's or, flat as a line, its front bumper.
    """
    cos, sin = jnp.abs(others.cos), jnp.abs(others.sin)
    half_length, half_width = 0.5 * shape.length[..., None], 0.5 * shape.width[..., None]
    x, y = others.ahead, others.left
    if bumper:
        x, half_length = x - half_length, jnp.zeros_like(half_length)
    x_rate, y_rate = others.ahead_rate, others.left_rate
    return [
        (x, x_rate, half_length + others.half_length * cos + others.half_width * sin),
        (y, y_rate, half_width + others.half_length * sin + others.half_width * cos),
        (
            x * others.cos + y * others.sin,
            x_rate * others.cos + y_rate * others.sin,
            others.half_length + half_length * cos + half_width * sin,
        ),
        (
            y * others.cos - x * others.sin,
            y_rate * others.cos - x_rate * others.sin,
            others.half_width + half_length * sin + half_width * cos,
        ),
    ]


def _bearing(others: Relative, shape: EgoShape) -> Float[Array, "*b actor"]:
    """Cosine of the angle between the ego's heading and the way from its rear axle to each actor's centre."""
    x = others.ahead + shape.centre_ahead[..., None]
    return x / jnp.sqrt(jnp.maximum(x * x + others.left * others.left, 1e-12))


def _past(state: VehicleState, lines: StopLines, shape: EgoShape) -> tuple[Array, Array]:
    """How far the front bumper's middle is beyond each line, and to the left of its middle, metres."""
    reach = shape.centre_ahead + 0.5 * shape.length
    x = (state.position[..., 0] + reach * jnp.cos(state.yaw))[..., None] - lines.point[..., 0]
    y = (state.position[..., 1] + reach * jnp.sin(state.yaw))[..., None] - lines.point[..., 1]
    ahead, left = lines.direction[..., 0], lines.direction[..., 1]
    return x * ahead + y * left, y * ahead - x * left
