"""Rays against short lists of solids: which lists, and the nearest entry in them."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxrecon.street.primitives import INFINITY, entry
from jaxrecon.street.vectors import Vector, if_any, transform
from jaxrecon.street.world import Posed

SOLIDS_AT_ONCE = 8  # met by all rays in one step of the loop on accelerators, where a step costs more than a solid

Lists = tuple[tuple[Any, Any], ...]  # per kind: slots (block, k) and how many of them count (block,)
Ranges = tuple[tuple[int, int], ...]


def shortlist(
    score: Float[Array, "block n"], ranges: Ranges, longest: int
) -> tuple[tuple[tuple[Int[Array, "block k"], Int[Array, " block"]], ...], Bool[Array, " block"]]:
    """Per kind, the slots with the highest positive scores, and whether some did not fit.

    Args:
        score: higher comes first; 0 or less is left out.
        ranges: of the kinds along the last axis.
        longest: capacity of a list.
    """
    lists, overflow = [], jnp.zeros(score.shape[:1], bool)
    for start, stop in ranges:
        part = score[:, start:stop]
        size = min(longest, stop - start)
        _, slots = jax.lax.top_k(part, size)
        count = jnp.sum(part > 0, axis=1)
        overflow = overflow | (count > size)
        lists.append((slots + start, jnp.minimum(count, size)))
    return tuple(lists), overflow


def nearest(
    geometry: Float[Array, "*camera n 16"],
    camera: Int[Array, " block"] | None,
    lists: Lists,
    origin: Vector,
    direction: Vector,
    furthest: Float[Array, "block ray"],
    solids_at_once: int | None = None,
) -> tuple[Float[Array, "block ray"], Int[Array, "block ray"]]:
    """Nearest entry of every ray into the solids of its block's lists.

    Args:
        geometry: ``Posed.geometry``, with a leading camera axis where ``camera`` is given.
        camera: which camera's poses each block uses.
        lists: of ``shortlist``.
        origin: components, broadcastable to (block, ray).
        direction: likewise; ray parameters are in its units.
        furthest: entries beyond it do not count.
        solids_at_once: of a list, met in one step of the loop; None picks 1 on CPU, where solids that no block has
            are skipped instead, and ``SOLIDS_AT_ONCE`` elsewhere.

    Returns:
        Ray parameter (``furthest`` where nothing was hit) and slot (-1 where nothing was hit).
    """
    if solids_at_once is None:
        solids_at_once = 1 if jax.default_backend() == "cpu" else SOLIDS_AT_ONCE
    carry = furthest, jnp.full(furthest.shape, -1, jnp.int32)
    for kind, (slots, count) in enumerate(lists):
        slots = jnp.pad(slots, ((0, 0), (0, -slots.shape[1] % solids_at_once)))
        rows = geometry[slots] if camera is None else geometry[camera[:, None], slots]
        rows = jnp.moveaxis(rows, 0, 2)  # (k, 16, block)
        grouped = rows.reshape(-1, solids_at_once, *rows.shape[1:]), slots.T.reshape(-1, solids_at_once, len(slots))

        def visit(step: Any, carry: Any, grouped: Any = grouped, count: Any = count, kind: int = kind) -> Any:
            group, names = (jax.lax.dynamic_index_in_dim(values, step, 0, keepdims=False) for values in grouped)
            for i in range(solids_at_once):
                present = step * solids_at_once + i < count
                carry = _meet(kind, group[i], names[i], present, (origin, direction), carry, solids_at_once == 1)
            return carry

        carry = jax.lax.fori_loop(0, -(-jnp.max(count) // solids_at_once), visit, carry)
    return carry


def _meet(kind: int, row: Any, slot: Any, present: Any, ray: tuple[Vector, Vector], carry: Any, skip: bool) -> Any:
    """Let all rays meet one solid a block; ``skip`` leaves out one that no block has."""
    best, index = carry
    row, (origin, direction) = row[:, :, None], ray

    def meet() -> Any:
        return entry(kind, transform(row, origin, 1.0), transform(row, direction, 0.0), row[12:]) + 0 * best

    t = if_any(present, meet) if skip else meet()
    closer = present[:, None] & (t < best)
    return jnp.where(closer, t, best), jnp.where(closer, slot[:, None], index)


def image_lists(
    posed: Posed,
    world_from_camera: Float[Array, "4 4"],
    intrinsics: Float[Array, "4"],
    tiles: tuple[int, int],
    tile_px: int,
    ranges: Ranges,
    longest: int,
) -> tuple[tuple[tuple[Int[Array, "tile k"], Int[Array, " tile"]], ...], Bool[Array, " tile"]]:
    """Lists per image tile of the solids whose bounding box the tile's pyramid may meet, nearest first.

    Args:
        posed: the solids.
        world_from_camera: camera pose.
        intrinsics: pixels.
        tiles: how many across and down.
        tile_px: pixels along a tile's side.
        ranges: of the kinds.
        longest: capacity of a list.
    """
    rotation = world_from_camera[:3, :3]
    centre = (posed.centre - world_from_camera[:3, 3]) @ rotation
    axes = posed.axes @ rotation
    fx, fy, cx, cy = intrinsics

    def sides(normals: Any) -> tuple[Any, Any]:
        middle = centre @ normals.T
        reach = jnp.sum(jnp.abs(axes @ normals.T), axis=1)
        return middle + reach >= 0, middle - reach <= 0

    u, v = jnp.arange(tiles[0] + 1) * tile_px, jnp.arange(tiles[1] + 1) * tile_px
    zero_u, zero_v = jnp.zeros(u.shape), jnp.zeros(v.shape)
    right_of, left_of = sides(jnp.stack([zero_u + 1, zero_u, (cx - u) / fx], -1))
    below, above = sides(jnp.stack([zero_v, zero_v + 1, (cy - v) / fy], -1))
    column, row = right_of[:, :-1] & left_of[:, 1:], below[:, :-1] & above[:, 1:]
    ahead = (centre[:, 2] + jnp.sum(jnp.abs(axes[:, :, 2]), 1) > 0) & posed.valid
    seen = (row[:, :, None] & column[:, None, :] & ahead[:, None, None]).reshape(len(centre), -1).T
    gap = jnp.linalg.norm(centre, axis=1) - jnp.linalg.norm(axes, axis=(1, 2))
    return shortlist(jnp.where(seen, 1e5 - gap, -1.0), ranges, longest)


def cone_lists(
    posed: Posed,
    origin: Float[Array, "3"],
    directions: Float[Array, "block ray 3"],
    ranges: Ranges,
    longest: int,
) -> tuple[tuple[tuple[Int[Array, "block k"], Int[Array, " block"]], ...], Bool[Array, " block"]]:
    """Lists per block of rays with one origin: the solids whose bounding ball the block's cone may meet.

    Args:
        posed: the solids.
        origin: of all rays, world.
        directions: unit vectors, world.
        ranges: of the kinds.
        longest: capacity of a list.
    """
    axis = jnp.sum(directions, axis=1)
    axis = axis / jnp.linalg.norm(axis, axis=1, keepdims=True)
    half = jnp.arccos(jnp.clip(jnp.min(jnp.einsum("brc,bc->br", directions, axis), axis=1), -1.0, 1.0))
    to_centre = posed.centre - origin
    far = jnp.linalg.norm(to_centre, axis=1)
    radius = jnp.sqrt(jnp.sum(posed.axes**2, axis=(1, 2)))
    swell = jnp.where(far > radius, jnp.arcsin(jnp.clip(radius / jnp.maximum(far, 1e-6), 0.0, 1.0)), jnp.pi)
    angle = jnp.arccos(jnp.clip(axis @ to_centre.T / jnp.maximum(far, 1e-6), -1.0, 1.0))
    seen = (angle <= half[:, None] + swell + 1e-3) & posed.valid
    return shortlist(jnp.where(seen, 1e5 - far + radius, -1.0), ranges, longest)


def shadow_lists(
    posed: Posed,
    camera: Int[Array, " block"],
    sun_from_world: Float[Array, "3 3"],
    points: Vector,
    counts: Bool[Array, "block ray"],
    cells: int,
    ranges: Ranges,
    longest: int,
) -> tuple[tuple[tuple[Int[Array, "block k"], Int[Array, " block"]], ...], Bool[Array, " block"]]:
    """Lists per block of the solids that may shade its points, those that may shade most of it first.

    Each block's points are grouped into ``cells`` runs; a solid may shade a cell when their boxes overlap as
    seen from the sun and the solid reaches above the cell.

    Args:
        posed: the solids, with a leading camera axis.
        camera: which camera's poses each block uses.
        sun_from_world: rows are two directions across the sunlight and the one towards the sun.
        points: world components (block, ray).
        counts: which of them matter.
        cells: runs a block.
        ranges: of the kinds.
        longest: capacity of a list.
    """
    middle = posed.centre @ sun_from_world.T
    reach = jnp.sum(jnp.abs(posed.axes @ sun_from_world.T), axis=2)
    middle, reach = middle[camera], reach[camera]
    grouped = (counts.shape[0], cells, -1)
    keep = counts.reshape(grouped)
    touching = posed.valid[camera][:, None, :]
    for i in range(3):
        row = sun_from_world[i]
        value = (points[0] * row[0] + points[1] * row[1] + points[2] * row[2]).reshape(grouped)
        low = jnp.min(jnp.where(keep, value, INFINITY), axis=2)[:, :, None]
        high = jnp.max(jnp.where(keep, value, -INFINITY), axis=2)[:, :, None]
        touching = touching & (low <= (middle + reach)[:, None, :, i])
        if i < 2:
            touching = touching & (high >= (middle - reach)[:, None, :, i])
    return shortlist(jnp.sum(touching, axis=1).astype(jnp.float32), ranges, longest)


def sun_axes(sun: Float[Array, "3"]) -> Float[Array, "3 3"]:
    """Rows: two unit vectors across ``sun``, then ``sun``."""
    side = jnp.array([-sun[1], sun[0], 0.0]) / jnp.maximum(jnp.sqrt(sun[0] ** 2 + sun[1] ** 2), 1e-6)
    return jnp.stack([side, jnp.cross(sun, side), sun])


def tile_pattern(tile_px: int, cell_px: int, samples: int) -> tuple[np.ndarray, np.ndarray]:
    """Sample positions (u, v) in pixels inside a tile: cell by cell, then pixel by pixel, ``samples`` squared each."""
    per = tile_px // cell_px
    axes = np.meshgrid(*(np.arange(n) for n in (per, per, cell_px, cell_px, samples, samples)), indexing="ij")
    cell_v, cell_u, pixel_v, pixel_u, sub_v, sub_u = (a.ravel() for a in axes)
    u = cell_u * cell_px + pixel_u + (sub_u + 0.5) / samples
    v = cell_v * cell_px + pixel_v + (sub_v + 0.5) / samples
    return u.astype(np.float32), v.astype(np.float32)
