"""The families of cousins by name, and the ranges that their parameters are drawn from."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray


@dataclasses.dataclass(frozen=True)
class Range:
    """Numbers from ``low`` to ``high``, all equally likely."""

    low: float
    high: float

    def __post_init__(self) -> None:
        if not self.low <= self.high:
            raise ValueError(f"Range goes from {self.low} to {self.high}; expected the lower number first")


@dataclasses.dataclass(frozen=True)
class Offset:
    """Drive beside the recorded path all along.

    Attributes:
        lateral: metres, to either side.
        pace: factor on the recorded speed.
    """

    lateral: Range = Range(0.3, 1.4)
    pace: Range = Range(0.85, 1.1)


@dataclasses.dataclass(frozen=True)
class LaneChange:
    """Go over to the next lane and stay there.

    Attributes:
        lateral: width of a lane, metres, to either side.
        begin: seconds after the start.
        seconds: that it takes at the recorded speed.
        pace: factor on the recorded speed.
    """

    lateral: Range = Range(2.8, 3.8)
    begin: Range = Range(0.2, 1.2)
    seconds: Range = Range(3.0, 4.5)
    pace: Range = Range(0.85, 1.1)


@dataclasses.dataclass(frozen=True)
class Swerve:
    """Leave the path to one side and come back.

    Attributes:
        lateral: farthest, metres, to either side.
        begin: seconds after the start.
        seconds: of the whole at the recorded speed.
        pace: factor on the recorded speed.
    """

    lateral: Range = Range(0.6, 1.9)
    begin: Range = Range(0.2, 1.2)
    seconds: Range = Range(3.2, 4.6)
    pace: Range = Range(0.8, 1.05)


@dataclasses.dataclass(frozen=True)
class Recovery:
    """Begin beside the path, pointing away from it, and come back to it.

    Attributes:
        lateral: metres, to either side, at the start.
        heading: radians, away from the path, at the start.
        seconds: until it is back, at the recorded speed.
        pace: factor on the recorded speed.
    """

    lateral: Range = Range(0.4, 1.6)
    heading: Range = Range(0.0, 0.09)
    seconds: Range = Range(3.0, 4.5)
    pace: Range = Range(0.8, 1.05)


@dataclasses.dataclass(frozen=True)
class Turn:
    """Turn off: along a lane that leaves the recorded path where the map has one, else through free space.

    Attributes:
        before: metres ahead of the turn at which it starts.
        angle: radians, to either side, of a turn through free space.
        radius: metres, likewise.
        lateral_acceleration: by which the turn's speed is chosen, m/s2.
        least: speed on a straight, where the recorded one is less, m/s.
    """

    before: Range = Range(4.0, 14.0)
    angle: Range = Range(0.6, 1.57)
    radius: Range = Range(8.0, 25.0)
    lateral_acceleration: Range = Range(1.2, 2.6)
    least: Range = Range(4.0, 7.0)


@dataclasses.dataclass(frozen=True)
class Speed:
    """Keep to the path at another speed than was recorded, and change it on the way.

    Attributes:
        first: factor on the recorded speed at the start.
        last: the same after the change.
        begin: seconds after the start at which it changes.
        seconds: that the change takes.
    """

    first: Range = Range(0.6, 1.25)
    last: Range = Range(0.45, 1.4)
    begin: Range = Range(0.3, 2.0)
    seconds: Range = Range(3.0, 5.0)


@dataclasses.dataclass(frozen=True)
class Stop:
    """Brake to a standstill and stay.

    Attributes:
        begin: seconds after the start.
        braking: m/s2, but for its beginning and end.
        pace: factor on the recorded speed.
    """

    begin: Range = Range(0.1, 1.2)
    braking: Range = Range(1.6, 3.9)
    pace: Range = Range(0.7, 1.05)


@dataclasses.dataclass(frozen=True)
class Begin:
    """Stand, and drive off.

    Attributes:
        begin: seconds after the start.
        acceleration: at its hardest, m/s2.
        cruise: speed to reach, m/s.
    """

    begin: Range = Range(0.1, 1.0)
    acceleration: Range = Range(1.0, 2.2)
    cruise: Range = Range(3.0, 9.0)


@dataclasses.dataclass(frozen=True)
class StopAndGo:
    """Brake hard without quite stopping, or to a standstill, and drive on.

    Attributes:
        begin: seconds after the start.
        seconds: of the braking, and of the speeding up.
        depth: share of the speed that is lost, or as much as the braking allows.
        braking: at its hardest, m/s2, and so the acceleration.
        pace: factor on the recorded speed.
    """

    begin: Range = Range(0.1, 0.6)
    seconds: Range = Range(2.2, 2.7)
    depth: Range = Range(0.4, 1.0)
    braking: Range = Range(1.4, 2.4)
    pace: Range = Range(0.6, 1.0)


@dataclasses.dataclass(frozen=True)
class Extension:
    """Drive where the recorded car had not come yet, or not come to at all: ahead of it, and beyond the log's end.

    Attributes:
        ahead: metres before the recorded car at the start.
        pace: factor on the recorded speed.
        least: m/s, where the recorded speed is less.
    """

    ahead: Range = Range(8.0, 60.0)
    pace: Range = Range(0.8, 1.2)
    least: Range = Range(3.0, 6.0)


Ranges = Offset | LaneChange | Swerve | Recovery | Turn | Speed | Stop | Begin | StopAndGo | Extension

FAMILIES: dict[str, Ranges] = {
    "offset": Offset(),
    "lane_change": LaneChange(),
    "swerve": Swerve(),
    "recovery": Recovery(),
    "turn": Turn(),
    "speed": Speed(),
    "stop": Stop(),
    "start": Begin(),
    "stop_and_go": StopAndGo(),
    "extension": Extension(),
}


def draw(ranges: Ranges, key: PRNGKeyArray, count: int) -> dict[str, Float[Array, " draw"]]:
    """Parameters of so many cousins: one of each range, ``side`` (1 left, -1 right) and ``which`` in [0, 1).

    A key gives the same first draws however many are asked for.
    """
    fields: dict[str, Any] = {field.name: getattr(ranges, field.name) for field in dataclasses.fields(ranges)}
    keys = jax.vmap(lambda number: jax.random.fold_in(key, number))(jnp.arange(count))
    uniform = jax.vmap(lambda one: jax.random.uniform(one, (len(fields) + 2,)))(keys)
    parameters = {
        name: one.low + (one.high - one.low) * uniform[:, number] for number, (name, one) in enumerate(fields.items())
    }
    parameters["side"] = jnp.where(uniform[:, -2] < 0.5, -1.0, 1.0)
    parameters["which"] = uniform[:, -1]
    return parameters
