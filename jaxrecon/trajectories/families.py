"""The families of cousins: each a function of the recorded drive and a few parameters that says where to be when.

Sideways manoeuvres are functions of the distance driven, so that a car that stands does not slide. Offsets change by
quintics (least jerk), speeds by the same curve in time; both begin and end without acceleration.
"""

from collections.abc import Callable, Mapping
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxrecon.trajectories.curves import SPACING, Curve, bent
from jaxrecon.trajectories.recorded import Recorded

PEAK = 1.875  # largest slope of ``ease``: a change by d within T has the rate PEAK d / T at its fastest
SHORTEST = 6.0  # metres of the path for a sideways manoeuvre, however slow the car
FREE_SPACE = 0.3  # share of turns that leave lanes alone, where there are any that turn off
GENTLE = 1.8  # m/s2 by which a car slows down for a turn
TURNED = 0.35  # radians of change of heading from which a turn counts as one
RISE = 0.8  # seconds in which a driver who stops presses the brake, and lets go of it again
LOST = 1.0  # m/s that a car loses at least where it stops and goes
DROVE = 3.0  # metres that a cousin moves at least, to show anything

Parameters = Mapping[str, Array]


@flax.struct.dataclass
class Beginning:
    """Where and when a cousin starts.

    Attributes:
        drive: that it is a cousin of.
        frame: () int32, of the log.
        speed: (step,) the recorded one from that frame on, m/s.
        dt: () seconds a step.
    """

    drive: Recorded
    frame: Int[Array, ""]
    speed: Float[Array, " step"]
    dt: Float[Array, ""]

    @property
    def arc(self) -> Float[Array, ""]:
        """Where the recorded car was, metres along its curve."""
        return self.drive.arc[self.frame]

    @property
    def time(self) -> Float[Array, " step"]:
        """Seconds since the start."""
        return self.dt * jnp.arange(self.speed.shape[0])


@flax.struct.dataclass
class Plan:
    """Where a cousin shall be when.

    Attributes:
        curve: along which it drives.
        arc: (step,) metres along it.
        lateral: (step,) metres to the left of it.
        final: () metres to the left at which it goes on afterwards.
        slope: () rate of the lateral offset by the arc at the start.
        speed: () m/s at the start.
        done: () bool, the manoeuvre that the family is named after has happened by the last step.
    """

    curve: Curve
    arc: Float[Array, " step"]
    lateral: Float[Array, " step"]
    final: Float[Array, ""]
    slope: Float[Array, ""]
    speed: Float[Array, ""]
    done: Bool[Array, ""]


def ease(share: Float[Array, "*b"]) -> Float[Array, "*b"]:
    """From 0 to 1 as the share goes from 0 to 1, flat to the second order at both ends, and held beyond them."""
    share = jnp.clip(share, 0.0, 1.0)
    return share**3 * (10 - 15 * share + 6 * share**2)


def offset(beginning: Beginning, parameters: Parameters) -> Plan:
    """See ``ranges.Offset``."""
    lateral = parameters["side"] * parameters["lateral"]
    return _along(beginning, parameters["pace"] * beginning.speed, lambda arc: lateral + 0.0 * arc, lateral)


def lane_change(beginning: Beginning, parameters: Parameters) -> Plan:
    """See ``ranges.LaneChange``."""
    to = parameters["side"] * parameters["lateral"]
    share = _share(beginning, parameters)
    plan = _along(beginning, parameters["pace"] * beginning.speed, lambda arc: to * ease(share(arc)), to)
    return _done(plan, share(plan.arc[-1]) > 0.95)


def swerve(beginning: Beginning, parameters: Parameters) -> Plan:
    """See ``ranges.Swerve``."""
    to, share = parameters["side"] * parameters["lateral"], _share(beginning, parameters)

    def lateral(arc: Array) -> Array:
        return to * (ease(2 * share(arc)) - ease(2 * share(arc) - 1))

    plan = _along(beginning, parameters["pace"] * beginning.speed, lateral, jnp.zeros(()))
    return _done(plan, share(plan.arc[-1]) > 0.9)


def recovery(beginning: Beginning, parameters: Parameters) -> Plan:
    """See ``ranges.Recovery``: the quintic that meets offset and heading at the start and the path at the end."""
    side, share = parameters["side"], _share(beginning, {**parameters, "begin": jnp.zeros(())})
    first, slope = side * parameters["lateral"], side * jnp.tan(parameters["heading"])
    length = _metres(beginning, parameters)

    def lateral(arc: Array) -> Array:
        u = jnp.clip(share(arc), 0.0, 1.0)
        return first * (1 - ease(u)) + slope * length * u * (1 - u) ** 3 * (1 + 3 * u)

    plan = _along(beginning, parameters["pace"] * beginning.speed, lateral, jnp.zeros(()), slope)
    return _done(plan, share(plan.arc[-1]) > 0.9)


def turn(beginning: Beginning, parameters: Parameters) -> Plan:
    """See ``ranges.Turn``; it starts so far before the turn, wherever the recorded car was."""
    drive, which = beginning.drive, parameters["which"]
    lane, number = _takes_lane(drive, which), _branch(drive, which)
    branch, own = drive.curve(number), drive.own
    free = bent(
        own, beginning.arc + parameters["before"], parameters["side"] * parameters["angle"], parameters["radius"]
    )
    curve = jax.tree.map(lambda first, second: jnp.where(lane, first, second), branch, free)
    start = jnp.where(lane, jnp.maximum(drive.departure[number] - parameters["before"], 0.0), beginning.arc)
    fastest = _slowed(curve, parameters["lateral_acceleration"])
    wanted = jnp.maximum(beginning.speed, parameters["least"])

    def body(carry: tuple[Array, Array], wished: Array) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
        arc, speed = carry
        place = jnp.clip(arc / SPACING, 0.0, fastest.shape[0] - 1).astype(jnp.int32)
        after = jnp.minimum(wished, fastest[place])
        after = jnp.clip(after, speed - 2 * GENTLE * beginning.dt, speed + GENTLE * beginning.dt)
        moved = arc + 0.5 * (speed + after) * beginning.dt
        return (moved, after), (arc, speed)

    here = jnp.clip(start / SPACING, 0.0, fastest.shape[0] - 1).astype(jnp.int32)
    first = jnp.minimum(wanted[0], fastest[here])
    _, (arc, speed) = jax.lax.scan(body, (start, first), wanted)
    zero = jnp.zeros(())
    _, before, _ = curve.at(arc[0])
    _, after, _ = curve.at(arc[-1])
    _, along, _ = own.at(arc[-1])
    turned = jnp.minimum(jnp.abs(after - before), jnp.abs(after - along)) > TURNED
    return Plan(curve, arc, 0.0 * arc, zero, zero, speed[0], turned)


def speed(beginning: Beginning, parameters: Parameters) -> Plan:
    """See ``ranges.Speed``."""
    change = ease((beginning.time - parameters["begin"]) / parameters["seconds"])
    factor = parameters["first"] + (parameters["last"] - parameters["first"]) * change
    return _along(beginning, factor * beginning.speed)


def stop(beginning: Beginning, parameters: Parameters) -> Plan:
    """See ``ranges.Stop``."""
    wanted = parameters["pace"] * beginning.speed
    wanted = wanted * (1 - _braked(beginning.time - parameters["begin"], wanted[0], parameters["braking"]))
    return _done(_along(beginning, wanted), wanted[-1] < 0.05)


def start(beginning: Beginning, parameters: Parameters) -> Plan:
    """See ``ranges.Begin``."""
    seconds = PEAK * parameters["cruise"] / parameters["acceleration"]
    wanted = parameters["cruise"] * ease((beginning.time - parameters["begin"]) / seconds)
    return _done(_along(beginning, wanted), wanted[-1] > 2.0)


def stop_and_go(beginning: Beginning, parameters: Parameters) -> Plan:
    """See ``ranges.StopAndGo``."""
    wanted = parameters["pace"] * beginning.speed
    since = (beginning.time - parameters["begin"]) / parameters["seconds"]
    bearable = parameters["braking"] * parameters["seconds"] / (PEAK * jnp.maximum(jnp.max(wanted), 0.1))
    depth = jnp.minimum(parameters["depth"], bearable)
    slower = wanted * (1 - depth * (ease(since) - ease(since - 1)))
    return _done(_along(beginning, slower), jnp.min(slower) < wanted[0] - LOST)


def extension(beginning: Beginning, parameters: Parameters) -> Plan:
    """See ``ranges.Extension``."""
    wanted = jnp.maximum(parameters["pace"] * beginning.speed, parameters["least"])
    return _along(beginning, wanted, ahead=parameters["ahead"])


FUNCTIONS: dict[str, Callable[[Beginning, Parameters], Plan]] = {
    "offset": offset,
    "lane_change": lane_change,
    "swerve": swerve,
    "recovery": recovery,
    "turn": turn,
    "speed": speed,
    "stop": stop,
    "start": start,
    "stop_and_go": stop_and_go,
    "extension": extension,
}


def _along(
    beginning: Beginning,
    wanted: Float[Array, " step"],
    lateral: Callable[[Array], Array] | None = None,
    final: Any = 0.0,
    slope: Any = 0.0,
    ahead: Any = 0.0,
) -> Plan:
    """A plan on the drive's own curve at these speeds."""
    moved = jnp.cumsum(0.5 * (wanted[1:] + wanted[:-1]) * beginning.dt)
    arc = beginning.arc + ahead + jnp.concatenate([jnp.zeros(1), moved])
    return Plan(
        curve=beginning.drive.own,
        arc=arc,
        lateral=jnp.zeros_like(arc) if lateral is None else lateral(arc),
        final=jnp.asarray(final, jnp.float32),
        slope=jnp.asarray(slope, jnp.float32),
        speed=wanted[0],
        done=arc[-1] - arc[0] > DROVE,
    )


def _done(plan: Plan, happened: Bool[Array, ""]) -> Plan:
    return plan.replace(done=plan.done & happened)  # type: ignore[attr-defined]


def _braked(since: Float[Array, " step"], speed: Float[Array, ""], braking: Float[Array, ""]) -> Float[Array, " step"]:
    """Share of a speed that is lost some seconds after braking began, which is even but for its first and last."""
    even = jnp.maximum(speed / braking, 1e-2)
    rise = jnp.minimum(RISE, even)
    whole = even + rise
    since = jnp.clip(since, 0.0, whole)
    first, last = since**2 / (2 * rise), even - (whole - since) ** 2 / (2 * rise)
    return jnp.where(since < rise, first, jnp.where(since > even, last, since - rise / 2)) / even


def _metres(beginning: Beginning, parameters: Parameters) -> Float[Array, ""]:
    """Length of a sideways manoeuvre."""
    return jnp.maximum(parameters["seconds"] * parameters["pace"] * jnp.mean(beginning.speed), SHORTEST)


def _share(beginning: Beginning, parameters: Parameters) -> Callable[[Array], Array]:
    """How much of a sideways manoeuvre is done at an arc length."""
    length = _metres(beginning, parameters)
    first = beginning.arc + parameters["begin"] * parameters["pace"] * beginning.speed[0]
    return lambda arc: (arc - first) / length


def _slowed(curve: Curve, lateral_acceleration: Float[Array, ""]) -> Float[Array, " vertex"]:
    """Speed (m/s) at each vertex from which the bends ahead can be driven, and to which those behind let it rise."""
    arc = SPACING * jnp.arange(curve.curvature.shape[0])
    squared = lateral_acceleration / jnp.maximum(jnp.abs(curve.curvature), 1e-3)
    ahead = jax.lax.cummin(squared + 2 * GENTLE * arc, reverse=True) - 2 * GENTLE * arc
    behind = jax.lax.cummin(ahead - GENTLE * arc) + GENTLE * arc
    return jnp.sqrt(jnp.maximum(behind, 0.25))


def turn_frame(drive: Recorded, frame: Int[Array, " draw"], parameters: Parameters) -> Int[Array, " draw"]:
    """Log frames at which turns start: where the recorded car was where the turn begins, for turns along lanes."""
    number = _branch(drive, parameters["which"])
    start = drive.departure[number] - parameters["before"]
    nearest = jnp.argmin(jnp.abs(drive.arc - start[:, None]), axis=-1).astype(jnp.int32)
    return jnp.where(_takes_lane(drive, parameters["which"]), nearest, frame)


def _takes_lane(drive: Recorded, which: Float[Array, "*b"]) -> Bool[Array, "*b"]:
    return (drive.branches > 0) & (which >= FREE_SPACE)


def _branch(drive: Recorded, which: Float[Array, "*b"]) -> Int[Array, "*b"]:
    """Index of the curve that a turn takes."""
    number = ((which - FREE_SPACE) / (1 - FREE_SPACE) * drive.branches).astype(jnp.int32)
    return jnp.clip(number, 0, jnp.maximum(drive.branches - 1, 0)) + 1
