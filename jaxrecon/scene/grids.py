"""Maps over the ground: values at the centres of square cells, read between them."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def bilinear(
    values: Float[Array, "row column"],
    origin: Float[Array, " 2"],
    cell: Float[Array, ""],
    points: Float[Array, "*b 2"],
    outside: float,
) -> Float[Array, "*b"]:
    """Values at world points, bilinear between cell centres.

    Args:
        values: rows along y, columns along x; at least 2 x 2.
        origin: world x, y of the centre of cell (0, 0), metres.
        cell: side of a cell, metres.
        points: world x, y, metres.
        outside: the answer beyond the outermost centres.
    """
    rows, columns = values.shape
    grid = (points - origin) / cell
    last = jnp.asarray([columns - 1, rows - 1], grid.dtype)
    inside = jnp.all((grid >= 0) & (grid <= last), axis=-1)
    low = jnp.clip(jnp.floor(grid), 0, last - 1)
    fraction = jnp.clip(grid - low, 0.0, 1.0)
    column, row = low[..., 0].astype(jnp.int32), low[..., 1].astype(jnp.int32)
    flat, corner = values.reshape(-1), row * columns + column
    fx, fy = fraction[..., 0], fraction[..., 1]
    lower = flat[corner] * (1 - fx) + flat[corner + 1] * fx
    upper = flat[corner + columns] * (1 - fx) + flat[corner + columns + 1] * fx
    return jnp.where(inside, lower * (1 - fy) + upper * fy, outside)
