"""The ground: flat asphalt, and pavements and grass one kerb higher."""

from typing import Any

import flax.struct
import jax.numpy as jnp

from jaxrecon.street import noise, vectors
from jaxrecon.street.primitives import GRASS, INFINITY, NEAREST, PAVEMENT, ROAD
from jaxrecon.street.roads import Road, join, locate_all
from jaxrecon.street.vectors import Vector, ramp, within

KERB = 0.12  # metres that pavements lie above the asphalt
LANE_WIDTH = 3.5
STONE = 0.18  # width of the kerb stones
LINE = 0.13  # width of painted lines
STOP_LINE = 5.2  # metres from the crossing road's edge to the near side of the stop line
ZEBRA = (1.2, 4.2)  # metres from the crossing road's edge between which pedestrians cross


@flax.struct.dataclass
class GroundHit:
    """Where rays meet the ground; fields named in the plural have a leading road axis.

    Attributes:
        distance: ray parameter, ``INFINITY`` where they do not.
        edge: signed distance to the road's edge in metres, negative on asphalt.
        stations: metres along each road.
        laterals: metres to the left of it.
        outsides: signed distance to its own edge.
        face: 0 on flat ground, 1 on the upright face of a kerb.
    """

    distance: Any
    edge: Any
    stations: Any
    laterals: Any
    outsides: Any
    face: Any


def hit_ground(roads: Road, origin: Vector, direction: Vector) -> GroundHit:
    """Meet the two levels of the ground: a ray lands on the pavement, or else on the asphalt or the kerb between."""
    falling = direction[2] < -1e-6
    slope = jnp.where(falling, direction[2], -1.0)
    levels = jnp.stack([(KERB - origin[2]) / slope, -origin[2] / slope])
    levels = jnp.where(falling, levels, 0.0)
    places = locate_all(roads, origin[0] + levels * direction[0], origin[1] + levels * direction[1])
    edges = join((places.outside[0], places.outside[1]))
    upper, lower, edge_upper, edge_lower = levels[0], levels[1], edges[0], edges[1]
    on_upper = (edge_upper > 0) & (upper > NEAREST)
    on_face = ~on_upper & (edge_lower > 0)
    # Between the levels the edge distance is all but linear in t.
    share = jnp.clip(edge_upper / jnp.where(edge_upper < edge_lower, edge_upper - edge_lower, -1.0), 0.0, 1.0)
    face_t = upper + share * (lower - upper)
    t = jnp.where(on_upper, upper, jnp.where(on_face, face_t, lower))
    edge = jnp.where(on_upper, edge_upper, jnp.where(on_face, 0.0, jnp.minimum(edge_lower, 0.0)))
    return GroundHit(
        distance=jnp.where(falling & (t > NEAREST), t, INFINITY),
        edge=edge,
        stations=jnp.where(on_upper, places.station[:, 0], places.station[:, 1]),
        laterals=jnp.where(on_upper, places.lateral[:, 0], places.lateral[:, 1]),
        outsides=jnp.where(on_upper, places.outside[:, 0], places.outside[:, 1]),
        face=on_face.astype(jnp.float32),
    )


def _paint(roads: Road, hit: GroundHit, blur_across: Any, blur_along: Any) -> Any:
    """Coverage by white paint, on both roads at once."""

    def column(values: Any) -> Any:
        return values if values.ndim > 1 else values[:, None, None]

    others = hit.outsides[::-1]
    station, lateral = hit.stations, hit.laterals
    crossing = column(roads.crossing)
    free = jnp.where(others > jnp.where(crossing > 0, STOP_LINE + 0.4, 0.6), 1.0, 0.0)
    dash = within(jnp.remainder(station, 6.0), 1.5, 4.5, blur_along)
    middle = within(lateral, -LINE / 2, LINE / 2, blur_across) * dash * column(roads.two_way)
    left_edge = column(roads.left - roads.parking[:, 0]) - 0.2
    right_edge = column(roads.right - roads.parking[:, 1]) - 0.2
    edges = within(lateral, left_edge - LINE, left_edge, blur_across)
    edges = edges + within(-lateral, right_edge - LINE, right_edge, blur_across)
    stalls = within(jnp.remainder(station, 6.0), 0.0, 0.1, blur_along)
    beside = (lateral > left_edge) & (column(roads.parking[:, 0]) > 0)
    beside = beside | ((-lateral > right_edge) & (column(roads.parking[:, 1]) > 0))
    lines = jnp.clip(middle + edges + stalls * beside, 0.0, 1.0) * free
    zebra = within(others, ZEBRA[0], ZEBRA[1], blur_along) * within(jnp.remainder(lateral, 1.0), 0.0, 0.5, blur_across)
    # Cars that come towards the crossing keep right: the stop line covers that half of the road.
    tangent = roads.direction[:, -1]
    turn = tangent[:, 0] * tangent[::-1, 1] - tangent[:, 1] * tangent[::-1, 0]
    coming = hit.laterals[::-1] * column(turn) < 0
    coming = jnp.where(coming, lateral < -0.1, lateral > 0.1)
    stop = (
        within(others, STOP_LINE - 0.4, STOP_LINE, blur_along)
        * coming
        * within(lateral, -right_edge, left_edge, blur_across)
    )
    on_road = ramp(0.0, -0.05, hit.outsides)
    return jnp.clip(jnp.sum((lines + (zebra + stop) * crossing) * on_road, axis=0), 0.0, 1.0)


def paint_ground(
    roads: Road, hit: GroundHit, coarse: Any, fine: Any, across: Any, along: Any, urban: Any, shift: Any
) -> tuple[Vector, Any]:
    """Colour and class of the ground.

    Args:
        roads: both roads, stacked.
        hit: where rays met the ground.
        coarse: slow noise there, about [-1, 1].
        fine: fast noise.
        across: footprint of a ray across the line of sight, metres.
        along: footprint along it, metres.
        urban: how far paving reaches from the kerb before grass begins, metres.
        shift: random, moves the patches and tells streets apart.
    """
    second = hit.outsides[1] < hit.outsides[0]
    station = jnp.where(second, hit.stations[1], hit.stations[0])
    lateral = jnp.where(second, hit.laterals[1], hit.laterals[0])
    asphalt = _asphalt(hit, station + 700.0 * shift, lateral, coarse, fine, along)
    white = _paint(roads, hit, across, along) * (0.78 + 0.12 * fine + 0.1 * coarse)
    asphalt = vectors.mix(asphalt, (0.62, 0.62, 0.59), white)
    slabs = _slabs(hit, station, lateral, coarse, fine, across, along)
    # A pale green-brown mix: tint follows the slow noise, blades the fast one.
    dry = jnp.clip(0.45 + 0.6 * coarse, 0.0, 1.0)
    grass = vectors.mix((0.065, 0.125, 0.028), (0.15, 0.17, 0.06), dry)
    grass = vectors.scale(grass, 1 + 0.45 * fine)
    off_road = jnp.where(hit.edge > urban + 0.12 * coarse, 1.0, 0.0)
    colour = vectors.where(hit.edge < 0, asphalt, vectors.mix(slabs, grass, off_road))
    stone = within(hit.edge, 0.0, STONE, across)
    joint = within(jnp.remainder(station, 1.0), 0.0, 0.02, along)
    kerb = vectors.scale((0.36, 0.355, 0.34), 1 + 0.18 * fine - 0.45 * joint)
    colour = vectors.mix(colour, kerb, jnp.where(hit.edge >= 0, jnp.maximum(stone, hit.face), 0.0))
    category = jnp.where(hit.edge < 0, ROAD, jnp.where(off_road > 0.5, GRASS, PAVEMENT))
    return colour, category


def _asphalt(hit: GroundHit, station: Any, lateral: Any, coarse: Any, fine: Any, along: Any) -> Vector:
    wear = within(jnp.abs(jnp.abs(lateral) - LANE_WIDTH / 2), 0.5, 1.0, 0.35)
    oil = jnp.exp(-((jnp.abs(lateral) - LANE_WIDTH / 2) ** 2) / 0.1)
    tone = 0.108 * (1 + 0.09 * coarse + 0.20 * fine - 0.12 * wear - 0.14 * oil * (0.7 + coarse))
    # Repaired rectangles, each with its own tone and a tar seam.
    length, width = 7.0, 1.75
    u, v = station / length, lateral / width
    chance = noise.cell(u, v, 3.0)
    fu, fv = (u - jnp.floor(u)) * length, (v - jnp.floor(v)) * width
    grow = 1.5 + 5.0 * noise.cell(u, v, 5.0)
    patched = jnp.where(chance < 0.14, 1.0, 0.0) * jnp.where(fu < grow, 1.0, 0.0)
    seam = jnp.minimum(jnp.minimum(fu, grow - fu), jnp.minimum(fv, width - fv))
    tone = tone * (1 + patched * (0.45 * noise.cell(u, v, 7.0) - 0.32))
    sharp = jnp.clip(1.2 - along * 4, 0.0, 1.0)
    tone = tone * (1 - 0.5 * patched * sharp * jnp.where(jnp.abs(seam) < 0.035, 1.0, 0.0))
    crack = jnp.abs(coarse + 0.25 * fine - 0.12)
    tone = tone * (1 - 0.35 * sharp * jnp.where((crack < 0.012) & (chance > 0.5), 1.0, 0.0))
    gutter = ramp(-0.5, -0.05, hit.edge)
    tone = tone * (1 - 0.25 * gutter)
    return tone * 1.0, tone * 0.985, tone * 0.975


def _slabs(hit: GroundHit, station: Any, lateral: Any, coarse: Any, fine: Any, across: Any, along: Any) -> Vector:
    row = jnp.floor(hit.edge / 0.6)
    shifted = station / 0.9 + 0.5 * jnp.remainder(row, 2.0)
    joint = within(jnp.remainder(hit.edge, 0.6), 0.0, 0.02, across)
    joint = jnp.maximum(joint, within(jnp.remainder(shifted, 1.0), 0.0, 0.02, along / 0.9))
    each = noise.cell(shifted, row, jnp.sign(lateral))
    detail = jnp.clip(1.3 - along * 0.7, 0.0, 1.0)
    tone = 0.235 * (1 + 0.16 * coarse + 0.12 * fine + 0.20 * (each - 0.5) * detail) * (1 - 0.45 * joint)
    return tone * 1.03, tone * 0.99, tone * 0.93
