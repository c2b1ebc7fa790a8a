"""The GPU rasterizer: lists of splats, then the blend, and its gradient."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from jaxrecon.kernels.arena import Arena, Views
from jaxrecon.kernels.gpu.lists import Lists, make_lists
from jaxrecon.kernels.gpu.packing import Packed, pack
from jaxrecon.kernels.gpu.plan import SIDE, Plan, make_plan
from jaxrecon.kernels.projection import project
from jaxrecon.kernels.raster import RasterConfig
from jaxrecon.kernels.selection import drawn_gaussians

GRADIENT = 12  # floats of a pair's gradient


Sums = tuple[
    Float[Array, "camera height width 3"],
    Float[Array, "camera height width"],
    Float[Array, "camera height width"],
    Bool[Array, " camera"],
    Int[Array, " camera"],
]


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
