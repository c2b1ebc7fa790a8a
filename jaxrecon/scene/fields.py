"""Grids of several scenes in one flat array, and the distance fields among them, read in constant time."""

from collections.abc import Sequence

import flax.struct
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxrecon.scene.occupancy import FAR, DistanceField

LARGEST = np.iinfo(np.int32).max


@flax.struct.dataclass
class Spots:
    """Where points lie among the cells of their scenes' grids; every field has the batch dimensions of the points.

    Attributes:
        corner: (*b,) int32, flat index of the cell below and to the left.
        columns: (*b,) int32, how far the next row is from there.
        right: (*b,) share of the next column, in [0, 1].
        up: (*b,) share of the next row, in [0, 1].
        inside: (*b,) bool, between the outermost cell centres; elsewhere the shares are those of the nearest place.
    """

    corner: Int[Array, " *b"]
    columns: Int[Array, " *b"]
    right: Float[Array, " *b"]
    up: Float[Array, " *b"]
    inside: Bool[Array, " *b"]

    @property
    def nearest(self) -> Int[Array, "*b"]:
        """Flat index of the nearest cell."""
        return self.corner + (self.right > 0.5) + self.columns * (self.up > 0.5)

    def bilinear(self, values: Float[Array, " cell"], stride: int = 1, channel: Array | int = 0) -> Float[Array, "*b"]:
        """Values between cell centres, as ``grids.bilinear`` reads them.

        Args:
            values: of all scenes' cells; ``stride`` of them a cell.
            stride: how many channels the cells have, the last axis before they were flattened.
            channel: which of them to read, (*b,) or one for all.
        """

        def read(cell: Array) -> Array:
            # Points that are not finite have undefined cells.
            return values.at[cell * stride + channel].get(mode="clip").astype(jnp.float32)

        above = self.corner + self.columns
        lower = read(self.corner) * (1 - self.right) + read(self.corner + 1) * self.right
        upper = read(above) * (1 - self.right) + read(above + 1) * self.right
        return lower * (1 - self.up) + upper * self.up


@flax.struct.dataclass
class GridLayout:
    """Where each scene's grid lies in the world and in the flat array.

    Attributes:
        origin: (scene, 2) world x, y of the centre of cell (0, 0), metres.
        cell: (scene,) side of a cell, metres.
        shape: (scene, 2) int32, rows (along y) and columns (along x).
        offset: (scene,) int32, flat index of cell (0, 0).
    """

    origin: Float[Array, "scene 2"]
    cell: Float[Array, " scene"]
    shape: Int[Array, "scene 2"]
    offset: Int[Array, " scene"]

    @property
    def scenes(self) -> int:
        """How many scenes there are."""
        return self.cell.shape[0]

    def locate(self, scene: Int[Array, "*b"], points: Float[Array, "*b n 2"]) -> Spots:
        """Cells around world points (metres), each in the grid of its scene."""
        cell = self.cell[scene][..., None]
        rows, columns = self.shape[scene, 0][..., None], self.shape[scene, 1][..., None]
        x = (points[..., 0] - self.origin[scene, 0][..., None]) / cell
        y = (points[..., 1] - self.origin[scene, 1][..., None]) / cell
        column, right = _split(x, columns)
        row, up = _split(y, rows)
        return Spots(
            corner=self.offset[scene][..., None] + row * columns + column,
            columns=jnp.broadcast_to(columns, row.shape),
            right=right,
            up=up,
            inside=(x >= 0) & (x <= columns - 1) & (y >= 0) & (y <= rows - 1),
        )


@flax.struct.dataclass
class DistanceFields:
    """Signed distances to the obstacles of several scenes.

    Attributes:
        distance: (cell,) metres at cell centres, scene after scene, row after row; negative inside obstacles.
        layout: where each scene's cells are.
    """

    distance: Float[Array, " cell"]
    layout: GridLayout

    def __call__(self, scene: Int[Array, "*b"], points: Float[Array, "*b n 2"]) -> Float[Array, "*b n"]:
        """Signed distance (metres) at world points of a scene; ``FAR`` outside its grid, like ``DistanceField``."""
        spots = self.layout.locate(scene, points)
        return jnp.where(spots.inside, spots.bilinear(self.distance), FAR)


def stack_fields(fields: Sequence[DistanceField]) -> DistanceFields:
    """The distance fields of several scenes, in their order; sizes and cells may differ.

    Raises:
        ValueError: if there are none, or they have more cells than an index can count.
    """
    layout = stack_layouts([(np.asarray(f.origin), float(f.cell), f.distance.shape) for f in fields])
    flat = np.concatenate([np.asarray(field.distance).ravel() for field in fields])
    return DistanceFields(distance=jnp.asarray(flat, jnp.float32), layout=layout)


def stack_layouts(grids: Sequence[tuple[np.ndarray, float, tuple[int, ...]]], channels: int = 1) -> GridLayout:
    """The layout of grids laid end to end.

    Args:
        grids: origin (x, y of the centre of cell (0, 0), metres), side of a cell (metres), (rows, columns) of each.
        channels: the most values that a cell has in any array of this layout.

    Raises:
        ValueError: if there are none, one has fewer than two rows or columns, or they have more values than an index
            can count.
    """
    if not grids:
        raise ValueError("no grids to stack; give one for every scene, occupancy.empty() where there are no obstacles")
    for number, (_, _, shape) in enumerate(grids):
        if min(shape) < 2:
            raise ValueError(f"grid {number} has shape {tuple(shape)}; reading between cells takes at least 2 x 2")
    sizes = np.array([shape[0] * shape[1] for _, _, shape in grids], np.int64)
    if sizes.sum() * channels > LARGEST:
        raise ValueError(
            f"{len(grids)} grids have {sizes.sum()} cells of {channels} values, expected at most {LARGEST} values in "
            "all; take larger cells, a smaller reach or fewer scenes"
        )
    return GridLayout(
        origin=jnp.asarray(np.stack([origin for origin, _, _ in grids]), jnp.float32),
        cell=jnp.asarray([cell for _, cell, _ in grids], jnp.float32),
        shape=jnp.asarray([shape for _, _, shape in grids], jnp.int32),
        offset=jnp.asarray(np.cumsum(sizes) - sizes, jnp.int32),
    )


def _split(place: Array, count: Array) -> tuple[Array, Array]:
    """Index of the lower of two neighbouring centres, and the share of the upper one."""
    low = jnp.clip(jnp.floor(place), 0, (count - 2).astype(place.dtype))
    return low.astype(jnp.int32), jnp.clip(place - low, 0.0, 1.0)
