"""Distances along rays, and a spinning LiDAR made of them."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from jaxrecon.street import trace
from jaxrecon.street.config import LidarConfig
from jaxrecon.street.ground import hit_ground
from jaxrecon.street.primitives import INFINITY
from jaxrecon.street.vectors import Vector
from jaxrecon.street.world import EXACT, Posed, StreetWorld, kind_ranges, pose

Array = Any

SECTORS, BANDS = 30, 4  # at most so many blocks of LiDAR rays around and up


def cast(
    world: StreetWorld,
    origins: Float[Array, "ray 3"],
    directions: Float[Array, "ray 3"],
    world_from_actor: Float[Array, "actor 4 4"],
    actor_valid: Bool[Array, " actor"],
) -> Float[Array, " ray"]:
    """Distance along rays to the nearest surface, against every solid of the street; infinite where there is none.

    Args:
        world: the street.
        origins: where rays start, world, metres.
        directions: unit vectors.
        world_from_actor: box poses of all actors.
        actor_valid: which of them are there.
    """
    with jax.default_matmul_precision(EXACT):
        posed = pose(world, world_from_actor, actor_valid)
    lists = []
    for start, stop in kind_ranges(world):
        present = posed.valid[start:stop]
        # Slots in use come first, so the loop ends with them.
        slots = jnp.argsort(~present, stable=True) + start
        lists.append((slots[None], jnp.sum(present)[None]))
    return _nearest(world, posed, tuple(lists), _columns(origins[None]), _columns(directions[None]))[0]


def _columns(rows: Any) -> Vector:
    return rows[..., 0], rows[..., 1], rows[..., 2]


def _nearest(world: StreetWorld, posed: Posed, lists: Any, origin: Vector, direction: Vector) -> Any:
    earth = hit_ground(world.roads, origin, direction)
    distance, _ = trace.nearest(posed.geometry, None, lists, origin, direction, earth.distance)
    return jnp.where(distance < INFINITY / 2, distance, jnp.inf)


def beam_directions(config: LidarConfig) -> Float[np.ndarray, "block ray 3"]:
    """Unit directions of all rays in the sensor's frame, grouped in blocks of neighbours."""
    elevation = np.radians(np.linspace(config.lowest_deg, config.highest_deg, config.beams))
    azimuth = 2 * np.pi * np.arange(config.columns) / config.columns
    sectors = max(d for d in range(1, SECTORS + 1) if config.columns % d == 0)
    bands = max(d for d in range(1, BANDS + 1) if config.beams % d == 0)
    elevation = elevation.reshape(1, bands, 1, -1)
    azimuth = azimuth.reshape(sectors, 1, -1, 1)
    flat = np.broadcast_to(np.cos(elevation), (sectors, bands, azimuth.shape[2], elevation.shape[3]))
    rays = np.stack([flat * np.cos(azimuth), flat * np.sin(azimuth), np.sin(elevation) + 0 * flat], -1)
    return rays.reshape(sectors * bands, -1, 3).astype(np.float32)


@jax.jit
def sweep(
    world: StreetWorld,
    world_from_sensor: Float[Array, "4 4"],
    directions: Float[Array, "block ray 3"],
    world_from_actor: Float[Array, "actor 4 4"],
    actor_valid: Bool[Array, " actor"],
) -> tuple[Float[Array, "block ray"], Bool[Array, ""]]:
    """Distances along blocks of neighbouring rays from one place, and whether some list of solids was too short.

    Args:
        world: the street.
        world_from_sensor: pose of the sensor.
        directions: unit vectors in the sensor's frame.
        world_from_actor: box poses of all actors.
        actor_valid: which of them are there.
    """
    centre = world_from_sensor[:3, 3]
    with jax.default_matmul_precision(EXACT):
        posed = pose(world, world_from_actor, actor_valid)
        turned = directions @ world_from_sensor[:3, :3].T
        lists, overflow = trace.cone_lists(posed, centre, turned, kind_ranges(world), 192)
    origin = tuple(centre[i][None, None] for i in range(3))
    return _nearest(world, posed, lists, origin, _columns(turned)), jnp.any(overflow)
