"""The policy-resolution form of a scene: Gaussians merged into ever coarser ones, chosen by distance when drawn.

A level's Gaussians are those of the scene that share a voxel, merged so that colour, position, covariance and the light
that they hold back are kept. Levels double the voxel. Each is cut into cells, cubes that nest from level to level, and a
cell's Gaussians lie in runs ("clusters") that a renderer draws or leaves out as a whole: where its voxel covers about a
pixel, a cell is drawn, above it nothing and below it nothing.
"""

import dataclasses
from typing import NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxrecon.scene.scene import Scene

FAINTEST = 1 / 255  # opacity below which a Gaussian is never drawn
MOST_OPAQUE = 0.99  # that merging makes, or counts
REACH = 3.33  # standard deviations beyond which a Gaussian is not drawn


@dataclasses.dataclass(frozen=True)
class LevelsConfig:
    """Structure of a level-of-detail hierarchy.

    Attributes:
        finest: voxel of the first merged level, metres.
        levels: merged levels; each doubles the voxel.
        voxels: along the side of a level's cells.
        cluster: Gaussians of a cluster, as the renderer fixes it.
        spread: share of the scatter between merged means that their covariance takes up.
        raw: whether the scene's own Gaussians stand below the first merged level.
    """

    finest: float = 0.15
    levels: int = 6
    voxels: int = 16
    cluster: int = 128
    spread: float = 2.5
    raw: bool = True

    def __post_init__(self) -> None:
        if not self.finest > 0 or self.levels < 1 or self.voxels < 1 or self.cluster < 1 or not self.spread >= 0:
            raise ValueError(f"{self} is no hierarchy: finest must be > 0, spread >= 0 and the counts at least 1")


@flax.struct.dataclass
class Levels:
    """A scene's Gaussians at all levels, in clusters.

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
        near: voxel of the cluster's level, metres; 0 for the scene's own Gaussians.
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


class _Set(NamedTuple):
    """Gaussians on the host: covariances instead of axes, so that they can be merged."""

    means: np.ndarray
    covariances: np.ndarray
    opacities: np.ndarray
    sh: np.ndarray
    group: np.ndarray


DEFAULT_LEVELS = LevelsConfig()


def build_levels(scene: Scene, config: LevelsConfig = DEFAULT_LEVELS) -> Levels:
    """Merge a scene into levels of detail, on the host.

    Args:
        scene: any scene; its sky is not part of the result.
        config: structure.

    Raises:
        ValueError: if a Gaussian is not finite, or none is left to draw.
    """
    raw = _visible(scene)
    parts = []
    voxels = [config.finest * 2**level for level in range(config.levels + 1)]
    sides = [config.voxels * voxel for voxel in voxels]
    if config.raw:
        parts.append(_clustered(raw, 0.0, voxels[0], sides[0], sides[0], config))
    for level, voxel in enumerate(voxels[:-1]):
        last = level == config.levels - 1
        near = 0.0 if level == 0 and not config.raw else voxel
        far = np.inf if last else voxels[level + 1]
        merged = _merge(raw, voxel, config.spread)
        parts.append(_clustered(merged, near, far, sides[level], sides[level + 1], config))
    joined = jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)
    return jax.tree.map(jnp.asarray, joined)


def join_levels(scenes: list[Levels]) -> tuple[Levels, Int[np.ndarray, " starts"]]:
    """Several scenes' levels end to end, and the first Gaussian of each (and the end of the last)."""
    if not scenes:
        raise ValueError("no scenes were given; expected at least one")
    starts = np.cumsum([0] + [scene.means.shape[0] for scene in scenes]).astype(np.int32)
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *scenes), starts


def _visible(scene: Scene) -> _Set:
    gaussians = scene.gaussians
    fields = {
        "means": gaussians.means, "quaternions": gaussians.quaternions, "log_scales": gaussians.log_scales,
        "opacity_logits": gaussians.opacity_logits, "sh": gaussians.sh,
    }  # fmt: skip
    valid = np.asarray(gaussians.valid)
    for name, leaf in fields.items():
        flat = np.asarray(leaf).reshape(valid.shape[0], -1)
        bad = int((~np.isfinite(flat).all(axis=1) & valid).sum())
        if bad:
            raise ValueError(f"{name} is not finite for {bad} of {valid.sum()} Gaussians; remove or invalidate them")
    opacities = np.asarray(gaussians.opacities, np.float64)
    kept = valid & (opacities >= FAINTEST)
    if not kept.any():
        raise ValueError(f"none of {valid.shape[0]} Gaussians is valid and of opacity 1/255 or more: nothing to draw")
    return _Set(
        means=np.asarray(gaussians.means, np.float64)[kept],
        covariances=np.asarray(gaussians.covariances, np.float64)[kept],
        opacities=opacities[kept],
        sh=np.asarray(gaussians.sh, np.float64)[kept],
        group=np.asarray(scene.group, np.int64)[kept],
    )


def _areas(covariances: np.ndarray) -> np.ndarray:
    """Size of a Gaussian seen from a typical side, square metres: the root of its mean squared shadow."""
    c = covariances
    minors = c[:, 0, 0] * c[:, 1, 1] - c[:, 0, 1] ** 2 + c[:, 0, 0] * c[:, 2, 2] - c[:, 0, 2] ** 2
    minors = minors + c[:, 1, 1] * c[:, 2, 2] - c[:, 1, 2] ** 2
    return np.sqrt(np.maximum(minors, 1e-20) / 3)


def _merge(raw: _Set, voxel: float, spread: float) -> _Set:
    """One Gaussian for every voxel and group: moments matched, weighted by what each hides from a typical side."""
    place = np.floor(raw.means / voxel).astype(np.int64)
    cells, owner = np.unique(np.column_stack([raw.group, place]), axis=0, return_inverse=True)
    owner, count = owner.reshape(-1), len(cells)
    hides = raw.opacities * _areas(raw.covariances)
    total = np.bincount(owner, hides, count)

    def average(values: np.ndarray) -> np.ndarray:
        flat = values.reshape(len(values), -1)
        sums = [np.bincount(owner, hides * column, count) for column in flat.T]
        return (np.stack(sums, axis=-1) / total[:, None]).reshape(count, *values.shape[1:])

    means = average(raw.means)
    offset = raw.means - means[owner]
    covariances = average(raw.covariances) + spread * average(offset[:, :, None] * offset[:, None, :])
    single = np.bincount(owner, minlength=count) == 1
    # What the merged Gaussian holds back, spread over its own shadow, is what its parts hold back over theirs.
    thickness = -np.log1p(-np.minimum(raw.opacities, MOST_OPAQUE)) * _areas(raw.covariances)
    opacities = -np.expm1(-np.bincount(owner, thickness, count) / _areas(covariances))
    # A Gaussian that is alone in its voxel stays as it is.
    opacities = np.where(single, np.bincount(owner, raw.opacities, count), np.minimum(opacities, MOST_OPAQUE))
    return _Set(means, covariances, opacities, average(raw.sh), cells[:, 0])


def _interleave(place: np.ndarray) -> np.ndarray:
    """Morton code of non-negative integer triples of up to 20 bits."""
    code = np.zeros(len(place), np.int64)
    for bit in range(20):
        for axis in range(3):
            code |= ((place[:, axis] >> bit) & 1) << (3 * bit + axis)
    return code


def _clustered(level: _Set, near: float, far: float, side: float, parent_side: float, config: LevelsConfig) -> Levels:
    """Lay a level's Gaussians out cell by cell, each cell filled up to whole clusters."""
    cell = np.floor(level.means / side).astype(np.int64)
    fine = np.floor(level.means / (side / 32)).astype(np.int64) - 32 * cell
    order = np.lexsort((_interleave(fine), cell[:, 2], cell[:, 1], cell[:, 0], level.group))
    keys = np.column_stack([level.group, cell])[order]
    first = np.flatnonzero(np.r_[True, (keys[1:] != keys[:-1]).any(axis=1)])
    lengths = np.diff(np.r_[first, len(keys)])
    rooms = -(-lengths // config.cluster) * config.cluster
    start = np.cumsum(rooms) - rooms
    # Slot of each Gaussian, and for the slots between them a neighbour whose place they take.
    slot = np.repeat(start - first, lengths) + np.arange(len(keys))
    source = np.full(rooms.sum(), -1)
    source[slot] = order
    used = source >= 0
    source = np.maximum.accumulate(np.where(used, np.arange(len(source)), 0))
    source = np.where(used, np.arange(len(source)), source)
    neighbour = np.full(len(used), -1)
    neighbour[slot] = order
    neighbour = neighbour[source]

    values, vectors = np.linalg.eigh(level.covariances)
    scales = np.sqrt(np.maximum(values, 1e-12))[neighbour]
    vectors[:, :, 0] *= np.linalg.det(vectors)[:, None]
    quaternions = _quaternions(vectors)[neighbour]
    means = level.means[neighbour]
    unit = np.array([1.0, 0.0, 0.0, 0.0])
    runs = means.reshape(-1, config.cluster, 3)
    reach = np.where(used, REACH * scales.max(axis=1), 0.0).reshape(-1, config.cluster)
    centre = 0.5 * (runs.min(axis=1) + runs.max(axis=1))
    radius = (np.linalg.norm(runs - centre[:, None], axis=-1) + reach).max(axis=1)
    of_cluster = np.repeat(keys[first], rooms // config.cluster, axis=0)
    low = of_cluster[:, 1:] * side
    parent_low = np.floor((of_cluster[:, 1:] + 0.5) * side / parent_side) * parent_side
    clusters = len(centre)
    return Levels(
        means=means.astype(np.float32),
        quaternions=np.where(used[:, None], quaternions, unit).astype(np.float32),
        scales=np.where(used[:, None], scales, 1.0).astype(np.float32),
        opacities=np.where(used, level.opacities[neighbour], 0.0).astype(np.float32),
        sh=level.sh[neighbour].astype(np.float32),
        group=level.group[neighbour].astype(np.int32),
        cluster_centre=centre.astype(np.float32),
        cluster_radius=(radius * (1 + 1e-5)).astype(np.float32),
        cluster_group=of_cluster[:, 0].astype(np.int32),
        cell=np.column_stack([low, np.full(clusters, side)]).astype(np.float32),
        parent=np.column_stack([parent_low, np.full(clusters, parent_side)]).astype(np.float32),
        near=np.full(clusters, near, np.float32),
        far=np.full(clusters, far, np.float32),
    )


def _quaternions(rotations: np.ndarray) -> np.ndarray:
    """``wxyz`` of rotation matrices, by the largest of the four squared components."""
    r = rotations
    diagonal = r[:, 0, 0], r[:, 1, 1], r[:, 2, 2]
    squared = np.stack(
        [
            1 + diagonal[0] + diagonal[1] + diagonal[2],
            1 + diagonal[0] - diagonal[1] - diagonal[2],
            1 - diagonal[0] + diagonal[1] - diagonal[2],
            1 - diagonal[0] - diagonal[1] + diagonal[2],
        ]
    )
    x, y, z = r[:, 2, 1] - r[:, 1, 2], r[:, 0, 2] - r[:, 2, 0], r[:, 1, 0] - r[:, 0, 1]
    xy, xz, yz = r[:, 1, 0] + r[:, 0, 1], r[:, 0, 2] + r[:, 2, 0], r[:, 2, 1] + r[:, 1, 2]
    candidates = np.stack(
        [
            np.stack([squared[0], x, y, z], axis=-1),
            np.stack([x, squared[1], xy, xz], axis=-1),
            np.stack([y, xy, squared[2], yz], axis=-1),
            np.stack([z, xz, yz, squared[3]], axis=-1),
        ]
    )
    best = candidates[np.argmax(squared, axis=0), np.arange(len(r))]
    return best / np.linalg.norm(best, axis=1, keepdims=True)
