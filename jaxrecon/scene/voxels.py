"""Which Gaussians are merged into one: those of a voxel, or of a column of voxels across a thin sheet."""

import numpy as np
from jaxtyping import Int

from jaxrecon.scene.merging import Moments, shadow_areas

THIN = 0.5  # deviation across a sheet, in voxels, up to which it is one layer


def labels(*columns: Int[np.ndarray, "n ..."]) -> Int[np.ndarray, " n"]:
    """Numbers 0, 1, ... for the distinct rows of integer columns, one a row."""
    table = np.column_stack(columns)
    label = np.zeros(len(table), np.int64)
    for column in (table - table.min(axis=0)).T:
        # Numbering anew after each column keeps the product of ranges from overflowing.
        label = np.unique(label * (int(column.max()) + 1) + column, return_inverse=True)[1].reshape(-1)
    return label


def merge_owners(
    parts: Moments, voxel: Int[np.ndarray, "n 3"], cell: Int[np.ndarray, "n 3"], size: float
) -> Int[np.ndarray, " n"]:
    """The merged Gaussian, 0, 1, ..., that each part goes into; none reaches across groups or cells.

    A surface is seldom thinner than a voxel, nor does it follow the grid, so voxels cut it into layers that hide each
    other and cost as much as what shows. Where a cell's content lies in a sheet, the voxels across it are one.

    Args:
        parts: what is merged.
        voxel: of each part's centre, in whole voxels.
        cell: a cube of voxels that the part's centre lies in, in whole cells.
        size: side of a voxel, metres.
    """
    place = labels(parts.group, cell)
    weights = parts.opacities * shadow_areas(parts.covariances)
    total = np.bincount(place, weights)

    def average(values: np.ndarray) -> np.ndarray:
        return np.bincount(place, weights * values) / total

    centre = np.stack([average(axis) for axis in parts.means.T], axis=-1)
    offset = parts.means - centre[place]
    scatter = np.empty((len(total), 3, 3))
    for i in range(3):
        for j in range(3):
            scatter[:, i, j] = average(offset[:, i] * offset[:, j])
    variances, axes = np.linalg.eigh(scatter)
    across = np.argmax(np.abs(axes[:, :, 0]), axis=1)
    across = np.where(variances[:, 0] < (THIN * size) ** 2, across, -1)[place]
    column = np.where(across[:, None] == np.arange(3), 0, voxel)
    return labels(parts.group, cell, across, column)
