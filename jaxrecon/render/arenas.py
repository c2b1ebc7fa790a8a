"""Scenes as the rasterizer takes them."""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from jaxrecon.geometry.padding import pad_axis
from jaxrecon.kernels import CLUSTER, Arena, Clusters, pick_backend, prepack
from jaxrecon.scene.levels import Levels
from jaxrecon.scene.scene import Scene


def scene_arena(scene: Scene) -> Arena:
    """A scene's own Gaussians: drawn exactly, whatever their size."""
    gaussians = scene.gaussians
    return Arena(
        means=gaussians.means,
        quaternions=gaussians.quaternions,
        scales=gaussians.scales,
        opacities=gaussians.opacities,
        sh=gaussians.sh,
        group=scene.group,
    )


def levels_arena(levels: Levels, scene_start: Int[np.ndarray, " starts"] | None = None) -> Arena:
    """A scene's policy-resolution form, or that of several scenes laid end to end.

    Args:
        levels: as ``scene.build_levels`` or ``scene.join_levels`` makes it.
        scene_start: first Gaussian of each scene, and the end of the last, as ``join_levels`` returns it.

    Raises:
        ValueError: if the clusters are not of the rasterizer's size.
    """
    slots, clusters = levels.means.shape[0], levels.near.shape[0]
    if slots != clusters * CLUSTER:
        raise ValueError(f"{slots} slots in {clusters} clusters; expected clusters of {CLUSTER}: build with that size")
    starts: Array | None = None
    largest = 0
    if scene_start is not None:
        starts, largest = jnp.asarray(scene_start, jnp.int32), int(np.diff(scene_start).max(initial=0))
    return Arena(
        means=levels.means,
        quaternions=levels.quaternions,
        scales=levels.scales,
        opacities=levels.opacities,
        sh=levels.sh,
        group=levels.group,
        scene_start=starts,
        clusters=Clusters(
            centre=levels.cluster_centre,
            radius=levels.cluster_radius,
            group=levels.cluster_group,
            cell=levels.cell,
            parent=levels.parent,
            near=levels.near,
            far=levels.far,
        ),
        largest_scene=largest,
    )


def join_arenas(arenas: Sequence[Arena]) -> Arena:
    """Several scenes in one arena; each camera then says which it looks at.

    Colours get the spherical harmonics of the highest degree among them.

    Args:
        arenas: of one scene each, all with level of detail or none.

    Raises:
        ValueError: if there are none, some hold several scenes already, or only some have level of detail.
    """
    if not arenas:
        raise ValueError("join_arenas got no arenas; expected at least one scene")
    if any(arena.scene_start is not None for arena in arenas):
        raise ValueError("join_arenas got an arena of several scenes; join the arenas of single scenes, all at once")
    detailed = sum(arena.clusters is not None for arena in arenas)
    if detailed not in (0, len(arenas)):
        raise ValueError(
            f"{detailed} of {len(arenas)} arenas have level of detail; take levels_arena or scene_arena for all of them"
        )
    coefficients = max(arena.sh.shape[1] for arena in arenas)
    alike = [_alike(arena, coefficients) for arena in arenas]
    counts = [arena.count for arena in alike]
    # By NumPy, as the padding.
    joined: Arena = jax.tree.map(lambda *leaves: jax.device_put(np.concatenate(leaves)), *alike)
    starts = jnp.asarray(np.cumsum([0, *counts]), jnp.int32)
    return dataclasses.replace(joined, scene_start=starts, largest_scene=max(counts))


def _alike(arena: Arena, coefficients: int) -> Arena:
    """With so many coefficients of colour, and whole runs of ``CLUSTER`` slots: no run belongs to two scenes."""
    slots = arena.count + -arena.count % CLUSTER
    return Arena(
        means=pad_axis(arena.means, 0, slots, "edge"),
        quaternions=pad_axis(arena.quaternions, 0, slots, "edge"),
        scales=pad_axis(arena.scales, 0, slots, "edge"),
        opacities=pad_axis(arena.opacities, 0, slots),
        sh=pad_axis(pad_axis(arena.sh, 0, slots), 1, coefficients),
        group=pad_axis(arena.group, 0, slots, "edge"),
        clusters=arena.clusters,
    )


def packed_for(arena: Arena, backend: str) -> Arena:
    """The arena as a backend of ``rasterize`` draws it fastest, for one that is drawn often and does not change."""
    backend = pick_backend() if backend == "auto" else backend
    return prepack(arena) if backend == "gpu" else arena
