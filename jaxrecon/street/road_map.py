"""The street's vector map: the same road description that is drawn, as polylines."""

import contourpy
import numpy as np

from jaxrecon.logs.driving_log import RoadMap
from jaxrecon.street.ground import LANE_WIDTH
from jaxrecon.street.layout import RUN_UP, Layout
from jaxrecon.street.roads import distance_to_road, pose_at

BEYOND = 60.0  # metres that the map reaches past the built-up road
ASIDE = 75.0  # metres that it reaches around the main road
STEP = 2.0  # metres between the points of a polyline
GRID = 0.5  # metres between the samples from which edges are traced


def make_map(layout: Layout, length: float) -> RoadMap:
    """Lane centres in driving direction, painted lines, kerbs and the drivable surface, world frame, z = 0."""
    centres, lines = [], []
    for index, road in enumerate(layout.roads):
        if road.ends < 0:
            continue
        first, last = (
            (-RUN_UP, length + BEYOND) if index == 0 else (float(road.station[0]), min(float(road.ends), 200.0))
        )
        stations = np.arange(first, last + 1e-6, STEP)
        if road.two_way:
            centres.append(_line(road, stations, -LANE_WIDTH / 2))
            centres.append(_line(road, stations[::-1], LANE_WIDTH / 2))
            lines.append(_line(road, stations, 0.0))
            lines.append(_line(road, stations, float(road.left - road.parking[0]) - 0.265))
            lines.append(_line(road, stations, -float(road.right - road.parking[1]) + 0.265))
        else:
            centres.append(_line(road, stations, 0.0))
    edges, drivable = _surface(layout, length)
    return RoadMap(tuple(centres), tuple(lines), edges, drivable)


def _line(road, stations: np.ndarray, lateral: float) -> np.ndarray:
    points, _ = pose_at(road, stations, lateral)
    return np.concatenate([points, np.zeros((len(points), 1))], 1)


def _surface(layout: Layout, length: float) -> tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]:
    """Outlines of the asphalt, traced on a grid of the distance that is drawn."""
    stations = np.arange(-RUN_UP, length + BEYOND + 1e-6, 10.0)
    points, _ = pose_at(layout.main, stations)
    low, high = points.min(0) - ASIDE, points.max(0) + ASIDE
    xs, ys = np.arange(low[0], high[0], GRID), np.arange(low[1], high[1], GRID)
    grid = np.stack(np.meshgrid(xs, ys), -1)
    tracer = contourpy.contour_generator(xs, ys, distance_to_road(layout.roads, grid), name="serial")
    edges = [np.concatenate([line, np.zeros((len(line), 1))], 1) for line in tracer.lines(0.0) if len(line) > 8]
    polygons, offsets = tracer.filled(-1e3, 0.0)[:2]
    outer = [p[: o[1]] for p, o in zip(polygons, offsets, strict=True) if p is not None and o is not None and o[1] > 8]
    return tuple(edges), tuple(np.asarray(p, dtype=np.float64) for p in outer)
