"""Roads as chains of lines and arcs, with closed-form Frenet coordinates on host and device.

A road runs along its centre line; ``station`` is the arc length along it and ``lateral`` the offset to its left.
Its first and last pieces are straight and continue for ever, so the horizon always has a road.
"""

import dataclasses
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

Array = Any

FAR = 1e4
CORNER = 8.0  # metres: how far from a meeting of two roads their kerbs begin to round off


@flax.struct.dataclass
class Road:
    """One road's surface.

    Attributes:
        start: (piece, 2) where each piece begins, metres.
        direction: (piece, 2) unit tangent there.
        finish_direction: (piece, 2) unit tangent at its end.
        finish: (piece, 2) its end.
        curvature: (piece,) positive to the left, 1/m.
        station: (piece,) arc length at its start.
        left: metres from the centre line to the left kerb.
        right: metres to the right kerb.
        ends: station after which there is no surface.
        two_way: 1 where a dashed line parts two directions, 0 for one lane.
        crossing: 1 for zebra crossings and stop lines where it meets others, else 0.
        parking: (2,) width of the parking strip at the left and the right kerb, 0 for none.
    """

    start: Float[Array, "piece 2"]
    direction: Float[Array, "piece 2"]
    finish: Float[Array, "piece 2"]
    finish_direction: Float[Array, "piece 2"]
    curvature: Float[Array, " piece"]
    station: Float[Array, " piece"]
    left: Float[Array, ""]
    right: Float[Array, ""]
    ends: Float[Array, ""]
    two_way: Float[Array, ""]
    crossing: Float[Array, ""]
    parking: Float[Array, "2"]


@dataclasses.dataclass(frozen=True)
class Place:
    """Frenet coordinates of points relative to one road.

    Attributes:
        station: arc length, metres.
        lateral: to the left of the centre line, metres; ``FAR`` where the road is nowhere near.
        outside: signed distance to the road's edge, negative on its surface.
    """

    station: Any
    lateral: Any
    outside: Any


def chain(
    x: float,
    y: float,
    heading: float,
    pieces: list[tuple[float, float]],
    *,
    left: float,
    right: float,
    station: float = 0.0,
    ends: float = FAR,
    two_way: bool = True,
    crossing: bool = False,
    parking: tuple[float, float] = (0.0, 0.0),
) -> Road:
    """A road from (x, y) along ``heading`` made of ``pieces`` of (length, curvature), in NumPy float64."""
    rows = []
    for length, curvature in pieces:
        begin = (x, y, heading)
        x, y, heading = advance(x, y, heading, curvature, length)
        rows.append((begin, (x, y, heading), curvature, station))
        station += length
    starts, finish = np.array([r[0] for r in rows]), np.array([r[1] for r in rows])
    return Road(
        start=starts[:, :2],
        direction=np.stack([np.cos(starts[:, 2]), np.sin(starts[:, 2])], -1),
        finish=finish[:, :2],
        finish_direction=np.stack([np.cos(finish[:, 2]), np.sin(finish[:, 2])], -1),
        curvature=np.array([float(r[2]) for r in rows]),
        station=np.array([float(r[3]) for r in rows]),
        left=np.array(float(left)),
        right=np.array(float(right)),
        ends=np.array(float(ends)),
        two_way=np.array(float(two_way)),
        crossing=np.array(float(crossing)),
        parking=np.array(parking, dtype=np.float64),
    )


def nowhere(pieces: int) -> Road:
    """A road without surface, to fill a fixed number of roads."""
    road = chain(FAR, FAR, 0.0, [(1.0, 0.0)] * pieces, left=0.0, right=0.0, ends=-FAR)
    return road


def padded(road: Road, pieces: int) -> Road:
    """The same road with its last, straight piece split so that it has ``pieces`` of them."""
    missing = pieces - len(road.curvature)
    if missing < 0:
        raise ValueError(f"road has {len(road.curvature)} pieces, expected at most {pieces}")
    if missing == 0:
        return road
    step = 1e3 * np.arange(1, missing + 1)[:, None]
    tangent = np.repeat(road.finish_direction[-1:], missing, 0)
    begin = road.finish[-1] + (step - 1e3) * tangent
    length = np.linalg.norm(road.finish[-1] - road.start[-1])
    return dataclasses.replace(
        road,
        start=np.concatenate([road.start, begin]),
        direction=np.concatenate([road.direction, tangent]),
        finish=np.concatenate([road.finish, begin + 1e3 * tangent]),
        finish_direction=np.concatenate([road.finish_direction, tangent]),
        curvature=np.concatenate([road.curvature, np.zeros(missing)]),
        station=np.concatenate([road.station, road.station[-1] + length + step[:, 0] - 1e3]),
    )


def advance(x: Any, y: Any, heading: Any, curvature: Any, length: Any) -> tuple[Any, Any, Any]:
    """Pose after ``length`` metres (negative: before) along an arc."""
    turn = curvature * length
    chord = length * np.sinc(turn / 2 / np.pi)
    return x + chord * np.cos(heading + turn / 2), y + chord * np.sin(heading + turn / 2), heading + turn


def pose_at(
    road: Road, station: Float[np.ndarray, "*b"] | float, lateral: Float[np.ndarray, "*b"] | float = 0.0
) -> tuple[Float[np.ndarray, "*b 2"], Float[np.ndarray, "*b"]]:
    """World points and headings at Frenet coordinates (host)."""
    station = np.asarray(station, dtype=np.float64)
    piece = np.clip(np.searchsorted(road.station, station, side="right") - 1, 0, len(road.station) - 1)
    heading = np.arctan2(road.direction[piece, 1], road.direction[piece, 0])
    x, y, heading = advance(
        road.start[piece, 0], road.start[piece, 1], heading, road.curvature[piece], station - road.station[piece]
    )
    points = np.stack([x - lateral * np.sin(heading), y + lateral * np.cos(heading)], -1)
    return points, np.asarray(heading)


def curvature_at(road: Road, station: Float[np.ndarray, "*b"] | float) -> Float[np.ndarray, "*b"]:
    """Curvature of the centre line (host)."""
    piece = np.clip(np.searchsorted(road.station, station, side="right") - 1, 0, len(road.station) - 1)
    return np.asarray(road.curvature[piece])


def locate(road: Road, x: Float[np.ndarray, "*b"], y: Float[np.ndarray, "*b"]) -> Place:
    """Frenet coordinates of world points: the nearest piece in whose span they lie (host)."""
    pieces = road.curvature.shape[0]
    best, along, across = np.full_like(x, FAR), np.zeros_like(x), np.zeros_like(x)
    bend, base = np.zeros_like(x), np.zeros_like(x)
    for i in range(pieces):
        tx, ty = road.direction[i, 0], road.direction[i, 1]
        dx, dy = x - road.start[i, 0], y - road.start[i, 1]
        u, v, k = dx * tx + dy * ty, dy * tx - dx * ty, road.curvature[i]
        past = (x - road.finish[i, 0]) * road.finish_direction[i, 0]
        past = past + (y - road.finish[i, 1]) * road.finish_direction[i, 1]
        reach = np.sqrt((k * u) ** 2 + (1 - k * v) ** 2)
        lateral = (2 * v - k * (u * u + v * v)) / (1 + reach)
        within = np.abs(lateral) < np.abs(best)
        if i > 0:
            within = within & (u >= 0)
        if i < pieces - 1:
            within = within & (past < 0)
        best = np.where(within, lateral, best)
        along, across = np.where(within, u, along), np.where(within, v, across)
        bend, base = np.where(within, k, bend), np.where(within, road.station[i], base)
    gentle = np.abs(bend) < 1e-7
    safe = np.where(gentle, np.ones_like(bend), bend)
    arc = np.arctan2(safe * along, 1 - safe * across) / safe
    station = base + np.where(gentle, along, arc)
    side = np.maximum(best - road.left, -best - road.right)
    return Place(station, best, np.maximum(side, station - road.ends))


def locate_all(roads: Road, x: Any, y: Any) -> Place:
    """``locate`` for roads stacked on a leading axis, on the device; the road axis of the answer leads too.

    A loop over the pieces keeps the compiled program small. Blocks of rays may have roads of their own: further axes
    of the leaves broadcast against ``x``.
    """

    def column(values: Any) -> Any:
        return values.reshape(len(values), *(1,) * (x.ndim + 1 - values.ndim), *values.shape[1:])

    pieces = roads.curvature.shape[1]

    def visit(i: Any, carry: Any) -> Any:
        piece = jax.tree.map(
            lambda v: jax.lax.dynamic_index_in_dim(v, i, 1, keepdims=False),
            (roads.start, roads.direction, roads.finish, roads.finish_direction, roads.curvature, roads.station),
        )
        start, direction, finish, finish_direction, k, station = piece
        tx, ty = column(direction[:, 0]), column(direction[:, 1])
        dx, dy = x - column(start[:, 0]), y - column(start[:, 1])
        u, v, k = dx * tx + dy * ty, dy * tx - dx * ty, column(k)
        past = (x - column(finish[:, 0])) * column(finish_direction[:, 0])
        past = past + (y - column(finish[:, 1])) * column(finish_direction[:, 1])
        reach = jnp.sqrt((k * u) ** 2 + (1 - k * v) ** 2)
        lateral = (2 * v - k * (u * u + v * v)) / (1 + reach)
        within = (jnp.abs(lateral) < jnp.abs(carry[0])) & ((i == 0) | (u >= 0)) & ((i == pieces - 1) | (past < 0))
        new = lateral, u, v, k + 0 * u, column(station) + 0 * u
        return tuple(jnp.where(within, n, o) for n, o in zip(new, carry, strict=True))

    zero = jnp.zeros((roads.left.shape[0], *x.shape), jnp.float32)
    best, along, across, bend, base = jax.lax.fori_loop(0, pieces, visit, (zero + FAR, zero, zero, zero, zero))
    gentle = jnp.abs(bend) < 1e-7
    safe = jnp.where(gentle, 1.0, bend)
    station = base + jnp.where(gentle, along, jnp.arctan2(safe * along, 1 - safe * across) / safe)
    side = jnp.maximum(best - column(roads.left), -best - column(roads.right))
    return Place(station, best, jnp.maximum(side, station - column(roads.ends)))


def stacked(roads: tuple[Road, ...]) -> Road:
    """Roads of equally many pieces on a leading axis, float32 on the device."""
    return jax.tree.map(lambda *v: jnp.asarray(np.stack(v), jnp.float32), *roads)


def join(outsides: Any) -> Any:
    """Signed distance to the edge of the union of two roads, with corners rounded; negative on asphalt.

    Args:
        outsides: signed distances to each road's own edge.
    """
    first, second = outsides
    xp = first.__array_namespace__()
    near = xp.maximum(CORNER - xp.abs(first - second), xp.zeros_like(first)) / CORNER
    return xp.minimum(first, second) - near * near * CORNER / 4


def distance_to_road(roads: tuple[Road, ...], points: Float[np.ndarray, "*b 2"]) -> Float[np.ndarray, "*b"]:
    """Signed distance of world points to the road surface, negative on asphalt (host)."""
    places = [locate(road, np.asarray(points[..., 0]), np.asarray(points[..., 1])) for road in roads]
    return np.asarray(join([place.outside for place in places]))
