"""Is a corner case sound? Each check is a named boolean; what fails any is drawn again."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxrecon.geometry.boxes import Boxes, corners, overlap
from jaxrecon.geometry.transforms import wrap_angle
from jaxrecon.scene.fields import DistanceFields
from jaxrecon.scene.roads import Roads, off_road_distance
from jaxrecon.traffic.adversary import Acting, Plan, limits_in
from jaxrecon.traffic.replay import Actors, Replay
from jaxrecon.traffic.road_users import Limits

CHECKS = ("happens", "kinematic", "clear", "on_ground", "continuous", "avoidable")
LEEWAY, SPARE = 1.15, 0.6  # a factor and SI units by which a motion may exceed limits: differences are coarse
JUMP, TURN, JOLT = 0.4, 0.2, 1.5  # metres, radians and m/s by which it may depart from the log where it leaves it
SLOW = 3.0  # m/s below which it may turn at once
VERGE = 0.3  # metres by which a car may reach beyond the road's edge, or further than it did at first
WALK = 9.0  # metres from the road's edge within which walkers may be
UNMAPPED = 6.0  # metres beside the recorded path that count as road where no map says
DISCS = 4  # along a box, which together cover it


def kinematic(
    centre: Float[Array, "step *b 2"],
    heading: Float[Array, " step *b"],
    active: Bool[Array, " step *b"],
    limits: Limits,
    dt: float,
) -> Bool[Array, "*b"]:
    """Whether speeds, accelerations and turns of a motion are within limits wherever it is active.

    Told from the places alone, whatever made them.

    Args:
        centre: of the box, world, metres.
        heading: radians.
        active: in which steps.
        limits: of the road users.
        dt: seconds between steps.
    """
    step = jnp.diff(centre, axis=0)
    along = jnp.cos(0.5 * (heading[1:] + heading[:-1])) * step[..., 0]
    along += jnp.sin(0.5 * (heading[1:] + heading[:-1])) * step[..., 1]
    length = jnp.sqrt(jnp.sum(step * step, axis=-1) + 1e-12)
    speed, turn = length / dt, wrap_angle(jnp.diff(heading, axis=0)) / dt
    both = active[1:] & active[:-1]
    change = jnp.diff(speed, axis=0) / dt
    three = both[1:] & both[:-1]
    fine = speed <= LEEWAY * limits.speed + SPARE
    # A box's centre swings out in front of the rear axle; what slides sideways does not drive.
    slide = jnp.sqrt(jnp.maximum(length**2 - along**2, 0.0))
    fine &= slide <= 0.5 * length + limits.centre_ahead * jnp.abs(turn) * dt + 0.02
    fine &= jnp.abs(speed * turn) <= LEEWAY * limits.lateral + SPARE
    fine &= jnp.abs(turn) <= LEEWAY * jnp.tan(limits.steering) / limits.wheelbase * jnp.maximum(speed, 0.2) + SPARE
    gentle = (change <= LEEWAY * limits.acceleration + SPARE) & (change >= -LEEWAY * limits.braking - SPARE)
    return jnp.all(fine | ~both, axis=0) & jnp.all(gentle | ~three, axis=0)


def clear(
    plan: Plan,
    acting: Acting,
    traffic: Replay,
    scene: Int[Array, "*b"],
    actors: Actors,
    obstacles: DistanceFields,
) -> Bool[Array, "*b adversary"]:
    """Whether adversaries overlap no other actor and no static obstacle at a moment; true before they begin.

    Args:
        plan: who does what.
        acting: where they are.
        traffic: the recording.
        scene: of each clip.
        actors: all, adversaries where they are.
        obstacles: signed distances.
    """
    box = boxes_of(plan, acting, traffic, scene)
    one = Boxes(box.centre[..., None, :], box.heading[..., None], box.length[..., None], box.width[..., None])
    everyone = actors.boxes
    others = Boxes(
        everyone.centre[..., None, :, :], everyone.heading[..., None, :], everyone.length[..., None, :],
        everyone.width[..., None, :],
    )  # fmt: skip
    itself = jnp.arange(traffic.capacity) == plan.slot[..., None]
    hit = jnp.any(overlap(one, others) & actors.valid[..., None, :] & ~itself, axis=-1)
    points, radius = discs(box)
    shape = points.shape
    room = obstacles(scene, points.reshape(*shape[: plan.slot.ndim - 1], -1, 2)).reshape(shape[:-1])
    hit |= jnp.any(room < radius[..., None], axis=-1)
    return ~hit | ~acting.active | ~plan.valid


def discs(box: Boxes) -> tuple[Float[Array, "*b disc 2"], Float[Array, " *b"]]:
    """Middles and radius of discs in a row that lie within a box's width."""
    place = (jnp.arange(DISCS) + 0.5) / DISCS - 0.5
    forward = jnp.stack([jnp.cos(box.heading), jnp.sin(box.heading)], axis=-1)
    span = jnp.maximum(box.length - box.width, 0.0) * DISCS / (DISCS - 1)
    return box.centre[..., None, :] + (span[..., None] * place)[..., None] * forward[..., None, :], 0.45 * box.width


def boxes_of(plan: Plan, acting: Acting, traffic: Replay, scene: Int[Array, "*b"]) -> Boxes:
    """Outlines of the adversaries."""
    limits, sizes = limits_in(traffic, scene, plan)
    return Boxes(acting.user.centre(limits), acting.user.yaw, sizes[..., 0], sizes[..., 1])


def off_ground(
    roads: Roads, scene: Int[Array, "*b"], box: Boxes, left: Float[Array, "*b adversary"],
) -> Float[Array, "*b adversary"]:  # fmt: skip
    """How far boxes reach beyond the road's edge, metres, negative within it.

    Where no map tells where the road is, a strip beside the recorded path counts as road.

    Args:
        roads: of all scenes.
        scene: of each clip.
        box: (*b, adversary).
        left: of their centres, metres to the left of the path.
    """
    outline = corners(box)
    shape = outline.shape
    flat = outline.reshape(*shape[: scene.ndim], -1, 2)
    beyond = jnp.max(off_road_distance(roads, scene, flat).reshape(shape[:-1]), axis=-1)
    return jnp.where(roads.surface_known[scene][..., None], beyond, jnp.abs(left) - UNMAPPED)


def on_ground(
    beyond: Float[Array, " step *b"], active: Bool[Array, " step *b"], walks: Bool[Array, "*b"]
) -> Bool[Array, "*b"]:
    """Whether a motion keeps to where its kind may be: cars to the road, or no further off it than they were at first.

    Args:
        beyond: see ``off_ground``.
        active: in which steps.
        walks: whose limit is that of the pavements.
    """
    first = jnp.argmax(active, axis=0)
    at_first = jnp.take_along_axis(beyond, first[None], axis=0)[0]
    most = jnp.where(walks, WALK, jnp.maximum(VERGE, at_first + 0.1))
    return jnp.all((beyond <= most) | ~active, axis=0)


def continuous(
    centre: Float[Array, "step *b 2"],
    heading: Float[Array, " step *b"],
    speed: Float[Array, " step *b"],
    active: Bool[Array, " step *b"],
    logged: tuple[Float[Array, " step *b 2"], Float[Array, " step *b"], Float[Array, " step *b"]],
    staged: Bool[Array, "*b"],
) -> Bool[Array, "*b"]:
    """Whether adversaries leave the log where it has them, as fast as it has them and looking the same way.

    Staged ones have no log to leave: they must be there from the clip's first moment on.

    Args:
        centre, heading, speed: of the motion, in the log's poses before it is active.
        active: in which steps.
        logged: the same of the recording.
        staged: whose place the log does not give.
    """
    first = jnp.argmax(active, axis=0)

    def at(values: Array, when: Array) -> Array:
        index = when.reshape(1, *when.shape, *(1,) * (values.ndim - 1 - when.ndim))
        return jnp.take_along_axis(values, index, axis=0)[0]

    # In the first active step both have moved on by one step from the pose they shared.
    jump = jnp.linalg.norm(at(centre, first) - at(logged[0], first), axis=-1)
    turn = jnp.abs(wrap_angle(at(heading, first) - at(logged[1], first)))
    jolt = jnp.abs(at(speed, first) - at(logged[2], first))
    # Who walks turns on the spot.
    joins = (jump < JUMP) & ((turn < TURN) | (at(logged[2], first) < SLOW)) & (jolt < JOLT)
    return jnp.where(staged, active[0], joins | ~jnp.any(active, axis=0))
