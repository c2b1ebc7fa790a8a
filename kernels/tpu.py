"""The compositor for TPUs: a Pallas kernel draws the image, the rule of the tiled rasterizer differentiates it.

A tile has 32 x 32 pixels, so that one number per pixel of it is exactly one vector register. A grid step blends the
list of one tile, splat by splat, with the arithmetic of the definition: the ten numbers of a splat are scalars, all
pixels of the tile follow at once. Records are gathered into the order of the lists beforehand and arrive in scalar
memory a chunk at a time, each while the one before it is blended.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu
from jaxtyping import Array, Float, Int

from jaxrecon.kernels.binning import TileLists
from jaxrecon.kernels.projection import Splats
from jaxrecon.kernels.raster import MAXIMUM_ALPHA, MINIMUM_ALPHA, MINIMUM_TRANSMITTANCE, RasterConfig
from jaxrecon.kernels.tiled import RECORD, VALUES, Grid, blend_backward, composite_blended

TILE = 32  # pixels
SUBLANES, LANES = 8, 128  # of a vector register of 32-bit numbers
WORDS = 16  # that a record takes: RECORD, rounded up to a divisor of LANES
GROUP = LANES // WORDS  # splats in a row of scalar memory, blended without a branch
CHUNK_ROWS = 16
CHUNK = CHUNK_ROWS * GROUP  # splats of a transfer
ACROSS = LANES // TILE  # tiles side by side in a block of the image
SLOTS = 4  # two for the first chunks of this tile and the next, two for the chunks that follow
BLOCK_PIXELS = 1 << 18  # that advance in lockstep in the backward pass: bounds its memory

Interpret = bool | pltpu.InterpretParams
Pixels = tuple[Array, ...]  # transmittance (0: stopped), then accumulated colour (3), depth and alpha


def composite_tpu(
    splats: Splats, width: int, height: int, config: RasterConfig, interpret: Interpret = False
) -> tuple[Array, Array, Array, Array, Array]:
    """Blend each camera's splats, tile by tile, on a TPU.

    ``pairs_per_camera`` counts pairs with tiles of 32 x 32 pixels; ``tile`` is not used.

    Args:
        splats: what the cameras see.
        width: image width, pixels.
        height: image height, pixels.
        config: capacities.
        interpret: run the kernel slowly on any device, as plain JAX or in a simulation of a TPU's memories.

    Returns:
        Accumulated colour (camera, height, width, 3), accumulated depth and alpha (camera, height, width), whether a
        camera's pairs overflowed, and how many it needed.
    """
    block = config.tiles_per_block or (1 if interpret else BLOCK_PIXELS // TILE**2)
    grid = Grid(width, height, TILE, config.splats_per_step, block)

    def blend(records: Array, lists: TileLists) -> Array:
        planes = _blend(records, lists, grid, interpret)[:, :, :height, :width]
        return jnp.moveaxis(planes, 1, -1)

    return composite_blended(splats, grid, config.pairs_per_camera, blend)


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _blend(
    records: Float[Array, "splat 10"], lists: TileLists, grid: Grid, interpret: Interpret
) -> Float[Array, "camera 5 row lane"]:
    return _forward(records, lists, grid, interpret)


def _blend_forward(
    records: Array, lists: TileLists, grid: Grid, interpret: Interpret
) -> tuple[Array, tuple[Array, TileLists, Array]]:
    planes = _forward(records, lists, grid, interpret)
    return planes, (records, lists, planes)


def _blend_backward(
    grid: Grid, interpret: Interpret, residuals: tuple[Array, TileLists, Array], cotangent: Array
) -> tuple[Array, TileLists]:
    records, lists, planes = residuals
    values, cotangent = (_planes_to_tiles(one, grid) for one in (planes, cotangent))
    return blend_backward(grid, (records, lists, values), cotangent)


_blend.defvjp(_blend_forward, _blend_backward)


def _planes_to_tiles(planes: Array, grid: Grid) -> Float[Array, "tile pixel 5"]:
    cameras, columns, rows = planes.shape[0], grid.columns, grid.rows
    split = planes[..., : columns * TILE].reshape(cameras, VALUES, rows, TILE, columns, TILE)
    return split.transpose(0, 2, 4, 3, 5, 1).reshape(cameras * rows * columns, TILE * TILE, VALUES)


def _forward(records: Array, lists: TileLists, grid: Grid, interpret: Interpret) -> Array:
    columns, tiles = grid.columns, grid.columns * grid.rows
    cameras = lists.start.shape[0] // tiles

    def block_of(camera: Array, tile: Array) -> tuple[Any, ...]:
        return camera, 0, lax.div(tile, columns), lax.div(lax.rem(tile, columns), ACROSS)

    return pl.pallas_call(
        partial(_blend_tile, columns=columns),
        grid=(cameras, tiles),
        in_specs=[
            pl.BlockSpec((1, 1, tiles + 1), lambda camera, tile: (camera, 0, 0), memory_space=pltpu.SMEM),
            pl.BlockSpec(memory_space=pltpu.HBM),
        ],
        out_specs=pl.BlockSpec((1, VALUES, TILE, LANES), block_of),
        out_shape=jax.ShapeDtypeStruct((cameras, VALUES, grid.rows * TILE, -(-columns // ACROSS) * LANES), jnp.float32),
        scratch_shapes=[
            pltpu.SMEM((SLOTS, CHUNK_ROWS, LANES), jnp.float32),
            pltpu.SemaphoreType.DMA((SLOTS,)),
        ],
        # The tiles of a camera run in order, for each asks for the next one's records; cameras are independent.
        compiler_params=pltpu.CompilerParams(dimension_semantics=("parallel", "arbitrary")),
        interpret=interpret,
        name="blend_tiles",
    )(_bounds(lists, cameras), _sorted_records(records, lists))


def _bounds(lists: TileLists, cameras: int) -> Int[Array, "camera 1 bound"]:
    """Where in the sorted pairs each tile of a camera starts and the last one ends."""
    ends = (lists.start + lists.length).reshape(cameras, 1, -1)
    return jnp.concatenate([lists.start.reshape(cameras, 1, -1)[..., :1], ends], axis=-1)


def _sorted_records(records: Array, lists: TileLists) -> Float[Array, "chunk row lane"]:
    """The records in the order of the lists, without gaps, each padded to ``WORDS``."""
    pairs = lists.splat.shape[0]
    splat = jnp.pad(lists.splat, (0, -pairs % CHUNK))
    padded = jnp.pad(records, ((0, 0), (0, WORDS - RECORD)))
    return padded[splat].reshape(-1, CHUNK_ROWS, LANES)


def _blend_tile(bounds: Any, records: Any, planes: Any, arrived: Any, arrivals: Any, *, columns: int) -> None:
    """One grid step.

    Args:
        bounds: in scalar memory, of this camera's lists: (1, 1, tiles + 1).
        records: in main memory: (chunk, row, lane).
        planes: of the image, this tile and its neighbours of a block: (1, VALUES, TILE, LANES).
        arrived: records in scalar memory: (slot, row, lane).
        arrivals: a semaphore for each slot.
        columns: tiles in a row of the image.
    """
    tile = pl.program_id(1)
    start, end = bounds[0, 0, tile], bounds[0, 0, tile + 1]
    first, last = lax.div(start, CHUNK), lax.div(end + CHUNK - 1, CHUNK)

    def transfer(chunk: Array, slot: Array) -> Any:
        return pltpu.make_async_copy(records.at[chunk], arrived.at[slot], arrivals.at[slot])

    def slot_of(chunk: Array) -> Array:
        return jnp.where(chunk == first, lax.rem(tile, 2), 2 + lax.rem(chunk, 2))

    @pl.when((tile == 0) & (start < end))
    def _() -> None:
        transfer(first, lax.rem(tile, 2)).start()

    # The next tile's records travel while this tile is blended; its list starts where this one ends.
    next_tile = jnp.minimum(tile + 1, pl.num_programs(1) - 1)

    @pl.when((next_tile > tile) & (end < bounds[0, 0, next_tile + 1]))
    def _() -> None:
        transfer(lax.div(end, CHUNK), lax.rem(next_tile, 2)).start()

    x, y = _pixel_centres(tile, columns)

    def more(state: tuple[Array, Pixels]) -> Array:
        chunk, pixels = state
        return (chunk < last) & (jnp.max(pixels[0]) > 0)

    def advance(state: tuple[Array, Pixels]) -> tuple[Array, Pixels]:
        chunk, pixels = state
        slot = slot_of(chunk)
        transfer(chunk, slot).wait()

        @pl.when(chunk + 1 < last)
        def _() -> None:
            transfer(chunk + 1, slot_of(chunk + 1)).start()

        begin, stop = jnp.maximum(start - chunk * CHUNK, 0), jnp.minimum(end - chunk * CHUNK, CHUNK)

        def blend_group(row: Array, pixels: Pixels) -> Pixels:
            for i in range(GROUP):
                position = row * GROUP + i
                live = (position >= begin) & (position < stop)
                record = [arrived[slot, row, i * WORDS + word] for word in range(RECORD)]
                pixels = _blend_splat(record, live, x, y, pixels)
            return pixels

        return chunk + 1, lax.fori_loop(lax.div(begin, GROUP), lax.div(stop + GROUP - 1, GROUP), blend_group, pixels)

    nothing = jnp.zeros((SUBLANES, LANES), jnp.float32)
    pixels = (jnp.ones((SUBLANES, LANES), jnp.float32),) + (nothing,) * VALUES
    passed, pixels = lax.while_loop(more, advance, (jnp.where(start < end, first, last), pixels))

    # A tile that saturated early leaves a transfer under way.
    @pl.when(passed < last)
    def _() -> None:
        transfer(passed, slot_of(passed)).wait()

    _store(pixels, planes, lax.rem(lax.rem(tile, columns), ACROSS))


def _pixel_centres(tile: Array, columns: int) -> tuple[Array, Array]:
    """Centres of a tile's pixels on the image: bands of eight rows lie side by side in one vector register."""
    sublane = lax.broadcasted_iota(jnp.int32, (SUBLANES, LANES), 0)
    lane = lax.broadcasted_iota(jnp.int32, (SUBLANES, LANES), 1)
    x = lax.rem(tile, columns) * TILE + lax.rem(lane, TILE)
    y = lax.div(tile, columns) * TILE + lax.div(lane, TILE) * SUBLANES + sublane
    return x.astype(jnp.float32) + 0.5, y.astype(jnp.float32) + 0.5


def _store(pixels: Pixels, planes: Any, place: Array) -> None:
    """Lay a tile's bands of rows below each other, at its place among the tiles of a block of the image.

    An image laid out by XLA instead takes several times its size in memory, for the sake of rows of 32 pixels.
    """
    lane = lax.broadcasted_iota(jnp.int32, (SUBLANES, LANES), 1)
    own = lax.div(lane, TILE) == place
    for band in range(TILE // SUBLANES):
        rows = slice(band * SUBLANES, (band + 1) * SUBLANES)
        shift = lax.rem(place + (ACROSS - band), ACROSS) * TILE
        for i, value in enumerate(pixels[1:]):
            planes[0, i, rows] = jnp.where(own, pltpu.roll(value, shift, 1), planes[0, i, rows])


def _blend_splat(record: list[Array], live: Array, x: Array, y: Array, pixels: Pixels) -> Pixels:
    u, v, a, b, c, opacity, *colour_and_depth = record
    transmittance, *accumulated, alpha_sum = pixels
    dx, dy = x - u, y - v
    sigma = 0.5 * (a * dx * dx + c * dy * dy) + b * dx * dy
    alpha = jnp.minimum(jnp.where(live, opacity, 0.0) * jnp.exp(-sigma), MAXIMUM_ALPHA)
    alpha = jnp.where((sigma >= 0) & (alpha >= MINIMUM_ALPHA), alpha, 0.0)
    after = transmittance * (1 - alpha)
    # A pixel stops at the first splat that would take it to the threshold; from there on all of this is zero.
    blends = after > MINIMUM_TRANSMITTANCE
    weight = jnp.where(blends, alpha * transmittance, 0.0)
    accumulated = [total + weight * value for total, value in zip(accumulated, colour_and_depth, strict=True)]
    return (jnp.where(blends, after, 0.0), *accumulated, alpha_sum + weight)
