"""Which splats touch which tile, in depth order: emit (splat, tile) pairs, sort them, find each tile's run."""

import flax.struct
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Int

from jaxrecon.kernels.projection import Splats


@flax.struct.dataclass
class TileLists:
    """For each tile of each camera, a run of splats from near to far.

    Attributes:
        splat: flat index (camera * n + slot) of the splat of each sorted pair.
        start: first pair of each tile; tiles are numbered camera by camera, row by row.
        length: pairs of each tile.
        overflow: cameras whose pairs did not all fit.
        pairs: pairs that each camera needed.
    """

    splat: Int[Array, " pair"]
    start: Int[Array, " tile"]
    length: Int[Array, " tile"]
    overflow: Bool[Array, " camera"]
    pairs: Int[Array, " camera"]


def bin_splats(splats: Splats, width: int, height: int, tile: int, capacity: int) -> TileLists:
    """Sort every camera's splats into tiles.

    Args:
        splats: what the cameras see.
        width: image width, pixels.
        height: image height, pixels.
        tile: side of a tile, pixels.
        capacity: room for pairs, all cameras together.
    """
    splats = lax.stop_gradient(splats)
    cameras, slots = splats.visible.shape
    columns, rows = -(-width // tile), -(-height // tile)
    first, across, count = _touched_tiles(splats, columns, rows, tile)

    ends = jnp.cumsum(count.reshape(-1))
    starts = ends - count.reshape(-1)
    total = ends[-1]
    # The owner of a pair is the last splat that starts at or before it: count starts, minus one.
    owner = jnp.cumsum(jnp.zeros(capacity, jnp.int32).at[starts].add(1, mode="drop")) - 1
    within = jnp.arange(capacity, dtype=jnp.int32) - starts[owner]
    step_across = jnp.maximum(across.reshape(-1)[owner], 1)
    camera = owner // slots
    tile_of_pair = first.reshape(-1)[owner] + (within // step_across) * columns + within % step_across
    tile_of_pair = camera * (columns * rows) + tile_of_pair
    tiles = cameras * columns * rows
    live = jnp.arange(capacity) < total
    tile_of_pair = jnp.where(live, tile_of_pair, tiles)

    depth_bits = lax.bitcast_convert_type(splats.depth.reshape(-1), jnp.uint32)[owner]
    splat = _sort_pairs(tile_of_pair, depth_bits, owner, tiles, cameras * slots)
    length = jnp.zeros(tiles, jnp.int32).at[tile_of_pair].add(1, mode="drop")
    ends_of_camera = ends.reshape(cameras, slots)[:, -1]
    return TileLists(
        splat=splat,
        start=jnp.cumsum(length) - length,
        length=length,
        overflow=ends_of_camera > capacity,
        pairs=jnp.sum(count, axis=1),
    )


def _touched_tiles(splats: Splats, columns: int, rows: int, tile: int) -> tuple[Array, Array, Array]:
    """First tile, tiles across and number of tiles of each splat's box."""
    low = jnp.floor((splats.mean - splats.extent) / tile)
    high = jnp.ceil((splats.mean + splats.extent) / tile)
    x0, x1 = (jnp.clip(edge[..., 0], 0, columns).astype(jnp.int32) for edge in (low, high))
    y0, y1 = (jnp.clip(edge[..., 1], 0, rows).astype(jnp.int32) for edge in (low, high))
    across = jnp.where(splats.visible, jnp.maximum(x1 - x0, 0), 0)
    return y0 * columns + x0, across, across * jnp.maximum(y1 - y0, 0)


def _sort_pairs(tile: Array, depth_bits: Array, owner: Array, tiles: int, owners: int) -> Array:
    """Owners ordered by tile, then depth, then index.

    All three are packed into one 64-bit word and sorted as a plain array of integers, which XLA does several times
    faster than a sort that carries a payload. Depth gives up its lowest bits where the word is too short.
    """
    owner_bits, tile_bits = max((owners - 1).bit_length(), 1), max(tiles.bit_length(), 1)
    depth_kept = min(64 - owner_bits - tile_bits, 31)
    if depth_kept < 16:
        raise ValueError(
            f"{tiles} tiles and {owners} splats leave {depth_kept} bits for depth; expected at least 16. "
            "Draw fewer cameras in a call."
        )
    with jax.enable_x64(True):
        wide = (value.astype(jnp.uint64) for value in (tile, depth_bits >> (31 - depth_kept), owner))
        key_tile, key_depth, key_owner = wide
        shift = jnp.uint64(owner_bits + depth_kept)
        key = (key_tile << shift) | (key_depth << jnp.uint64(owner_bits)) | key_owner
        key = lax.sort(key, is_stable=False)
        owner = (key & jnp.uint64((1 << owner_bits) - 1)).astype(jnp.int32)
    return owner
