"""Where a drive could have gone on or turned off: its curve prolonged along the lanes of the map, and the branches."""

import dataclasses
from collections.abc import Iterator

import numpy as np
from jaxtyping import Float

from jaxrecon.geometry.transforms import in_frame, wrap_angle
from jaxrecon.logs.driving_log import RoadMap

JOINED = 2.0  # metres from a lane's centre within which a car is on it
ENDS = 1.5  # metres between the end of a lane and the start of the next
ALIGNED = np.radians(30)  # between a car's heading and its lane's
SETTLING = 20.0  # metres over which an offset from the lane's centre dies out
DEPARTED = np.radians(35)  # change of heading against the drive's own from which a branch is a turn
SIMILAR = 6.0  # metres between the ends of two branches that count as one
DEPTH = 4  # lanes in a row that a branch follows


@dataclasses.dataclass(frozen=True)
class Branch:
    """A way that leaves the drive.

    Attributes:
        points: world, metres, from the drive's first point on.
        departure: distance along them at which it leaves the drive, metres.
    """

    points: Float[np.ndarray, "n 2"]
    departure: float


def prolonged(road: RoadMap | None, points: Float[np.ndarray, "n 2"], heading: float, metres: float) -> np.ndarray:
    """What comes after the last of these points: along its lane where the map has one, else straight on.

    Args:
        road: the map; None: there is none.
        points: the drive, world, metres.
        heading: at the last point, radians.
        metres: how far.
    """
    end = points[-1]
    lanes = [] if road is None else _usable(road)
    on = [(abs(left), i, k) for i, k, left in _under(lanes, end, heading)]
    way = np.zeros((0, 2))
    if on:
        _, lane, vertex = min(on)
        straightest = max(_ways(lanes, lane, lanes[lane][vertex + 1 :], metres), key=_straightness)
        way = _settled(end, heading, straightest)
    if not len(way):
        ahead = np.array([np.cos(heading), np.sin(heading)])
        return end + np.arange(1.0, metres + 1.0)[:, None] * ahead
    return _resampled(np.concatenate([end[None], way]), metres)[1:]


def branches(road: RoadMap | None, points: Float[np.ndarray, "n 2"], metres: float, most: int) -> list[Branch]:
    """Ways along the map's lanes that leave the drive by a turn, farthest apart first.

    Args:
        road: the map; None: there is none.
        points: the drive with its continuation, world, metres, about a metre apart.
        metres: how far a branch goes after it has left.
        most: how many.
    """
    if road is None or len(points) < 3:
        return []
    lanes, step = _usable(road), np.gradient(points, axis=0)
    heading = np.arctan2(step[:, 1], step[:, 0])
    arc = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=-1))])
    found: list[tuple[float, Branch]] = []
    for number, lane in enumerate(lanes):
        away = np.linalg.norm(points - lane[0], axis=-1)
        near = int(np.argmin(away))
        along = np.arctan2(*(lane[min(1, len(lane) - 1)] - lane[0])[::-1])
        if away[near] > JOINED or abs(wrap_angle(along - heading[near])) > ALIGNED:
            continue
        for way in _ways(lanes, number, lane, metres):
            turned = _end_heading(way) - heading[near]
            later = heading[min(near + round(_length(way)), len(heading) - 1)] - heading[near]
            if abs(wrap_angle(turned - later)) < DEPARTED or _length(way) < 15:
                continue
            joined = _settled(points[near], float(heading[near]), way)
            if not len(joined):
                continue
            found.append(
                (abs(wrap_angle(turned - later)), Branch(np.concatenate([points[: near + 1], joined]), arc[near]))
            )
    kept: list[Branch] = []
    for _, branch in sorted(found, key=lambda one: -one[0]):
        if all(np.linalg.norm(branch.points[-1] - other.points[-1]) > SIMILAR for other in kept):
            kept.append(branch)
    return kept[:most]


def _usable(road: RoadMap) -> list[np.ndarray]:
    lanes = [np.asarray(lane, float)[:, :2] for lane in road.lane_centres]
    return [_resampled(lane, _length(lane)) for lane in lanes if len(lane) > 1 and _length(lane) > 1.0]


def _under(lanes: list[np.ndarray], point: np.ndarray, heading: float) -> Iterator[tuple[int, int, float]]:
    """Lanes that a car is on: index, nearest vertex, metres to the left of it."""
    for number, lane in enumerate(lanes):
        away = np.linalg.norm(lane - point, axis=-1)
        vertex = min(int(np.argmin(away)), len(lane) - 2)
        along = lane[vertex + 1] - lane[vertex]
        direction = np.arctan2(along[1], along[0])
        left = float(in_frame(point - lane[vertex], direction)[1])
        if abs(left) < JOINED and away.min() < 2 * JOINED and abs(wrap_angle(direction - heading)) < ALIGNED:
            yield number, vertex, left


def _ways(lanes: list[np.ndarray], lane: int, begun: np.ndarray, metres: float, depth: int = DEPTH) -> list[np.ndarray]:
    """All that can follow on what is left of a lane, lane after lane, at most so far."""
    if not len(begun):
        begun = lanes[lane][-1:]
    if _length(begun) >= metres or depth == 0:
        return [begun[: int(metres) + 2]]
    end, direction = begun[-1], _end_heading(lanes[lane])
    ways = []
    for number, other in enumerate(lanes):
        along = np.arctan2(*(other[1] - other[0])[::-1])
        if number != lane and np.linalg.norm(other[0] - end) < ENDS and abs(wrap_angle(along - direction)) < ALIGNED:
            rest = _ways(lanes, number, other, metres - _length(begun), depth - 1)
            ways += [np.concatenate([begun, way[1:]]) for way in rest]
    return ways or [begun]


def _settled(start: np.ndarray, heading: float, way: np.ndarray) -> np.ndarray:
    """A way from a place beside it on: the offset dies out over the first metres, and what lies behind is left out.

    Nothing is left of a way that lies behind altogether.
    """
    ahead = (way - start) @ np.array([np.cos(heading), np.sin(heading)])
    if not (ahead > 0.5).any():
        return way[:0]
    behind = int(np.argmax(ahead > 0.5))
    way = way[behind:]
    normal = np.array([-np.sin(heading), np.cos(heading)])
    left = float((start - way[0]) @ normal)
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(way, axis=0), axis=-1))]) + float(ahead[behind])
    share = np.clip(along / SETTLING, 0.0, 1.0)
    step = np.gradient(way, axis=0) if len(way) > 1 else np.array([[np.cos(heading), np.sin(heading)]])
    step = step / np.maximum(np.linalg.norm(step, axis=-1, keepdims=True), 1e-9)
    sideways = np.stack([-step[:, 1], step[:, 0]], axis=-1)
    return way + (left * (1 - share**3 * (10 - 15 * share + 6 * share**2)))[:, None] * sideways


def _resampled(points: np.ndarray, metres: float) -> np.ndarray:
    """The same line with a point a metre, prolonged straight where it is shorter."""
    arc = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=-1))])
    wanted = np.arange(0.0, metres + 1e-6, 1.0)
    inside = np.stack([np.interp(wanted, arc, points[:, axis]) for axis in (0, 1)], axis=-1)
    beyond = np.maximum(wanted - arc[-1], 0.0)[:, None]
    direction = points[-1] - points[-2]
    return inside + beyond * direction / max(np.linalg.norm(direction), 1e-9)


def _length(points: np.ndarray) -> float:
    return float(np.linalg.norm(np.diff(points, axis=0), axis=-1).sum())


def _end_heading(points: np.ndarray) -> float:
    if len(points) < 2:
        return 0.0
    step = points[-1] - points[max(-4, -len(points))]
    return float(np.arctan2(step[1], step[0]))


def _straightness(points: np.ndarray) -> float:
    step = np.diff(points, axis=0)
    if len(step) < 2:
        return 0.0
    turns = wrap_angle(np.diff(np.arctan2(step[:, 1], step[:, 0])))
    return -abs(float(turns.sum())) + 0.001 * _length(points)
