"""The four events that end a clip: collisions with actors and obstacles, and departures from the expert's path."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxrecon.dynamics import VehicleState
from jaxrecon.geometry.boxes import Boxes, overlap
from jaxrecon.scene.fields import DistanceFields
from jaxrecon.simulator.shapes import EgoShape, Probes
from jaxrecon.traffic.replay import Actors


def collisions(
    vehicle: VehicleState,
    actors: Actors,
    shape: EgoShape,
    probes: Probes,
    obstacles: DistanceFields,
    scene: Int[Array, "*b"],
) -> Bool[Array, "*b 2"]:
    """Whether the ego overlaps the box of an actor that moves, and whether it touches a static obstacle.

    An actor that the log never sees move is a static obstacle: it is for the steering to avoid.

    Args:
        vehicle: the ego.
        actors: of its scene, at the moment.
        shape: of the ego.
        probes: of every scene's ego.
        obstacles: signed distances in every scene.
        scene: where the ego is.
    """
    hit = actor_overlaps(shape.box(vehicle), actors)
    dynamic = jnp.any(hit & ~actors.parked, axis=-1)
    static = jnp.any(hit & actors.parked, axis=-1)
    static |= jnp.any(obstacle_clearance(vehicle, probes, obstacles, scene) < 0, axis=-1)
    return jnp.stack([dynamic, static], axis=-1)


def actor_overlaps(ego: Boxes, actors: Actors) -> Bool[Array, "*b actor"]:
    """Actors whose boxes the ego's overlaps."""
    one = Boxes(ego.centre[..., None, :], ego.heading[..., None], ego.length[..., None], ego.width[..., None])
    return overlap(one, actors.boxes) & actors.valid


def obstacle_clearance(
    vehicle: VehicleState, probes: Probes, obstacles: DistanceFields, scene: Int[Array, "*b"]
) -> Float[Array, "*b probe"]:
    """How far each probe of the ego is from touching an obstacle, metres; negative where it does."""
    x, y = probes.points[scene, :, 0], probes.points[scene, :, 1]
    cos, sin = jnp.cos(vehicle.yaw)[..., None], jnp.sin(vehicle.yaw)[..., None]
    turned = jnp.stack([x * cos - y * sin, x * sin + y * cos], axis=-1)
    return obstacles(scene, vehicle.position[..., None, :] + turned) - probes.radii[scene]


def deviations(
    path_distance: Float[Array, "*b"],
    heading_error: Float[Array, "*b"],
    position_threshold: Float[Array, ""],
    heading_threshold: Float[Array, ""],
) -> Bool[Array, "*b 2"]:
    """Whether the rear axle is too far from the expert's path, and whether the heading departs too far from it."""
    return jnp.stack([path_distance > position_threshold, jnp.abs(heading_error) > heading_threshold], axis=-1)
