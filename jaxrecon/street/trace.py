"""Rays against short lists of solids: which lists, and the nearest entry in them."""

import functools
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxrecon.street.groups import in_groups
from jaxrecon.street.primitives import INFINITY, entry
from jaxrecon.street.vectors import Vector, if_any, transform
from jaxrecon.street.world import Posed

SOLIDS_AT_ONCE = 8  # met by all rays in one step of the loop on accelerators, where a step costs more than a solid
RAYS_TOGETHER = 2**19  # enough to keep an accelerator busy; lists of those beside each other are about as long

Lists = tuple[tuple[Any, Any], ...]  # per kind: slots (block, k) and how many of them count (block,)
Ranges = tuple[tuple[int, int], ...]


@flax.struct.dataclass
class Shadows:
    """Boxes around solids in the sun's axes; all may have a leading camera axis.

    Attributes:
        low: their ends along the rows of ``axes``, metres.
        high: their other ends.
        valid: present.
        axes: rows are two directions across the sunlight and the one towards the sun.
    """

    low: Float[Array, "*camera n 3"]
    high: Float[Array, "*camera n 3"]
    valid: Bool[Array, "*camera n"]
    axes: Float[Array, "*camera 3 3"]


def shortlist(
    wanted: Bool[Array, "block n"], ranges: Ranges, longest: int
) -> tuple[tuple[tuple[Int[Array, "block k"], Int[Array, " block"]], ...], Bool[Array, " block"]]:
    """Per kind, the slots that are wanted, and whether some did not fit.

    Args:
        wanted: which solids each block may meet.
        ranges: of the kinds along the last axis.
        longest: capacity of a list.
    """
    lists, overflow = [], jnp.zeros(wanted.shape[:1], bool)
    for start, stop in ranges:
        part = wanted[:, start:stop]
        size = min(longest, stop - start)
        place = jnp.cumsum(part, axis=1, dtype=jnp.int32)
        count = place[:, -1]
        block = jnp.arange(len(part))[:, None]
        empty = jnp.zeros((len(part), size), jnp.int32)
        # What is not wanted is put behind the end, where it is dropped, and so is what does not fit.
        slots = empty.at[block, jnp.where(part, place - 1, size)].set(jnp.arange(start, stop), mode="drop")
        overflow = overflow | (count > size)
        lists.append((slots, jnp.minimum(count, size)))
    return tuple(lists), overflow


def nearest(
    geometry: Float[Array, "*camera n 16"],
    camera: Int[Array, " block"] | None,
    lists: Lists,
    origin: Vector,
    direction: Vector,
    furthest: Float[Array, "block ray"],
    solids_at_once: int | None = None,
    rays_together: int = RAYS_TOGETHER,
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
        rays_together: of more than these, blocks with long lists and blocks with short ones are kept apart, so that
            each loop ends when its own lists do.

    Returns:
        Ray parameter (``furthest`` where nothing was hit) and slot (-1 where nothing was hit).
    """
    if solids_at_once is None:
        solids_at_once = 1 if jax.default_backend() == "cpu" else SOLIDS_AT_ONCE
    blocks, rays = furthest.shape
    groups = min(blocks, -(-blocks * rays // rays_together))
    carry, ray = (furthest, jnp.full(furthest.shape, -1, jnp.int32)), (origin, direction)
    if groups > 1:
        ray = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (blocks, *(jnp.shape(leaf)[1:] or (1,)))), ray)
    for kind, (slots, count) in enumerate(lists):
        meet = functools.partial(_meet_lists, geometry, kind, solids_at_once)
        per_block = camera, slots, count, ray, carry
        carry = meet(*per_block) if groups == 1 else in_groups(meet, per_block, groups, load=count)
    return carry


def _meet_lists(
    geometry: Any, kind: int, at_once: int, camera: Any, slots: Any, count: Any, ray: tuple[Vector, Vector], carry: Any
) -> Any:
    """Let all rays meet the solids of their block's list of one kind."""

    def visit(step: Any, carry: Any) -> Any:
        for i in range(at_once):
            place = step * at_once + i
            slot = jax.lax.dynamic_index_in_dim(slots, place, 1, keepdims=False)
            row = geometry[slot] if camera is None else geometry[camera, slot]
            carry = _meet(kind, row.T, slot, place < count, ray, carry, at_once == 1)
        return carry

    return jax.lax.fori_loop(0, -(-jnp.max(count) // at_once), visit, carry)


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
    """Lists per image tile of the solids whose bounding box the tile's pyramid may meet.

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
    return shortlist(seen, ranges, longest)


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
    return shortlist(seen, ranges, longest)


def shadow_lists(
    shadows: Shadows,
    camera: Int[Array, " block"],
    points: Vector,
    counts: Bool[Array, "block ray"],
    cells: int,
    ranges: Ranges,
    longest: int,
) -> tuple[tuple[tuple[Int[Array, "block k"], Int[Array, " block"]], ...], Bool[Array, " block"]]:
    """Lists per block of the solids that may shade its points.

    Each block's points are grouped into ``cells`` runs; a solid may shade a cell when their boxes overlap as
    seen from the sun and the solid reaches above the cell.

    Args:
        shadows: the solids as the sun sees them, with a leading camera axis.
        camera: which camera's poses each block uses.
        points: world components (block, ray).
        counts: which of them matter.
        cells: runs a block.
        ranges: of the kinds.
        longest: capacity of a list.
    """
    shadows = jax.tree.map(lambda leaf: leaf[camera], shadows)
    grouped = (counts.shape[0], cells, -1)
    keep = counts.reshape(grouped)
    touching = shadows.valid[:, None, :]
    for i in range(3):
        x, y, z = (shadows.axes[:, i, j, None] for j in range(3))
        value = (points[0] * x + points[1] * y + points[2] * z).reshape(grouped)
        least = jnp.min(jnp.where(keep, value, INFINITY), axis=2)[:, :, None]
        touching = touching & (least <= shadows.high[:, None, :, i])
        if i < 2:
            most = jnp.max(jnp.where(keep, value, -INFINITY), axis=2)[:, :, None]
            touching = touching & (most >= shadows.low[:, None, :, i])
    return shortlist(jnp.any(touching, axis=1), ranges, longest)


def seen_from_sun(posed: Posed, sun: Float[Array, "3"]) -> Shadows:
    """The solids' boxes along two directions across the sunlight and the one towards the sun, a unit vector."""
    axes = sun_axes(sun)
    middle = posed.centre @ axes.T
    reach = jnp.sum(jnp.abs(posed.axes @ axes.T), axis=1)
    return Shadows(middle - reach, middle + reach, posed.valid, axes)


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
