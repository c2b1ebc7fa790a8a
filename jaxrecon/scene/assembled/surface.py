"""The ground as flat splats: fine along the ego's path and the road's edge, coarse far away."""

import dataclasses

import numpy as np
from jaxtyping import Bool, Float
from scipy import spatial

from jaxrecon.scene.assembled.config import AssembleConfig
from jaxrecon.scene.assembled.layout import Layout
from jaxrecon.scene.assembled.noise import value_noise
from jaxrecon.scene.assembled.splats import LATTICE, Splats, flat

ASPHALT, GUTTER = np.array([0.355, 0.355, 0.365]), np.array([0.42, 0.415, 0.405])
CONCRETE, YARD = np.array([0.635, 0.62, 0.59]), np.array([0.47, 0.465, 0.455])
GRASS, DRY_GRASS = np.array([0.29, 0.385, 0.17]), np.array([0.475, 0.45, 0.27])
WALK_WIDTH = 2.3  # metres of pavement beside the road
KERB_HEIGHT = 0.12  # metres by which the ground beside the road stands above it
LEVELS = 5  # sizes of ground splats, each twice the one before it
# Distance from the path, in multiples of the finest spacing, up to which each level is used.
LEVEL_REACH = (30.0, 80.0, 190.0, 380.0)


@dataclasses.dataclass(frozen=True)
class Cutouts:
    """Where finer parts, such as paint, replace the ground.

    Attributes:
        points: centres of the parts, close together, metres.
        radii: distance within which there is no ground, metres.
    """

    points: Float[np.ndarray, "n 2"]
    radii: Float[np.ndarray, " n"]


def surface(
    layout: Layout, lanes: tuple[np.ndarray, ...], cutouts: Cutouts, config: AssembleConfig, seed: int
) -> Splats:
    """Splats of the whole ground."""
    centres, size = _tiles(layout, cutouts, config)
    points = np.column_stack([centres, ground_height(layout, centres)])
    colours = ground_colour(layout, lanes, centres, size, seed)
    slope = _normals(layout, centres)
    return flat(points, np.array([[1.0, 0, 0]]), slope, (size, size), colours, overlap=LATTICE)


def ground_height(layout: Layout, points: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, " n"]:
    """World z of the ground, kerbs included, metres."""
    raised = (layout.off_road(points) > 0.1) & ~layout.marked(layout.paved, points)
    return layout.height(points) + KERB_HEIGHT * raised


def _normals(layout: Layout, points: np.ndarray) -> Float[np.ndarray, "n 3"]:
    step = 1.0
    slope = [
        (layout.height(points + step * axis) - layout.height(points - step * axis)) / (2 * step) for axis in np.eye(2)
    ]
    return np.column_stack([-slope[0], -slope[1], np.ones(len(points))])


def _tiles(
    layout: Layout, cutouts: Cutouts, config: AssembleConfig
) -> tuple[Float[np.ndarray, "n 2"], Float[np.ndarray, " n"]]:
    """Centres and sides of the squares that cover the ground, split until each is fine enough for where it lies."""
    coarsest = config.spacing * 2 ** (LEVELS - 1)
    extent = (np.array(layout.beyond.shape[::-1]) - 1) * 0.5
    grid = np.meshgrid(*(np.arange(coarsest / 2, side, coarsest) for side in extent))
    centres = layout.origin + np.stack([axis.ravel() for axis in grid], axis=-1)
    centres = centres[layout.path_distance(centres) < config.reach]
    tree = spatial.cKDTree(cutouts.points) if len(cutouts.points) else None
    kept, sizes = [], []
    for level in reversed(range(LEVELS)):
        size = config.spacing * 2**level
        split = _too_coarse(layout, tree, centres, size, level, config) if level else np.zeros(len(centres), bool)
        kept.append(centres[~split])
        sizes.append(np.full(len(kept[-1]), size))
        quarter = size / 4 * np.array([[-1, -1], [1, -1], [-1, 1], [1, 1]])
        centres = (centres[split][:, None] + quarter).reshape(-1, 2)
    points, side = np.concatenate(kept), np.concatenate(sizes)
    free = ~_cut(tree, cutouts, points, side)
    return points[free], side[free]


def _too_coarse(
    layout: Layout, tree: spatial.cKDTree | None, centres: np.ndarray, size: float, level: int, config: AssembleConfig
) -> Bool[np.ndarray, " n"]:
    distance = layout.path_distance(centres)
    finest = np.searchsorted(np.array(LEVEL_REACH[:level]) * config.spacing, np.maximum(distance - size, 0))
    split = finest < level
    near_edge = np.abs(layout.off_road(centres)) < 0.75 * size + 0.2
    split |= near_edge & (finest <= 2) & (level > 1) & (distance < config.reach * 0.6)
    if tree is not None:
        painted = np.isfinite(tree.query(centres, distance_upper_bound=0.75 * size + 0.35)[0])
        split |= painted & (level > (0 if config.spacing >= 0.25 else 1))
    return split


def _cut(
    tree: spatial.cKDTree | None, cutouts: Cutouts, points: np.ndarray, side: np.ndarray
) -> Bool[np.ndarray, " n"]:
    if tree is None:
        return np.zeros(len(points), bool)
    distance, index = tree.query(points, distance_upper_bound=float(cutouts.radii.max()))
    near = np.isfinite(distance)
    radius = cutouts.radii[np.where(near, index, 0)]
    return near & (distance < radius)


def ground_colour(
    layout: Layout, lanes: tuple[np.ndarray, ...], points: np.ndarray, size: np.ndarray, seed: int
) -> Float[np.ndarray, "n 3"]:
    """sRGB of asphalt, pavement, yards and grass, with their stains and patches."""
    random = np.random.default_rng(seed)
    beyond = layout.off_road(points)
    grain = random.normal(0.0, 1.0, len(points)) * np.minimum(0.25 / size, 1.0) * 0.018
    broad, fine = value_noise(points, 9.0, seed + 1) - 0.5, value_noise(points, 1.3, seed + 2) - 0.5
    asphalt = asphalt_colour(lanes, points, seed) + grain[:, None]
    walk = CONCRETE * (1 + 0.10 * broad + 0.06 * fine + 1.2 * grain)[:, None]
    dryness = np.clip(1.6 * (value_noise(points, 14.0, seed + 3) - 0.35), 0, 1)[:, None]
    grass = GRASS * (1 - dryness) + DRY_GRASS * dryness
    grass = grass * (1 + 0.30 * broad + 0.35 * fine + 3.5 * grain)[:, None]
    yard = YARD * (1 + 0.12 * broad + 0.08 * fine + 1.5 * grain)[:, None]
    wild = value_noise(points, 23.0, seed + 4) > 0.42
    colour = np.where(wild[:, None], grass, yard)
    colour = np.where((beyond < WALK_WIDTH)[:, None], walk, colour)
    colour = np.where(layout.marked(layout.paved, points)[:, None] & (beyond > 0.1)[:, None], yard, colour)
    return np.clip(np.where((beyond <= 0.1)[:, None], asphalt, colour), 0, 1)


def asphalt_colour(lanes: tuple[np.ndarray, ...], points: np.ndarray, seed: int) -> Float[np.ndarray, "n 3"]:
    """sRGB of road surface: mottled, paler where wheels run, darker where engines drip, patched here and there."""
    broad, fine = value_noise(points, 7.0, seed + 5) - 0.5, value_noise(points, 0.8, seed + 6) - 0.5
    patch = value_noise(np.floor(points / np.array([3.1, 4.7])) * 7.7, 1.0, seed + 7) > 0.86
    shade = 1 + 0.16 * broad + 0.07 * fine - 0.10 * patch
    if lanes:
        distance = spatial.cKDTree(np.concatenate(lanes)[:, :2]).query(points, distance_upper_bound=3.0)[0]
        distance = np.where(np.isfinite(distance), distance, 3.0)
        shade += 0.05 * np.exp(-(((distance - 0.85) / 0.3) ** 2)) - 0.06 * np.exp(-((distance / 0.35) ** 2))
    return ASPHALT * shade[:, None]
