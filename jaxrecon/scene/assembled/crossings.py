"""Crosswalks and stop lines: rectangles of the road, tiled bar by bar."""

import numpy as np
from jaxtyping import Float

from jaxrecon.logs.driving_log import DrivingLog
from jaxrecon.scene.assembled.config import AssembleConfig
from jaxrecon.scene.assembled.layout import Layout, directions
from jaxrecon.scene.assembled.splats import Splats, flat, join
from jaxrecon.scene.assembled.strips import UP, WHITE, Tiling
from jaxrecon.scene.assembled.surface import Cutouts, asphalt_colour

BAR = 0.5  # metres, width of a crosswalk's bars and of the gaps between them
STOP_LINE, STOP_LINE_WIDTH = 0.45, 3.2  # metres, along the lane and across it
TILE = 0.25  # metres, spacing of the splats across bars


def crosswalk_tilings(log: DrivingLog, layout: Layout, config: AssembleConfig) -> list[Tiling]:
    """The rectangles of the map's crosswalks within reach."""
    assert log.road_map is not None
    tilings = [_rectangle(polygon) for polygon in log.road_map.crosswalks]
    if not tilings:
        return []
    distance = layout.path_distance(np.stack([tiling.centre for tiling in tilings]))
    return [tiling for tiling, far in zip(tilings, distance, strict=True) if far < config.reach]


def _rectangle(polygon: np.ndarray) -> Tiling:
    """The smallest rectangle around a polygon with a side along the polygon's longest edge."""
    edges = np.roll(polygon, -1, axis=0) - polygon
    axis = edges[np.argmax(np.linalg.norm(edges, axis=1))]
    axis = axis / max(float(np.linalg.norm(axis)), 1e-9)
    local = polygon @ np.stack([axis, [-axis[1], axis[0]]], axis=-1)
    middle = (local.max(axis=0) + local.min(axis=0)) / 2
    half = (local.max(axis=0) - local.min(axis=0)) / 2
    return Tiling(middle[0] * axis + middle[1] * np.array([-axis[1], axis[0]]), axis, (float(half[0]), float(half[1])))


def stop_tilings(log: DrivingLog, layout: Layout, config: AssembleConfig) -> list[Tiling]:
    """A stop line across each lane that a traffic light rules, where cars have to stop."""
    assert log.road_map is not None
    tilings: list[Tiling] = []
    for light in log.lights:
        if light.lane < 0 or layout.path_distance(light.stop_point[None, :2])[0] > config.reach:
            continue
        lane = log.road_map.lane_centres[light.lane]
        nearest = int(np.argmin(np.linalg.norm(lane[:, :2] - light.stop_point[:2], axis=1)))
        forward = directions(lane)[nearest]
        across = np.array([-forward[1], forward[0]])
        centre = light.stop_point[:2] - forward * STOP_LINE / 2
        if not any(np.linalg.norm(centre - other.centre) < 1.5 for other in tilings):
            tilings.append(Tiling(centre, across, (STOP_LINE_WIDTH / 2, STOP_LINE / 2)))
    return tilings


def tiled(
    crosswalks: list[Tiling], stops: list[Tiling], log: DrivingLog, layout: Layout, seed: int
) -> tuple[Splats, Cutouts]:
    """Splats of all bars, with the asphalt between them, where there is road."""
    parts, points = [], []
    for tiling, bars in [(tiling, True) for tiling in crosswalks] + [(tiling, False) for tiling in stops]:
        means, size = _grid(tiling, bars)
        local = tiling.local(means)[:, 0] + tiling.half[0]
        on_road = layout.off_road(means) < -0.1
        means, local = means[on_road], local[on_road]
        assert log.road_map is not None
        bare = asphalt_colour(log.road_map.lane_centres, means, seed)
        painted = (np.mod(local, 2 * BAR) < BAR) if bars else np.ones(len(means), bool)
        worn = np.random.default_rng(seed).uniform(0.86, 1.0, (len(means), 1))
        colours = np.where(painted[:, None], WHITE * worn, bare)
        placed = np.column_stack([means, layout.height(means)])
        parts.append(flat(placed, np.array([[*tiling.axis, 0.0]]), UP, size, colours))
        points.append(means)
    centres = np.concatenate([np.zeros((0, 2)), *points])
    return join(parts), Cutouts(centres, np.full(len(centres), TILE * 1.05))


def _grid(tiling: Tiling, bars: bool) -> tuple[Float[np.ndarray, "n 2"], tuple[float, float]]:
    """Centres of the tiles, and their distances along the rectangle and across it."""
    size = (TILE, 2 * TILE) if bars else (2 * TILE, STOP_LINE / 3)
    counts = [max(1, round(2 * half / side)) for half, side in zip(tiling.half, size, strict=True)]
    # Whole bars: the tiles along the rectangle keep their size, those across it stretch to fill it.
    spacing = (size[0], 2 * tiling.half[1] / counts[1])
    grid = np.meshgrid(*((np.arange(n) + 0.5) * s - n * s / 2 for n, s in zip(counts, spacing, strict=True)))
    along, across = (axis.ravel() for axis in grid)
    side = np.array([-tiling.axis[1], tiling.axis[0]])
    return tiling.centre + along[:, None] * tiling.axis + across[:, None] * side, spacing
