"""Oriented boxes in the plane: overlap by separating axes, and signed separation."""

import flax.struct
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxrecon.geometry.transforms import in_frame


@flax.struct.dataclass
class Boxes:
    """Rectangles in the plane; fields share their batch dimensions, up to broadcasting.

    Attributes:
        centre: (*b, 2) metres.
        heading: (*b,) direction of the length, radians.
        length: (*b,) metres.
        width: (*b,) metres.
    """

    centre: Float[Array, "*b 2"]
    heading: Float[Array, " *b"]
    length: Float[Array, " *b"]
    width: Float[Array, " *b"]


def corners(boxes: Boxes) -> Float[Array, "*b 4 2"]:
    """Corners, counter-clockwise from the front left, metres."""
    along, across = jnp.asarray([1.0, -1.0, -1.0, 1.0]), jnp.asarray([1.0, 1.0, -1.0, -1.0])
    x = 0.5 * jnp.asarray(boxes.length)[..., None] * along
    y = 0.5 * jnp.asarray(boxes.width)[..., None] * across
    cos, sin = jnp.cos(boxes.heading)[..., None], jnp.sin(boxes.heading)[..., None]
    return boxes.centre[..., None, :] + jnp.stack([x * cos - y * sin, x * sin + y * cos], axis=-1)


def axis_gap(first: Boxes, second: Boxes) -> Float[Array, "*b"]:
    """Largest gap between the boxes' shadows on the four face normals, metres.

    Negative where the boxes overlap, and then minus the shortest translation that separates them; positive where they
    are apart, and then no more than their distance. Batch dimensions broadcast.

    Source: the separating axis theorem (Gottschalk et al., OBBTree, 1996), in the plane.
    """
    turn = second.heading - first.heading
    cos, sin = jnp.abs(jnp.cos(turn)), jnp.abs(jnp.sin(turn))
    half = [0.5 * jnp.asarray(size) for size in (first.length, first.width, second.length, second.width)]
    offset = second.centre - first.centre
    ahead_first, left_first = in_frame(offset, first.heading)
    ahead_second, left_second = in_frame(offset, second.heading)
    gaps = [
        jnp.abs(ahead_first) - (half[0] + half[2] * cos + half[3] * sin),
        jnp.abs(left_first) - (half[1] + half[2] * sin + half[3] * cos),
        jnp.abs(ahead_second) - (half[2] + half[0] * cos + half[1] * sin),
        jnp.abs(left_second) - (half[3] + half[0] * sin + half[1] * cos),
    ]
    return jnp.maximum(jnp.maximum(gaps[0], gaps[1]), jnp.maximum(gaps[2], gaps[3]))


def overlap(first: Boxes, second: Boxes) -> Bool[Array, "*b"]:
    """Whether the boxes share area; boxes that only touch do not. Batch dimensions broadcast."""
    return axis_gap(first, second) < 0


def separation(first: Boxes, second: Boxes) -> Float[Array, "*b"]:
    """Signed distance, metres: between the boxes where they are apart, minus the penetration depth where they overlap.

    Batch dimensions broadcast.
    """
    # Two disjoint rectangles come nearest at a corner of one of them.
    apart = jnp.minimum(
        jnp.min(point_distance(_expand(first), corners(second)), axis=-1),
        jnp.min(point_distance(_expand(second), corners(first)), axis=-1),
    )
    gap = axis_gap(first, second)
    return jnp.where(gap > 0, apart, gap)


def point_distance(boxes: Boxes, points: Float[Array, "*b 2"]) -> Float[Array, "*c"]:
    """Distance from points to boxes, metres; zero inside. Batch dimensions broadcast."""
    ahead, left = in_frame(points - boxes.centre, boxes.heading)
    outside = jnp.stack([jnp.abs(ahead) - 0.5 * boxes.length, jnp.abs(left) - 0.5 * boxes.width], axis=-1)
    return jnp.linalg.norm(jnp.maximum(outside, 0.0), axis=-1)


def _expand(boxes: Boxes) -> Boxes:
    """The same boxes with an axis for the corners of others."""
    return Boxes(
        centre=boxes.centre[..., None, :],
        heading=jnp.asarray(boxes.heading)[..., None],
        length=jnp.asarray(boxes.length)[..., None],
        width=jnp.asarray(boxes.width)[..., None],
    )
