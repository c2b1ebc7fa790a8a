"""Smooth random fields over the ground, repeatable by seed."""

import numpy as np
from jaxtyping import Float

SIDE = 256  # cells after which the pattern repeats


def value_noise(points: Float[np.ndarray, "n 2"], cell: float, seed: int) -> Float[np.ndarray, " n"]:
    """Smooth noise in [0, 1]: random values on a lattice, blended between.

    Args:
        points: x, y, metres.
        cell: distance between lattice points, metres.
        seed: of the lattice.
    """
    lattice = np.random.default_rng(seed).random((SIDE, SIDE))
    grid = points / cell
    low = np.floor(grid).astype(int)
    share = grid - low
    share = share * share * (3 - 2 * share)
    x0, y0 = low[:, 0] % SIDE, low[:, 1] % SIDE
    x1, y1 = (x0 + 1) % SIDE, (y0 + 1) % SIDE
    near = lattice[y0, x0] * (1 - share[:, 0]) + lattice[y0, x1] * share[:, 0]
    far = lattice[y1, x0] * (1 - share[:, 0]) + lattice[y1, x1] * share[:, 0]
    return near * (1 - share[:, 1]) + far * share[:, 1]
