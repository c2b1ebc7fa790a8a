"""Splats on the host, as the parts of an assembled world are made of them, and how light falls on them."""

import dataclasses
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jaxrecon.geometry.transforms import matrix_to_quaternion
from jaxrecon.scene.gaussians import SH_C0, Gaussians

THICKNESS = 0.02  # metres; standard deviation of a flat splat along its normal
OPAQUE = 0.985
# Standard deviation of a splat as a share of the distance to its neighbours: in rows, and in square lattices, whose
# gaps at the corners of the squares are wider. Less shows holes, more blurs.
OVERLAP, LATTICE = 0.52, 0.62
SUN = np.array([-0.42, 0.50, 0.757])  # towards the sun, a unit vector


@dataclasses.dataclass(frozen=True)
class Splats:
    """Gaussians with one colour each.

    Attributes:
        means: centres, metres.
        axes: rotation matrices whose columns are the splats' own axes.
        scales: standard deviations along these, metres.
        colours: sRGB in [0, 1].
        opacities: in (0, 1).
    """

    means: Float[np.ndarray, "n 3"]
    axes: Float[np.ndarray, "n 3 3"]
    scales: Float[np.ndarray, "n 3"]
    colours: Float[np.ndarray, "n 3"]
    opacities: Float[np.ndarray, " n"]

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.means)


def nothing() -> Splats:
    """No splats."""
    return Splats(np.zeros((0, 3)), np.zeros((0, 3, 3)), np.zeros((0, 3)), np.zeros((0, 3)), np.zeros(0))


def join(parts: Sequence[Splats]) -> Splats:
    """All splats of the parts, in order."""
    names = [field.name for field in dataclasses.fields(Splats)]
    return Splats(**{name: np.concatenate([getattr(part, name) for part in (nothing(), *parts)]) for name in names})


def unit(vectors: Float[np.ndarray, "*b 3"]) -> Float[np.ndarray, "*b 3"]:
    """The same directions at length one."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)


def flat(
    means: Float[np.ndarray, "n 3"],
    along: Float[np.ndarray, "*#n 3"],
    normal: Float[np.ndarray, "*#n 3"],
    sizes: tuple[object, object],
    colours: Float[np.ndarray, "*#n 3"],
    opacity: float = OPAQUE,
    overlap: float = OVERLAP,
) -> Splats:
    """Discs that tile a surface.

    Args:
        means: centres, metres.
        along: one direction in the surface, of any length; made perpendicular to the normal.
        normal: of the surface, of any length.
        sizes: distance between neighbours along ``along`` and across it, metres; numbers or one an entry.
        colours: sRGB.
        opacity: of every splat.
        overlap: standard deviation as a share of the distance to the neighbours.
    """
    count = len(means)
    normal = unit(np.broadcast_to(normal, (count, 3)))
    along = np.broadcast_to(along, (count, 3))
    along = unit(along - normal * np.sum(along * normal, axis=-1, keepdims=True))
    axes = np.stack([along, np.cross(normal, along), normal], axis=-1)
    scales = np.empty((count, 3))
    scales[:, 0], scales[:, 1] = overlap * np.asarray(sizes[0]), overlap * np.asarray(sizes[1])
    scales[:, 2] = THICKNESS
    return Splats(means, axes, scales, np.broadcast_to(colours, (count, 3)), np.full(count, opacity))


def blobs(
    means: Float[np.ndarray, "n 3"],
    scales: Float[np.ndarray, "*#n 3"],
    colours: Float[np.ndarray, "*#n 3"],
    opacity: float = OPAQUE,
) -> Splats:
    """Ellipsoids along the coordinate axes."""
    count = len(means)
    axes = np.broadcast_to(np.eye(3), (count, 3, 3))
    return Splats(
        means,
        axes,
        np.array(np.broadcast_to(scales, (count, 3))),
        np.broadcast_to(colours, (count, 3)),
        np.full(count, opacity),
    )


def rod(
    start: Float[np.ndarray, "3"],
    end: Float[np.ndarray, "3"],
    radius: float,
    spacing: float,
    colour: Float[np.ndarray, "3"],
) -> Splats:
    """A straight thin body, such as a pole, as stretched splats end to end."""
    length = float(np.linalg.norm(end - start))
    count = max(1, int(np.ceil(length / spacing)))
    share = (np.arange(count) + 0.5) / count
    means = start + share[:, None] * (end - start)
    direction = unit((end - start)[None])[0]
    helper = np.array([1.0, 0, 0]) if abs(direction[0]) < 0.8 else np.array([0, 1.0, 0])
    side = unit(np.cross(direction, helper)[None])[0]
    axes = np.broadcast_to(np.stack([direction, side, np.cross(direction, side)], axis=-1), (count, 3, 3))
    scales = np.tile([OVERLAP * length / count, 0.6 * radius, 0.6 * radius], (count, 1))
    return Splats(means, axes, scales, np.tile(colour, (count, 1)), np.full(count, OPAQUE))


def lit(
    colours: Float[np.ndarray, "*#n 3"], normals: Float[np.ndarray, "n 3"], sun: Float[np.ndarray, "3"] = SUN
) -> Float[np.ndarray, "n 3"]:
    """Colours of surfaces in sun and skylight: level ground keeps its own.

    Args:
        colours: sRGB of the material.
        normals: unit vectors.
        sun: towards the sun; straight up for bodies that turn.
    """
    level = 0.60 + 0.12 + 0.38 * sun[2]
    light = 0.60 + 0.12 * normals[:, 2] + 0.38 * np.maximum(normals @ sun, 0.0)
    return np.clip(colours * (light / level)[:, None], 0.0, 1.0)


def moved(splats: Splats, yaw: float, place: np.ndarray) -> Splats:
    """The splats turned about z and then shifted."""
    cos, sin = np.cos(yaw), np.sin(yaw)
    turn = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1.0]])
    return dataclasses.replace(splats, means=splats.means @ turn.T + place, axes=turn @ splats.axes)


def gaussians(splats: Splats, sh_degree: int) -> Gaussians:
    """The splats as the set that scenes hold; all slots are valid."""
    sh = np.zeros((splats.count, (sh_degree + 1) ** 2, 3), np.float32)
    sh[:, 0] = (splats.colours - 0.5) / SH_C0
    quaternions = matrix_to_quaternion(splats.axes) if splats.count else np.zeros((0, 4))
    return Gaussians(
        means=jnp.asarray(splats.means, jnp.float32),
        quaternions=jnp.asarray(quaternions, jnp.float32),
        log_scales=jnp.asarray(np.log(splats.scales), jnp.float32),
        opacity_logits=jnp.asarray(np.log(splats.opacities / (1 - splats.opacities)), jnp.float32),
        sh=jnp.asarray(sh),
        valid=jnp.ones(splats.count, bool),
    )
