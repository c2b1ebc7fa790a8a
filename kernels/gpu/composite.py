"""The GPU rasterizer: count, emit, sort, order, blend; and its gradient."""

import dataclasses
from functools import partial

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int, UInt32

from jaxrecon.kernels.arena import CLUSTER, Arena, Clusters, Views
from jaxrecon.kernels.gpu import launch
from jaxrecon.kernels.gpu.launch import Program
from jaxrecon.kernels.projection import project
from jaxrecon.kernels.raster import DEFAULT_RASTER, MAXIMUM_EXTENT, RasterConfig
from jaxrecon.kernels.selection import drawn_gaussians, scene_bounds

SIDE = 8  # pixels of a tile's side; a thread draws a pixel
REGION = (4, 8)  # tiles across and down that share a list
RECORD, GRADIENT = 16, 12  # floats, as splat.cu lays them out
STRETCH = 16  # pairs; capacities are a multiple
FEWEST_DEPTH_BITS = 12
FEW_CAMERAS, RUN_OF_FEW, RUN_OF_MANY = 4, 2, 128
MOST_PAIRS = 280_000_000  # drawn at once; each takes 24 bytes

Sums = tuple[
    Float[Array, "camera height width 3"],
    Float[Array, "camera height width"],
    Float[Array, "camera height width"],
    Bool[Array, " camera"],
    Int[Array, " camera"],
]


@dataclasses.dataclass(frozen=True)
class Plan:
    """Shapes of one compiled rasterizer.

    Attributes:
        cameras: in a call.
        groups: rigid bodies of a camera.
        gaussians: slots of the arena.
        clusters: that one camera's scene can span.
        run: clusters that one block counts.
        pairs: capacity.
        width: of an image, pixels.
        height: of an image, pixels.
        degree: of the spherical harmonics.
        antialiased: see ``rasterize``.
        paired: whether pairs are kept for a gradient.
    """

    cameras: int
    groups: int
    gaussians: int
    clusters: int
    run: int
    pairs: int
    width: int
    height: int
    degree: int
    antialiased: bool
    paired: bool

    @property
    def region(self) -> tuple[int, int]:
        """Tiles across and down that share a list; a gradient wants each tile's pairs by themselves."""
        return (1, 1) if self.paired else REGION

    @property
    def regions(self) -> int:
        """Regions of one image."""
        return regions_of(self.width, self.height, self.region)

    @property
    def blocks(self) -> int:
        """Blocks that draw: one for every tile of every region, also for those beyond the image's edge."""
        return self.cameras * self.regions * self.region[0] * self.region[1]

    @property
    def runs(self) -> int:
        """Runs of clusters of a camera."""
        return -(-self.clusters // self.run)

    @property
    def depth_bits(self) -> int:
        """Bits of a sort key that the region leaves; the greatest region number marks unused room."""
        return 32 - (self.cameras * self.regions).bit_length()

    @property
    def program(self) -> Program:
        """The kernels for these shapes."""
        constants = {
            "CAMERAS": self.cameras, "GROUPS": self.groups, "GAUSSIANS": self.gaussians, "CLUSTERS": self.clusters,
            "RUN": self.run, "PAIRS": self.pairs, "WIDTH": self.width, "HEIGHT": self.height,
            "REGION_X": self.region[0], "REGION_Y": self.region[1],
            "DEPTH_BITS": self.depth_bits, "DEGREE": self.degree, "ANTIALIASED": int(self.antialiased),
            "PAIRED": int(self.paired),
        }  # fmt: skip
        return Program(tuple(constants.items()))


@flax.struct.dataclass
class Packed:
    """Inputs as the kernels read them."""

    records: Float[Array, "n 16"]
    sh: Float[Array, "n k3"]
    poses: Float[Array, "camera group 16"]
    cameras: Float[Array, "camera 16"]
    clusters: Float[Array, "cluster 16"]


@flax.struct.dataclass
class Lists:
    """Each region's splats, near to far.

    Attributes:
        payload: Gaussian of each sorted pair, or, with a gradient to come, the pair.
        starts: first pair of each region, and the end of the last.
        reached: tiles of the region that each sorted pair reaches, a bit each; empty with a gradient to come.
        gaussian_of_pair: with a gradient to come, else empty.
        pair_start: first pair of each Gaussian in each camera, likewise.
        pair_count: likewise.
        overflow: cameras whose pairs did not all fit.
        pairs: that each camera needed.
    """

    payload: Int[Array, " pair"]
    starts: Int[Array, " bound"]
    reached: UInt32[Array, " pair"]
    gaussian_of_pair: Int[Array, " pair"]
    pair_start: Int[Array, " slot"]
    pair_count: Int[Array, " slot"]
    overflow: Bool[Array, " camera"]
    pairs: Int[Array, " camera"]


@partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def rasterize_gpu(
    arena: Arena, views: Views, detail: Float[Array, ""], antialiased: bool, config: RasterConfig
) -> Sums:
    """Draw on an NVIDIA GPU.

    Args:
        arena: Gaussians.
        views: cameras.
        detail: see ``rasterize``.
        antialiased: likewise.
        config: capacity.

    Returns:
        Accumulated colour, accumulated depth sum of w z, alpha, cameras whose pairs did not fit, and pairs needed.
    """
    plan = make_plan(arena, views, antialiased, config, paired=False)
    packed = pack(plan, arena, views, detail)
    lists = make_lists(plan, packed)
    rgb, depth, alpha = blend(plan, packed, lists)
    return rgb, depth, alpha, lists.overflow, lists.pairs


def _forward(
    arena: Arena, views: Views, detail: Array, antialiased: bool, config: RasterConfig
) -> tuple[Sums, tuple[Arena, Views, Array, Lists, tuple[Array, Array, Array]]]:
    plan = make_plan(arena, views, antialiased, config, paired=True)
    packed = pack(plan, arena, views, detail)
    lists = make_lists(plan, packed)
    images = blend(plan, packed, lists)
    return (*images, lists.overflow, lists.pairs), (arena, views, detail, lists, images)


def _backward(
    antialiased: bool, config: RasterConfig, residuals: tuple, cotangents: tuple
) -> tuple[Arena, Views, Array]:
    arena, views, detail, lists, images = residuals
    plan = make_plan(arena, views, antialiased, config, paired=True)
    packed = pack(plan, arena, views, detail)
    by_splat = blend_gradient(plan, packed, lists, images, cotangents[:3])
    drawn = drawn_gaussians(arena, views, detail)

    def project_again(shapes: tuple[Array, ...], pose: Array, intrinsics: Array) -> tuple[Array, ...]:
        means, quaternions, scales, opacities, sh = shapes
        moved = arena.replace(means=means, quaternions=quaternions, scales=scales, opacities=opacities, sh=sh)
        looking = views.replace(camera_from_group=pose, intrinsics=intrinsics)
        splats = project(moved, looking, drawn, antialiased)
        return splats.mean, splats.conic, splats.opacity, splats.colour, splats.depth

    shapes = (arena.means, arena.quaternions, arena.scales, arena.opacities, arena.sh)
    with jax.named_scope("project_backward"):
        _, pull_back = jax.vjp(project_again, shapes, views.camera_from_group, views.intrinsics)
        d_shapes, d_pose, d_intrinsics = pull_back(by_splat)
    names = ("means", "quaternions", "scales", "opacities", "sh")
    d_arena = jax.tree.map(_no_gradient, arena).replace(**dict(zip(names, d_shapes, strict=True)))
    d_views = jax.tree.map(_no_gradient, views).replace(camera_from_group=d_pose, intrinsics=d_intrinsics)
    return d_arena, d_views, jnp.zeros_like(detail)


rasterize_gpu.defvjp(_forward, _backward)


def _no_gradient(leaf: Array) -> Array | np.ndarray:
    if jnp.issubdtype(leaf.dtype, jnp.floating):
        return jnp.zeros_like(leaf)
    return np.zeros(leaf.shape, jax.dtypes.float0)


def regions_of(width: int, height: int, region: tuple[int, int]) -> int:
    """Regions of an image."""
    return -(-width // (SIDE * region[0])) * -(-height // (SIDE * region[1]))


def cameras_in_a_pass(views: Views, config: RasterConfig) -> int:
    """Cameras to draw at once: what the region leaves of a sort key must tell most depths of a region apart.

    Lists of some regions are many times the mean, and equal keys cost time (never order).
    """
    regions = regions_of(views.width, views.height, REGION)
    wanted = min(max(FEWEST_DEPTH_BITS, (8 * config.pairs_per_camera // regions).bit_length()), 24)
    most = max(1, min(((1 << (32 - wanted)) - 1) // regions, MOST_PAIRS // config.pairs_per_camera))
    most = min(most, config.cameras_per_pass or most)
    passes = -(-views.count // most)
    return -(-views.count // passes)


def make_plan(arena: Arena, views: Views, antialiased: bool, config: RasterConfig, paired: bool) -> Plan:
    """Choose the shapes for a call.

    Raises:
        ValueError: if there are too many regions for the sort key.
    """
    largest = arena.largest_scene or arena.count
    # A scene that begins within a cluster reaches into one more.
    clusters = min(-(-largest // CLUSTER) + (arena.scene_start is not None), -(-arena.count // CLUSTER))
    plan = Plan(
        cameras=views.count,
        groups=views.camera_from_group.shape[1],
        gaussians=arena.count,
        clusters=clusters,
        run=RUN_OF_MANY if views.count >= FEW_CAMERAS else RUN_OF_FEW,
        pairs=-(-views.count * config.pairs_per_camera // STRETCH) * STRETCH,
        width=views.width,
        height=views.height,
        degree=round(arena.sh.shape[1] ** 0.5) - 1,
        antialiased=antialiased,
        paired=paired,
    )
    if plan.depth_bits < FEWEST_DEPTH_BITS:
        raise ValueError(
            f"{plan.cameras} cameras of {plan.width}x{plan.height} leave {plan.depth_bits} bits of a sort key for "
            f"depth; expected at least {FEWEST_DEPTH_BITS}: set RasterConfig.cameras_per_pass"
        )
    return plan


def pack(plan: Plan, arena: Arena, views: Views, detail: Float[Array, ""]) -> Packed:
    """Lay the inputs out as the kernels read them; a Gaussian that is not finite gets opacity zero."""
    sh = arena.sh.reshape(arena.count, -1)
    # With a gradient to come the parameters may be others than those that were packed beforehand.
    records = pack_records(plan, arena) if arena.packed is None or plan.paired else arena.packed
    pose = views.camera_from_group[..., :3, :]
    place = -jnp.einsum("cgij,cgi->cgj", pose[..., :3], pose[..., 3])
    valid = views.group_valid[..., None].astype(jnp.float32)
    poses = jnp.concatenate([pose.reshape(*pose.shape[:2], 12), place, valid], axis=-1)
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
    """
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


def count_pairs(plan: Plan, packed: Packed) -> Int[Array, "camera run"]:
    """Pairs that each run of clusters gives each camera."""
    shape = jax.ShapeDtypeStruct((plan.cameras, plan.runs), jnp.int32)
    operands = (packed.records, packed.poses, packed.cameras, packed.clusters)
    return plan.program.run("count", plan.cameras * plan.runs, CLUSTER, operands, [shape])[0]


def emit_pairs(plan: Plan, packed: Packed, counts: Array, offsets: Array, total: Array) -> list[Array]:
    """Keys and payloads of all pairs; with a gradient to come also where each Gaussian's pairs are."""
    pairs = jax.ShapeDtypeStruct((plan.pairs,), jnp.int32)
    results = [jax.ShapeDtypeStruct((plan.pairs,), jnp.uint32), pairs]
    operands = [packed.records, packed.poses, packed.cameras, packed.clusters, counts, offsets]
    aliases = {}
    if plan.paired:
        slots = jax.ShapeDtypeStruct((plan.cameras * plan.gaussians,), jnp.int32)
        operands.append(jnp.zeros(slots.shape, jnp.int32))
        results += [pairs, slots, slots]
        aliases = {6: 4}
    keys, *others = plan.program.run("emit", plan.cameras * plan.runs, CLUSTER, operands, results, aliases)
    unfilled = (total[None], keys)
    keys = plan.program.run("fill_rest", min(-(-plan.pairs // 256), 2048), 256, unfilled, [results[0]], {1: 0})[0]
    return [keys, *others]


def sort_pairs(keys: Array, payloads: Array) -> tuple[Array, Array]:
    """By region, then depth as far as the key holds it."""
    keys, payloads = lax.sort((keys, payloads), num_keys=1, is_stable=True)
    return keys, payloads


def order_pairs(plan: Plan, packed: Packed, keys: Array, payloads: Array, gaussian_of_pair: Array) -> list[Array]:
    """Payloads in exact order, where each region's run starts and, unless paired, the tiles that each pair reaches."""
    operands = [packed.records, packed.poses, packed.cameras, keys, payloads] + [gaussian_of_pair] * plan.paired
    pairs = (plan.pairs,)
    results = [
        jax.ShapeDtypeStruct(pairs, jnp.int32),
        jax.ShapeDtypeStruct((plan.cameras * plan.regions + 1,), jnp.int32),
    ] + [jax.ShapeDtypeStruct(pairs, jnp.uint32)] * (not plan.paired)
    return plan.program.run("order", -(-plan.pairs // 256), 256, operands, results)


def make_lists(plan: Plan, packed: Packed) -> Lists:
    """Everything up to the blend."""
    with jax.named_scope("count"):
        counts = count_pairs(plan, packed)
        ends = jnp.cumsum(counts.reshape(-1), dtype=jnp.int32)
        offsets = ends - counts.reshape(-1)
        ends_of_camera = ends.reshape(plan.cameras, plan.runs)[:, -1]
        total = jnp.minimum(ends[-1], plan.pairs)
    with jax.named_scope("emit"):
        keys, payloads, *kept = emit_pairs(plan, packed, counts, offsets, total)
    empty = jnp.zeros(0, jnp.int32)
    gaussian_of_pair, pair_start, pair_count = kept if plan.paired else (empty, empty, empty)
    with jax.named_scope("sort"):
        keys, payloads = sort_pairs(keys, payloads)
    with jax.named_scope("order"):
        payload, starts, *reached = order_pairs(plan, packed, keys, payloads, gaussian_of_pair)
    return Lists(
        payload=payload,
        starts=starts,
        reached=reached[0] if reached else jnp.zeros(0, jnp.uint32),
        gaussian_of_pair=gaussian_of_pair,
        pair_start=pair_start,
        pair_count=pair_count,
        overflow=ends_of_camera > plan.pairs,
        pairs=jnp.diff(ends_of_camera, prepend=0),
    )


def schedule(starts: Int[Array, " bound"]) -> Int[Array, " region"]:
    """Regions by falling length of their lists, so that the longest do not end last."""
    length = jnp.diff(starts)
    number = jnp.arange(length.shape[0], dtype=jnp.int32)
    return lax.sort((~length.astype(jnp.uint32), number), num_keys=1, is_stable=True)[1]


def _drawing_operands(plan: Plan, packed: Packed, lists: Lists) -> list[Array]:
    pairs = [lists.gaussian_of_pair if plan.paired else lists.reached]
    regions = [lists.starts, schedule(lists.starts)]
    return [packed.records, packed.sh, packed.poses, packed.cameras, lists.payload, *pairs, *regions]


def blend(plan: Plan, packed: Packed, lists: Lists) -> tuple[Array, Array, Array]:
    """Images from lists: colour, depth sum, alpha."""
    image = jax.ShapeDtypeStruct((plan.cameras, plan.height, plan.width), jnp.float32)
    results = [jax.ShapeDtypeStruct((*image.shape, 3), jnp.float32), image, image]
    with jax.named_scope("blend"):
        operands = _drawing_operands(plan, packed, lists)
        rgb, depth, alpha = plan.program.run("blend", plan.blocks, SIDE * SIDE, operands, results)
    return rgb, depth, alpha


def blend_gradient(
    plan: Plan, packed: Packed, lists: Lists, images: tuple[Array, ...], cotangents: tuple[Array, ...]
) -> tuple[Array, ...]:
    """Gradient with respect to each Gaussian as each camera sees it: mean, conic, opacity, colour, depth."""
    with jax.named_scope("blend_backward"):
        operands = [*_drawing_operands(plan, packed, lists), *images, *cotangents]
        slots = jax.ShapeDtypeStruct((plan.pairs, GRADIENT), jnp.float32)
        by_pair = plan.program.run("blend_backward", plan.blocks, SIDE * SIDE, operands, [slots])[0]
    count = plan.cameras * plan.gaussians
    with jax.named_scope("gather"):
        summed = plan.program.run(
            "gather",
            -(-count // 256),
            256,
            (by_pair, lists.pair_start, lists.pair_count),
            [jax.ShapeDtypeStruct((10, plan.cameras, plan.gaussians), jnp.float32)],
        )[0]
    mean, conic, colour = (jnp.moveaxis(summed[a:b], 0, -1) for a, b in ((0, 2), (2, 5), (6, 9)))
    return mean, conic, summed[5], colour, summed[9]
