"""Stop lines of a recording from its traffic lights."""

import dataclasses

import numpy as np
from jaxtyping import Bool, Float

from jaxrecon.geometry.transforms import yaw_of
from jaxrecon.logs.driving_log import LIGHT_STATES, DrivingLog, TrafficLight
from jaxrecon.scene.road_geometry import Pieces, nearest_piece, pieces_of
from jaxrecon.scene.roads import StopLines, no_stop_lines

SHARED = 1.5  # metres within which the stop points of two lights are on one line
ALIKE = np.cos(np.pi / 4)  # least cosine between the directions of two lanes that share a line
BEYOND = (5.0, 10.0, 15.0)  # metres past the line at which a lane is compared with the recorded path
SAME_LANE = 1.75  # metres; a path that stays nearer to a lane follows it


@dataclasses.dataclass(frozen=True)
class _Ruled:
    """A light with the geometry of its lane."""

    light: TrafficLight
    direction: Float[np.ndarray, "2"]
    followed: bool


def stop_lines(log: DrivingLog, half_width: float) -> StopLines:
    """One line for every place where lights make cars stop, across its lane (host; ``stop`` is (frame, line)).

    Lanes that part at a junction share a stop line and have a light each. Who crosses it runs a red light if the light
    of the lane that the recorded car followed says stop; where it followed none of them, if they all do. An arrow for
    another direction is therefore never mistaken for the ego's light.

    Args:
        log: the recording.
        half_width: of a line, to each side of the stop point, metres.

    Raises:
        ValueError: if a light rules a lane that the map does not have.
    """
    driven = pieces_of([log.world_from_ego[:, :2, 3]], 0.5)
    ruled = [_rule(log, light, driven) for light in log.lights]
    groups: list[list[_Ruled]] = []
    for one in ruled:
        for group in groups:
            if _share(group[0], one):
                group.append(one)
                break
        else:
            groups.append([one])
    if not groups:
        return no_stop_lines(log.frames)
    return StopLines(
        point=np.stack([_point(group[0]) for group in groups]),  # type: ignore[arg-type]
        direction=np.stack([group[0].direction for group in groups]),  # type: ignore[arg-type]
        half_width=np.full(len(groups), half_width),  # type: ignore[arg-type]
        stop=np.stack([_stops(group) for group in groups], axis=-1),  # type: ignore[arg-type]
        valid=np.ones(len(groups), bool),  # type: ignore[arg-type]
    )


def _point(ruled: _Ruled) -> Float[np.ndarray, "2"]:
    return np.asarray(ruled.light.stop_point[:2], np.float64)


def _share(first: _Ruled, second: _Ruled) -> bool:
    near = np.linalg.norm(_point(first) - _point(second)) < SHARED
    return bool(near and first.direction @ second.direction > ALIKE)


def _stops(group: list[_Ruled]) -> Bool[np.ndarray, " frame"]:
    counted = [one for one in group if one.followed] or group
    states = np.stack([np.asarray(one.light.state) for one in counted])
    return np.all(states == LIGHT_STATES.index("stop"), axis=0)


def _rule(log: DrivingLog, light: TrafficLight, driven: Pieces) -> _Ruled:
    """Where a light's lane leads, and whether the recorded car went there."""
    point = np.asarray(light.stop_point[:2], np.float64)[None]
    centres = () if log.road_map is None else log.road_map.lane_centres
    if light.lane >= len(centres):
        raise ValueError(
            f"log {log.name} has a light for lane {light.lane} but its map has {len(centres)} lanes; correct the "
            "light's lane, or make it -1 where it is not known"
        )
    lanes = pieces_of(centres[light.lane : light.lane + 1] if light.lane >= 0 else centres, 0.5)
    nearest = nearest_piece(lanes, point, np.inf).piece[0]
    if nearest < 0:
        frame = int(np.argmin(np.linalg.norm(log.world_from_ego[:, :2, 3] - point, axis=-1)))
        yaw = float(yaw_of(log.world_from_ego[frame, :3, :3]))
        return _Ruled(light, np.array([np.cos(yaw), np.sin(yaw)]), followed=True)
    lane = lanes[lanes.line == lanes.line[nearest]]
    here = int(np.sum(lanes.line[:nearest] == lanes.line[nearest]))
    length = np.linalg.norm(lane.end[here:] - lane.start[here:], axis=-1)
    past = here + np.minimum(np.searchsorted(np.cumsum(length), BEYOND), len(length) - 1)
    away = nearest_piece(driven, lane.middle[past], SAME_LANE)
    return _Ruled(light, lanes.direction[nearest], followed=bool(np.all(away.piece >= 0)))
