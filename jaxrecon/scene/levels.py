"""The policy-resolution form of a scene: Gaussians merged into ever coarser ones, chosen by distance when drawn.

A level's Gaussians are those of the scene that share a voxel, merged so that position, covariance and the light that
they hold back are kept, and so that their blend keeps the scene's colours. Levels double the voxel. Each is cut into
cells, cubes that nest from level to level, and a cell's Gaussians lie in runs ("clusters") that a renderer draws or
leaves out as a whole: where its voxel covers some pixels a cell is drawn, above it nothing and below it nothing.
"""

import dataclasses
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxrecon.scene.colour_fit import blend_matrix, fit_colours
from jaxrecon.scene.merging import Moments, merge, principal_axes
from jaxrecon.scene.scene import Scene

FAINTEST = 1 / 255  # opacity below which a Gaussian is never drawn
REACH = 3.33  # standard deviations beyond which a Gaussian is not drawn
SAVING = 0.5  # clusters that may be left of a cell's eight when they become one


@dataclasses.dataclass(frozen=True)
class LevelsConfig:
    """Structure of a level-of-detail hierarchy.

    Attributes:
        finest: voxel of the first merged level, metres.
        levels: merged levels; each doubles the voxel.
        smallest_cell: side of a level's smallest cells, voxels. Small cells follow the distance more closely.
        largest_cell: side of its largest, voxels; a power of two times the smallest. Cells grow up to it where that
            saves clusters: a level is drawn too fine by up to a cell's diagonal.
        cluster: Gaussians of a cluster, as the renderer fixes it.
        spread: factor on the scatter between merged means, as ``merge`` takes it.
        raw: whether the scene's own Gaussians stand below the first merged level.
    """

    finest: float = 0.3
    levels: int = 5
    smallest_cell: int = 4
    largest_cell: int = 16
    cluster: int = 128
    spread: float = 3.0
    raw: bool = True

    def __post_init__(self) -> None:
        if not self.finest > 0 or not self.spread >= 0 or min(self.levels, self.smallest_cell, self.cluster) < 1:
            raise ValueError(f"{self} is no hierarchy: finest must be > 0, spread >= 0 and the counts at least 1")
        if self.smallest_cell * 2**self.growth != self.largest_cell:
            raise ValueError(
                f"largest_cell is {self.largest_cell}; expected smallest_cell {self.smallest_cell} doubled a few times"
            )

    @property
    def growth(self) -> int:
        """How often a smallest cell doubles to be a largest one."""
        return max(self.largest_cell // self.smallest_cell, 1).bit_length() - 1


@flax.struct.dataclass
class Levels:
    """A scene's Gaussians at all levels, in clusters: runs of equal length, each from one cell of one level and group.

    Attributes:
        means: centre, metres, in the frame of the Gaussian's group.
        quaternions: ``wxyz``.
        scales: standard deviations, metres.
        opacities: in [0, 1]; 0 in slots that fill a cluster up.
        sh: spherical-harmonic colour.
        group: rigid body: 0 static, a for actor a - 1.
        cluster_centre: centre of a sphere around all of a cluster, in its group's frame, metres.
        cluster_radius: of that sphere, metres.
        cluster_group: rigid body of the cluster.
        cell: lowest corner and side of the cluster's cell, metres.
        parent: the same of the cell above it.
        near: voxel of the cluster's level, metres; 0 at the finest level.
        far: voxel of the level above; infinity at the coarsest.
    """

    means: Float[Array, "n 3"]
    quaternions: Float[Array, "n 4"]
    scales: Float[Array, "n 3"]
    opacities: Float[Array, " n"]
    sh: Float[Array, "n k 3"]
    group: Int[Array, " n"]
    cluster_centre: Float[Array, "cluster 3"]
    cluster_radius: Float[Array, " cluster"]
    cluster_group: Int[Array, " cluster"]
    cell: Float[Array, "cluster 4"]
    parent: Float[Array, "cluster 4"]
    near: Float[Array, " cluster"]
    far: Float[Array, " cluster"]

    @property
    def occupancy(self) -> Float[Array, ""]:
        """Share of the slots that hold a Gaussian."""
        return jnp.mean(self.opacities > 0)


@dataclasses.dataclass(frozen=True)
class _Level:
    """One level before it is laid out.

    Attributes:
        merged: its Gaussians.
        voxel: metres; 0 for the scene's own.
        owner: the merged Gaussian that each of the scene's went into.
        corner: lowest corner of a grid cube that each merged Gaussian's parts lie in, in units of the grid.
        exponent: side of the cell of each merged Gaussian: 2^exponent units.
        unit: exponent of this level's smallest cell.
    """

    merged: Moments
    voxel: float
    owner: np.ndarray
    corner: np.ndarray
    exponent: np.ndarray
    unit: int


DEFAULT_LEVELS = LevelsConfig()


def build_levels(scene: Scene, config: LevelsConfig = DEFAULT_LEVELS) -> Levels:
    """Merge a scene into levels of detail, on the host.

    Draw the result antialiased, at a detail of 2 (quality) to 4 (speed) pixels.

    Args:
        scene: any scene; its sky is not part of the result.
        config: structure.

    Raises:
        ValueError: if a Gaussian is not finite, or none is left to draw.
    """
    raw = _drawable(scene)
    unit = config.finest * config.smallest_cell
    coarsest = unit * 2.0 ** (config.levels - 1 + config.growth)
    # The frames' planes through zero, where ground often lies, are a third of a cell from the grid's at every level.
    origin = (np.floor(raw.means.min(axis=0) / coarsest - 2 / 3) + 2 / 3) * coarsest
    # All divisions of space derive from one rounding, so that they nest exactly.
    finest = np.floor((raw.means - origin) / config.finest).astype(np.int64)
    grid = finest // config.smallest_cell
    seen = blend_matrix(raw.means, raw.group, raw) @ raw.sh[:, 0]
    levels: list[_Level] = []
    exponents = np.zeros(len(grid), np.int64)
    for index in range(0 if config.raw else 1, config.levels + 1):
        level = max(index - 1, 0)
        if index == 0:
            voxel, owner, merged = 0.0, np.arange(len(grid)), raw
        else:
            voxel = config.finest * 2.0**level
            owner = _labels(raw.group, finest >> level)
            merged = merge(raw, owner, config.spread)
            merged.sh[:, 0] = fit_colours(raw, owner, merged, seen)
        corner = np.zeros((len(merged.means), 3), np.int64)
        corner[owner] = grid
        # A cell contains the finer cells at its place.
        exponent = np.full(len(corner), level, np.int64)
        np.maximum.at(exponent, owner, exponents)
        exponent = _grow_cells(corner, merged.group, exponent, level + config.growth, config.cluster)
        exponents = exponent[owner]
        levels.append(_Level(merged, voxel, owner, corner, exponent, level))
    parts = []
    for level_here, above in zip(levels, [*levels[1:], levels[-1]], strict=True):
        near = 0.0 if level_here is levels[0] else level_here.voxel
        far = np.inf if level_here is above else above.voxel
        parent = np.zeros_like(level_here.exponent)
        parent[level_here.owner] = above.exponent[above.owner]
        parts.append(_lay_out(level_here, parent, origin, unit, config.cluster, near, far))
    return jax.tree.map(lambda *leaves: jnp.asarray(np.concatenate(leaves)), *parts)


def join_levels(scenes: list[Levels]) -> tuple[Levels, Int[np.ndarray, " starts"]]:
    """Several scenes' levels end to end, and the first Gaussian of each and the end of the last.

    Raises:
        ValueError: if there are none, or their spherical harmonics are not of one degree.
    """
    if not scenes:
        raise ValueError("no scenes were given; expected at least one")
    coefficients = [scene.sh.shape[1] for scene in scenes]
    if len(set(coefficients)) > 1:
        raise ValueError(f"the scenes have {coefficients} coefficients of colour; expected the same number in each")
    starts = np.cumsum([0, *(scene.means.shape[0] for scene in scenes)]).astype(np.int32)
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *scenes), starts


def _drawable(scene: Scene) -> Moments:
    """The scene's Gaussians that can be drawn."""
    gaussians = scene.gaussians
    valid = np.asarray(gaussians.valid)
    for name in ("means", "quaternions", "log_scales", "opacity_logits", "sh"):
        flat = np.asarray(getattr(gaussians, name)).reshape(valid.shape[0], -1)
        bad = int((~np.isfinite(flat).all(axis=1) & valid).sum())
        if bad:
            raise ValueError(f"{name} is not finite for {bad} of {valid.sum()} Gaussians; remove or invalidate them")
    opacities = np.asarray(gaussians.opacities, np.float64)
    kept = valid & (opacities >= FAINTEST)
    if not kept.any():
        raise ValueError(f"none of {valid.shape[0]} Gaussians is valid and of opacity 1/255 or more: nothing to draw")
    leaves = (gaussians.means, gaussians.covariances, opacities, gaussians.sh)
    means, covariances, opacities, sh = (np.asarray(leaf, np.float64)[kept] for leaf in leaves)
    return Moments(means, covariances, opacities, sh, np.asarray(scene.group, np.int64)[kept])


def _labels(*columns: np.ndarray) -> np.ndarray:
    """Numbers 0, 1, ... for the distinct rows of integer columns, one a row."""
    table = np.column_stack(columns)
    label = np.zeros(len(table), np.int64)
    for column in (table - table.min(axis=0)).T:
        # Numbering anew after each column keeps the product of ranges from overflowing.
        label = np.unique(label * (int(column.max()) + 1) + column, return_inverse=True)[1].reshape(-1)
    return label


def _grow_cells(corner: np.ndarray, group: np.ndarray, exponent: np.ndarray, largest: int, cluster: int) -> np.ndarray:
    """Double cells, eight into one, wherever the content then fits into far fewer clusters."""
    for larger in range(int(exponent.min()) + 1, largest + 1):
        cell = _labels(group, corner >> exponent[:, None], exponent)
        double = _labels(group, corner >> larger)
        content = np.bincount(cell)
        above = np.zeros(len(content), np.int64)
        above[cell] = double
        together = -(-np.bincount(double) // cluster)
        apart = np.bincount(above, -(-content // cluster), len(together))
        grows = (together <= SAVING * apart) & (np.bincount(double, exponent >= larger) == 0)
        exponent = np.where(grows[double], larger, exponent)
    return exponent


def _lay_out(
    level: _Level, parent: np.ndarray, origin: np.ndarray, unit: float, cluster: int, near: float, far: float
) -> Levels:
    """A level's Gaussians cell by cell, each cell filled up to whole clusters with slots that draw nothing."""
    merged, corner, exponent = level.merged, level.corner, level.exponent
    cell = _labels(merged.group, corner >> exponent[:, None], exponent)
    order = np.lexsort((_curve(merged.means, origin, unit * 2.0**level.unit / 8), cell))
    lengths = np.bincount(cell)
    first = np.cumsum(lengths) - lengths
    rooms = -(-lengths // cluster) * cluster
    slot = np.repeat(np.cumsum(rooms) - rooms - first, lengths) + np.arange(len(order))
    source = np.full(rooms.sum(), -1)
    source[slot] = np.arange(len(order))
    used = source >= 0
    # A slot to fill up takes the place of the Gaussian before it.
    source = order[np.maximum.accumulate(source)]
    quaternions, scales = principal_axes(merged.covariances)
    means, scales = merged.means[source], scales[source]
    runs = means.reshape(-1, cluster, 3)
    centre = 0.5 * (runs.min(axis=1) + runs.max(axis=1))
    reach = np.where(used, REACH * scales.max(axis=1), 0.0).reshape(-1, cluster)
    radius = (np.linalg.norm(runs - centre[:, None], axis=-1) + reach).max(axis=1)
    leader = source[::cluster]

    def cubes(exponents: np.ndarray) -> np.ndarray:
        side = unit * 2.0 ** exponents[leader]
        return np.column_stack([origin + (corner[leader] >> exponents[leader, None]) * side[:, None], side])

    floats = {
        "means": means,
        "quaternions": np.where(used[:, None], quaternions[source], [1.0, 0.0, 0.0, 0.0]),
        "scales": np.where(used[:, None], scales, 1.0),
        "opacities": np.where(used, merged.opacities[source], 0.0),
        "sh": merged.sh[source],
        "cluster_centre": centre,
        "cluster_radius": radius * (1 + 1e-5),  # rounding to float32 must not shrink it
        "cell": cubes(exponent),
        "parent": cubes(parent),
        "near": np.full(len(centre), near),
        "far": np.full(len(centre), far),
    }
    integers = {"group": merged.group[source], "cluster_group": merged.group[leader]}
    typed: dict[str, Any] = {name: values.astype(np.float32) for name, values in floats.items()}
    typed |= {name: values.astype(np.int32) for name, values in integers.items()}
    return Levels(**typed)


def _curve(means: np.ndarray, origin: np.ndarray, step: float) -> np.ndarray:
    """Place along a curve that keeps neighbours of a cell together, from ten bits an axis."""
    place = np.floor((means - origin) / step).astype(np.int64)
    code = np.zeros(len(means), np.int64)
    for bit in range(10):
        for axis in range(3):
            code |= ((place[:, axis] >> bit) & 1) << (3 * bit + axis)
    return code
