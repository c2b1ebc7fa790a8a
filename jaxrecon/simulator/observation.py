"""What a policy sees: camera frames, the car's own motion, and where the route goes."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxrecon.dynamics import VehicleState, yaw_rate
from jaxrecon.render import Cameras
from jaxrecon.simulator.cameras import Drawing
from jaxrecon.simulator.state import COMMANDS, Observation
from jaxrecon.simulator.world import World

TURN = jnp.pi / 12  # change of the route's heading over the look-ahead above which it counts as a turn


def observe(
    world: World,
    vehicle: VehicleState,
    route: Float[Array, " env"],
    frame: Int[Array, " env"],
    look_ahead: float,
    draw: bool = True,
) -> tuple[Observation, Bool[Array, " env"]]:
    """Observation of every environment, and whether a camera of it overflowed.

    Args:
        world: where.
        vehicle: the ego.
        route: arc length on the expert's path of the point nearest the ego, metres.
        frame: log frame, for the actors.
        look_ahead: distance along the route to its target, metres.
        draw: whether to draw frames; zeros otherwise.
    """
    drawing = _draw(world, vehicle, route, frame) if draw else _blank(world, route.shape[0])
    environments, rig = route.shape[0], world.rig
    frames = drawing.frames.reshape(environments, rig.count, rig.height, rig.width, 3)
    overflow = jnp.any(drawing.overflow.reshape(environments, rig.count), axis=-1)
    observation = Observation(
        frames=frames,
        ego=jnp.stack(
            [vehicle.speed, vehicle.acceleration, vehicle.steering, yaw_rate(vehicle, world.vehicle.wheelbase)], axis=-1
        ),
        navigation=navigation(world, vehicle, route, look_ahead),
    )
    return observation, overflow


def navigation(
    world: World, vehicle: VehicleState, route: Float[Array, " env"], look_ahead: float
) -> Float[Array, "env 6"]:
    """One-hot command and route target in the ego frame.

    The target is the point of the expert's path ``look_ahead`` metres beyond the ego's nearest point; the path goes on
    straight beyond the log's end. The command is left or right where the path's heading changes by more than 15
    degrees over that distance, else follow. Straight-on-at-a-junction is never given: a log says not where junctions
    are.
    """
    target, heading = world.reference.at_route(route + look_ahead)
    _, here = world.reference.at_route(route)
    turn = heading - here
    command = jnp.where(turn > TURN, COMMANDS.index("left"), COMMANDS.index("follow"))
    command = jnp.where(turn < -TURN, COMMANDS.index("right"), command)
    return jnp.concatenate([jax.nn.one_hot(command, len(COMMANDS)), in_ego(vehicle, target)], axis=-1)


def in_ego(vehicle: VehicleState, points: Float[Array, "*b 2"]) -> Float[Array, "*b 2"]:
    """World points seen from the rear axle: metres ahead and to the left."""
    offset = points - vehicle.position
    cos, sin = jnp.cos(vehicle.yaw), jnp.sin(vehicle.yaw)
    x, y = offset[..., 0], offset[..., 1]
    return jnp.stack([x * cos + y * sin, y * cos - x * sin], axis=-1)


def ego_cameras(world: World, vehicle: VehicleState, route: Float[Array, " env"]) -> Cameras:
    """The rig's cameras of all environments, environment by environment."""
    projection = world.reference.nearest(vehicle.position, route)
    world_from_ego = world.reference.road_pose(vehicle, projection)
    poses = world_from_ego[:, None] @ world.rig.ego_from_camera
    intrinsics = jnp.broadcast_to(world.rig.intrinsics, (*poses.shape[:2], 4))
    return Cameras(
        world_from_camera=poses.reshape(-1, 4, 4),
        intrinsics=intrinsics.reshape(-1, 4),
        width=world.rig.width,
        height=world.rig.height,
    )


def _draw(world: World, vehicle: VehicleState, route: Array, frame: Array) -> Drawing:
    if world.source is None:
        raise ValueError(
            "this world has no camera source: step it with draw=False, or build it with a source and a rig"
        )
    with jax.named_scope("cameras"):
        cameras = ego_cameras(world, vehicle, route)
        poses = jnp.repeat(world.traffic.world_from_actor[frame], world.rig.count, axis=0)
        valid = jnp.repeat(world.traffic.valid[frame], world.rig.count, axis=0)
        return world.source.draw(cameras, poses, valid)


def _blank(world: World, environments: int) -> Drawing:
    count = environments * world.rig.count
    return Drawing(
        frames=jnp.zeros((count, world.rig.height, world.rig.width, 3), jnp.uint8),
        overflow=jnp.zeros((count,), bool),
    )
