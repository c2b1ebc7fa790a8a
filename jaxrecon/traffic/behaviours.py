"""What a road user may do to the ego: small pure functions of what it sees, with named parameters and their ranges.

Everything is told along the expert's path: ``ahead`` by arc length, ``left`` by the offset to its left. The path is the
middle of the ego's lane.
"""

import dataclasses
import enum
from collections.abc import Callable

import flax.struct
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxrecon.logs.driving_log import CATEGORIES, CYCLIST, OTHER, PEDESTRIAN, VEHICLE

LANE = 3.4  # metres from the ego's lane to the one beside it, where nobody says otherwise
SHARPNESS = 10.0  # 1/s at which a wanted speed is approached by braking, within the stated deceleration
GAIN = 1.5  # 1/s at which it is approached otherwise
STANDING = 0.5  # m/s below which a road user counts as standing


class Relation(enum.IntEnum):
    """Where, seen from the ego, a road user must be to do something."""

    AHEAD = 0
    LEFT = 1
    RIGHT = 2
    BEHIND = 3
    ONCOMING = 4
    WALKER = 5
    KERB = 6


@flax.struct.dataclass
class View:
    """What a road user sees; fields share their batch dimensions.

    Attributes:
        ahead: from the ego's centre to its own, metres along the path.
        gap: from the ego's front bumper to its rear one, metres; negative beside it.
        behind: from its front bumper to the ego's rear one, metres; negative beside it.
        left: its offset to the left of the path, metres.
        ego_left: the ego's.
        speed: its own, m/s.
        ego_speed: the ego's, m/s.
        first_left: its offset when it began.
        first_speed: its speed when it began, m/s.
        clock: seconds since it began.
        phase: what the behaviour said last, 0 at first; never falls.
        way: 1 along the path, -1 against it.
    """

    ahead: Float[Array, " *b"]
    gap: Float[Array, " *b"]
    behind: Float[Array, " *b"]
    left: Float[Array, " *b"]
    ego_left: Float[Array, " *b"]
    speed: Float[Array, " *b"]
    ego_speed: Float[Array, " *b"]
    first_left: Float[Array, " *b"]
    first_speed: Float[Array, " *b"]
    clock: Float[Array, " *b"]
    phase: Float[Array, " *b"]
    way: Float[Array, " *b"]


@flax.struct.dataclass
class Command:
    """What it does next; fields share their batch dimensions.

    Attributes:
        acceleration: m/s2.
        left: offset from the path that it steers for, metres.
        reach: distance along the path to the point that it steers for, metres, in its direction of travel.
        phase: 0, 1, 2 ...
        begins: whether it begins now, where it has not yet.
    """

    acceleration: Float[Array, " *b"]
    left: Float[Array, " *b"]
    reach: Float[Array, " *b"]
    phase: Float[Array, " *b"]
    begins: Bool[Array, " *b"]


@dataclasses.dataclass(frozen=True)
class Parameter:
    """A number of a behaviour.

    Attributes:
        name: of it.
        mild: its mildest value.
        severe: its most severe one; smaller than ``mild`` where less is worse.
        unit: in SI.
    """

    name: str
    mild: float
    severe: float
    unit: str

    @property
    def bounds(self) -> tuple[float, float]:
        """Smallest and largest value."""
        return min(self.mild, self.severe), max(self.mild, self.severe)


@dataclasses.dataclass(frozen=True)
class Behaviour:
    """Something that a road user may do.

    Attributes:
        name: of it.
        relation: where it must be at first.
        parameters: at most ``PARAMETERS``.
        act: from a ``View`` and the parameters by name to a ``Command``.
        kinds: who does it, of ``CATEGORIES``.
        tests_only: never trained with.
        staged: metres (from the ego's rear bumper back to its front one, to the ego's left) at which a road user that
            the clip does not otherwise show is put where the log has nobody in place; None: only who is there does it.
    """

    name: str
    relation: Relation
    parameters: tuple[Parameter, ...]
    act: Callable[..., Command]
    kinds: tuple[str, ...] = (VEHICLE, OTHER)
    tests_only: bool = False
    staged: tuple[float, float] | None = None

    @property
    def kind_mask(self) -> tuple[bool, ...]:
        """Which of ``CATEGORIES`` do it."""
        return tuple(name in self.kinds for name in CATEGORIES)


def _approach(view: View, speed: Array, most: Array | float = 8.0) -> Array:
    """Acceleration towards a speed, braking no harder than stated."""
    return jnp.maximum(GAIN * (speed - view.speed), -jnp.asarray(most))


def _brake(view: View, speed: Array | float, deceleration: Array) -> Array:
    """Acceleration down to a speed at a deceleration, and none once there."""
    return -jnp.clip(SHARPNESS * (view.speed - speed), 0.0, deceleration)


def _reach(view: View, seconds: Array | float, least: float = 4.0) -> Array:
    return jnp.maximum(view.speed * seconds, least)


def _arrival(view: View) -> Array:
    """Seconds until the ego's front is where the road user is now."""
    return jnp.where(view.ahead > 0, view.gap, 1e3) / jnp.maximum(view.ego_speed, 0.5)


def _now(view: View) -> Array:
    return view.clock >= 0


def _hold(view: View) -> tuple[Array, Array]:
    """Lateral place and phase of one that stays in its lane."""
    return view.first_left, view.phase


def hard_brake(view: View, deceleration: Array, share: Array, headway: Array) -> Command:
    """The leader brakes hard, once the ego follows it closely enough."""
    left, phase = _hold(view)
    near = view.gap < headway * view.ego_speed
    return Command(_brake(view, share * view.first_speed, deceleration), left, _reach(view, 1.0), phase, near)


def stopped_ahead(view: View, deceleration: Array, offset: Array, headway: Array) -> Command:
    """The leader comes to a stop and stands in the lane, perhaps a little aside."""
    near = view.gap < headway * view.ego_speed
    return Command(_brake(view, 0.0, deceleration), offset, _reach(view, 1.5), view.phase, near)


def _cut_in(view: View, side: float, gap: Array, duration: Array, share: Array, overtaking: Array) -> Command:
    parked = view.first_speed < STANDING
    # One that stands waits for the ego; one that drives draws level first.
    begins = jnp.where(parked, (view.gap < gap + view.ego_speed) & (view.gap > 0), _now(view))
    phase = jnp.where(parked | (view.gap >= gap), 1.0, view.phase)
    aside = jnp.where(jnp.abs(view.first_left) > 0.5 * LANE, view.first_left, side * LANE)
    cutting = phase > 0
    pace = _approach(view, view.ego_speed + overtaking)
    # It slows down once it is half in the way, not beside it.
    inside = jnp.abs(view.left) < 2.2
    after = _approach(view, jnp.where(inside, share, 1.1) * view.ego_speed, 6.0)
    # Pure pursuit crosses over in about two and a half times the time to its point.
    reach = jnp.where(cutting, _reach(view, 0.4 * duration, 3.5), _reach(view, 1.0))
    return Command(jnp.where(cutting, after, pace), jnp.where(cutting, 0.0, aside), reach, phase, begins)


def cut_in_left(view: View, gap: Array, duration: Array, share: Array, overtaking: Array) -> Command:
    """Overtakes or drives on the left, comes in closely ahead and slows down."""
    return _cut_in(view, 1.0, gap, duration, share, overtaking)


def cut_in_right(view: View, gap: Array, duration: Array, share: Array, overtaking: Array) -> Command:
    """The same from the right, or out of a row of parked cars."""
    return _cut_in(view, -1.0, gap, duration, share, overtaking)


def sudden_lane_change(view: View, gap: Array, duration: Array, across: Array, overtaking: Array) -> Command:
    """Changes into or through the ego's lane at once, hardly ahead of it, without slowing down much."""
    phase = jnp.where(view.gap >= gap, 1.0, view.phase)
    side = jnp.where(view.first_left < 0, -1.0, 1.0)
    aside = jnp.where(jnp.abs(view.first_left) > 0.5 * LANE, view.first_left, side * LANE)
    changing = phase > 0
    speed = jnp.where(changing, 0.85 * view.ego_speed, view.ego_speed + overtaking)
    left = jnp.where(changing, -side * across, aside)
    reach = jnp.where(changing, _reach(view, 0.4 * duration, 3.0), _reach(view, 1.0))
    return Command(_approach(view, speed, 4.0), left, reach, phase, _now(view))


def merge(view: View, lead: Array, acceleration: Array, share: Array) -> Command:
    """Pulls out from the kerb, a ramp or a side lane into the ego's lane and picks up speed."""
    begins = (_arrival(view) < lead) & (view.gap > 0)
    wanted = jnp.minimum(GAIN * (share * view.ego_speed - view.speed), acceleration)
    return Command(jnp.maximum(wanted, -3.0), jnp.zeros_like(lead), _reach(view, 1.1, 3.8), view.phase, begins)


def tailgate(view: View, closest: Array, closing: Array) -> Command:
    """Closes in from behind to a tiny gap; where that is negative, it pushes unless the ego gives way."""
    error = view.behind - closest
    speed = view.ego_speed + jnp.clip(0.8 * error, -3.0, closing)
    return Command(_approach(view, speed), view.ego_left, _reach(view, 1.0, 6.0), view.phase, _now(view))


def oncoming_drift(view: View, lead: Array, left: Array, hold: Array) -> Command:
    """Comes the other way and drifts into the ego's lane, then pulls back."""
    closing = view.ego_speed + view.speed
    begins = (view.ahead > 0) & (view.gap < lead * closing)
    away = view.clock > hold
    wanted = jnp.where(away, view.first_left, jnp.sign(view.first_left) * left)
    return Command(jnp.zeros_like(lead), wanted, _reach(view, 0.9, 5.0), view.phase, begins)


def crossing(view: View, speed: Array, short: Array) -> Command:
    """Steps or rides into the road so as to be in front of the ego, or a little short of it, when that arrives."""
    return _cross(view, speed, short, jnp.zeros_like(speed))


def _cross(view: View, speed: Array, short: Array, early: Array) -> Command:
    until = (jnp.abs(view.left) - short) / speed + early
    begins = (_arrival(view) < until) & (view.gap > 0)
    # A point that is near makes it turn at once, and it never arrives there.
    over = view.left - 0.8 * jnp.sign(view.first_left)
    return Command(2.5 * (speed - view.speed), over, jnp.zeros_like(speed), view.phase, begins)


def brake_check(view: View, gap: Array, duration: Array, deceleration: Array, overtaking: Array) -> Command:
    """Overtakes, cuts in and then brakes to a stop."""
    cut = _cut_in(view, 1.0, gap, duration, jnp.ones_like(gap), overtaking)
    inside = (cut.phase > 0) & (jnp.abs(view.left) < 0.7)
    phase = jnp.where(inside, 2.0, jnp.maximum(cut.phase, view.phase))
    acceleration = jnp.where(phase > 1, _brake(view, 0.0, deceleration), cut.acceleration)
    return cut.replace(acceleration=acceleration, phase=phase)  # type: ignore[attr-defined]


def hesitant_crossing(view: View, speed: Array, early: Array, pause: Array, place: Array) -> Command:
    """Steps into the road, stands there, and goes on only later."""
    cross = _cross(view, speed, place, early)
    there = view.left * jnp.sign(view.first_left) < place
    phase = jnp.where(there & (view.phase < 1), view.clock + 1.0, view.phase)
    waiting = (phase >= 1) & (view.clock - (phase - 1.0) < pause)
    return cross.replace(  # type: ignore[attr-defined]
        acceleration=jnp.where(waiting, -5.0, cross.acceleration), phase=phase
    )


def weave_and_brake(view: View, swing: Array, duration: Array, deceleration: Array, headway: Array) -> Command:
    """The leader swings out of its lane, comes back and brakes."""
    out = view.clock < duration
    braking = view.clock > 1.5 * duration
    left = jnp.where(out, view.first_left + swing, 0.0)
    acceleration = jnp.where(braking, _brake(view, 0.0, deceleration), 0.0)
    near = view.gap < headway * view.ego_speed
    return Command(acceleration, left, _reach(view, 0.5 * duration, 3.5), view.phase, near)


PARAMETERS = 4
_WALKERS = (PEDESTRIAN, CYCLIST)
_HEADWAY = Parameter("headway", 4.0, 2.0, "s")
_OVERTAKING = Parameter("overtaking", 6.0, 3.0, "m/s")

BEHAVIOURS: tuple[Behaviour, ...] = (
    Behaviour(
        "cut_in_left", Relation.LEFT,
        (Parameter("gap", 6.0, 1.5, "m"), Parameter("duration", 2.6, 1.2, "s"), Parameter("share", 0.8, 0.25, ""),
         _OVERTAKING),
        cut_in_left, staged=(-7.0, LANE),
    ),
    Behaviour(
        "cut_in_right", Relation.RIGHT,
        (Parameter("gap", 6.0, 1.5, "m"), Parameter("duration", 2.6, 1.2, "s"), Parameter("share", 0.8, 0.25, ""),
         _OVERTAKING),
        cut_in_right, staged=(-7.0, -LANE),
    ),
    Behaviour(
        "hard_brake", Relation.AHEAD,
        (Parameter("deceleration", 4.0, 8.0, "m/s2"), Parameter("share", 0.3, 0.0, ""), _HEADWAY),
        hard_brake,
    ),
    Behaviour(
        "sudden_lane_change", Relation.LEFT,
        (Parameter("gap", 4.0, 0.5, "m"), Parameter("duration", 1.6, 0.8, "s"), Parameter("across", 0.0, 1.2, "m"),
         _OVERTAKING),
        sudden_lane_change, staged=(-7.0, LANE),
    ),
    Behaviour(
        "merge", Relation.KERB,
        (Parameter("lead", 3.5, 1.6, "s"), Parameter("acceleration", 3.0, 1.2, "m/s2"),
         Parameter("share", 0.9, 0.4, "")),
        merge,
    ),
    Behaviour(
        "tailgate", Relation.BEHIND,
        (Parameter("closest", 1.5, -2.0, "m"), Parameter("closing", 1.5, 5.0, "m/s")),
        tailgate, staged=(14.0, 0.0),
    ),
    Behaviour(
        "stopped_ahead", Relation.AHEAD,
        (Parameter("deceleration", 1.5, 4.0, "m/s2"), Parameter("offset", -0.9, 0.3, "m"), _HEADWAY),
        stopped_ahead,
    ),
    Behaviour(
        "oncoming_drift", Relation.ONCOMING,
        (Parameter("lead", 3.5, 1.6, "s"), Parameter("left", 2.0, 0.4, "m"), Parameter("hold", 1.0, 2.5, "s")),
        oncoming_drift,
    ),
    Behaviour(
        "crossing", Relation.WALKER,
        (Parameter("speed", 1.2, 3.0, "m/s"), Parameter("short", 1.4, 0.0, "m")),
        crossing, kinds=_WALKERS,
    ),
    Behaviour(
        "brake_check", Relation.LEFT,
        (Parameter("gap", 6.0, 1.5, "m"), Parameter("duration", 2.4, 1.2, "s"),
         Parameter("deceleration", 4.0, 8.0, "m/s2"), _OVERTAKING),
        brake_check, tests_only=True, staged=(-7.0, LANE),
    ),
    Behaviour(
        "hesitant_crossing", Relation.WALKER,
        (Parameter("speed", 1.2, 3.0, "m/s"), Parameter("early", 1.6, 0.2, "s"), Parameter("pause", 0.8, 3.0, "s"),
         Parameter("place", 1.6, -0.5, "m")),
        hesitant_crossing, kinds=_WALKERS, tests_only=True,
    ),
    Behaviour(
        "weave_and_brake", Relation.AHEAD,
        (Parameter("swing", 1.0, 2.6, "m"), Parameter("duration", 1.8, 1.0, "s"),
         Parameter("deceleration", 4.0, 8.0, "m/s2"), _HEADWAY),
        weave_and_brake, tests_only=True,
    ),
)  # fmt: skip
NAMES = tuple(behaviour.name for behaviour in BEHAVIOURS)
TRAINED = tuple(number for number, behaviour in enumerate(BEHAVIOURS) if not behaviour.tests_only)
TESTS_ONLY = tuple(number for number, behaviour in enumerate(BEHAVIOURS) if behaviour.tests_only)
