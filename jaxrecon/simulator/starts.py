"""Where clips start: log frames drawn at random, and poses a little off the recorded one."""

from typing import TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from jaxrecon.dynamics import VehicleLimits, VehicleState
from jaxrecon.geometry.polylines import Projection
from jaxrecon.geometry.transforms import wrap_angle
from jaxrecon.simulator.events import collisions, deviations
from jaxrecon.simulator.state import Perturbation, SimulatorParams
from jaxrecon.simulator.world import World

Tree = TypeVar("Tree")


def start_mask(world: World, clip_steps: int) -> Bool[Array, " frame"]:
    """Log frames at which clips start.

    Those whose recorded pose collides with nothing and that leave room for a whole clip (in a shorter log only the
    first); where there is none, all but the last that collide with nothing.
    """
    frames = jnp.arange(world.frames)
    allowed = world.start_allowed & (frames < world.frames - 1)
    roomy = allowed & (frames <= max(world.frames - 1 - clip_steps, 0))
    return jnp.where(jnp.any(roomy), roomy, allowed)


def draw_start(
    world: World, keys: Key[Array, " env"], params: SimulatorParams, clip_steps: int
) -> tuple[Int[Array, " env"], Perturbation]:
    """A start frame, uniform over ``start_mask``, and a normal perturbation for each key."""
    order = jnp.cumsum(start_mask(world, clip_steps))

    def draw(key: Array) -> tuple[Array, Array]:
        frame_key, perturbation_key = jax.random.split(key)
        return jax.random.randint(frame_key, (), 0, order[-1]), jax.random.normal(perturbation_key, (3,))

    rank, noise = jax.vmap(draw)(keys)
    frame = jnp.searchsorted(order, rank + 1).astype(jnp.int32)
    perturbation = Perturbation(
        lateral=params.start_lateral * noise[:, 0],
        heading=params.start_heading * noise[:, 1],
        speed=1.0 + params.start_speed * noise[:, 2],
    )
    return frame, perturbation


def perturbed(
    world: World, frame: Int[Array, " env"], perturbation: Perturbation, limits: VehicleLimits
) -> VehicleState:
    """The ego beside its recorded pose at a log frame, whatever it may meet there."""
    recorded = world.reference.motion_at(frame)
    left = jnp.stack([-jnp.sin(recorded.yaw), jnp.cos(recorded.yaw)], axis=-1)
    return VehicleState(
        position=recorded.position + perturbation.lateral[:, None] * left,
        yaw=wrap_angle(recorded.yaw + perturbation.heading),
        speed=jnp.clip(recorded.speed * perturbation.speed, 0.0, limits.speed),
        acceleration=recorded.acceleration,
        steering=recorded.steering,
    )


def assess(
    world: World, vehicle: VehicleState, route: Float[Array, " env"], frame: Int[Array, " env"], params: SimulatorParams
) -> tuple[Projection, Bool[Array, "env 4"]]:
    """The ego's nearest point of the expert's path, near where it was before, and the events that happen to it."""
    projection = world.reference.nearest(vehicle.position, route)
    error = wrap_angle(vehicle.yaw - world.reference.heading(projection.segment, projection.fraction))
    hits = collisions(vehicle, frame, world.traffic, world.obstacles, world.vehicle)
    strays = deviations(projection.distance, error, params.position_threshold, params.heading_threshold)
    return projection, jnp.concatenate([hits, strays], axis=-1)


def place(
    world: World,
    frame: Int[Array, " env"],
    perturbation: Perturbation,
    params: SimulatorParams,
    limits: VehicleLimits,
) -> tuple[VehicleState, Float[Array, " env"], Bool[Array, " env"]]:
    """The ego at the start of a clip.

    Args:
        world: where.
        frame: log frame.
        perturbation: departure from the recorded pose.
        params: thresholds that a start must keep.
        limits: what the car can do.

    Returns:
        The ego; its arc length on the expert's path; and whether an event would have happened at the perturbed pose,
        in which case the ego is the recorded one.
    """
    route = world.reference.route[frame]
    vehicle = perturbed(world, frame, perturbation, limits)
    projection, events = assess(world, vehicle, route, frame, params)
    refused = jnp.any(events, axis=-1)
    return (
        select(refused, world.reference.motion_at(frame), vehicle),
        jnp.where(refused, route, projection.arc),
        refused,
    )


def select(mask: Bool[Array, " env"], chosen: Tree, otherwise: Tree) -> Tree:
    """Leaves of ``chosen`` where the mask is set, of ``otherwise`` elsewhere, environment by environment."""

    def pick(first: Array, second: Array) -> Array:
        return jnp.where(mask.reshape(mask.shape + (1,) * (first.ndim - 1)), first, second)

    return jax.tree.map(pick, chosen, otherwise)
