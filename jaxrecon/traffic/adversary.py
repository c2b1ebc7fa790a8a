"""Adversaries: log actors that leave their recording to do something to the ego, step by step in a compiled step."""

import dataclasses

import flax.struct
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxrecon.geometry.transforms import rigid, yaw_to_matrix
from jaxrecon.traffic.behaviours import BEHAVIOURS, PARAMETERS, Command, View
from jaxrecon.traffic.course import Course
from jaxrecon.traffic.replay import Actors, Replay
from jaxrecon.traffic.road_users import Limits, RoadUser, head_for, limits_of, move, standing_at

OUT_OF_ROOM = -1  # clock of an adversary that has not begun


@flax.struct.dataclass
class Plan:
    """Who does what; every field is (*b, adversary, ...), entries that are not valid do nothing.

    Attributes:
        slot: int32, actor slot of the scene.
        behaviour: int32, index into ``BEHAVIOURS``.
        parameters: (*b, adversary, PARAMETERS) in the behaviour's order, SI.
        begin: int32, first step of the clip in which it may begin.
        reactive: it sees the ego; otherwise it does what it would do beside the recorded ego, whatever the ego does.
        staged: it is in ``place`` from the clip's first step on instead of where the log has it.
        place: (*b, adversary, 4) world x, y of the box's centre, heading, speed.
        valid: bool.
    """

    slot: Int[Array, "*b adversary"]
    behaviour: Int[Array, "*b adversary"]
    parameters: Float[Array, "*b adversary {PARAMETERS}"]
    begin: Int[Array, "*b adversary"]
    reactive: Bool[Array, "*b adversary"]
    staged: Bool[Array, "*b adversary"]
    place: Float[Array, "*b adversary 4"]
    valid: Bool[Array, "*b adversary"]


@flax.struct.dataclass
class Acting:
    """Adversaries at one moment; every field is (*b, adversary, ...).

    Attributes:
        user: where it is and how fast; the log's where it has not begun.
        arc: of its box's centre along the expert's path, metres.
        height: of the centre above the path's ground, metres.
        z: of the centre, world, metres.
        first_left, first_speed: offset (metres) and speed (m/s) when it began.
        steps: int32 since it began, ``OUT_OF_ROOM`` before.
        phase: of the behaviour.
    """

    user: RoadUser
    arc: Float[Array, "*b adversary"]
    height: Float[Array, "*b adversary"]
    z: Float[Array, "*b adversary"]
    first_left: Float[Array, "*b adversary"]
    first_speed: Float[Array, "*b adversary"]
    steps: Int[Array, "*b adversary"]
    phase: Float[Array, "*b adversary"]

    @property
    def active(self) -> Bool[Array, "*b adversary"]:
        """Which have begun."""
        return self.steps >= 0


@flax.struct.dataclass
class Ego:
    """The ego as others see it; every field has the batch dimensions.

    Attributes:
        centre: (*b, 2) of its box, world, metres.
        speed: m/s.
        near: arc length of the expert's path near its centre, metres.
        half_length: metres.
    """

    centre: Float[Array, "*b 2"]
    speed: Float[Array, " *b"]
    near: Float[Array, " *b"]
    half_length: Float[Array, " *b"]


def limits_in(traffic: Replay, scene: Int[Array, "*b"], plan: Plan) -> tuple[Limits, Float[Array, "*b adversary 3"]]:
    """What the adversaries can do, and their sizes, metres."""
    at = scene[..., None]
    sizes = traffic.sizes[at, plan.slot]
    return limits_of(traffic.category[at, plan.slot], sizes), sizes


def begin(course: Course, traffic: Replay, scene: Int[Array, "*b"], frame: Int[Array, "*b"], plan: Plan) -> Acting:
    """The adversaries when clips start at a log frame: staged ones in their places, the others in the log."""
    limits, _ = limits_in(traffic, scene, plan)
    user, _ = _recorded(traffic, scene, frame, plan, limits)
    placed = standing_at(plan.place[..., :2], plan.place[..., 2], plan.place[..., 3], limits)
    user = _select(plan.staged, placed, user)
    at = jnp.broadcast_to(scene[..., None], plan.slot.shape)
    arc, left, _ = course.nearest(at, user.centre(limits))
    nothing = jnp.zeros(plan.slot.shape)
    acts = plan.staged & plan.valid
    height = _height(course, traffic, at, frame, plan, arc)
    return Acting(
        user=user,
        arc=arc,
        height=height,
        z=course.at(at, arc)[2] + height,
        first_left=left,
        first_speed=user.speed,
        steps=jnp.where(acts, 0, OUT_OF_ROOM),
        phase=nothing,
    )


def advance(
    course: Course,
    traffic: Replay,
    scene: Int[Array, "*b"],
    frame: Int[Array, "*b"],
    elapsed: Int[Array, "*b"],
    plan: Plan,
    acting: Acting,
    ego: Ego,
    recorded: Ego,
    dt: float,
) -> Acting:
    """The adversaries one step on.

    Args:
        course: of all scenes.
        traffic: the recording.
        scene: of each clip.
        frame: log frame before the step.
        elapsed: steps of the clip before it.
        plan: who does what.
        acting: before the step.
        ego: before the step, for the reactive.
        recorded: the recorded car in that frame, for the others.
        dt: seconds.
    """
    limits, sizes = limits_in(traffic, scene, plan)
    logged, there = _recorded(traffic, scene, frame, plan, limits)
    user = _select(acting.active, acting.user, logged)
    at = jnp.broadcast_to(scene[..., None], plan.slot.shape)
    arc, left, direction = course.follow(at, user.centre(limits), acting.arc)
    first_left = jnp.where(acting.active, acting.first_left, left)
    first_speed = jnp.where(acting.active, acting.first_speed, user.speed)
    way = jnp.where(jnp.cos(user.yaw - direction) >= 0, 1.0, -1.0)
    clock = jnp.maximum(acting.steps, 0) * dt
    half = 0.5 * sizes[..., 0]

    def seen_by(one: Ego) -> View:
        ego_arc, ego_left, _ = course.follow(scene, one.centre, one.near)
        ahead = arc - ego_arc[..., None]
        reach = half + one.half_length[..., None]
        return View(
            ahead=ahead, gap=ahead - reach, behind=-ahead - reach,
            left=left, ego_left=jnp.broadcast_to(ego_left[..., None], left.shape),
            speed=user.speed, ego_speed=jnp.broadcast_to(one.speed[..., None], left.shape),
            first_left=first_left, first_speed=first_speed, clock=clock, phase=acting.phase, way=way,
        )  # fmt: skip

    view = _select(plan.reactive, seen_by(ego), seen_by(recorded))
    command = _command(plan, view)
    starts = plan.valid & there & command.begins & (elapsed[..., None] >= plan.begin)
    active = (acting.active & plan.valid) | starts
    # Where it stays in its lane, what it steers for bends with the road.
    point = course.beside(at, arc + way * command.reach, command.left)
    moved = move(user, command.acceleration, head_for(user, point, limits), dt, limits)
    after = _select(active, moved, user)
    ahead, _, _ = course.follow(at, after.centre(limits), arc)
    height = jnp.where(acting.active, acting.height, _height(course, traffic, at, frame, plan, arc))
    arc = jnp.where(active, ahead, arc)
    return Acting(
        user=after,
        arc=arc,
        height=height,
        z=course.at(at, arc)[2] + height,
        first_left=first_left,
        first_speed=first_speed,
        steps=jnp.where(active, jnp.maximum(acting.steps, 0) + 1, OUT_OF_ROOM),
        phase=jnp.where(active, jnp.maximum(command.phase, acting.phase), 0.0),
    )


def overridden(actors: Actors, traffic: Replay, scene: Int[Array, "*b"], plan: Plan, acting: Acting) -> Actors:
    """The actors with the adversaries where they are; adversaries never count as parked."""
    limits, _ = limits_in(traffic, scene, plan)
    chosen = acting.active & plan.valid
    forward = jnp.stack([jnp.cos(acting.user.yaw), jnp.sin(acting.user.yaw)], axis=-1)

    def put(values: Array, new: Array) -> Array:
        return _put(values, new, plan.slot, chosen)

    return Actors(
        centre=put(actors.centre, acting.user.centre(limits)),
        heading=put(actors.heading, acting.user.yaw),
        velocity=put(actors.velocity, forward * acting.user.speed[..., None]),
        sizes=actors.sizes,
        valid=put(actors.valid, chosen),
        parked=put(actors.parked, jnp.zeros_like(chosen)),
    )


def overridden_poses(
    traffic: Replay,
    scene: Int[Array, "*b"],
    poses: Float[Array, "*b actor 4 4"],
    valid: Bool[Array, "*b actor"],
    plan: Plan,
    acting: Acting,
) -> tuple[Float[Array, "*b actor 4 4"], Bool[Array, "*b actor"]]:
    """Box poses and which are there, with the adversaries upright where they are."""
    limits, _ = limits_in(traffic, scene, plan)
    chosen = acting.active & plan.valid
    position = jnp.concatenate([acting.user.centre(limits), acting.z[..., None]], axis=-1)
    new = rigid(yaw_to_matrix(acting.user.yaw), position)
    return _put(poses, new, plan.slot, chosen), _put(valid, chosen, plan.slot, chosen)


def no_plan(batch: tuple[int, ...], adversaries: int) -> Plan:
    """Nobody does anything."""
    shape = (*batch, adversaries)
    none, flag = jnp.zeros(shape, jnp.int32), jnp.zeros(shape, bool)
    return Plan(
        slot=none, behaviour=none, parameters=jnp.zeros((*shape, PARAMETERS)), begin=none, reactive=flag,
        staged=flag, place=jnp.zeros((*shape, 4)), valid=flag,
    )  # fmt: skip


def _recorded(
    traffic: Replay, scene: Array, frame: Array, plan: Plan, limits: Limits
) -> tuple[RoadUser, Bool[Array, "*b adversary"]]:
    """Where the log has the actors, and whether it has them."""
    at, when = scene[..., None], frame[..., None]
    velocity, heading = traffic.velocity[at, when, plan.slot], traffic.heading[at, when, plan.slot]
    speed = velocity[..., 0] * jnp.cos(heading) + velocity[..., 1] * jnp.sin(heading)
    # Boxes of those who walk may point anywhere; they go where they go.
    pace = jnp.sqrt(jnp.maximum(jnp.sum(velocity * velocity, axis=-1), 1e-12))
    strays = (speed < 0.7 * pace) & (pace > 0.5)
    heading = jnp.where(strays, jnp.arctan2(velocity[..., 1], velocity[..., 0]), heading)
    speed = jnp.where(strays, pace, jnp.maximum(speed, 0.0))
    # Boxes labelled by hand creep while their cars stand.
    speed = jnp.where(traffic.parked[at, plan.slot], 0.0, speed)
    return standing_at(traffic.centre[at, when, plan.slot], heading, speed, limits), traffic.valid[at, when, plan.slot]


def _height(course: Course, traffic: Replay, at: Array, frame: Array, plan: Plan, arc: Array) -> Array:
    """Of a log box's centre above the ground of the path; half a box for those that are not there."""
    pose = traffic.world_from_actor[at, frame[..., None], plan.slot]
    there = traffic.valid[at, frame[..., None], plan.slot] & ~plan.staged
    half = 0.5 * traffic.sizes[at, plan.slot, 2]
    return jnp.where(there, pose[..., 2, 3] - course.at(at, arc)[2], half)


def _command(plan: Plan, view: View) -> Command:
    """What the behaviour of each says; all are asked, which costs less than a branch that differs from clip to clip."""
    said: Command | None = None
    for number, behaviour in enumerate(BEHAVIOURS):
        named = {one.name: plan.parameters[..., place] for place, one in enumerate(behaviour.parameters)}
        command = behaviour.act(view, **named)
        said = command if said is None else _select(plan.behaviour == number, command, said)
    assert said is not None
    return said


def _select(mask: Array, chosen, otherwise):
    """Fields of ``chosen`` where the mask is set, of ``otherwise`` elsewhere."""
    fields = {}
    for field in dataclasses.fields(chosen):
        first, second = getattr(chosen, field.name), getattr(otherwise, field.name)
        fields[field.name] = jnp.where(mask.reshape(mask.shape + (1,) * (first.ndim - mask.ndim)), first, second)
    return dataclasses.replace(chosen, **fields)


def _put(values: Array, new: Array, slot: Array, chosen: Array) -> Array:
    """Values of actor slots, those of the chosen adversaries replaced; without a scatter, which serialises."""
    actors, extra = values.shape[slot.ndim - 1], values.ndim - slot.ndim
    for number in range(slot.shape[-1]):
        here = (jnp.arange(actors) == slot[..., number, None]) & chosen[..., number, None]
        one = jnp.expand_dims(jnp.take(new, number, axis=slot.ndim - 1), slot.ndim - 1)
        values = jnp.where(here.reshape(here.shape + (1,) * extra), one, values)
    return values
