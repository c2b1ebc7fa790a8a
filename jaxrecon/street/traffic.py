"""Cars that follow lanes by the Intelligent Driver Model, and people who walk along the pavements.

Source: Treiber, Hennecke, Helbing, "Congested traffic states in empirical observations and microscopic simulations",
Physical Review E 62, 2000, equations 2 and 3.
"""

import dataclasses

import numpy as np
from jaxtyping import Float

from jaxrecon.street.ground import LANE_WIDTH, STOP_LINE
from jaxrecon.street.layout import Layout
from jaxrecon.street.roads import Road, curvature_at, pose_at

LATERAL_ACCELERATION = 2.2  # m/s^2 that drivers accept in bends
HARDEST = 6.0  # m/s^2: no driver brakes harder
ZIPPER = 45.0  # metres before a merge from which both lanes count as one


@dataclasses.dataclass(frozen=True)
class Idm:
    """Parameters of the Intelligent Driver Model.

    Attributes:
        acceleration: largest, m/s^2.
        braking: comfortable, m/s^2, positive.
        headway: desired time gap, s.
        jam: gap at standstill, m.
        exponent: of the free-road term.
    """

    acceleration: float = 1.6
    braking: float = 2.0
    headway: float = 1.4
    jam: float = 2.5
    exponent: float = 4.0


def idm(
    speed: Float[np.ndarray, "*b"] | float,
    desired: Float[np.ndarray, "*b"] | float,
    gap: Float[np.ndarray, "*b"] | float,
    closing: Float[np.ndarray, "*b"] | float,
    model: Idm = Idm(),
) -> Float[np.ndarray, "*b"]:
    """Acceleration of a driver, m/s^2, not below ``-HARDEST``.

    Args:
        speed: own, m/s.
        desired: on a free road, m/s.
        gap: bumper to bumper to the leader, m; infinite without one.
        closing: own speed less the leader's, m/s.
        model: parameters.

    Source: Treiber et al. 2000, equations 2 and 3.
    """
    speed, desired = np.asarray(speed, dtype=np.float64), np.asarray(desired, dtype=np.float64)
    gap, closing = np.asarray(gap, dtype=np.float64), np.asarray(closing, dtype=np.float64)
    wanted = speed * model.headway + speed * closing / (2 * np.sqrt(model.acceleration * model.braking))
    wanted = model.jam + np.maximum(wanted, 0.0)
    free = 1 - (speed / np.maximum(desired, 0.1)) ** model.exponent
    chosen = model.acceleration * (free - (wanted / np.maximum(gap, 0.05)) ** 2)
    return np.asarray(np.maximum(chosen, -HARDEST))


def equilibrium_gap(speed: float, desired: float, model: Idm = Idm()) -> float:
    """Gap at which a driver behind an equally fast leader neither brakes nor accelerates.

    Source: Treiber et al. 2000, equation 4.
    """
    return (model.jam + model.headway * speed) / np.sqrt(1 - (speed / desired) ** model.exponent)


@dataclasses.dataclass(frozen=True)
class Lane:
    """A directed line that cars follow.

    Attributes:
        road: which one.
        sign: +1 along the road, -1 against it; positions along the lane are ``sign * station``.
        lateral: offset to the left of the road's centre line, metres.
        group: lanes of one group follow each other (a ramp and the lane it joins).
    """

    road: int
    sign: int
    lateral: float
    group: str

    def poses(
        self, roads: tuple[Road, ...], along: Float[np.ndarray, "*b"] | float
    ) -> tuple[Float[np.ndarray, "*b 2"], Float[np.ndarray, "*b"]]:
        """Points and headings at positions along the lane."""
        points, heading = pose_at(roads[self.road], self.sign * np.asarray(along, dtype=np.float64), self.lateral)
        return points, np.asarray(heading if self.sign > 0 else heading + np.pi)

    def limit(self, roads: tuple[Road, ...], along: float, speed: float) -> float:
        """Highest speed from which the bends within braking distance can be taken, m/s."""
        ahead = np.linspace(0.0, 12.0 + speed * speed / 3.0, 12)
        bend = np.abs(curvature_at(roads[self.road], self.sign * (along + ahead)))
        allowed = np.sqrt(LATERAL_ACCELERATION / np.maximum(bend, 1e-6))
        # Braking at 1.5 m/s^2 on the way there.
        return float(np.min(np.sqrt(allowed**2 + 2 * 1.5 * ahead)))


@dataclasses.dataclass
class Driver:
    """One simulated car; ``along`` is the position of its middle on its lane.

    Attributes:
        lane: what it follows.
        along: metres.
        speed: m/s.
        desired: m/s on a free road.
        length: metres.
        slow: (from s, to s, factor) during which it wants to go slower.
        committed: whether it has decided to cross the junction.
    """

    lane: Lane
    along: float
    speed: float
    desired: float
    length: float
    slow: tuple[float, float, float] = (0.0, 0.0, 1.0)
    committed: bool = False

    def wanted(self, roads: tuple[Road, ...], time: float) -> float:
        """Desired speed now."""
        factor = self.slow[2] if self.slow[0] <= time < self.slow[1] else 1.0
        return min(self.desired * factor, self.lane.limit(roads, self.along, self.speed))


FORWARD = Lane(0, 1, -LANE_WIDTH / 2, "forward")
ONCOMING = Lane(0, -1, LANE_WIDTH / 2, "oncoming")
RAMP = Lane(1, 1, 0.0, "forward")


def side_lane(road: int, sign: int) -> Lane:
    """A lane of a crossing road."""
    return Lane(road, sign, -sign * LANE_WIDTH / 2, f"side {road} {sign}")


def leader_gap(own: Driver, others: list[Driver], merge: float | None) -> tuple[float, float]:
    """Gap to the nearest car ahead in the same group of lanes, and the speed of closing in; (inf, 0) without one."""
    best, closing = np.inf, 0.0
    for other in others:
        if other is own or other.lane.group != own.lane.group or other.along <= own.along:
            continue
        if other.lane.road != own.lane.road and merge is not None and min(own.along, other.along) < merge - ZIPPER:
            continue
        gap = other.along - own.along - (own.length + other.length) / 2
        if gap < best:
            best, closing = gap, own.speed - other.speed
    return best, closing


def junction_gap(own: Driver, everyone: list[Driver], layout: Layout) -> float:
    """Gap to the stop line for a car on a crossing road that has to wait; infinite where it may go.

    It goes when nobody on the main road can reach the crossing before it has left it.
    """
    if own.lane.road == 0 or own.lane.group == "forward":
        return np.inf
    main = layout.main
    for meet, (road, station) in zip(layout.junctions, layout.crossings, strict=True):
        if road != own.lane.road:
            continue
        middle = own.lane.sign * station
        half = float(max(main.left, main.right))
        stop = middle - half - STOP_LINE - 0.3
        if own.committed or own.along + own.length / 2 > stop + 1.0:
            return np.inf
        way = middle + half + own.length - own.along + own.length / 2
        needed = (-own.speed + np.sqrt(own.speed**2 + 2 * 1.2 * way)) / 1.2 + 1.5
        own.committed = stop - own.along - own.length / 2 < 4.0 and all(
            _arrival(other, meet) > needed for other in everyone if other.lane.road == 0
        )
        return np.inf if own.committed else max(stop - own.along - own.length / 2, 0.05)
    return np.inf


def _arrival(other: Driver, meet: float) -> float:
    """Earliest time at which a car on the main road can enter the crossing; infinite once it has left."""
    half = LANE_WIDTH + 3.0
    enter = other.lane.sign * meet - half - other.length / 2
    leave = other.lane.sign * meet + half + other.length / 2
    if other.along > leave:
        return np.inf
    return max(enter - other.along, 0.0) / max(other.speed, other.desired, 0.1)


def accelerate(own: Driver, everyone: list[Driver], layout: Layout, time: float, model: Idm) -> float:
    """Acceleration that a driver chooses now, m/s^2."""
    gap, closing = leader_gap(own, everyone, layout.merge)
    wanted = own.wanted(layout.roads, time)
    chosen = float(idm(own.speed, wanted, gap, closing, model))
    stop = junction_gap(own, everyone, layout)
    if np.isfinite(stop):
        chosen = min(chosen, float(idm(own.speed, wanted, stop, own.speed, Idm(jam=0.6))))
    return chosen


def move(own: Driver, acceleration: float, dt: float) -> None:
    """Advance along the lane; cars never roll backwards."""
    speed = max(own.speed + acceleration * dt, 0.0)
    own.along += (own.speed + speed) / 2 * dt
    own.speed = speed


def hand_over(own: Driver, merge: float | None) -> None:
    """Put a car that has reached the end of the ramp on the lane that it joins."""
    if merge is not None and own.lane == RAMP and own.along >= merge:
        own.lane = FORWARD
