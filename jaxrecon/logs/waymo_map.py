"""The map and the traffic lights of a Waymo Open Motion scenario in the JSON of GPUDrive."""

import pathlib
from typing import Any

import numpy as np

from jaxrecon.logs.driving_log import LIGHT_STATES, RoadMap, TrafficLight
from jaxrecon.logs.errors import LogError
from jaxrecon.logs.json_text import COPY_AGAIN, entry, measured, numbers, points

# Numbers of map elements as Waymax has them; files of the first version have none.
LINE_KIND_OF_ELEMENT = {
    6: "dashed_white",
    7: "solid_white",
    8: "double_white",
    9: "dashed_yellow",
    10: "dashed_yellow",
    11: "solid_yellow",
    12: "double_yellow",
    13: "double_yellow",
}
BIKE_LANE = 3
PART_OF_TYPE = {"lane": "lane_centres", "road_line": "lane_lines", "road_edge": "road_edges", "crosswalk": "crosswalks"}
OTHER_TYPES = ("stop_sign", "speed_bump", "driveway")


def read_map(roads: list[Any], axes: str, origin: np.ndarray, file: pathlib.Path) -> tuple[RoadMap, dict[int, int]]:
    """The map, recentred, and which lane centre each lane's number stands for.

    Args:
        roads: the list of the file.
        axes: "xyz" or "xy", the coordinates that its points have.
        origin: taken off all points, metres.
        file: for errors.
    """
    parts: dict[str, list[np.ndarray]] = {part: [] for part in PART_OF_TYPE.values()}
    kinds: list[str] = []
    lane_of_road: dict[int, int] = {}
    for number, road in enumerate(roads):
        field = f"roads[{number}]"
        kind = entry(road, "type", str, file, field)
        if kind not in PART_OF_TYPE and kind not in OTHER_TYPES:
            known = ", ".join([*PART_OF_TYPE, *OTHER_TYPES])
            raise LogError(f"is {kind!r}, known are {known}", file=file, field=f"{field}.type", remedy=COPY_AGAIN)
        geometry = points(entry(road, "geometry", list, file, field), axes, file, f"{field}.geometry")
        line = measured(geometry, file, f"{field}.geometry") - origin
        element = road.get("map_element_id")
        if kind in OTHER_TYPES or len(line) < (3 if kind == "crosswalk" else 2) or element == BIKE_LANE:
            continue
        if kind == "road_line":
            kinds.append(LINE_KIND_OF_ELEMENT.get(element, "unknown") if isinstance(element, int) else "unknown")
        if kind == "lane" and "id" in road:
            lane_of_road[entry(road, "id", int, file, field)] = len(parts["lane_centres"])
        parts[PART_OF_TYPE[kind]].append(line[:, :2].copy() if kind == "crosswalk" else line)
    return RoadMap(**{part: tuple(lines) for part, lines in parts.items()}, line_kinds=tuple(kinds)), lane_of_road


def read_lights(
    states: dict[str, Any],
    lane_of_road: dict[int, int],
    recorded: int,
    origin: np.ndarray,
    chosen: np.ndarray,
    file: pathlib.Path,
) -> tuple[TrafficLight, ...]:
    """The traffic lights; steps for which the file tells no state are unknown.

    Args:
        states: by the number of the lane that a light rules.
        lane_of_road: index of the lane centre of each lane's number.
        recorded: how many steps the file has.
        origin: taken off all points, metres.
        chosen: the steps that are read.
        file: for errors.
    """
    lights = []
    for lane, note in states.items():
        field = f"tl_states[{lane}]"
        told = entry(note, "state", list, file, field)
        columns = {name: numbers(entry(note, name, list, file, field), file, f"{field}.{name}") for name in "xy"}
        columns["z"] = numbers(note["z"], file, f"{field}.z") if "z" in note else np.full(len(told), origin[2])
        steps = numbers(note.get("time_index", list(range(len(told)))), file, f"{field}.time_index")
        lengths = {"state": len(told), "time_index": len(steps)} | {name: len(c) for name, c in columns.items()}
        inside = np.isin(steps, np.arange(recorded)).all()
        if len(set(lengths.values())) > 1 or not len(told) or not inside:
            problem = f"has {lengths} entries, expected as many of each, at least one, at steps 0 to {recorded - 1}"
            raise LogError(problem, file=file, field=field, remedy=COPY_AGAIN)
        place = measured(np.stack([columns[axis] for axis in "xyz"], axis=-1)[:1], file, field)[0]
        state = np.zeros(recorded, np.int64)
        state[steps.astype(int)] = [_state(name, field, file) for name in told]
        road = int(lane) if lane.isascii() and lane.isdigit() else -1
        lights.append(TrafficLight(lane_of_road.get(road, -1), place - origin, state[chosen]))
    return tuple(lights)


def _state(name: Any, field: str, file: pathlib.Path) -> int:
    """Index into ``LIGHT_STATES``; arrows and flashing lights count as full and steady ones."""
    plain = name.removeprefix("arrow_").removeprefix("flashing_") if isinstance(name, str) else ""
    if plain not in LIGHT_STATES:
        problem = f"is {name!r}, expected one of {LIGHT_STATES}, with arrow_ or flashing_ before it or without"
        raise LogError(problem, file=file, field=f"{field}.state", remedy=COPY_AGAIN)
    return LIGHT_STATES.index(plain)
