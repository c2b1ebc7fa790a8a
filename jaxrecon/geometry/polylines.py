"""Polylines of fixed capacity: arc length, nearest point, and points at an arc length."""

import flax.struct
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


@flax.struct.dataclass
class Polyline:
    """A chain of straight segments in the plane; slots after the last valid vertex repeat it.

    Attributes:
        points: (n, 2) vertices, metres.
        arc: (n,) length along the line up to each vertex, metres; constant after the last valid one.
        count: () int32, valid vertices, at least 2.
    """

    points: Float[Array, "n 2"]
    arc: Float[Array, " n"]
    count: Int[Array, ""]

    @property
    def length(self) -> Float[Array, ""]:
        """Length of the whole line, metres."""
        return self.arc[-1]


@flax.struct.dataclass
class Projection:
    """Nearest points of a polyline; every field has the batch dimensions of the query.

    Attributes:
        arc: (*b,) arc length of the nearest point, metres, within the line's ends.
        distance: (*b,) from the query to it, metres.
        lateral: (*b,) the query's offset to the left of the segment's direction, metres.
        heading: (*b,) direction of the nearest point's segment, radians.
        segment: (*b,) int32, index of that segment's first vertex.
        fraction: (*b,) where on the segment the nearest point lies, in [0, 1].
    """

    arc: Float[Array, " *b"]
    distance: Float[Array, " *b"]
    lateral: Float[Array, " *b"]
    heading: Float[Array, " *b"]
    segment: Int[Array, " *b"]
    fraction: Float[Array, " *b"]


def polyline(points: Float[Array, "n 2"], count: Int[Array, ""] | int | None = None) -> Polyline:
    """A polyline through the first ``count`` points (all by default), in order.

    Raises:
        ValueError: if there are fewer than two slots.
    """
    if points.shape[0] < 2:
        raise ValueError(f"a polyline needs at least 2 points, got {points.shape[0]}")
    count = jnp.asarray(points.shape[0] if count is None else count, jnp.int32)
    points = points[jnp.minimum(jnp.arange(points.shape[0]), count - 1)]
    steps = jnp.linalg.norm(jnp.diff(points, axis=0), axis=-1)
    arc = jnp.concatenate([jnp.zeros(1, points.dtype), jnp.cumsum(steps)])
    return Polyline(points=points, arc=arc, count=count)


def project(
    line: Polyline,
    points: Float[Array, "*b 2"],
    near: Float[Array, "*b"] | None = None,
    window: float = jnp.inf,
) -> Projection:
    """Nearest point of the line to each query.

    Args:
        line: where to look.
        points: queries, metres.
        near: arc length around which to look: a line that passes the same place twice is followed, not jumped along.
        window: how far from ``near`` a segment may lie along the line, metres.
    """
    start, direction = line.points[:-1], jnp.diff(line.points, axis=0)
    squared = jnp.sum(direction * direction, axis=-1)
    segment = _nearest_segment(line, start, direction, squared, points, near, window)
    chosen, from_start = direction[segment], points - start[segment]
    length_squared = jnp.where(squared[segment] > 0, squared[segment], 1.0)
    fraction = jnp.clip(jnp.sum(from_start * chosen, axis=-1) / length_squared, 0.0, 1.0)
    distance = jnp.linalg.norm(from_start - fraction[..., None] * chosen, axis=-1)
    cross = chosen[..., 0] * from_start[..., 1] - chosen[..., 1] * from_start[..., 0]
    return Projection(
        arc=line.arc[segment] + fraction * (line.arc[segment + 1] - line.arc[segment]),
        distance=distance,
        lateral=cross / jnp.sqrt(length_squared),
        heading=jnp.arctan2(chosen[..., 1], chosen[..., 0]),
        segment=segment.astype(jnp.int32),
        fraction=fraction,
    )


def _nearest_segment(
    line: Polyline, start: Array, direction: Array, squared: Array, points: Array, near: Array | None, window: float
) -> Array:
    """Index of the first of the nearest segments; coordinates apart, for trailing axes of two compile to slow code."""
    ahead, left = points[..., None, 0] - start[:, 0], points[..., None, 1] - start[:, 1]
    along = (ahead * direction[:, 0] + left * direction[:, 1]) / jnp.where(squared > 0, squared, 1.0)
    fraction = jnp.clip(along, 0.0, 1.0)
    cost = (ahead - fraction * direction[:, 0]) ** 2 + (left - fraction * direction[:, 1]) ** 2
    usable = squared > 0
    if near is not None:
        usable = usable & (line.arc[1:] >= near[..., None] - window) & (line.arc[:-1] <= near[..., None] + window)
    return jnp.argmin(jnp.where(usable, cost, jnp.inf), axis=-1)


def locate(line: Polyline, arc: Float[Array, "*b"]) -> tuple[Int[Array, "*b"], Float[Array, "*b"]]:
    """Segment (index of its first vertex) and fraction along it of an arc length (metres), clamped to the line."""
    arc = jnp.clip(arc, 0.0, line.arc[-1])
    segment = jnp.clip(jnp.searchsorted(line.arc, arc, side="right") - 1, 0, line.count - 2)
    length = line.arc[segment + 1] - line.arc[segment]
    fraction = jnp.where(length > 0, (arc - line.arc[segment]) / jnp.where(length > 0, length, 1.0), 0.0)
    return segment.astype(jnp.int32), fraction


def sample(line: Polyline, arc: Float[Array, "*b"]) -> tuple[Float[Array, "*b 2"], Float[Array, "*b"]]:
    """Point (metres) and segment direction (radians) at an arc length (metres), clamped to the line's ends."""
    segment, fraction = locate(line, arc)
    direction = line.points[segment + 1] - line.points[segment]
    point = line.points[segment] + fraction[..., None] * direction
    return point, jnp.arctan2(direction[..., 1], direction[..., 0])
