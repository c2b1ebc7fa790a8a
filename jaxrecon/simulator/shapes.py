"""Sizes of the egos of several scenes, and the points of an outline that meet obstacles first."""

from collections.abc import Sequence

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxrecon.dynamics import VehicleState
from jaxrecon.geometry.boxes import Boxes
from jaxrecon.logs.driving_log import EgoVehicle

OUTLINE_SPACING = 0.25  # metres between the points at which the ego's outline meets a distance field
DISC_SHARE = 0.75  # of the half width: radius of the discs that find obstacles inside the outline


@flax.struct.dataclass
class EgoShape:
    """Size of the ego, metres; every field has the batch dimensions of the query, in a ``World`` the scenes.

    Attributes:
        length: from bumper to bumper.
        width: without mirrors.
        height: of the roof above the ground.
        wheelbase: between the axles.
        centre_ahead: how far the box's centre lies ahead of the rear axle.
    """

    length: Float[Array, " *b"]
    width: Float[Array, " *b"]
    height: Float[Array, " *b"]
    wheelbase: Float[Array, " *b"]
    centre_ahead: Float[Array, " *b"]

    def at(self, scene: Int[Array, "*b"]) -> "EgoShape":
        """The ego of a scene."""
        return EgoShape(
            length=self.length[scene],
            width=self.width[scene],
            height=self.height[scene],
            wheelbase=self.wheelbase[scene],
            centre_ahead=self.centre_ahead[scene],
        )

    def box(self, state: VehicleState) -> Boxes:
        """The ego seen from above; its centre lies ahead of the rear axle."""
        forward = jnp.stack([jnp.cos(state.yaw), jnp.sin(state.yaw)], axis=-1)
        return Boxes(
            centre=state.position + self.centre_ahead[..., None] * forward,
            heading=state.yaw,
            length=self.length,
            width=self.width,
        )


@flax.struct.dataclass
class Probes:
    """Points of each scene's ego, in its rear-axle frame, and how near to them an obstacle must come to be touched.

    The outline, and discs within it: the outline alone would miss a thin pole that one fast step puts inside the car.

    Attributes:
        points: (scene, probe, 2) metres ahead and to the left.
        radii: (scene, probe) metres.
    """

    points: Float[Array, "scene probe 2"]
    radii: Float[Array, "scene probe"]


def ego_shapes(egos: Sequence[EgoVehicle]) -> EgoShape:
    """Sizes of several scenes' egos."""
    names = ("length", "width", "height", "wheelbase", "centre_ahead")
    return EgoShape(**{name: jnp.asarray([getattr(ego, name) for ego in egos], jnp.float32) for name in names})


def ego_probes(egos: Sequence[EgoVehicle]) -> Probes:
    """Probes of several scenes' egos."""
    return join_probes([_probes_of(ego) for ego in egos])


def join_shapes(shapes: Sequence[EgoShape]) -> EgoShape:
    """Sizes of several worlds' egos."""
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *shapes)


def join_probes(probes: Sequence[Probes]) -> Probes:
    """Probes of several worlds' egos; those of the smaller ones are filled up by repeating the last."""
    most = max(one.radii.shape[1] for one in probes)

    def filled(leaf: Array) -> Array:
        room = [(0, 0)] * leaf.ndim
        room[1] = (0, most - leaf.shape[1])
        return jnp.pad(leaf, room, mode="edge")

    return jax.tree.map(lambda *leaves: jnp.concatenate([filled(leaf) for leaf in leaves]), *probes)


def _probes_of(ego: EgoVehicle) -> Probes:
    length, width = ego.length, ego.width
    along = np.linspace(-length / 2, length / 2, int(np.ceil(length / OUTLINE_SPACING)) + 1)
    across = np.linspace(-width / 2, width / 2, int(np.ceil(width / OUTLINE_SPACING)) + 1)
    sides = [np.stack([along, np.full_like(along, sign * width / 2)], axis=-1) for sign in (-1, 1)]
    bumpers = [np.stack([np.full_like(across[1:-1], sign * length / 2), across[1:-1]], axis=-1) for sign in (-1, 1)]
    radius = DISC_SHARE * width / 2
    centres = np.linspace(-length / 2 + radius, length / 2 - radius, max(2, int(np.ceil(length / radius))))
    discs = np.stack([centres, np.zeros_like(centres)], axis=-1)
    points = np.concatenate([*sides, *bumpers, discs]) + np.array([ego.centre_ahead, 0.0])
    radii = np.concatenate([np.zeros(len(points) - len(discs)), np.full(len(discs), radius)])
    return Probes(jnp.asarray(points[None], jnp.float32), jnp.asarray(radii[None], jnp.float32))
