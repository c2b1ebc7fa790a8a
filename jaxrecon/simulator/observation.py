"""What a policy sees: camera frames, the car's own motion, and where the route goes."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxrecon.dynamics import VehicleState, yaw_rate
from jaxrecon.geometry.transforms import compose, in_frame
from jaxrecon.render import Cameras
from jaxrecon.simulator.cameras import Drawing
from jaxrecon.simulator.route_target import route_target
from jaxrecon.simulator.standing import standing_pose
from jaxrecon.simulator.state import COMMANDS, Moment, Observation
from jaxrecon.simulator.world import World
from jaxrecon.traffic.cast import poses_at

TURN = jnp.pi / 12  # change of the route's heading over the look-ahead above which it counts as a turn
SUPPORTED = 0.5  # confidence below which a pixel counts as never recorded


def observe(
    world: World,
    moment: Moment,
    look_ahead: float,
    draw: bool = True,
    drawn: Int[Array, " drawn"] | None = None,
) -> tuple[Observation, Bool[Array, " env"]]:
    """Observation of every environment, and whether a camera of it overflowed.

    Args:
        world: where.
        moment: of every environment.
        look_ahead: distance along the route to its target, metres.
        draw: whether to draw frames; zeros otherwise.
        drawn: environments to draw; all by default. Whatever is drawn then has the axis ``drawn`` in front.
    """
    scene, vehicle = moment.scene, moment.vehicle
    environments, rig = scene.shape[0], world.rig
    turning = yaw_rate(vehicle, world.vehicle.wheelbase[scene])
    ego = jnp.stack([vehicle.speed, vehicle.acceleration, vehicle.steering, turning], axis=-1)
    route = navigation(world, scene, vehicle, moment.projection.arc, look_ahead)
    if not draw:
        shown = environments if drawn is None else drawn.shape[0]
        blank = jnp.zeros((shown, rig.count, rig.height, rig.width, 3), jnp.uint8)
        return Observation(frames=blank, ego=ego, navigation=route), jnp.zeros(environments, bool)
    chosen = moment if drawn is None else jax.tree.map(lambda leaf: leaf[drawn], moment)
    drawing = draw_cameras(world, chosen)
    overflow = jnp.any(drawing.overflow, axis=-1)
    if drawn is not None:
        overflow = jnp.zeros(environments, bool).at[drawn].set(overflow)
    unsupported = None
    if drawing.confidence is not None:
        unsupported = jnp.mean(drawing.confidence < SUPPORTED, axis=(-2, -1))
    observation = Observation(drawing.frames, ego, route, drawing.depth, drawing.confidence, unsupported)
    return observation, overflow


def navigation(
    world: World,
    scene: Int[Array, " env"],
    vehicle: VehicleState,
    route: Float[Array, " env"],
    look_ahead: float,
) -> Float[Array, "env 6"]:
    """One-hot command and route target in the ego frame.

    The target is a lane centre ``look_ahead`` metres along the route, see ``route_target``; the route goes on straight
    beyond the log's end. The command is left or right where the route's heading changes by more than
    15 degrees over that distance, else follow. Straight-on-at-a-junction is never given: a log says not where junctions
    are.
    """
    target, heading = route_target(world, scene, route, look_ahead)
    _, here = world.reference.at_route(scene, route)
    turn = heading - here
    command = jnp.where(turn > TURN, COMMANDS.index("left"), COMMANDS.index("follow"))
    command = jnp.where(turn < -TURN, COMMANDS.index("right"), command)
    return jnp.concatenate([jax.nn.one_hot(command, len(COMMANDS)), in_ego(vehicle, target)], axis=-1)


def in_ego(vehicle: VehicleState, points: Float[Array, "*b 2"]) -> Float[Array, "*b 2"]:
    """World points seen from the rear axle: metres ahead and to the left."""
    return jnp.stack(in_frame(points - vehicle.position, vehicle.yaw), axis=-1)


def world_from_ego(world: World, moment: Moment) -> Float[Array, "env 4 4"]:
    """Pose of every ego on its ground: planar motion, with the height and tilt of what it stands on."""
    shape = world.vehicle.at(moment.scene)
    return standing_pose(world.reference, world.ground, shape, moment)


def ego_cameras(world: World, moment: Moment) -> Cameras:
    """The rig's cameras of all environments, environment by environment."""
    rig, scene = world.rig, moment.scene
    # Not as a product of matrices: accelerators round the factors of those.
    poses = compose(world_from_ego(world, moment)[:, None], rig.ego_from_camera[scene])
    return Cameras(
        world_from_camera=poses.reshape(-1, 4, 4),
        intrinsics=rig.intrinsics[scene].reshape(-1, 4),
        width=rig.width,
        height=rig.height,
    )


def actors_of_cameras(
    world: World, moment: Moment
) -> tuple[Int[Array, " view"], Float[Array, "view actor 4 4"], Bool[Array, "view actor"]]:
    """Scene of each of ``ego_cameras``, poses of its actors, and which of them are there."""
    scene = jnp.repeat(moment.scene, world.rig.count)
    if moment.cast is None:
        frame = jnp.repeat(moment.frame, world.rig.count)
        return scene, world.traffic.world_from_actor[scene, frame], world.traffic.valid[scene, frame]
    poses, valid = poses_at(world.traffic, moment.scene, moment.frame, moment.cast)
    return scene, jnp.repeat(poses, world.rig.count, axis=0), jnp.repeat(valid, world.rig.count, axis=0)


def draw_cameras(world: World, moment: Moment) -> Drawing:
    """What the cameras of each environment see: a ``Drawing`` whose fields have the axes (env, camera) in front.

    Raises:
        ValueError: if the world has no source.
    """
    if world.source is None:
        raise ValueError(
            "this world has no camera source: step it with draw=False, or build it with a source and a rig"
        )
    with jax.named_scope("cameras"):
        drawing = world.source.draw(ego_cameras(world, moment), *actors_of_cameras(world, moment))
    batch = (moment.scene.shape[0], world.rig.count)
    return jax.tree.map(lambda leaf: leaf.reshape(*batch, *leaf.shape[1:]), drawing)
