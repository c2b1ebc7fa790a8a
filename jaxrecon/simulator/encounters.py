"""The ego among others at a moment of a drive: what rewards and metrics ask beyond RAD's events."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxrecon.dynamics import VehicleState
from jaxrecon.metrics.surroundings import Surroundings
from jaxrecon.scene.roads import lane_at, off_road_distance, own_lane_distance, stop_lines_at
from jaxrecon.simulator.interaction import (
    at_fault,
    footprint,
    in_several_lanes,
    overlaps,
    red_light,
    relative,
    time_to_collision,
)
from jaxrecon.simulator.moments import heading_error
from jaxrecon.simulator.state import Moment
from jaxrecon.simulator.world import World
from jaxrecon.traffic.cast import actors_at

SAME_WAY = 0.5  # least cosine between the ego's heading and the nearest lane's for that to be its own: 60 degrees


def surroundings_of(world: World, before: VehicleState, moment: Moment, clip_route: Float[Array, "*b"]) -> Surroundings:
    """What ``Surroundings`` holds, of a moment.

    Args:
        world: where.
        before: the ego a step earlier; at a clip's start the same as now.
        moment: now.
        clip_route: metres that the recorded driver covers from the clip's start to its end.
    """
    scene, vehicle, roads = moment.scene, moment.vehicle, world.roads
    shape = world.vehicle.at(scene)
    outline, centre = footprint(vehicle, shape)
    off_road = jnp.max(off_road_distance(roads, scene, outline), axis=-1)
    own_lane = own_lane_distance(roads, scene, centre[..., None, :], vehicle.yaw)[..., 0]
    beyond = _leaves_lane(world, moment, own_lane, centre) | (roads.surface_known[scene] & (off_road > 0))
    others = relative(vehicle, actors_at(world.traffic, scene, moment.frame, moment.cast), shape)
    lines = stop_lines_at(roads, scene, moment.frame)
    recorded = world.reference.motion_at(scene, moment.frame)
    return Surroundings(
        overlap=jnp.any(overlaps(others, shape), axis=-1),
        at_fault=at_fault(others, vehicle.speed, beyond, shape),
        time_to_collision=time_to_collision(others, vehicle.speed, beyond, shape),
        off_road_distance=off_road,
        own_lane_distance=own_lane,
        red_light=red_light(before, vehicle, lines, shape),
        log_divergence=jnp.linalg.norm(vehicle.position - recorded.position, axis=-1),
        clip_route=clip_route,
        surface_known=roads.surface_known[scene],
        lanes_known=roads.lanes_known[scene],
        lights_known=roads.lights_known[scene],
    )


def _leaves_lane(world: World, moment: Moment, own_lane: Float[Array, "*b"], centre: Float[Array, "*b 2"]) -> Array:
    """Whether the ego reaches beyond its lane or, in a log without lanes, beyond one along the recorded path.

    At a junction the nearest lane may be one that crosses: its direction says nothing of how the ego lies in its own.
    """
    scene, roads = moment.scene, world.roads
    known = roads.lanes_known[scene]
    turn = moment.vehicle.yaw - lane_at(roads, scene, centre[..., None, :])[1][..., 0]
    turn = jnp.where(jnp.cos(turn) > SAME_WAY, turn, 0.0)
    return in_several_lanes(
        jnp.where(known, own_lane, moment.projection.distance),
        jnp.where(known, turn, heading_error(world, moment)),
        world.vehicle.at(scene),
    )
