"""The recorded driver as a policy among policies: its rollout, and the action it would take from any state."""

import dataclasses

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxrecon.dynamics import HORIZON, VehicleState, aim, nearest
from jaxrecon.simulator.encounters import surroundings_of
from jaxrecon.simulator.moments import events_of, recorded_moment, trace_of
from jaxrecon.simulator.observation import in_ego
from jaxrecon.simulator.outcomes import expert_route
from jaxrecon.simulator.simulator import Simulator
from jaxrecon.simulator.state import Rollout, SimulatorParams
from jaxrecon.simulator.world import World


def recorded_rollout(
    simulator: Simulator,
    start_frames: Int[Array, " env"],
    params: SimulatorParams,
    scenes: Int[Array, " env"] | None = None,
) -> Rollout:
    """The clips that the recorded driver drives from given log frames, judged by the same rules as any policy's.

    Nothing is drawn. Positions are the recorded ones; speeds, accelerations and turn rates are the reference's.

    Args:
        simulator: rules and world.
        start_frames: log frames.
        params: thresholds.
        scenes: of the clips; the first by default.
    """
    world = simulator.world
    scenes = jnp.zeros_like(start_frames) if scenes is None else scenes
    reference, last = world.reference, world.frames[scenes] - 1
    elapsed = 1 + jnp.arange(simulator.clip_steps)[:, None] + jnp.zeros_like(start_frames)
    within = start_frames + elapsed <= last
    elapsed = jnp.minimum(elapsed, last - start_frames)
    starts, places = (jnp.broadcast_to(values, elapsed.shape) for values in (start_frames, scenes))
    frame = starts + elapsed
    moment = recorded_moment(world, places, frame)
    trace = trace_of(world, moment, reference.route[places, starts], starts, elapsed)
    trace = dataclasses.replace(trace, lateral_acceleration=moment.vehicle.speed * reference.yaw_rate[places, frame])
    events = events_of(world, moment, params)
    hit = jnp.any(events, axis=-1) & within
    valid = within & (jnp.cumsum(hit, axis=0) - hit == 0)
    terminated = hit & valid
    final = (elapsed == simulator.clip_steps) | (frame == last)
    earlier = reference.motion_at(places, frame - 1)
    route = expert_route(world, places, starts, simulator.clip_steps)
    return Rollout(
        trace=trace,
        events=events & valid[..., None],
        valid=valid,
        terminated=terminated,
        truncated=valid & final & ~terminated,
        surroundings=surroundings_of(world, earlier, moment, route),
    )


def expert_displacement(
    world: World, scene: Int[Array, " env"], vehicle: VehicleState, frame: Int[Array, " env"]
) -> tuple[Float[Array, " env"], Float[Array, " env"]]:
    """Where the recorded car is half a second later, seen from an ego: metres to its left and ahead of it.

    The log's last half second has no such place; there it is the last pose.
    """
    target = in_ego(vehicle, world.reference.position_after(scene, frame, HORIZON / world.dt))
    return target[..., 1], target[..., 0]


def expert_action(
    simulator: Simulator,
    vehicle: VehicleState,
    frame: Int[Array, " env"],
    scene: Int[Array, " env"] | None = None,
) -> Int[Array, "env 2"] | Float[Array, "env 2"]:
    """The action that heads for where the recorded car is half a second later, of the configured kind.

    From the recorded pose it repeats the recording; from another it returns to it (pure pursuit).

    Args:
        simulator: rules and world.
        vehicle: the ego.
        frame: log frame.
        scene: of each environment; the first by default.
    """
    world, limits = simulator.world, simulator.config.limits
    scene = jnp.zeros_like(frame) if scene is None else scene
    lateral, longitudinal = expert_displacement(world, scene, vehicle, frame)
    wheelbase = world.vehicle.wheelbase[scene]
    if simulator.config.action == "anchors":
        return jnp.stack(nearest(lateral, longitudinal, vehicle.speed, wheelbase, limits), axis=-1)
    return jnp.stack(aim(lateral, longitudinal, vehicle, wheelbase, limits), axis=-1)
