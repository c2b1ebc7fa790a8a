"""What a cousin must be to be shown to a policy: each requirement a boolean with a name."""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxrecon.dynamics import VehicleLimits, VehicleState, yaw_rate
from jaxrecon.geometry.boxes import Boxes, corners
from jaxrecon.scene.roads import off_road_distance, own_lane_distance, stop_lines_at
from jaxrecon.simulator import World
from jaxrecon.simulator.events import actor_overlaps, obstacle_clearance
from jaxrecon.simulator.interaction import red_light
from jaxrecon.traffic.replay import Actors
from jaxrecon.trajectories.driving import Driven

CHECKS = (
    "complete",
    "on_course",
    "trackable",
    "kinematic",
    "comfort",
    "drivable",
    "right_way",
    "lights",
    "obstacles",
    "traffic",
    "confidence",
)
ROLLING = 0.5  # m/s below which angles of the wheels move nothing


@dataclasses.dataclass(frozen=True)
class CheckLimits:
    """How much is too much.

    Attributes:
        tracking: metres by which the bicycle may miss its plan.
        acceleration: m/s2.
        braking: m/s2, positive.
        lateral_acceleration: m/s2.
        yaw_rate: rad/s.
        jerk: along the path, m/s3, over ``jerk_seconds``.
        jerk_seconds: over which a change of acceleration is felt.
        kerb: metres by which a corner may leave the drivable surface, beyond what the recorded car does.
        step: metres by which the ground under a wheel may lie above or below the recorded road, where LiDAR alone knows
            the ground; it grows by ``slope`` with the distance from the recorded path.
        slope: metres a metre.
        wrong_lane: metres from the nearest lane that leads the car's way.
        clearance: metres to every other road user.
        unsupported: share of pixels, the mean over cameras, that no recorded view supports, at the worst place.
    """

    tracking: float = 0.15
    acceleration: float = 2.6
    braking: float = 4.5
    lateral_acceleration: float = 4.0
    yaw_rate: float = 0.95
    jerk: float = 6.0
    jerk_seconds: float = 0.3
    kerb: float = 0.1
    step: float = 0.1
    slope: float = 0.03
    wrong_lane: float = 2.6
    clearance: float = 0.25
    unsupported: float = 0.35

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            if not getattr(self, field.name) >= 0:
                raise ValueError(f"CheckLimits.{field.name} is {getattr(self, field.name)}; expected at least 0")


DEFAULT_CHECKS = CheckLimits()


def kinematic(driven: Driven, limits: VehicleLimits, dt: float) -> Bool[Array, " cousin"]:
    """Whether no action asks for the very limits of the car: there the bicycle would have clipped it."""
    vehicle, room = driven.vehicle, 0.98
    rate = jnp.abs(jnp.diff(vehicle.steering, axis=1)) / dt
    rolls = jnp.minimum(vehicle.speed[:, 1:], vehicle.speed[:, :-1]) > ROLLING
    good = (jnp.abs(driven.steering) < room * limits.steering) | ~rolls
    good &= (rate < room * limits.steering_rate) | ~rolls
    good &= (driven.acceleration < room * limits.acceleration) & (driven.acceleration > -room * limits.braking)
    return jnp.all(good, axis=1) & jnp.all(vehicle.speed < room * limits.speed, axis=1)


def comfort(
    vehicle: VehicleState, wheelbase: Float[Array, ""], dt: float, limits: CheckLimits
) -> Bool[Array, " cousin"]:
    """Whether nobody on board would complain."""
    turning = yaw_rate(vehicle, wheelbase)
    sideways = jnp.abs(vehicle.speed * turning)
    good = (vehicle.acceleration < limits.acceleration) & (vehicle.acceleration > -limits.braking)
    good &= (sideways < limits.lateral_acceleration) & (jnp.abs(turning) < limits.yaw_rate)
    window = max(1, round(limits.jerk_seconds / dt))
    change = vehicle.acceleration[:, window:] - vehicle.acceleration[:, :-window]
    return jnp.all(good, axis=1) & jnp.all(jnp.abs(change) / (window * dt) < limits.jerk, axis=1)


def outline(world: World, vehicle: VehicleState) -> Boxes:
    """The ego's boxes in the world's only scene; fields (cousin, step)."""
    scene = jnp.zeros(vehicle.speed.shape, jnp.int32)
    return world.vehicle.at(scene).box(vehicle)


def drivable(world: World, vehicle: VehicleState, limits: CheckLimits) -> Bool[Array, " cousin"]:
    """Whether all four corners stay on the road: the map's, or else ground that the LiDAR saw level with the road."""
    scene = jnp.zeros(vehicle.speed.shape, jnp.int32)
    motion = world.reference.motion
    recorded = off_road_distance(world.roads, jnp.zeros(motion.speed.shape, jnp.int32), corners(outline(world, motion)))
    allowed = jnp.maximum(jnp.max(recorded), 0.0) + limits.kerb
    at = corners(outline(world, vehicle))
    mapped = jnp.all(off_road_distance(world.roads, scene, at) < allowed, axis=(1, 2))
    if world.ground is None:
        return mapped
    height = world.ground(scene, at)
    near = jnp.sum((at[..., None, :] - motion.position[0]) ** 2, axis=-1)
    frame = jnp.argmin(near, axis=-1)
    away = jnp.sqrt(jnp.min(near, axis=-1))
    road = world.ground(jnp.zeros(motion.position.shape[1], jnp.int32), motion.position[0][:, None])[:, 0]
    step = jnp.abs(height - road[frame])
    level = jnp.all(step < limits.step + limits.slope * away, axis=(1, 2))
    return jnp.where(world.roads.surface_known[0], mapped, level)


def ground_known(world: World) -> bool:
    """Whether anything says where the world's drivable ground is: a map, or the ground that a LiDAR saw."""
    return bool(world.roads.surface_known[0]) or world.ground is not None


def right_way(world: World, vehicle: VehicleState, limits: CheckLimits) -> Bool[Array, " cousin"]:
    """Whether a lane that leads the car's way is near all along, where the map has lanes.

    Where the recorded car itself is further from any, in a car park say, as far is allowed.
    """

    def away(vehicle: VehicleState) -> Array:
        scene = jnp.zeros(vehicle.speed.shape, jnp.int32)
        return own_lane_distance(world.roads, scene, vehicle.position[..., None, :], vehicle.yaw)[..., 0]

    allowed = jnp.maximum(limits.wrong_lane, jnp.max(away(world.reference.motion)))
    return jnp.all(away(vehicle) <= allowed, axis=1)


def lights(world: World, vehicle: VehicleState, frame: Int[Array, "cousin step"]) -> Bool[Array, " cousin"]:
    """Whether it crosses no stop line whose light says stop."""
    scene = jnp.zeros(frame[:, 1:].shape, jnp.int32)
    before = jax.tree.map(lambda leaf: leaf[:, :-1], vehicle)
    after = jax.tree.map(lambda leaf: leaf[:, 1:], vehicle)
    lines = stop_lines_at(world.roads, scene, frame[:, 1:])
    return ~jnp.any(red_light(before, after, lines, world.vehicle.at(scene)), axis=1)


def obstacles(world: World, vehicle: VehicleState) -> Bool[Array, " cousin"]:
    """Whether it touches nothing that stands still, parked road users aside."""
    scene = jnp.zeros(vehicle.speed.shape, jnp.int32)
    return jnp.all(obstacle_clearance(vehicle, world.probes, world.obstacles, scene) >= 0, axis=(1, 2))


def traffic(ego: Boxes, actors: Actors, clearance: float) -> Bool[Array, " cousin"]:
    """Whether it keeps a distance to every other road user, parked or moving.

    Args:
        ego: its boxes, (cousin, step).
        actors: (cousin, step, actor).
        clearance: metres.
    """
    larger = actors.sizes + 2 * clearance
    return ~jnp.any(actor_overlaps(ego, dataclasses.replace(actors, sizes=larger)), axis=(1, 2))
