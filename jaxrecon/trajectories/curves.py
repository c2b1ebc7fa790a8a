"""Smooth curves to drive along: samples at equal distances, read between them, offset to the side or bent away."""

import dataclasses
import math

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.interpolate import make_smoothing_spline

SPACING = 0.5  # metres of arc between vertices
CAPACITY = 128  # vertices of a curve are a multiple of this, so that curves of many lengths share what is compiled
STIFFNESS = 1.0  # of the smoothing spline, m^3: waves shorter than some 6 m are noise, bends of a car's are not
THINNED = 0.5  # metres between the recorded positions that a curve goes through
RAMP = 6.0  # metres over which the curvature of a turn through free space builds up, and falls off again


@flax.struct.dataclass
class Curve:
    """A curve in the plane; slots after its end go straight on.

    Attributes:
        points: (*b, vertex, 2) world, metres, ``SPACING`` apart along the curve.
        heading: (*b, vertex) of its tangent, radians, unwrapped along it.
        curvature: (*b, vertex) 1/m, left positive.
        length: (*b,) metres of it that mean something.
    """

    points: Float[Array, "*b vertex 2"]
    heading: Float[Array, "*b vertex"]
    curvature: Float[Array, "*b vertex"]
    length: Float[Array, " *b"]

    def at(self, arc: Float[Array, "*q"]) -> tuple[Float[Array, "*q 2"], Float[Array, "*q"], Float[Array, "*q"]]:
        """Point (metres), heading (radians) and curvature (1/m) at an arc length of one curve, clamped to its slots.

        Points are those of the cubic with the vertices' tangents, so that the curve has no corners.
        """
        place = jnp.clip(arc / SPACING, 0.0, self.heading.shape[0] - 1.001)
        low = place.astype(jnp.int32)
        share = place - low
        first, second = self.heading[low], self.heading[low + 1]
        weights = _hermite(share)
        ends = (self.points[low], SPACING * _direction(first), self.points[low + 1], SPACING * _direction(second))
        point = jnp.sum(jnp.stack(weights, axis=-1)[..., None] * jnp.stack(ends, axis=-2), axis=-2)
        heading = first + share * (second - first)
        return point, heading, self.curvature[low] * (1 - share) + self.curvature[low + 1] * share

    def beside(self, arc: Float[Array, "*q"], lateral: Float[Array, "*q"]) -> Float[Array, "*q 2"]:
        """World point so many metres to the left of an arc length (metres) of one curve."""
        point, heading, _ = self.at(arc)
        return point + lateral[..., None] * jnp.stack([-jnp.sin(heading), jnp.cos(heading)], axis=-1)


def smooth_curve(points: Float[np.ndarray, "n 2"], heading: float, capacity: int | None = None) -> Curve:
    """The curve through measured points (host): a smoothing spline over the distance driven.

    Args:
        points: world, metres, in the order in which they are driven; noise and repetitions are allowed.
        heading: of the curve where the points hardly move and say none, radians.
        capacity: vertices to make room for; as many as the length needs, rounded up, by default.

    Raises:
        ValueError: if the capacity is too small for the length.
    """
    points = _thinned(np.asarray(points, np.float64))
    arc = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=-1))])
    if len(points) < 5:
        ahead = np.array([math.cos(heading), math.sin(heading)])
        reach = max(float(arc[-1]), SPACING)
        points, arc = points[0] + np.linspace(0, reach, 5)[:, None] * ahead, np.linspace(0, reach, 5)
    spline = [make_smoothing_spline(arc, points[:, axis], lam=STIFFNESS) for axis in (0, 1)]
    fine = np.linspace(0.0, arc[-1], max(8, int(arc[-1] / 0.05)))
    dense = np.stack([one(fine) for one in spline], axis=-1)
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(dense, axis=0), axis=-1))])
    at = np.interp(np.arange(0.0, along[-1], SPACING), along, fine)
    place, rate, bend = (np.stack([one.derivative(k)(at) if k else one(at) for one in spline], -1) for k in (0, 1, 2))
    direction = np.unwrap(np.arctan2(rate[:, 1], rate[:, 0]))
    turning = (rate[:, 0] * bend[:, 1] - rate[:, 1] * bend[:, 0]) / np.maximum(np.sum(rate**2, -1), 1e-9) ** 1.5
    return _padded(place, direction, turning, float(along[-1]), capacity)


def _thinned(points: np.ndarray) -> np.ndarray:
    kept = [0]
    for number in range(1, len(points)):
        if np.linalg.norm(points[number] - points[kept[-1]]) >= THINNED:
            kept.append(number)
    return points[kept]


def _padded(place: np.ndarray, direction: np.ndarray, turning: np.ndarray, length: float, room: int | None) -> Curve:
    vertices = len(place)
    capacity = -(-(vertices + 1) // CAPACITY) * CAPACITY if room is None else room
    if capacity < vertices:
        raise ValueError(f"a curve of {length:.1f} m needs {vertices} vertices, room is for {capacity}; raise capacity")
    extra = capacity - vertices
    ahead = SPACING * np.arange(1, extra + 1)[:, None] * np.array([np.cos(direction[-1]), np.sin(direction[-1])])
    return Curve(
        points=jnp.asarray(np.concatenate([place, place[-1] + ahead]), jnp.float32),
        heading=jnp.asarray(np.concatenate([direction, np.full(extra, direction[-1])]), jnp.float32),
        curvature=jnp.asarray(np.concatenate([turning, np.zeros(extra)]), jnp.float32),
        length=jnp.asarray(length, jnp.float32),
    )


def stack_curves(curves: list[Curve]) -> Curve:
    """Several curves with the axis ``curve`` in front; the shorter go straight on to the slots of the longest."""
    most = max(one.heading.shape[0] for one in curves)
    alike = []
    for one in curves:
        used = math.ceil(float(one.length) / SPACING)
        host = jax.device_get(one)
        alike.append(_padded(host.points[:used], host.heading[:used], host.curvature[:used], float(one.length), most))
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *alike)


def bent(curve: Curve, at: Float[Array, ""], angle: Float[Array, ""], radius: Float[Array, ""]) -> Curve:
    """The curve, left at an arc length by a turn, and straight on after it: a turn through free space.

    The curvature builds up and falls off over ``RAMP`` metres, as a driver turns the wheel.

    Args:
        curve: one, without batch dimensions.
        at: arc length where the turn begins, metres; taken at the nearest vertex.
        angle: by which the heading changes, radians, left positive.
        radius: of the tightest part, metres.
    """
    arc = SPACING * jnp.arange(curve.heading.shape[0])
    begin = jnp.round(at / SPACING).astype(jnp.int32)
    since = arc - SPACING * begin
    along = jnp.maximum(jnp.abs(angle) * radius, 1e-3)
    ramp = jnp.minimum(RAMP, along)
    # A trapezoid with an area of the angle: up over a ramp, flat, and down over a ramp.
    shape = jnp.clip(jnp.minimum(since, along + ramp - since) / ramp, 0.0, 1.0)
    turning = jnp.sign(angle) / radius * shape
    heading = curve.heading[begin] + jnp.cumsum(0.5 * (turning + jnp.roll(turning, 1))) * SPACING
    middle = 0.5 * (heading + jnp.roll(heading, 1))
    steps = jnp.where((since > 0)[:, None], SPACING * _direction(middle), 0.0)
    moved = curve.points[begin] + jnp.cumsum(steps, axis=0)
    before = since <= 0
    return dataclasses.replace(
        curve,
        points=jnp.where(before[:, None], curve.points, moved),
        heading=jnp.where(before, curve.heading, heading),
        curvature=jnp.where(before, curve.curvature, turning),
        length=jnp.maximum(curve.length, arc[-1]),
    )


def _direction(heading: Array) -> Array:
    return jnp.stack([jnp.cos(heading), jnp.sin(heading)], axis=-1)


def _hermite(share: Array) -> tuple[Array, Array, Array, Array]:
    """Weights of the first point, its tangent, the second point and its tangent."""
    squared, cubed = share**2, share**3
    first = 2 * cubed - 3 * squared + 1
    return first, cubed - 2 * squared + share, 1 - first, cubed - squared
