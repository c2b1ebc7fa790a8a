"""The four events that end a clip: collisions with actors and obstacles, and departures from the expert's path."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxrecon.dynamics import VehicleState
from jaxrecon.geometry.boxes import Boxes, overlap
from jaxrecon.logs.driving_log import EgoVehicle
from jaxrecon.scene.occupancy import DistanceField
from jaxrecon.traffic.replay import Replay

OUTLINE_SPACING = 0.25  # metres between the points at which the ego's outline meets the distance field
DISC_SHARE = 0.75  # of the half width: radius of the discs that find obstacles inside the outline


def ego_box(state: VehicleState, vehicle: EgoVehicle) -> Boxes:
    """The ego seen from above; its centre lies ahead of the rear axle."""
    forward = jnp.stack([jnp.cos(state.yaw), jnp.sin(state.yaw)], axis=-1)
    return Boxes(
        centre=state.position + vehicle.centre_ahead * forward,
        heading=state.yaw,
        length=jnp.full(state.yaw.shape, vehicle.length),
        width=jnp.full(state.yaw.shape, vehicle.width),
    )


def collisions(
    state: VehicleState,
    frame: Int[Array, "*b"],
    traffic: Replay,
    obstacles: DistanceField,
    vehicle: EgoVehicle,
) -> Bool[Array, "*b 2"]:
    """Whether the ego overlaps the box of an actor that moves, and whether it touches a static obstacle.

    An actor that the log never sees move is a static obstacle: it is for the steering to avoid.

    Args:
        state: of the ego.
        frame: log frame, for the actors.
        traffic: the actors.
        obstacles: signed distances.
        vehicle: size of the ego.
    """
    ego = ego_box(state, vehicle)
    one = Boxes(ego.centre[..., None, :], ego.heading[..., None], ego.length[..., None], ego.width[..., None])
    hit = overlap(one, traffic.boxes(frame)) & traffic.valid[frame]
    dynamic = jnp.any(hit & ~traffic.parked, axis=-1)
    points, radii = _probes(vehicle)
    cos, sin = jnp.cos(state.yaw)[..., None], jnp.sin(state.yaw)[..., None]
    x, y = points[:, 0], points[:, 1]
    world = state.position[..., None, :] + jnp.stack([x * cos - y * sin, x * sin + y * cos], axis=-1)
    static = jnp.any(obstacles(world) < radii, axis=-1) | jnp.any(hit & traffic.parked, axis=-1)
    return jnp.stack([dynamic, static], axis=-1)


def deviations(
    path_distance: Float[Array, "*b"],
    heading_error: Float[Array, "*b"],
    position_threshold: Float[Array, ""],
    heading_threshold: Float[Array, ""],
) -> Bool[Array, "*b 2"]:
    """Whether the rear axle is too far from the expert's path, and whether the heading departs too far from it."""
    return jnp.stack([path_distance > position_threshold, jnp.abs(heading_error) > heading_threshold], axis=-1)


def _probes(vehicle: EgoVehicle) -> tuple[Float[np.ndarray, "n 2"], Float[np.ndarray, " n"]]:
    """Points in the rear-axle frame and how near to them an obstacle must come: the outline, and discs within it.

    The outline alone would miss a thin pole that one fast step puts inside the car.
    """
    length, width = vehicle.length, vehicle.width
    along = np.linspace(-length / 2, length / 2, int(np.ceil(length / OUTLINE_SPACING)) + 1)
    across = np.linspace(-width / 2, width / 2, int(np.ceil(width / OUTLINE_SPACING)) + 1)
    sides = [np.stack([along, np.full_like(along, sign * width / 2)], axis=-1) for sign in (-1, 1)]
    bumpers = [np.stack([np.full_like(across[1:-1], sign * length / 2), across[1:-1]], axis=-1) for sign in (-1, 1)]
    radius = DISC_SHARE * width / 2
    centres = np.linspace(-length / 2 + radius, length / 2 - radius, max(2, int(np.ceil(length / radius))))
    discs = np.stack([centres, np.zeros_like(centres)], axis=-1)
    points = np.concatenate([*sides, *bumpers, discs]) + np.array([vehicle.centre_ahead, 0.0])
    radii = np.concatenate([np.zeros(len(points) - len(discs)), np.full(len(discs), radius)])
    return points.astype(np.float32), radii.astype(np.float32)
