"""Static obstacles from LiDAR as a signed distance field over the ground."""

import dataclasses
import itertools

import flax.struct
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int
from scipy import ndimage, spatial

from jaxrecon.geometry.transforms import inverse, transform_points
from jaxrecon.logs.driving_log import DrivingLog
from jaxrecon.scene.grids import bilinear

FAR = 100.0  # metres; the answer where nothing was mapped


@flax.struct.dataclass
class DistanceField:
    """Signed distance to the nearest obstacle on a grid, for constant-time look-ups.

    Attributes:
        distance: (row, column) metres at cell centres, negative inside obstacles; rows along y, columns along x.
        origin: (2,) world x, y of the centre of cell (0, 0), metres.
        cell: () metres.
    """

    distance: Float[Array, "row column"]
    origin: Float[Array, " 2"]
    cell: Float[Array, ""]

    def __call__(self, points: Float[Array, "*b 2"]) -> Float[Array, "*b"]:
        """Signed distance (metres) at world points, bilinear between cell centres; ``FAR`` outside the grid."""
        return bilinear(self.distance, self.origin, self.cell, points, FAR)


@dataclasses.dataclass(frozen=True)
class OccupancyConfig:
    """How obstacles are told from the rest.

    Attributes:
        cell: side of a cell, metres.
        lowest: height above the road below which points are ground, metres.
        highest: height above which the car passes beneath, metres.
        reach: how far from the recorded path to map, metres.
        hits: points that a cell needs.
        persistence: share of a cell's sightings that must be of an obstacle rather than of bare ground: a car that the
            log has no track of leaves its lane bare most of the time.
        inflation: how much larger than labelled a track's box is taken, on every side, metres.
        clearance: how much wider than the recorded car its swept area is cleared, on every side, metres.
    """

    cell: float = 0.25
    lowest: float = 0.4
    highest: float = 2.2
    reach: float = 30.0
    hits: int = 2
    persistence: float = 0.3
    inflation: float = 0.3
    clearance: float = 0.3

    def __post_init__(self) -> None:
        for name in ("cell", "reach", "hits"):
            if not getattr(self, name) > 0:
                raise ValueError(f"OccupancyConfig.{name} is {getattr(self, name)}; expected a positive number")
        if not self.highest > self.lowest:
            raise ValueError(
                f"OccupancyConfig.highest is {self.highest}; expected more than lowest, which is {self.lowest}"
            )


def empty() -> DistanceField:
    """A world without static obstacles: far from everything everywhere."""
    return DistanceField(
        distance=jnp.full((2, 2), FAR), origin=jnp.zeros(2, jnp.float32), cell=jnp.asarray(1.0, jnp.float32)
    )


def distance_field(
    occupied: Bool[np.ndarray, "row column"], origin: Float[np.ndarray, "2"], cell: float
) -> DistanceField:
    """Signed distance to the edges of occupied cells.

    Args:
        occupied: rows along y, columns along x; at least 2 x 2.
        origin: world x, y of the centre of cell (0, 0), metres.
        cell: side of a cell, metres.
    """
    if occupied.any():
        outside = ndimage.distance_transform_edt(~occupied) * cell
        within = ndimage.distance_transform_edt(occupied) * cell
        # Distances run between centres; an obstacle's edge lies half a cell nearer.
        signed = np.where(occupied, cell / 2 - within, outside - cell / 2)
        signed = np.clip(signed, -FAR, FAR)
    else:
        signed = np.full(occupied.shape, FAR)
    return DistanceField(
        distance=jnp.asarray(signed, jnp.float32),
        origin=jnp.asarray(origin, jnp.float32),
        cell=jnp.asarray(cell, jnp.float32),
    )


def from_lidar(log: DrivingLog, config: OccupancyConfig = OccupancyConfig()) -> DistanceField:
    """Static obstacles of a recording.

    A cell is occupied where enough LiDAR points lie between the configured heights above the road, which is the ground
    plane of the nearest recorded ego pose. Points within a track's box in their frame are left out (tracks are actors,
    parked ones too), and so is everything where the recorded car drove.

    Raises:
        ValueError: if the log has no LiDAR.
    """
    if not any(len(cloud) for cloud in log.lidar):
        raise ValueError(
            f"log {log.name} has no LiDAR to find static obstacles in; pass occupancy.empty() to drive without them, "
            "or a distance_field(...) of your own"
        )
    path = log.world_from_ego[:, :2, 3]
    low = path.min(axis=0) - config.reach
    columns, rows = (np.ceil((path.max(axis=0) + config.reach - low) / config.cell).astype(int) + 1).tolist()
    nearest, near = _nearest_pose(path, low, (rows, columns), config)
    obstacle_points, obstacle_frames, ground_frames = (np.zeros(rows * columns, np.int32) for _ in range(3))
    for frame in range(log.frames):
        points = transform_points(log.world_from_ego[frame], outside_tracks(log, frame, config.inflation))
        cells = cells_of(points, low, (rows, columns), config.cell)
        keep = cells >= 0
        keep[keep] = near[cells[keep]]
        points, cells = points[keep], cells[keep]
        height = height_above(points, log.world_from_ego[nearest[cells]])
        obstacle = cells[(height >= config.lowest) & (height <= config.highest)]
        np.add.at(obstacle_points, obstacle, 1)
        obstacle_frames[np.unique(obstacle)] += 1
        ground_frames[np.unique(cells[np.abs(height) < config.lowest])] += 1
    sightings = np.maximum(obstacle_frames + ground_frames, 1)
    occupied = (obstacle_points >= config.hits) & (obstacle_frames >= config.persistence * sightings)
    occupied = occupied.reshape(rows, columns) & ~_swept(log, low, (rows, columns), config)
    return distance_field(occupied, low, config.cell)


def _nearest_pose(
    path: np.ndarray, low: np.ndarray, shape: tuple[int, int], config: OccupancyConfig
) -> tuple[Int[np.ndarray, " cell"], Bool[np.ndarray, " cell"]]:
    """Index of the ego pose nearest to each cell, and whether it is within reach."""
    row, column = np.indices(shape)
    centres = low + config.cell * np.stack([column.ravel(), row.ravel()], axis=-1)
    distance, index = spatial.cKDTree(path).query(centres, distance_upper_bound=config.reach)
    near = np.isfinite(distance)
    return np.where(near, index, 0), near


def cells_of(points: np.ndarray, low: np.ndarray, shape: tuple[int, int], cell: float) -> Int[np.ndarray, " n"]:
    """Flat cell index of each point; -1 outside the grid."""
    column, row = np.round((points[:, :2] - low) / cell).astype(int).T
    inside = (row >= 0) & (row < shape[0]) & (column >= 0) & (column < shape[1])
    return np.where(inside, row * shape[1] + column, -1)


def height_above(points: np.ndarray, poses: np.ndarray) -> Float[np.ndarray, " n"]:
    """Height of each point above the ground plane of its pose, metres."""
    return np.einsum("ni,ni->n", points - poses[:, :3, 3], poses[:, :3, 2])


def outside_tracks(log: DrivingLog, frame: int, inflation: float) -> Float[np.ndarray, "n 3"]:
    """LiDAR points of a frame, ego frame, that lie in no track's box."""
    points = np.asarray(log.lidar[frame])[:, :3].astype(np.float64)
    keep = np.isfinite(points).all(axis=-1)
    for track in log.tracks:
        if track.valid[frame]:
            box_from_ego = inverse(track.world_from_box[frame]) @ log.world_from_ego[frame]
            local = transform_points(box_from_ego, points)
            keep &= (np.abs(local) > track.size / 2 + inflation).any(axis=-1)
    return points[keep]


def _swept(
    log: DrivingLog, low: np.ndarray, shape: tuple[int, int], config: OccupancyConfig
) -> Bool[np.ndarray, "row column"]:
    """Cells whose centres the recorded car passed over, or passed within the clearance."""
    ego, fill = log.ego, config.cell / 2
    ahead = np.arange(-ego.rear_overhang - config.clearance, ego.length - ego.rear_overhang + config.clearance, fill)
    left = np.arange(-ego.width / 2 - config.clearance, ego.width / 2 + config.clearance + fill, fill)
    ahead = np.append(ahead, ego.length - ego.rear_overhang + config.clearance)
    footprint = np.stack([*np.meshgrid(ahead, left, indexing="ij"), np.zeros((len(ahead), len(left)))], axis=-1)
    swept = np.zeros(shape[0] * shape[1], bool)
    for pose in _dense(log.world_from_ego, config.cell):
        cells = cells_of(transform_points(pose, footprint.reshape(-1, 3)), low, shape, config.cell)
        swept[cells[cells >= 0]] = True
    return swept.reshape(shape)


def _dense(poses: Float[np.ndarray, "frame 4 4"], spacing: float) -> Float[np.ndarray, "n 4 4"]:
    """Poses interpolated so that neighbours lie within the spacing; a slightly sheared rotation is harmless here."""
    parts = [poses[:1]]
    for before, after in itertools.pairwise(poses):
        count = max(1, int(np.ceil(np.linalg.norm(after[:3, 3] - before[:3, 3]) / spacing)))
        share = (np.arange(1, count + 1) / count)[:, None, None]
        parts.append(before * (1 - share) + after * share)
    return np.concatenate(parts)
