"""Gaussians, poses and cameras laid out as the kernels read them."""

import dataclasses
from functools import partial

import flax.struct
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxrecon.kernels.arena import CLUSTER, Arena, Clusters, Views, check_gaussians
from jaxrecon.kernels.gpu import launch
from jaxrecon.kernels.gpu.plan import FEW_CAMERAS, SIDE, Plan, make_plan
from jaxrecon.kernels.raster import DEFAULT_RASTER, MAXIMUM_EXTENT
from jaxrecon.kernels.selection import scene_bounds

RECORD = 16  # floats of a Gaussian


@flax.struct.dataclass
class Packed:
    """Inputs as the kernels read them."""

    records: Float[Array, "n 16"]
    sh: Float[Array, "n k3"]
    poses: Float[Array, "camera group 16"]
    cameras: Float[Array, "camera 16"]
    clusters: Float[Array, "cluster 16"]


def pack(plan: Plan, arena: Arena, views: Views, detail: Float[Array, ""]) -> Packed:
    """Lay the inputs out as the kernels read them; a Gaussian that is not finite gets opacity zero."""
    sh = arena.sh.reshape(arena.count, -1)
    # With a gradient to come the parameters may be others than those that were packed beforehand.
    records = pack_records(plan, arena) if arena.packed is None or plan.paired else arena.packed
    rows = views.camera_from_group[..., :3, :].reshape(*views.group_valid.shape, 12)
    valid = views.group_valid[..., None].astype(jnp.float32)
    poses = jnp.concatenate([rows, views.centres, valid], axis=-1)
    if arena.clusters is not None:
        clusters = arena.clusters
    elif views.count < FEW_CAMERAS:
        # Finding what can be culled would cost more than it saves.
        runs = -(-arena.count // CLUSTER)
        clusters = _whole_clusters(jnp.zeros((runs, 3)), jnp.zeros(runs), jnp.full(runs, -1, jnp.int32))
    else:
        clusters = bound_clusters(arena)
    table = jnp.concatenate(
        [
            clusters.centre, clusters.radius[:, None], clusters.cell, clusters.parent, clusters.near[:, None],
            clusters.far[:, None], clusters.group[:, None].astype(jnp.float32), jnp.zeros((clusters.far.shape[0], 1)),
        ],
        axis=1,
    )  # fmt: skip
    return Packed(records, sh, poses, _pack_cameras(arena, views, detail), table)


def pack_records(plan: Plan, arena: Arena) -> Float[Array, "n 16"]:
    """Gaussians as the kernels read them."""
    sh = arena.sh.reshape(arena.count, -1)
    operands = (arena.means, arena.quaternions, arena.scales, arena.opacities, sh, arena.group.astype(jnp.int32))
    shape = jax.ShapeDtypeStruct((arena.count, RECORD), jnp.float32)
    return plan.program.run("pack", -(-arena.count // 256), 256, operands, [shape])[0]


def prepack(arena: Arena) -> Arena:
    """Do once what every drawing of an arena would do again, for one that does not change.

    A drawing with a gradient ignores it. Where there is no NVIDIA GPU the arena is returned as it is.

    Raises:
        ValueError: for shapes that do not fit together.
    """
    check_gaussians(arena)
    if launch.why_no_gpu():
        return arena
    none = Views(jnp.eye(4)[None, None], jnp.ones((1, 1), bool), jnp.ones((1, 4)), width=SIDE, height=SIDE)
    plan = make_plan(dataclasses.replace(arena, scene_start=None), none, False, DEFAULT_RASTER, paired=False)
    return dataclasses.replace(arena, packed=jax.jit(partial(pack_records, plan))(arena))


def _pack_cameras(arena: Arena, views: Views, detail: Array) -> Float[Array, "camera 16"]:
    size = jnp.array([views.width, views.height], jnp.float32)
    focal, principal = views.intrinsics[:, :2], views.intrinsics[:, 2:]
    low, high = -principal / focal - 0.15 * size / focal, (size - principal) / focal + 0.15 * size / focal
    limits = jnp.stack([low[:, 0], high[:, 0], low[:, 1], high[:, 1]], axis=1)
    first, end = (lax.bitcast_convert_type(bound, jnp.float32)[:, None] for bound in scene_bounds(arena, views))
    detail_column = jnp.broadcast_to(jnp.asarray(detail, jnp.float32), (views.count, 1))
    return jnp.concatenate([views.intrinsics, first, end, detail_column, limits, jnp.zeros((views.count, 5))], axis=1)


def bound_clusters(arena: Arena) -> Clusters:
    """Spheres around every ``CLUSTER`` Gaussians in a row; a run of several groups gets group -1."""
    short = -arena.count % CLUSTER

    def runs(leaf: Array) -> Array:
        padded = jnp.concatenate([leaf, jnp.broadcast_to(leaf[-1:], (short, *leaf.shape[1:]))])
        return padded.reshape(-1, CLUSTER, *leaf.shape[1:])

    means, reach = runs(arena.means), runs(MAXIMUM_EXTENT * jnp.max(arena.scales, axis=1))
    finite = jnp.isfinite(reach) & jnp.all(jnp.isfinite(means), axis=-1)
    low = jnp.min(jnp.where(finite[..., None], means, jnp.inf), axis=1)
    high = jnp.max(jnp.where(finite[..., None], means, -jnp.inf), axis=1)
    centre = jnp.where(jnp.isfinite(low), 0.5 * (low + high), 0.0)
    distance = jnp.linalg.norm(means - centre[:, None], axis=-1) + reach
    group = runs(arena.group.astype(jnp.int32))
    same = jnp.all(group == group[:, :1], axis=1)
    radius = jnp.max(jnp.where(finite, distance, 0.0), axis=1)
    return _whole_clusters(centre, radius, jnp.where(same, group[:, 0], -1))


def _whole_clusters(centre: Array, radius: Array, group: Array) -> Clusters:
    """Clusters of one level, drawn whatever the distance."""
    none = jnp.zeros((centre.shape[0], 4))
    return Clusters(centre, radius, group, none, none, none[:, 0], none[:, 0] + jnp.inf)
