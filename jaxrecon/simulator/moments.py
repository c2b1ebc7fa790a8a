"""What happens at a moment: where the ego is on the expert's path, which events befall it, and what metrics need."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxrecon.dynamics import VehicleState, yaw_rate
from jaxrecon.geometry.transforms import wrap_angle
from jaxrecon.metrics.closed_loop import Trace
from jaxrecon.simulator.events import collisions, deviations
from jaxrecon.simulator.state import Moment, SimulatorParams
from jaxrecon.simulator.world import World
from jaxrecon.traffic.cast import actors_at, detour_at


def moment_at(
    world: World,
    scene: Int[Array, "*b"],
    frame: Int[Array, "*b"],
    vehicle: VehicleState,
    route: Float[Array, "*b"],
) -> Moment:
    """The moment of an ego whose nearest point of the path is found near where it was before.

    Args:
        world: where.
        scene: of each environment.
        frame: log frame; held at the log's last.
        vehicle: the ego.
        route: arc length of the path where the ego was before, metres.
    """
    frame = jnp.minimum(frame, world.frames[scene] - 1)
    return Moment(scene, frame, vehicle, world.reference.nearest(scene, vehicle.position, route))


def recorded_moment(world: World, scene: Int[Array, "*b"], frame: Int[Array, "*b"]) -> Moment:
    """The moment at which the log's own car was in a frame."""
    return Moment(
        scene=scene,
        frame=frame,
        vehicle=world.reference.motion_at(scene, frame),
        projection=world.reference.recorded_projection(scene, frame),
    )


def heading_error(world: World, moment: Moment) -> Float[Array, "*b"]:
    """Heading minus the reference's at the nearest point of the expert's path, radians, in [-pi, pi)."""
    projection = moment.projection
    expert = world.reference.heading(moment.scene, projection.segment, projection.fraction)
    if moment.cast is not None:
        expert = expert + jnp.arctan(detour_at(moment.cast.detour, projection.arc)[1])
    return wrap_angle(moment.vehicle.yaw - expert)


def path_distance(moment: Moment) -> Float[Array, "*b"]:
    """From the clip's reference, metres: the expert's path or, where the way out leaves its corridor, that way."""
    projection = moment.projection
    if moment.cast is None:
        return projection.distance
    aside, slope = detour_at(moment.cast.detour, projection.arc)
    from_detour = jnp.abs(projection.lateral - aside) / jnp.sqrt(1 + slope**2)
    return jnp.where(moment.cast.detour[..., 2] == 0, projection.distance, from_detour)


def events_of(world: World, moment: Moment, params: SimulatorParams) -> Bool[Array, "*b 4"]:
    """Which of ``EVENTS`` happen."""
    scene = moment.scene
    actors = actors_at(world.traffic, scene, moment.frame, moment.cast)
    hits = collisions(moment.vehicle, actors, world.vehicle.at(scene), world.probes, world.obstacles, scene)
    error = heading_error(world, moment)
    strays = deviations(path_distance(moment), error, params.position_threshold, params.heading_threshold)
    return jnp.concatenate([hits, strays], axis=-1)


def trace_of(
    world: World,
    moment: Moment,
    start_route: Float[Array, "*b"],
    start_frame: Int[Array, "*b"],
    elapsed: Int[Array, "*b"],
) -> Trace:
    """What metrics need of a moment of a clip."""
    vehicle, scene, route = moment.vehicle, moment.scene, world.reference.route
    return Trace(
        position=vehicle.position,
        heading=vehicle.yaw,
        speed=vehicle.speed,
        acceleration=vehicle.acceleration,
        lateral_acceleration=vehicle.speed * yaw_rate(vehicle, world.vehicle.wheelbase[scene]),
        path_distance=path_distance(moment),
        path_heading_error=heading_error(world, moment),
        progress=moment.projection.arc - start_route,
        expert_progress=route[scene, moment.frame] - route[scene, start_frame],
        time=elapsed * world.dt,
    )
