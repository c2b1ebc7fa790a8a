"""The road's surface from LiDAR, as a height over the ground plane."""

import dataclasses

import flax.struct
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float
from scipy import ndimage, spatial

from jaxrecon.geometry.transforms import transform_points
from jaxrecon.logs.driving_log import DrivingLog
from jaxrecon.scene.grids import bilinear
from jaxrecon.scene.occupancy import cells_of, height_above, outside_tracks

UNKNOWN = -1e6  # metres; the answer where no ground was seen nearby


@flax.struct.dataclass
class HeightField:
    """Height of the ground on a grid, for constant-time look-ups.

    Attributes:
        height: world z at cell centres, metres; rows along y, columns along x. ``UNKNOWN`` far from any that was seen.
        origin: world x, y of the centre of cell (0, 0), metres.
        cell: side of a cell, metres.
    """

    height: Float[Array, "row column"]
    origin: Float[Array, " 2"]
    cell: Float[Array, ""]

    def __call__(self, points: Float[Array, "*b 2"]) -> Float[Array, "*b"]:
        """World z (metres) of the ground at world points; hugely negative where it is not known."""
        return bilinear(self.height, self.origin, self.cell, points, UNKNOWN)


@dataclasses.dataclass(frozen=True)
class GroundConfig:
    """How the ground is told from the rest.

    Attributes:
        cell: side of a cell, metres.
        reach: how far from the recorded path to map, metres.
        tolerance: height above or below the road, as the recorded car stood on it, within which points may be ground
            beside the path, metres; it grows by ``slope`` with the distance from the path.
        slope: metres of height a metre.
        quantile: of the heights in a cell that is taken for the ground: what stands on it lies higher.
        gap: how far from a cell in which ground was seen a height is still given, metres.
    """

    cell: float = 0.5
    reach: float = 30.0
    tolerance: float = 0.25
    slope: float = 0.05
    quantile: float = 0.25
    gap: float = 2.0

    def __post_init__(self) -> None:
        for name in ("cell", "reach", "tolerance"):
            if not getattr(self, name) > 0:
                raise ValueError(f"GroundConfig.{name} is {getattr(self, name)}; expected a positive number")
        if not 0 <= self.quantile <= 1:
            raise ValueError(f"GroundConfig.quantile is {self.quantile}; expected a share in [0, 1]")


def flat(height: float = 0.0) -> HeightField:
    """Level ground within ten kilometres."""
    return HeightField(jnp.full((2, 2), height), jnp.full(2, -1e4), jnp.asarray(2e4, jnp.float32))


def from_lidar(
    log: DrivingLog, frames: Bool[np.ndarray, " frame"] | None = None, config: GroundConfig = GroundConfig()
) -> HeightField:
    """The ground of a recording, beside its path.

    Args:
        log: with LiDAR.
        frames: whose LiDAR may be used; None: all.
        config: how.

    Raises:
        ValueError: if those frames have no LiDAR.
    """
    wanted = range(log.frames) if frames is None else np.flatnonzero(frames).tolist()
    used = [frame for frame in wanted if log.lidar and len(log.lidar[frame])]
    if not used:
        raise ValueError(f"log {log.name} has no LiDAR to find the ground in; pass ground.flat(height) instead")
    path = log.world_from_ego[:, :3, 3]
    low = path[:, :2].min(axis=0) - config.reach
    columns, rows = (np.ceil((path[:, :2].max(axis=0) + config.reach - low) / config.cell).astype(int) + 1).tolist()
    tree = spatial.cKDTree(path[:, :2])
    cells, heights = [], []
    for frame in used:
        points = transform_points(log.world_from_ego[frame], outside_tracks(log, frame, 0.3))
        index = cells_of(points, low, (rows, columns), config.cell)
        points, index = points[index >= 0], index[index >= 0]
        distance, nearest = tree.query(points[:, :2], distance_upper_bound=config.reach)
        near = np.isfinite(distance)
        points, index, distance, nearest = points[near], index[near], distance[near], nearest[near]
        above = height_above(points, log.world_from_ego[nearest])
        ground = np.abs(above) < config.tolerance + config.slope * distance
        cells.append(index[ground])
        heights.append(points[ground, 2])
    lowest = _quantile(np.concatenate(cells), np.concatenate(heights), rows * columns, config.quantile)
    filled = _fill(lowest.reshape(rows, columns), config.gap / config.cell)
    return HeightField(
        jnp.asarray(filled, jnp.float32), jnp.asarray(low, jnp.float32), jnp.asarray(config.cell, jnp.float32)
    )


def _quantile(cells: np.ndarray, values: np.ndarray, count: int, quantile: float) -> Float[np.ndarray, " cell"]:
    """A quantile of the values in each cell; not a number where there is none."""
    order = np.lexsort((values, cells))
    present, first, size = np.unique(cells[order], return_index=True, return_counts=True)
    chosen = np.full(count, np.nan)
    chosen[present] = values[order][first + np.floor(quantile * (size - 1)).astype(int)]
    return chosen


def _fill(heights: Float[np.ndarray, "row column"], gap: float) -> Float[np.ndarray, "row column"]:
    """Smoothed, with gaps closed from the nearest known cells; ``UNKNOWN`` farther than ``gap`` cells from any."""
    known = ~np.isnan(heights)
    if not known.any():
        return np.full(heights.shape, UNKNOWN)
    # A median first: a cell in which only a kerb or a bush was seen does not stand out.
    distance, nearest = ndimage.distance_transform_edt(~known, return_indices=True)
    closed = ndimage.median_filter(heights[tuple(nearest)], size=3)
    smooth = ndimage.gaussian_filter(closed, 1.0)
    return np.where(distance <= gap, smooth, UNKNOWN)
