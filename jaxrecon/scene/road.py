"""The road of a recording from its vector map: edges of the drivable surface, lanes and stop lines."""

import dataclasses

import numpy as np
from jaxtyping import Float
from scipy import spatial

from jaxrecon.logs.driving_log import DrivingLog, RoadMap
from jaxrecon.scene.occupancy import FAR
from jaxrecon.scene.road_geometry import Nearest, Pieces, crosses, fill, nearest_piece, outer_edges, pieces_of, within
from jaxrecon.scene.roads import (
    LANE_REACH,
    SECTORS,
    RoadField,
    Roads,
    StopLines,
    lane_at,
    off_road_distance,
    own_lane_distance,
    stack_roads,
    stop_lines_at,
    unknown_road,
)
from jaxrecon.scene.stop_lines import stop_lines

__all__ = [
    "RoadConfig",
    "RoadField",
    "Roads",
    "StopLines",
    "build_road",
    "lane_at",
    "off_road_distance",
    "own_lane_distance",
    "stack_roads",
    "stop_lines_at",
    "unknown_road",
]


WITNESSES = 1000  # pieces of edges, about, that are asked which driven place they see


@dataclasses.dataclass(frozen=True)
class RoadConfig:
    """How a map becomes grids.

    Attributes:
        cell: side of a cell, metres.
        reach: how far from the recorded path to map, metres.
        half_width: from a lane's centre to its edge where the map has neither drivable areas nor road edges; half the
            length of a stop line, metres.
        spacing: longest piece into which lines are cut, metres.
        vote: largest distance from a road edge at which a lane tells which side of it is road, metres.
    """

    cell: float = 0.5
    reach: float = 40.0
    half_width: float = 1.75
    spacing: float = 0.5
    vote: float = 15.0

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            if not getattr(self, field.name) > 0:
                raise ValueError(f"RoadConfig.{field.name} is {getattr(self, field.name)}; expected a positive number")


@dataclasses.dataclass(frozen=True)
class _Grid:
    low: Float[np.ndarray, "2"]
    shape: tuple[int, int]
    cell: float

    @property
    def high(self) -> Float[np.ndarray, "2"]:
        return self.low + self.cell * (np.array(self.shape[::-1]) - 1)

    @property
    def centres(self) -> Float[np.ndarray, "cell 2"]:
        row, column = np.indices(self.shape)
        return self.low + self.cell * np.stack([column.ravel(), row.ravel()], axis=-1)


def build_road(log: DrivingLog, config: RoadConfig = RoadConfig()) -> RoadField:
    """The road around a recorded drive.

    The edge of the drivable surface comes from the map's drivable areas, if there are any; else from its road edges,
    whose road side is where the lanes and the recorded path are; else from the lanes, taken to be as wide as
    configured. A log without any of them has an unknown road.

    Args:
        log: the recording.
        config: resolution, extent and assumptions.

    Source: signed distance to the nearest road edge, positive off the road: Waymax (arXiv 2310.08710), offroad metric.
    """
    road_map = log.road_map
    if road_map is None or not (road_map.drivable or road_map.road_edges or road_map.lane_centres):
        return unknown_road()
    path = log.world_from_ego[:, :2, 3]
    low = path.min(axis=0) - config.reach
    columns, rows = (np.ceil((path.max(axis=0) + config.reach - low) / config.cell).astype(int) + 1).tolist()
    grid = _Grid(low, (rows, columns), config.cell)
    lanes = _around(pieces_of(road_map.lane_centres, config.spacing), grid, config)
    outside, known = _off_road(road_map, path, lanes, grid, config)
    nearest, by_sector = _lanes(lanes, grid)
    heading = np.zeros(rows * columns)
    if len(lanes):
        direction = lanes.direction
        heading = np.where(nearest.piece >= 0, np.arctan2(direction[:, 1], direction[:, 0])[nearest.piece], 0.0)
    return RoadField(
        origin=low,
        cell=config.cell,
        off_road=outside.reshape(grid.shape),
        lane_heading=heading.reshape(grid.shape),
        lane_distance=by_sector.reshape(*grid.shape, SECTORS),
        stop_lines=stop_lines(log, config.half_width),
        surface_known=known,
        lanes_known=len(lanes) > 0,
    )


def _around(pieces: Pieces, grid: _Grid, config: RoadConfig) -> Pieces:
    """Pieces on the grid, and as far around it as the path is from its border."""
    return within(pieces, grid.low - config.reach, grid.high + config.reach)


def _off_road(
    road_map: RoadMap, path: np.ndarray, lanes: Pieces, grid: _Grid, config: RoadConfig
) -> tuple[Float[np.ndarray, " cell"], bool]:
    """Signed distance at every cell, and whether the map told it."""
    if road_map.drivable:
        edges = _around(outer_edges(road_map.drivable, config.spacing), grid, config)
        inside = fill(road_map.drivable, grid.low, grid.shape, grid.cell).ravel()
        distance = nearest_piece(edges, grid.centres, FAR).distance
        return np.where(inside, -distance, distance), True
    if road_map.road_edges:
        edges = _around(pieces_of(road_map.road_edges, config.spacing), grid, config)
        recorded = pieces_of([path], config.spacing)
        left_is_road = _road_sides(edges, np.concatenate([lanes.middle, recorded.middle, path[:1]]), config.vote)
        if left_is_road is not None:
            nearest = nearest_piece(edges, grid.centres, FAR)
            road = (nearest.side > 0) == left_is_road[nearest.piece]
            return np.where(road, -nearest.distance, nearest.distance), True
    if len(lanes):
        return nearest_piece(lanes, grid.centres, FAR).distance - config.half_width, True
    return np.full(grid.shape[0] * grid.shape[1], -FAR), False


def _road_sides(edges: Pieces, driven: Float[np.ndarray, "n 2"], vote: float) -> np.ndarray | None:
    """Whether the road lies to the left of each edge's direction; None where nothing tells.

    Every place that is driven on lies on the road side of the edge nearest to it. An edge that is nearest to none is
    told by the places nearest to it that no other edge hides; one without any takes the side that most have, for maps
    draw their edges one way round.
    """
    nearest = nearest_piece(edges, driven, vote)
    near = nearest.piece >= 0
    votes = np.zeros(edges.line.max() + 1)
    np.add.at(votes, edges.line[nearest.piece[near]], np.sign(nearest.side[near]))
    silent = np.flatnonzero((votes == 0)[edges.line])
    silent = silent[:: max(1, len(silent) // WITNESSES)]
    distance, place = spatial.cKDTree(driven).query(edges.middle[silent], distance_upper_bound=vote)
    silent, place = silent[np.isfinite(distance)], place[np.isfinite(distance)]
    way = driven[place] - edges.middle[silent]
    side = np.sign(edges.direction[silent, 0] * way[:, 1] - edges.direction[silent, 1] * way[:, 0])
    seen = ~crosses(driven[place], edges.middle[silent], edges)
    np.add.at(votes, edges.line[silent[seen]], side[seen])
    if not votes.any():
        return None
    usual = np.sign(np.sign(votes).sum()) or np.sign(votes.sum())
    return np.where(votes == 0, usual, votes)[edges.line] > 0


def _lanes(lanes: Pieces, grid: _Grid) -> tuple[Nearest, Float[np.ndarray, "cell sector"]]:
    """The nearest lane of every cell, and the distance to the nearest that leads each way."""
    centres = grid.centres
    nearest = nearest_piece(lanes, centres, LANE_REACH)
    if len(lanes) == 0:
        return nearest, np.full((len(centres), SECTORS), LANE_REACH)
    way = 2 * np.pi / SECTORS * np.arange(SECTORS)
    along = lanes.direction @ np.stack([np.cos(way), np.sin(way)])
    # A lane straight across leads neither way rather than both.
    sectors = [nearest_piece(lanes[along[:, k] > 1e-3], centres, LANE_REACH).distance for k in range(SECTORS)]
    return nearest, np.stack(sectors, axis=-1)
