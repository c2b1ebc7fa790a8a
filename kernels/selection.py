"""What each camera draws: its scene, and of that the clusters whose level of detail suits the distance."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxrecon.kernels.arena import CLUSTER, Arena, Clusters, Views
from jaxrecon.kernels.raster import NEAR


def scene_bounds(arena: Arena, views: Views) -> tuple[Int[Array, " camera"], Int[Array, " camera"]]:
    """First Gaussian of each camera's scene, and the end."""
    if arena.scene_start is None or views.scene is None:
        zero = jnp.zeros(views.count, jnp.int32)
        return zero, zero + arena.count
    scene = jnp.clip(views.scene, 0, arena.scene_start.shape[0] - 2)
    start = arena.scene_start.astype(jnp.int32)
    return start[scene], start[scene + 1]


def drawn_gaussians(arena: Arena, views: Views, detail: Float[Array, ""]) -> Bool[Array, "camera n"] | None:
    """Which Gaussians each camera draws at all; None: every one (one scene, no level of detail)."""
    if arena.scene_start is None and arena.clusters is None:
        return None
    first, end = scene_bounds(arena, views)
    index = jnp.arange(arena.count, dtype=jnp.int32)
    drawn = (index >= first[:, None]) & (index < end[:, None])
    if arena.clusters is not None:
        drawn &= jnp.repeat(chosen_clusters(arena.clusters, views, detail), CLUSTER, axis=1)
    return drawn


def chosen_clusters(clusters: Clusters, views: Views, detail: Float[Array, ""]) -> Bool[Array, "camera cluster"]:
    """Clusters at the level that suits their distance, by the rule that ``Clusters`` states."""
    position = views.centres[:, clusters.group]
    focal = jnp.maximum(views.intrinsics[:, :1], views.intrinsics[:, 1:2])
    own = detail * distance_to_cube(position, clusters.cell)
    above = detail * distance_to_cube(position, clusters.parent)
    present = jnp.take_along_axis(views.group_valid, jnp.broadcast_to(clusters.group, own.shape), axis=1)
    return present & (focal * clusters.near <= own) & (above < focal * clusters.far)


def distance_to_cube(point: Float[Array, "*b 3"], cube: Float[Array, "*k 4"]) -> Float[Array, "*b"]:
    """Distance from a point to an axis-aligned cube (lowest corner, side); zero inside."""
    low, side = cube[..., :3], cube[..., 3:]
    outside = jnp.maximum(jnp.maximum(low - point, point - low - side), 0.0)
    return jnp.sqrt(jnp.sum(outside * outside, axis=-1))


def clusters_in_view(clusters: Clusters, views: Views) -> Bool[Array, "camera cluster"]:
    """Clusters whose sphere reaches into the image, three pixels of blur included.

    The projection is linear about a mean that may lie 0.15 of an image beyond the edge: its slope there bounds it.
    """
    pose = views.camera_from_group[:, clusters.group]
    x, y, z = (
        jnp.sum(pose[..., row, :3] * clusters.centre, axis=-1) + pose[..., row, 3] for row in range(3)
    )  # (camera, cluster)
    radius = clusters.radius
    fx, fy, cx, cy = (views.intrinsics[:, i, None] for i in range(4))
    seen = z + radius > NEAR
    for along, focal, centre, extent in ((x, fx, cx, views.width), (y, fy, cy, views.height)):
        low, high = (-centre - 3) / focal, (extent - centre + 3) / focal
        slope = jnp.maximum(-low, high) + 0.15 * extent / focal
        reach = radius * jnp.sqrt(1 + slope * slope)
        seen &= (along - high * z <= reach) & (low * z - along <= reach)
    return seen


def gather_drawn(
    arena: Arena, views: Views, detail: Float[Array, ""], capacity: int
) -> tuple[Arena, Bool[Array, "camera n"], Int[Array, " camera"]]:
    """Each camera's own Gaussians, gathered from an arena with clusters into equal rooms.

    Args:
        arena: with clusters.
        views: cameras.
        detail: as ``rasterize`` takes it.
        capacity: room for clusters a camera.

    Returns:
        The arena with a leading camera axis on every leaf, which of its slots are drawn, and how many clusters each
        camera needs (more than ``capacity``: some are missing).
    """
    clusters = arena.clusters
    assert clusters is not None
    first, end = scene_bounds(arena, views)
    index = jnp.arange(clusters.near.shape[0], dtype=jnp.int32) * CLUSTER
    wanted = (index >= first[:, None]) & (index < end[:, None])
    wanted &= chosen_clusters(clusters, views, detail) & clusters_in_view(clusters, views)
    needed = jnp.sum(wanted, axis=1, dtype=jnp.int32)
    chosen = jax.vmap(lambda mask: jnp.nonzero(mask, size=capacity, fill_value=-1)[0])(wanted)
    slot = (jnp.maximum(chosen, 0)[..., None] * CLUSTER + jnp.arange(CLUSTER)).reshape(views.count, -1)
    drawn = jnp.repeat(chosen >= 0, CLUSTER, axis=1)
    leaves = (arena.means, arena.quaternions, arena.scales, arena.opacities, arena.sh, arena.group)
    means, quaternions, scales, opacities, sh, group = (leaf[slot] for leaf in leaves)
    gathered = Arena(means, quaternions, scales, opacities, sh, group)
    return gathered, drawn, needed
