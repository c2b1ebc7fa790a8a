"""Where the road runs, how high the ground lies and what must stay free, as maps over the ground."""

import dataclasses

import numpy as np
import PIL.Image
import PIL.ImageDraw
from jaxtyping import Bool, Float
from scipy import ndimage, spatial

from jaxrecon.geometry.transforms import transform_points, yaw_of
from jaxrecon.logs.driving_log import PEDESTRIAN, DrivingLog, RoadMap
from jaxrecon.scene.assembled.config import AssembleConfig

CELL = 0.5  # metres
LANE_HALF_WIDTH = 1.9  # metres of road on either side of a lane's centre, whatever else the map says
SHOULDER = 9.0  # metres from a lane's centre beyond which the inner side of a road edge is no road any more
SMALLEST_ISLAND = 3.0  # square metres; smaller ones are gaps between the lines of the map
FINER = 4  # pixels a cell along each side when polygons are filled
HEIGHT_CELL = 2.0  # metres
NEIGHBOURS = 8  # map vertices that tell the height of a point


@dataclasses.dataclass(frozen=True)
class Layout:
    """Maps with square cells; rows run along y, columns along x, ``origin`` is the centre of cell (0, 0).

    Attributes:
        origin: world x, y, metres.
        beyond: signed distance from the road's edge at cell centres, metres, positive off the road.
        paved: cells off the road on which vehicles are recorded.
        taken: cells on which something is recorded to move or stand, with a margin; nothing may be built there.
        heights: world z on a coarser grid with the same origin, metres.
        path: world points of the ego's path, prolonged, close together.
    """

    origin: Float[np.ndarray, "2"]
    beyond: Float[np.ndarray, "row column"]
    paved: Bool[np.ndarray, "row column"]
    taken: Bool[np.ndarray, "row column"]
    heights: Float[np.ndarray, "coarse_row coarse_column"]
    path: Float[np.ndarray, "point 2"]

    def off_road(self, points: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, " n"]:
        """Signed distance from the road's edge, positive off the road, metres."""
        return _sample(self.beyond, (points - self.origin) / CELL)

    def height(self, points: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, " n"]:
        """World z of the ground, metres."""
        return _sample(self.heights, (points - self.origin) / HEIGHT_CELL)

    def path_distance(self, points: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, " n"]:
        """Distance from the ego's path, metres."""
        return spatial.cKDTree(self.path).query(points)[0]

    def marked(self, mask: Bool[np.ndarray, "row column"], points: Float[np.ndarray, "n 2"]) -> Bool[np.ndarray, " n"]:
        """Whether the cells of points are marked; beyond the map everything is."""
        column, row = np.round((points - self.origin) / CELL).astype(int).T
        inside = (row >= 0) & (row < mask.shape[0]) & (column >= 0) & (column < mask.shape[1])
        return ~inside | mask[np.where(inside, row, 0), np.where(inside, column, 0)]


def _sample(values: np.ndarray, grid: np.ndarray) -> Float[np.ndarray, " n"]:
    """Bilinear in a map; points beyond it take the value of its border."""
    return ndimage.map_coordinates(values, grid[:, ::-1].T, order=1, mode="nearest")


def build_layout(log: DrivingLog, config: AssembleConfig) -> Layout:
    """The maps of a log.

    Raises:
        ValueError: if the log has no map, or nothing in it that could be a road.
    """
    road_map = log.road_map
    if road_map is None or not (road_map.lane_centres or road_map.drivable):
        raise ValueError(
            f"log {log.name} has no map with lanes or drivable areas to assemble a world from; "
            "rebuild it from images, or read it with its map"
        )
    path = _prolonged(log, config.ahead)
    low = np.floor(path.min(axis=0) - config.reach)
    columns, rows = (np.ceil((path.max(axis=0) + config.reach - low) / CELL).astype(int) + 1).tolist()
    road = _road(road_map, low, (rows, columns))
    vehicles = _swept(log, low, (rows, columns), 0.3, walkers=False)
    everyone = _swept(log, low, (rows, columns), 0.8, walkers=True)
    outside, inside = (ndimage.distance_transform_edt(mask) * CELL for mask in (~road, road))
    # Distances run between centres of cells; the road ends half a cell nearer.
    beyond = np.where(road, CELL / 2 - inside, outside - CELL / 2)
    paved = ndimage.binary_closing(vehicles & ~road, iterations=4) & ~road
    return Layout(low, ndimage.gaussian_filter(beyond, 0.7), paved, everyone, _heights(log, low, rows, columns), path)


def _prolonged(log: DrivingLog, ahead: float, spacing: float = 1.0) -> Float[np.ndarray, "point 2"]:
    """The ego's path with points at most ``spacing`` apart, and straight on."""
    driven = log.world_from_ego[:, :2, 3]
    heading = float(yaw_of(log.world_from_ego[-1, :3, :3]))
    onward = driven[-1] + np.arange(1, int(ahead / spacing) + 1)[:, None] * spacing * np.array(
        [np.cos(heading), np.sin(heading)]
    )
    points = np.concatenate([driven, onward])
    step = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    at = np.linspace(0, step[-1], int(np.ceil(step[-1] / spacing)) + 1)
    return np.stack([np.interp(at, step, points[:, axis]) for axis in range(2)], axis=-1)


def densified(line: np.ndarray, spacing: float) -> Float[np.ndarray, "n d"]:
    """Points along a polyline, at most ``spacing`` apart, both ends included."""
    length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(line[:, :2], axis=0), axis=1))])
    at = np.linspace(0, length[-1], max(2, int(np.ceil(length[-1] / spacing)) + 1))
    return np.stack([np.interp(at, length, line[:, axis]) for axis in range(line.shape[1])], axis=-1)


def directions(line: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n 2"]:
    """Unit direction at each vertex of a polyline, the mean of the segments beside it."""
    tangent = np.gradient(line[:, :2], axis=0)
    return tangent / np.maximum(np.linalg.norm(tangent, axis=1, keepdims=True), 1e-9)


def _road(road_map: RoadMap, low: np.ndarray, shape: tuple[int, int]) -> Bool[np.ndarray, "row column"]:
    """Road surface: drivable areas where the map has them, else the inner sides of road edges near lanes."""
    lane_distance, _ = _nearest([densified(line[:, :2], CELL / 2) for line in road_map.lane_centres], low, shape)
    road = lane_distance < LANE_HALF_WIDTH
    if road_map.drivable:
        road |= filled(road_map.drivable, low, shape)
    elif road_map.road_edges:
        lines = [densified(line[:, :2], CELL / 2) for line in road_map.road_edges]
        _, nearest = _nearest(lines, low, shape)
        points, tangents = np.concatenate(lines), np.concatenate([directions(line) for line in lines])
        row, column = np.indices(shape)
        offset = low + CELL * np.stack([column, row], axis=-1) - points[nearest]
        # Road edges run so that the road lies on their left, as the map of the data set has them.
        left = tangents[nearest][..., 0] * offset[..., 1] - tangents[nearest][..., 1] * offset[..., 0] >= 0
        road |= left & (lane_distance < SHOULDER)
    road = ndimage.binary_opening(road)
    islands, count = ndimage.label(~road)
    area = np.bincount(islands.ravel(), minlength=count + 1) * CELL**2
    return road | ((area < SMALLEST_ISLAND)[islands] & (islands > 0))


def _nearest(
    lines: list[np.ndarray], low: np.ndarray, shape: tuple[int, int]
) -> tuple[Float[np.ndarray, "row column"], np.ndarray]:
    """Distance from each cell to the nearest vertex, to within a cell, and that vertex's index."""
    owner = np.full(shape, -1)
    points = np.concatenate(lines) if lines else np.zeros((0, 2))
    column, row = np.round((points - low) / CELL).astype(int).T
    inside = (row >= 0) & (row < shape[0]) & (column >= 0) & (column < shape[1])
    owner[row[inside], column[inside]] = np.flatnonzero(inside)
    if not inside.any():
        return np.full(shape, np.inf), np.zeros(shape, int)
    distance, index = ndimage.distance_transform_edt(owner < 0, return_indices=True)
    return distance * CELL, owner[tuple(index)]


def filled(polygons: tuple[np.ndarray, ...], low: np.ndarray, shape: tuple[int, int]) -> Bool[np.ndarray, "row column"]:
    """Cells whose centres lie in any of the polygons.

    Pillow also fills the pixels that an outline touches: on finer pixels, of which each cell's middle one counts, that
    is of no consequence.
    """
    image = PIL.Image.new("1", (FINER * shape[1], FINER * shape[0]))
    draw = PIL.ImageDraw.Draw(image)
    for polygon in polygons:
        draw.polygon([(float(x), float(y)) for x, y in FINER * (polygon[:, :2] - low) / CELL], fill=1)
    return np.asarray(image, bool)[::FINER, ::FINER]


def _swept(
    log: DrivingLog, low: np.ndarray, shape: tuple[int, int], margin: float, walkers: bool
) -> Bool[np.ndarray, "row column"]:
    """Cells under the recorded boxes, the ego's too, with a margin."""
    bodies = [
        (track.world_from_box[track.valid], track.size)
        for track in log.tracks
        if walkers or track.category != PEDESTRIAN
    ]
    ahead = np.eye(4)
    ahead[0, 3] = log.ego.centre_ahead
    bodies.append((log.world_from_ego @ ahead, np.array([log.ego.length, log.ego.width, log.ego.height])))
    mask = np.zeros(shape, bool)
    for poses, size in bodies:
        half = size[:2] / 2 + margin
        sides = [np.linspace(-h, h, max(2, int(np.ceil(2 * h / CELL)) + 1)) for h in half]
        footprint = np.stack([*np.meshgrid(*sides, indexing="ij")], axis=-1).reshape(-1, 2)
        footprint = np.column_stack([footprint, np.zeros(len(footprint))])
        points = transform_points(poses, np.broadcast_to(footprint, (len(poses), *footprint.shape)))[..., :2]
        column, row = np.round((points.reshape(-1, 2) - low) / CELL).astype(int).T
        inside = (row >= 0) & (row < shape[0]) & (column >= 0) & (column < shape[1])
        mask[row[inside], column[inside]] = True
    return mask


def _heights(log: DrivingLog, low: np.ndarray, rows: int, columns: int) -> Float[np.ndarray, "row column"]:
    """Ground height from the vertices of the map and the ego's path, by inverse distance, smoothed."""
    assert log.road_map is not None
    lines = [
        *log.road_map.lane_centres,
        *log.road_map.lane_lines,
        *log.road_map.road_edges,
        log.world_from_ego[:, :3, 3],
    ]
    vertices = np.concatenate(lines)
    shape = tuple(int(np.ceil(n * CELL / HEIGHT_CELL)) + 1 for n in (rows, columns))
    row, column = np.indices(shape)
    centres = low + HEIGHT_CELL * np.stack([column, row], axis=-1)
    near = min(NEIGHBOURS, len(vertices))
    distance, index = spatial.cKDTree(vertices[:, :2]).query(centres, k=[*range(1, near + 1)])
    weight = 1 / (distance + 0.5) ** 2
    heights = np.sum(weight * vertices[index, 2], axis=-1) / np.sum(weight, axis=-1)
    return ndimage.gaussian_filter(heights, 0.8)
