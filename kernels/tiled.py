"""The tiled rasterizer in plain XLA: runs on any device, differentiates by its own rule.

Tiles are ordered by the length of their lists and advance in blocks of similar length, a few splats at a time,
until the longest list of the block ends or every pixel is saturated. The backward pass walks the same lists in
the same order: what lies behind a splat is the pixel's total minus what has been passed.
"""

from collections.abc import Callable
from functools import partial

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from jaxrecon.kernels.binning import TileLists, bin_splats
from jaxrecon.kernels.projection import Splats
from jaxrecon.kernels.raster import MAXIMUM_ALPHA, MINIMUM_ALPHA, MINIMUM_TRANSMITTANCE, RasterConfig

RECORD = 10  # mean (2), conic (3), opacity, colour (3), depth
Walk = tuple[Array, Array, Array, Array]  # splats passed, transmittance, what lies behind, gradients
VALUES = 5  # accumulated colour (3), depth and alpha
# Accelerators round the factors of a product of matrices to 8 or 11 bits unless told otherwise.
_product = partial(jnp.einsum, precision="highest")


@flax.struct.dataclass
class Grid:
    """Shape of the tiling; static.

    Attributes:
        width: of the image, pixels.
        height: of the image, pixels.
        tile: side of a tile, pixels.
        step: splats that a tile passes at once.
        block: tiles that advance in lockstep.
    """

    width: int = flax.struct.field(pytree_node=False)
    height: int = flax.struct.field(pytree_node=False)
    tile: int = flax.struct.field(pytree_node=False)
    step: int = flax.struct.field(pytree_node=False)
    block: int = flax.struct.field(pytree_node=False)

    @property
    def columns(self) -> int:
        return -(-self.width // self.tile)

    @property
    def rows(self) -> int:
        return -(-self.height // self.tile)


def composite_tiled(
    splats: Splats, width: int, height: int, config: RasterConfig
) -> tuple[Array, Array, Array, Array, Array]:
    """Blend each camera's splats, tile by tile.

    Returns:
        Accumulated colour (camera, height, width, 3), accumulated depth and alpha (camera, height, width), whether a
        camera's pairs overflowed, and how many it needed.
    """
    grid = Grid(width, height, config.tile, config.splats_per_step, config.tiles_per_block or _default_block())
    cameras = splats.visible.shape[0]

    def blend(records: Array, lists: TileLists) -> Array:
        return _tiles_to_images(_blend(records, lists, grid), cameras, grid)

    return composite_blended(splats, grid, config.pairs_per_camera, blend)


def composite_blended(
    splats: Splats, grid: Grid, pairs_per_camera: int, blend: Callable[[Array, TileLists], Array]
) -> tuple[Array, Array, Array, Array, Array]:
    """What ``composite_tiled`` answers, given how to blend lists of records into (camera, height, width, 5)."""
    cameras = splats.visible.shape[0]
    with jax.named_scope("bin"):
        lists = bin_splats(splats, grid.width, grid.height, grid.tile, cameras * pairs_per_camera)
    records = jnp.concatenate(
        [splats.mean, splats.conic, splats.opacity[..., None], splats.colour, splats.depth[..., None]], axis=-1
    )
    with jax.named_scope("blend"):
        image = blend(records.reshape(-1, RECORD), lists)
    return image[..., :3], image[..., 3], image[..., 4], lists.overflow, lists.pairs


def _default_block() -> int:
    return 16 if jax.default_backend() == "cpu" else 4096


def _tiles_to_images(values: Array, cameras: int, grid: Grid) -> Array:
    tile, columns, rows = grid.tile, grid.columns, grid.rows
    image = values.reshape(cameras, rows, columns, tile, tile, VALUES).transpose(0, 1, 3, 2, 4, 5)
    return image.reshape(cameras, rows * tile, columns * tile, VALUES)[:, : grid.height, : grid.width]


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _blend(records: Float[Array, "splat 10"], lists: TileLists, grid: Grid) -> Float[Array, "tile pixel 5"]:
    return _forward(records, lists, grid)


def _forward(records: Array, lists: TileLists, grid: Grid) -> Array:
    blocks = _blocks(lists, grid)
    pixels = _pixels(grid)

    def composite_block(block: Int[Array, " block"]) -> Array:
        start, length, corner = _block_lists(block, lists, grid)
        limit = jnp.max(length)

        def more(state: tuple[Array, Array, Array]) -> Array:
            passed, transmittance, _ = state
            return (passed < limit) & jnp.any(transmittance > 0)

        def advance(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
            passed, transmittance, values = state
            splat, live = _next_splats(lists, start, length, passed, grid.step)
            record = records[splat]
            alpha = _alphas(record, live, corner, pixels)[0]
            weights, transmittance = _weights(alpha, transmittance)
            values = values + jnp.sum(weights[:, :, None] * _values(record)[..., None], axis=1)
            return passed + grid.step, transmittance, values

        pixel_count = grid.tile * grid.tile
        transmittance = jnp.ones((block.shape[0], pixel_count))
        start_state = (jnp.int32(0), transmittance, jnp.zeros((block.shape[0], VALUES, pixel_count)))
        return lax.while_loop(more, advance, start_state)[2].transpose(0, 2, 1)

    values = lax.map(composite_block, blocks)
    return _scatter_blocks(values, blocks, lists.start.shape[0])


def _blend_forward(records: Array, lists: TileLists, grid: Grid) -> tuple[Array, tuple[Array, TileLists, Array]]:
    values = _forward(records, lists, grid)
    return values, (records, lists, values)


def blend_backward(grid: Grid, residuals: tuple[Array, TileLists, Array], cotangent: Array) -> tuple[Array, TileLists]:
    """Gradient of the blend with respect to the records.

    With weight w_i = alpha_i T_i, value c_i and output O = sum w_i c_i, for a cotangent g of the pixel:
    dL/dc_i = w_i g and dL/dalpha_i = T_i (c_i . g) - (O . g - sum_{j <= i} w_j (c_j . g)) / (1 - alpha_i).
    """
    records, lists, values = residuals
    blocks = _blocks(lists, grid)
    pixels = _pixels(grid)
    tiles = lists.start.shape[0]
    capacity = lists.splat.shape[0]

    def back_block(gradients: Array, block: Array) -> tuple[Array, None]:
        start, length, corner = _block_lists(block, lists, grid)
        limit = jnp.max(length)
        inside = jnp.minimum(block, tiles - 1)
        g = cotangent[inside]
        total = jnp.sum(values[inside] * g, axis=-1)

        def more(state: Walk) -> Array:
            passed, transmittance = state[:2]
            return (passed < limit) & jnp.any(transmittance > 0)

        def advance(state: Walk) -> Walk:
            passed, transmittance, behind, gradients = state
            splat, live = _next_splats(lists, start, length, passed, grid.step)
            record = records[splat]
            alpha, gaussian, offset = _alphas(record, live, corner, pixels)
            before, kept, transmittance = _transmittances(alpha, transmittance)
            weights = jnp.where(kept, alpha * before, 0.0)
            splat_values = _values(record)
            shade = _product("bsv,bpv->bsp", splat_values, g)
            contribution = weights * shade
            passed_by = jnp.cumsum(contribution, axis=1)
            d_alpha = before * shade - (behind[:, None] - passed_by) / (1 - alpha)
            blends = kept & (alpha > 0)
            d_alpha = jnp.where(blends & (alpha < MAXIMUM_ALPHA), d_alpha, 0.0)
            d_values = _product("bsp,bpv->bsv", weights, g)
            d_record = _record_gradient(record, d_alpha * gaussian, d_alpha * alpha, d_values, offset, pixels)
            slot = jnp.where(live, start[:, None] + passed + jnp.arange(grid.step), capacity)
            gradients = gradients.at[slot].set(d_record, mode="drop", unique_indices=True)
            return passed + grid.step, transmittance, behind - passed_by[:, -1], gradients

        state = (jnp.int32(0), jnp.ones(total.shape), total, gradients)
        return lax.while_loop(more, advance, state)[3], None

    gradients, _ = lax.scan(back_block, jnp.zeros((capacity, RECORD)), blocks)
    per_splat = jnp.zeros_like(records).at[lists.splat].add(gradients)
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, jax.dtypes.float0), lists)
    return per_splat, zeros


_blend.defvjp(_blend_forward, blend_backward)


def _blocks(lists: TileLists, grid: Grid) -> Int[Array, "blocks block"]:
    """Tiles by falling list length, in rows of equal size; the last row is padded with a tile that is not there."""
    tiles = lists.start.shape[0]
    block = min(grid.block, tiles)
    order = jnp.argsort(-lists.length).astype(jnp.int32)
    padded = jnp.full((-(-tiles // block) * block,), tiles, jnp.int32).at[:tiles].set(order)
    return padded.reshape(-1, block)


def _block_lists(block: Array, lists: TileLists, grid: Grid) -> tuple[Array, Array, Array]:
    """Start and length of the lists of a block's tiles, and the centre of each tile in pixels."""
    tiles = lists.start.shape[0]
    inside = jnp.minimum(block, tiles - 1)
    length = jnp.where(block < tiles, lists.length[inside], 0)
    # Pairs beyond the capacity do not exist; their cameras are flagged.
    start = lists.start[inside]
    length = jnp.clip(length, 0, lists.splat.shape[0] - start)
    tile = inside % (grid.columns * grid.rows)
    corner = jnp.stack([tile % grid.columns, tile // grid.columns], axis=-1) * grid.tile
    return start, length, corner.astype(jnp.float32) + grid.tile / 2


def _pixels(grid: Grid) -> Float[Array, "pixel 2"]:
    """Pixel centres of a tile relative to the tile's centre."""
    side = jnp.arange(grid.tile, dtype=jnp.float32) + 0.5 - grid.tile / 2
    y, x = jnp.meshgrid(side, side, indexing="ij")
    return jnp.stack([x.reshape(-1), y.reshape(-1)], axis=-1)


def _next_splats(lists: TileLists, start: Array, length: Array, passed: Array, step: int) -> tuple[Array, Array]:
    position = passed + jnp.arange(step, dtype=jnp.int32)
    live = position[None] < length[:, None]
    slot = jnp.minimum(start[:, None] + position, lists.splat.shape[0] - 1)
    return lists.splat[slot], live


def _alphas(record: Array, live: Array, centre: Array, pixels: Array) -> tuple[Array, Array, Array]:
    """Alpha (block, step, pixel), the Gaussian without opacity, and the mean relative to the tile's centre."""
    offset = record[..., :2] - centre[:, None]
    dx = pixels[:, 0] - offset[..., 0, None]
    dy = pixels[:, 1] - offset[..., 1, None]
    a, b, c = record[..., 2, None], record[..., 3, None], record[..., 4, None]
    sigma = 0.5 * (a * dx * dx + c * dy * dy) + b * dx * dy
    gaussian = jnp.exp(-sigma)
    alpha = jnp.minimum(record[..., 5, None] * gaussian, MAXIMUM_ALPHA)
    hit = live[..., None] & (sigma >= 0) & (alpha >= MINIMUM_ALPHA)
    return jnp.where(hit, alpha, 0.0), gaussian, offset


def _transmittances(alpha: Array, transmittance: Array) -> tuple[Array, Array, Array]:
    """Transmittance before each splat, which splats still blend, and the transmittance afterwards.

    A pixel stops at the first splat that would take it to the threshold; zero marks a stopped pixel.
    """

    def pass_splat(running: Array, alpha: Array) -> tuple[Array, Array]:
        return running * (1 - alpha), running

    # A loop compiles and runs fastest on a CPU; a GPU wants it unrolled into one kernel.
    unroll = 1 if jax.default_backend() == "cpu" else alpha.shape[1]
    running, before = lax.scan(pass_splat, transmittance, jnp.swapaxes(alpha, 0, 1), unroll=unroll)
    stacked = jnp.swapaxes(before, 0, 1)
    # Once under the threshold the product stays there, so testing each product is testing the first stop.
    kept = stacked * (1 - alpha) > MINIMUM_TRANSMITTANCE
    return stacked, kept, jnp.where(running > MINIMUM_TRANSMITTANCE, running, 0.0)


def _weights(alpha: Array, transmittance: Array) -> tuple[Array, Array]:
    before, kept, after = _transmittances(alpha, transmittance)
    return jnp.where(kept, alpha * before, 0.0), after


def _values(record: Array) -> Array:
    """What a splat adds per unit of weight: colour, depth, one."""
    return jnp.concatenate([record[..., 6:10], jnp.ones_like(record[..., :1])], axis=-1)


def _record_gradient(
    record: Array, d_opacity: Array, d_exponent: Array, d_values: Array, offset: Array, pixels: Array
) -> Array:
    """Gradient of the ten numbers of a record from per-pixel gradients, through six moments of the pixels.

    ``d_exponent`` is the gradient with respect to -sigma. Moments about the mean follow from moments about the
    tile's centre, so that every sum over pixels is one matrix product.
    """
    x, y = pixels[:, 0], pixels[:, 1]
    powers = jnp.stack([jnp.ones_like(x), x, y, x * x, x * y, y * y], axis=-1)
    moments = _product("bsp,pm->bsm", d_exponent, powers)
    one, mx, my, mxx, mxy, myy = (moments[..., i] for i in range(6))
    u, v = offset[..., 0], offset[..., 1]
    dx, dy = mx - u * one, my - v * one
    dxx = mxx - 2 * u * mx + u * u * one
    dxy = mxy - u * my - v * mx + u * v * one
    dyy = myy - 2 * v * my + v * v * one
    a, b, c = record[..., 2], record[..., 3], record[..., 4]
    return jnp.stack(
        [
            a * dx + b * dy,
            b * dx + c * dy,
            -0.5 * dxx,
            -dxy,
            -0.5 * dyy,
            jnp.sum(d_opacity, axis=-1),
            d_values[..., 0],
            d_values[..., 1],
            d_values[..., 2],
            d_values[..., 3],
        ],
        axis=-1,
    )


def _scatter_blocks(values: Array, blocks: Array, tiles: int) -> Array:
    flat = values.reshape(-1, *values.shape[2:])
    return jnp.zeros((tiles, *flat.shape[1:])).at[blocks.reshape(-1)].set(flat, mode="drop", unique_indices=True)
