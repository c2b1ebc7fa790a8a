"""How the ego stands in the world: on the reconstructed ground where that is known, else on the recorded road."""

from collections.abc import Sequence

import flax.struct
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxrecon.dynamics import VehicleState
from jaxrecon.geometry.transforms import rigid
from jaxrecon.scene.fields import GridLayout, stack_layouts
from jaxrecon.scene.ground import UNKNOWN, HeightField
from jaxrecon.simulator.reference import Reference
from jaxrecon.simulator.shapes import EgoShape
from jaxrecon.simulator.state import Moment


@flax.struct.dataclass
class GroundHeights:
    """Height of the ground in every scene, on grids laid end to end.

    Attributes:
        height: (cell,) world z at cell centres, metres; ``UNKNOWN`` where no ground was seen nearby.
        layout: where each scene's cells are.
    """

    height: Float[Array, " cell"]
    layout: GridLayout

    def __call__(self, scene: Int[Array, "*b"], points: Float[Array, "*b n 2"]) -> Float[Array, "*b n"]:
        """World z (metres) of the ground at world points; hugely negative where it is not known."""
        spots = self.layout.locate(scene, points)
        return jnp.where(spots.inside, spots.bilinear(self.height), UNKNOWN)


def stack_heights(fields: Sequence[HeightField | None]) -> GroundHeights:
    """The ground of several scenes, in their order; None for a scene whose ground is not mapped."""
    unmapped = HeightField(jnp.full((2, 2), UNKNOWN), jnp.zeros(2, jnp.float32), jnp.asarray(1.0, jnp.float32))
    known = [unmapped if field is None else field for field in fields]
    layout = stack_layouts([(np.asarray(field.origin), float(field.cell), field.height.shape) for field in known])
    flat = np.concatenate([np.asarray(field.height).ravel() for field in known])
    return GroundHeights(height=jnp.asarray(flat, jnp.float32), layout=layout)


def standing_pose(
    reference: Reference, ground: GroundHeights | None, shape: EgoShape, moment: Moment
) -> Float[Array, "env 4 4"]:
    """Pose of every ego: its planar state, with height and tilt of the ground under its wheels.

    Where the ground is mapped under all four wheels, they say how it stands; elsewhere
    the road plane of the recorded car at the nearest point of its path.

    Args:
        reference: the recorded drives.
        ground: heights; None: only the recorded road.
        shape: sizes of the egos, one an environment.
        moment: of each environment.
    """
    scene, vehicle = moment.scene, moment.vehicle
    height, slope = reference.road_plane(scene, vehicle.position, moment.projection)
    if ground is not None:
        forward = jnp.stack([jnp.cos(vehicle.yaw), jnp.sin(vehicle.yaw)], axis=-1)
        left = jnp.stack([-forward[..., 1], forward[..., 0]], axis=-1)
        ahead, aside = shape.wheelbase[:, None], 0.5 * shape.width[:, None]
        sides = (aside * left, -aside * left)
        wheels = jnp.stack([vehicle.position + at for side in sides for at in (side, side + ahead * forward)], axis=-2)
        under = ground(scene, wheels)
        known = jnp.all(under > 0.01 * UNKNOWN, axis=-1)
        rear_left, front_left, rear_right, front_right = (under[..., wheel] for wheel in range(4))
        climb = 0.5 * (front_left + front_right - rear_left - rear_right)[:, None] / ahead
        bank = 0.5 * (rear_left + front_left - rear_right - front_right)[:, None] / (2 * aside)
        height = jnp.where(known, 0.5 * (rear_left + rear_right), height)
        slope = jnp.where(known[:, None], climb * forward + bank * left, slope)
    return on_plane(vehicle, height, slope)


def on_plane(vehicle: VehicleState, height: Float[Array, "*b"], slope: Float[Array, "*b 2"]) -> Float[Array, "*b 4 4"]:
    """Pose of a car on a plane.

    Args:
        vehicle: planar state.
        height: world z of the plane at its position, metres.
        slope: rise of the plane along world x and y, metres a metre.
    """
    normal = jnp.concatenate([-slope, jnp.ones_like(height)[..., None]], axis=-1)
    normal = normal / jnp.linalg.norm(normal, axis=-1, keepdims=True)
    direction = jnp.stack([jnp.cos(vehicle.yaw), jnp.sin(vehicle.yaw)], axis=-1)
    climb = jnp.sum(slope * direction, axis=-1, keepdims=True)
    forward = jnp.concatenate([direction, climb], axis=-1) / jnp.sqrt(1 + climb**2)
    position = jnp.concatenate([vehicle.position, height[..., None]], axis=-1)
    return rigid(jnp.stack([forward, jnp.cross(normal, forward), normal], axis=-1), position)
