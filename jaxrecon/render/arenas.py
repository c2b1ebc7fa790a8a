"""Scenes as the rasterizer takes them."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from jaxrecon.kernels import CLUSTER, Arena, Clusters
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
