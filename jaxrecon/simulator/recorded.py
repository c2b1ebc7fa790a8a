"""The recorded driver as a policy among policies: its rollout, and the action it would take from any state."""

import dataclasses

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxrecon.dynamics import HORIZON, VehicleLimits, VehicleState, aim, nearest
from jaxrecon.simulator.events import collisions, deviations
from jaxrecon.simulator.observation import in_ego
from jaxrecon.simulator.simulator import Simulator, trace_of
from jaxrecon.simulator.state import Rollout, SimulatorParams
from jaxrecon.simulator.world import World


def recorded_rollout(simulator: Simulator, start_frames: Int[Array, " env"], params: SimulatorParams) -> Rollout:
    """The clips that the recorded driver drives from given log frames, judged by the same rules as any policy's.

    Nothing is drawn. Positions are the recorded ones; speeds, accelerations and turn rates are the reference's.

    Args:
        simulator: rules and world.
        start_frames: log frames.
        params: thresholds.
    """
    world = simulator.world
    reference, last = world.reference, world.frames - 1
    elapsed = 1 + jnp.arange(simulator.clip_steps)[:, None] + jnp.zeros_like(start_frames)
    within = start_frames + elapsed <= last
    elapsed = jnp.minimum(elapsed, last - start_frames)
    starts = jnp.broadcast_to(start_frames, elapsed.shape)
    frame = starts + elapsed
    vehicle = reference.motion_at(frame)
    projection = reference.recorded_projection(frame)
    trace = trace_of(world, vehicle, projection, reference.route[starts], starts, elapsed)
    trace = dataclasses.replace(trace, lateral_acceleration=vehicle.speed * reference.yaw_rate[frame])
    hits = collisions(vehicle, frame, world.traffic, world.obstacles, world.vehicle)
    strays = deviations(
        trace.path_distance, trace.path_heading_error, params.position_threshold, params.heading_threshold
    )
    events = jnp.concatenate([hits, strays], axis=-1)
    hit = jnp.any(events, axis=-1) & within
    valid = within & (jnp.cumsum(hit, axis=0) - hit == 0)
    terminated = hit & valid
    final = (elapsed == simulator.clip_steps) | (frame == last)
    return Rollout(
        trace=trace,
        events=events & valid[..., None],
        valid=valid,
        terminated=terminated,
        truncated=valid & final & ~terminated,
    )


def expert_displacement(
    world: World, vehicle: VehicleState, frame: Int[Array, " env"]
) -> tuple[Float[Array, " env"], Float[Array, " env"]]:
    """Where the recorded car is half a second later, seen from an ego: metres to its left and ahead of it.

    The log's last half second has no such place; there it is the last pose.
    """
    target = in_ego(vehicle, world.reference.position_after(frame, HORIZON / world.dt))
    return target[..., 1], target[..., 0]


def expert_action(
    simulator: Simulator, vehicle: VehicleState, frame: Int[Array, " env"]
) -> Int[Array, "env 2"] | Float[Array, "env 2"]:
    """The action that heads for where the recorded car is half a second later, of the configured kind.

    From the recorded pose it repeats the recording; from another it returns to it (pure pursuit).

    Args:
        simulator: rules and world.
        vehicle: the ego.
        frame: log frame.
    """
    world, limits = simulator.world, simulator.config.limits
    lateral, longitudinal = expert_displacement(world, vehicle, frame)
    if simulator.config.action == "anchors":
        return jnp.stack(expert_anchors(lateral, longitudinal, vehicle, world, limits), axis=-1)
    return jnp.stack(aim(lateral, longitudinal, vehicle, world.vehicle.wheelbase, limits), axis=-1)


def expert_anchors(
    lateral: Float[Array, "*b"],
    longitudinal: Float[Array, "*b"],
    vehicle: VehicleState,
    world: World,
    limits: VehicleLimits,
) -> tuple[Int[Array, "*b"], Int[Array, "*b"]]:
    """Feasible anchors nearest to a displacement, as indices."""
    return nearest(lateral, longitudinal, vehicle.speed, world.vehicle.wheelbase, limits)
