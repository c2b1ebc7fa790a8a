"""Vector maps of Argoverse 2, as its sensor logs and forecasting scenarios share them."""

import pathlib
from typing import Any

import numpy as np
from jaxtyping import Float

from jaxrecon.logs.driving_log import RoadMap
from jaxrecon.logs.errors import LogError
from jaxrecon.logs.json_text import COPY_AGAIN, entry, measured, points, read_json

MAP = "log_map_archive_*.json"
BIKE_LANE = "BIKE"
LINE_KIND_OF_MARK = {
    "DASHED_WHITE": "dashed_white",
    "DASHED_YELLOW": "dashed_yellow",
    "DASH_SOLID_WHITE": "double_white",
    "DASH_SOLID_YELLOW": "double_yellow",
    "DOUBLE_DASH_WHITE": "dashed_white",
    "DOUBLE_DASH_YELLOW": "dashed_yellow",
    "DOUBLE_SOLID_WHITE": "double_white",
    "DOUBLE_SOLID_YELLOW": "double_yellow",
    "SOLID_BLUE": "unknown",
    "SOLID_DASH_WHITE": "double_white",
    "SOLID_DASH_YELLOW": "double_yellow",
    "SOLID_WHITE": "solid_white",
    "SOLID_YELLOW": "solid_yellow",
}
UNPAINTED = ("NONE", "UNKNOWN")


def find_map(path: pathlib.Path) -> pathlib.Path:
    """The only map of a log or scenario, in its folder or in ``map/``.

    Raises:
        LogError: there is none, or more than one.
    """
    found = [*path.glob(MAP), *path.glob(f"map/{MAP}")]
    if len(found) != 1:
        problem = f"has {len(found)} maps {MAP}, expected one, in the folder or in map/"
        raise LogError(problem, file=path, field="map", remedy=COPY_AGAIN)
    return found[0]


def read_map(file: pathlib.Path, origin: Float[np.ndarray, "3"]) -> RoadMap:
    """The map, recentred.

    Args:
        file: the map.
        origin: taken off all points, metres.

    Raises:
        LogError: naming the entry at fault.
    """
    content = read_json(file)
    parts = {
        name: entry(content, name, dict, file, "")
        for name in ("lane_segments", "drivable_areas", "pedestrian_crossings")
    }
    drivable = [
        _line(area, "area_boundary", file, f"drivable_areas[{key}]", origin)[:, :2].copy()
        for key, area in parts["drivable_areas"].items()
    ]
    crosswalks = [
        np.concatenate(
            [_line(crossing, "edge1", file, field, origin), _line(crossing, "edge2", file, field, origin)[::-1]]
        )[:, :2]
        for field, crossing in ((f"pedestrian_crossings[{key}]", c) for key, c in parts["pedestrian_crossings"].items())
    ]
    centres: list[np.ndarray] = []
    painted: dict[bytes, tuple[np.ndarray, str]] = {}
    for key, lane in parts["lane_segments"].items():
        field = f"lane_segments[{key}]"
        left, right = (_line(lane, f"{side}_lane_boundary", file, field, origin) for side in ("left", "right"))
        if entry(lane, "lane_type", str, file, field) != BIKE_LANE:
            centres.append(_midway(left, right))
        for side, line in (("left", left), ("right", right)):
            mark = entry(lane, f"{side}_lane_mark_type", str, file, field)
            if mark in UNPAINTED:
                continue
            if mark not in LINE_KIND_OF_MARK:
                problem = f"is {mark!r}, known are {', '.join(LINE_KIND_OF_MARK)}"
                raise LogError(problem, file=file, field=f"{field}.{side}_lane_mark_type", remedy=COPY_AGAIN)
            painted.setdefault(_identity(line), (line, LINE_KIND_OF_MARK[mark]))
    return RoadMap(
        lane_centres=tuple(centres),
        lane_lines=tuple(line for line, _ in painted.values()),
        drivable=tuple(drivable),
        crosswalks=tuple(crosswalks),
        line_kinds=tuple(kind for _, kind in painted.values()),
    )


def _line(holder: Any, name: str, file: pathlib.Path, field: str, origin: np.ndarray) -> Float[np.ndarray, "n 3"]:
    where = f"{field}.{name}"
    line = measured(points(entry(holder, name, list, file, field), "xyz", file, where), file, where)
    fewest = 3 if name == "area_boundary" else 2
    if len(line) < fewest:
        raise LogError(f"has {len(line)} points, expected {fewest} or more", file=file, field=where, remedy=COPY_AGAIN)
    return line - origin


def _identity(line: np.ndarray) -> bytes:
    """The same for a line and its reverse: neighbouring lanes share a boundary, to the centimetre."""
    rounded = np.round(line[:, :2], 2) + 0.0
    return min(rounded.tobytes(), rounded[::-1].tobytes())


def _midway(left: np.ndarray, right: np.ndarray, spacing: float = 1.0) -> Float[np.ndarray, "n 3"]:
    """The line midway between two boundaries, its vertices about ``spacing`` metres apart."""
    longest = max(_lengths(line)[-1] for line in (left, right))
    share = np.linspace(0.0, 1.0, max(2, int(np.ceil(longest / spacing)) + 1))
    return (_at(left, share) + _at(right, share)) / 2


def _lengths(line: np.ndarray) -> Float[np.ndarray, " n"]:
    return np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))])


def _at(line: np.ndarray, share: np.ndarray) -> Float[np.ndarray, "n 3"]:
    """Points at those shares of a line's length."""
    lengths = _lengths(line)
    return np.stack([np.interp(share * lengths[-1], lengths, line[:, axis]) for axis in range(3)], axis=-1)
