"""Trees, bushes and lamps of splats."""

import numpy as np

from jaxrecon.scene.assembled.splats import OPAQUE, SUN, Splats, blobs, join, lit, rod, unit

LEAVES = np.array([[0.24, 0.36, 0.13], [0.30, 0.40, 0.15], [0.20, 0.31, 0.15], [0.38, 0.42, 0.18]])
BARE = 2.7  # metres of trunk below the crown at least: a car passes beneath
BARK, STEEL, LAMP = np.array([0.33, 0.27, 0.21]), np.array([0.50, 0.52, 0.53]), np.array([0.90, 0.89, 0.84])


def leaves_of(distance: float, coarser: float = 1.0) -> int:
    """How many splats the crown of a tree needs that far from the path (metres), or coarser by a factor."""
    return int(np.clip(520 * 12 / max(distance, 12.0), 60, 520) / coarser**2) + 8


def tree(place: np.ndarray, height: float, leaves: int, random: np.random.Generator) -> Splats:
    """A broad-leaved tree.

    Args:
        place: x, y, z of its foot, metres.
        height: metres.
        leaves: how many splats the crown has; the fewer, the larger.
        random: of its shape.
    """
    bare, radius = max(0.33 * height, BARE), 0.30 * height
    trunk = rod(place, place + np.array([0, 0, bare + 0.25 * radius]), 0.035 * height, 0.7, BARK)
    size = radius * 0.30 * np.sqrt(160 / leaves)
    clumps = random.normal(size=(7, 3)) * np.array([0.55, 0.55, 0.40])
    clumps[0] = 0
    owner = random.integers(len(clumps), size=leaves)
    outward = unit(random.normal(size=(leaves, 3)))
    local = clumps[owner] * radius + outward * radius * 0.62 * random.uniform(0.55, 1.0, (leaves, 1))
    local[:, 2] = np.maximum(local[:, 2] * 1.05, -0.75 * radius)
    means = place + local + np.array([0, 0, bare + 0.8 * radius])
    deep = np.clip(1 - np.linalg.norm(local, axis=1) / (1.3 * radius), 0, 1)
    leaf = LEAVES[random.integers(len(LEAVES))] * random.uniform(0.80, 1.2, (leaves, 1))
    normal = unit(outward * 0.5 + unit(local) * 0.8)
    colours = lit(leaf * (1.15 - 0.55 * deep)[:, None], normal)
    scales = size * random.uniform(0.35, 0.75, (leaves, 3))
    return join([trunk, blobs(means, scales, colours, 0.93)])


def bush(place: np.ndarray, radius: float, random: np.random.Generator) -> Splats:
    """A low shrub on the ground at x, y, z."""
    count = 60
    outward = unit(random.normal(size=(count, 3)) * np.array([1, 1, 0.8]))
    outward[:, 2] = np.abs(outward[:, 2])
    means = place + outward * radius * random.uniform(0.5, 0.9, (count, 1))
    leaf = LEAVES[random.integers(len(LEAVES))] * random.uniform(0.75, 1.15, (count, 1))
    scales = radius * random.uniform(0.09, 0.19, (count, 3))
    return blobs(means, scales, lit(leaf, outward), OPAQUE)


def lamp(place: np.ndarray, towards: np.ndarray, height: float = 7.5) -> Splats:
    """A street lamp at x, y, z with its arm along a horizontal unit vector."""
    top = place + np.array([0, 0, height])
    head = top + np.array([*(1.8 * towards), 0.15])
    return join(
        [
            rod(place, top, 0.085, 0.5, STEEL),
            rod(top - np.array([0, 0, 0.1]), head, 0.06, 0.4, STEEL),
            blobs((head - np.array([0, 0, 0.05]))[None], np.array([[0.22, 0.22, 0.05]]), LAMP[None]),
        ]
    )


def shaded(place: np.ndarray, height: float, random: np.random.Generator) -> np.ndarray:
    """Points over the ground (n, 2) in the shadow of a tree."""
    away = -SUN[:2] / SUN[2] * 0.57 * height
    return place[:2] + away + random.normal(size=(60, 2)) * 0.22 * height
