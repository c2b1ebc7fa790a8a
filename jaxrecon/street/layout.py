"""Where everything that stands still is placed, by seed."""

import dataclasses

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from jaxrecon.street import scenery
from jaxrecon.street.config import LAYOUTS, StreetConfig
from jaxrecon.street.ground import KERB, LANE_WIDTH
from jaxrecon.street.primitives import Part
from jaxrecon.street.roads import Road, chain, distance_to_road, nowhere, padded, pose_at
from jaxrecon.street.sky import Light

PARKING = 2.35  # metres, width of a parking strip
SHOULDER = 0.45  # metres from the lane to the kerb where nobody parks
RUN_UP = 40.0  # metres of road before the recording car's start
PIECES = 6


@dataclasses.dataclass(frozen=True)
class Layout:
    """The street without its traffic.

    Attributes:
        kind: one of ``LAYOUTS``.
        roads: the main road, then a side road (perhaps nowhere), NumPy float64.
        junctions: stations on the main road of the middle of each crossing.
        crossings: for each junction, the index of the crossing road and its station there.
        merge: station on the main road at which a ramp has joined it, or None.
        parts: what stands still.
        light: sun and sky.
        urban: metres of paving beyond the kerb before grass begins.
    """

    kind: str
    roads: tuple[Road, ...]
    junctions: tuple[float, ...]
    crossings: tuple[tuple[int, float], ...]
    merge: float | None
    parts: tuple[Part, ...]
    light: Light
    urban: float

    @property
    def main(self) -> Road:
        """The road that the recording car follows."""
        return self.roads[0]


def make_layout(config: StreetConfig, generator: np.random.Generator) -> Layout:
    """Roads, houses, trees, furniture, sun and sky."""
    kind = config.layout if config.layout != "random" else LAYOUTS[generator.integers(len(LAYOUTS))]
    roads, junctions, crossings, merge = _roads(kind, config.length, generator)
    urban = float(generator.choice([2.8, 60.0], p=[0.55, 0.45])) if kind != "merge" else 2.6
    parts = _houses(roads, config.length, urban > 10, kind, generator)
    parts += _greenery(roads, config.length, urban > 10, generator)
    parts += _furniture(roads[0], roads, config.length, generator)
    heading = float(np.arctan2(roads[0].direction[0, 1], roads[0].direction[0, 0]))
    return Layout(kind, roads, junctions, crossings, merge, tuple(parts), _light(heading, generator), urban)


def _roads(kind: str, length: float, generator: np.random.Generator) -> tuple:
    """Roads and where they meet."""
    bend = float(generator.choice([-1.0, 1.0])) / float(generator.uniform(85.0, 150.0))
    straight = {"curve": 62.0, "junction": 128.0, "merge": 128.0, "parked": 88.0}[kind]
    arc = float(np.clip(0.75 / abs(bend), 40.0, length - straight - 10))
    pieces = [(straight, 0.0), (arc / 2, bend), (arc / 2, bend * 0.6), (60.0, 0.0)]
    if kind == "curve":
        pieces = [(straight, 0.0), (arc, bend), (18.0, 0.0), (0.7 * arc, -bend), (60.0, 0.0)]
    left, right = {
        "curve": (0.0, PARKING), "junction": (0.0, PARKING), "merge": (0.0, 0.0), "parked": (PARKING, PARKING)
    }[kind]  # fmt: skip
    main = chain(
        -RUN_UP,
        0.0,
        0.0,
        pieces,
        left=LANE_WIDTH + (left or SHOULDER),
        right=LANE_WIDTH + (right or SHOULDER),
        station=-RUN_UP,
        crossing=kind == "junction",
        parking=(left, right),
    )
    sides: list[Road] = []
    junctions, crossings, merge = [], [], None
    if kind == "junction":
        for meet in (50.0 + float(generator.uniform(-6, 10)),):
            middle, heading = pose_at(main, np.array(meet))
            lean = float(heading) + np.pi / 2 + float(generator.uniform(-0.12, 0.12))
            back = middle - 100.0 * np.array([np.cos(lean), np.sin(lean)])
            side = chain(
                float(back[0]), float(back[1]), lean, [(200.0, 0.0)],
                left=LANE_WIDTH + SHOULDER, right=LANE_WIDTH + SHOULDER, crossing=True,
            )  # fmt: skip
            sides.append(side)
            junctions.append(meet)
            crossings.append((len(sides), 100.0))
    if kind == "merge":
        merge = 60.0 + float(generator.uniform(0, 10))
        sides.append(_ramp(main, merge))
    roads = [padded(road, PIECES) for road in (main, *sides)]
    roads += [nowhere(PIECES)] * (2 - len(roads))
    return tuple(roads), tuple(junctions), tuple(crossings), merge


def _ramp(main: Road, joined: float) -> Road:
    """A lane that comes from the right and has become the main road's right lane at station ``joined``.

    Its stations count so that both agree there.
    """
    point, heading = pose_at(main, np.array(joined), -LANE_WIDTH / 2)
    turn, bend, parallel, approach = 0.30, -1 / 90.0, 14.0, 90.0
    back = point - parallel * np.array([np.cos(heading), np.sin(heading)])
    arc = turn / abs(bend)
    angle = float(heading) + turn
    chord = arc * np.sinc(turn / 2 / np.pi)
    begin = back - chord * np.array([np.cos(heading + turn / 2), np.sin(heading + turn / 2)])
    begin = begin - approach * np.array([np.cos(angle), np.sin(angle)])
    return chain(
        float(begin[0]), float(begin[1]), angle, [(approach, 0.0), (arc, bend), (parallel, 0.0)],
        left=2.1, right=2.1, station=joined - parallel - arc - approach, ends=joined + 2.0, two_way=False,
    )  # fmt: skip


def clearance(roads: tuple[Road, ...], points: Float[np.ndarray, "*b 2"]) -> Float[np.ndarray, "*b"]:
    """Signed distance of points to the asphalt (host)."""
    return distance_to_road(roads, points)


def rectangle(x: float, y: float, yaw: float, half: tuple[float, float]) -> Float[np.ndarray, "4 2"]:
    """Corners of an oriented rectangle."""
    along, across = np.array([np.cos(yaw), np.sin(yaw)]), np.array([-np.sin(yaw), np.cos(yaw)])
    signs = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]])
    return np.array([x, y]) + signs[:, :1] * half[0] * along + signs[:, 1:] * half[1] * across


def overlapping(
    one: Float[np.ndarray, "4 2"], others: list[Float[np.ndarray, "4 2"]], gap: float = 0.0
) -> Bool[np.ndarray, " n"]:
    """Which other rectangles come closer to one than about ``gap`` metres (separating axes)."""
    if not others:
        return np.zeros(0, dtype=bool)
    many = np.stack(others)
    apart = np.zeros(len(many), dtype=bool)
    for corners in (np.broadcast_to(one, many.shape), many):
        for i in range(2):
            edge = corners[:, i + 1] - corners[:, i]
            axis = (edge / np.linalg.norm(edge, axis=-1, keepdims=True))[..., None]
            a, b = (one @ axis)[..., 0], (many @ axis)[..., 0]
            apart = apart | (a.max(-1) + gap < b.min(-1)) | (b.max(-1) + gap < a.min(-1))
    return ~apart


def _houses(
    roads: tuple[Road, ...], length: float, paved: bool, kind: str, generator: np.random.Generator
) -> list[Part]:
    placed: list[np.ndarray] = []
    parts: list[Part] = []
    low, high = (3, 6) if paved else (2, 4)
    for index, road in enumerate(roads):
        if road.ends < 0 or (index > 0 and kind == "merge"):
            continue
        spans = (-RUN_UP - 10, length + 70) if index == 0 else (8.0, 192.0)
        for side in (1.0, -1.0):
            station = spans[0] + float(generator.uniform(0, 6))
            kerb = float(road.left if side > 0 else road.right)
            while station < spans[1]:
                half = (float(generator.uniform(4.5, 9.5)), float(generator.uniform(4.5, 6.5)))
                setback = 3.3 + float(generator.uniform(0, 0.5)) if paved else float(generator.uniform(6.0, 9.0))
                point, heading = pose_at(road, np.array(station + half[0]), side * (kerb + setback + half[1]))
                yaw = float(heading) + (0.0 if side < 0 else np.pi)
                outline = rectangle(float(point[0]), float(point[1]), yaw, half)
                fits = not overlapping(outline, placed, 0.6).any()
                edge = np.concatenate([outline + (np.roll(outline, -1, 0) - outline) * f for f in (0, 0.25, 0.5, 0.75)])
                if fits and clearance(roads, edge).min() > 2.9:
                    storeys = int(generator.integers(low, high))
                    gabled = bool(generator.random() < (0.35 if paved else 0.75)) and storeys < 5
                    parts += scenery.house(float(point[0]), float(point[1]), yaw, half, storeys, gabled, generator)
                    placed.append(outline)
                    gap = float(
                        generator.uniform(0.0, 0.1)
                        if paved and generator.random() < 0.75
                        else generator.uniform(2.5, 7)
                    )
                    station += 2 * half[0] + 0.65 + gap
                else:
                    station += 3.0
    return parts + _skyline(roads, length, placed, generator)


def _skyline(
    roads: tuple[Road, ...], length: float, placed: list[np.ndarray], generator: np.random.Generator
) -> list[Part]:
    """Taller blocks behind the houses."""
    parts: list[Part] = []
    for _ in range(14):
        station = float(generator.uniform(-RUN_UP, length + 160))
        lateral = float(generator.choice([-1.0, 1.0]) * generator.uniform(45.0, 110.0))
        point, heading = pose_at(roads[0], np.array(station), lateral)
        half = (float(generator.uniform(7, 14)), float(generator.uniform(7, 11)))
        outline = rectangle(float(point[0]), float(point[1]), float(heading), half)
        if clearance(roads, outline).min() < 12 or overlapping(outline, placed, 1.0).any():
            continue
        storeys = int(generator.integers(5, 11))
        parts += scenery.house(float(point[0]), float(point[1]), float(heading), half, storeys, False, generator)[:2]
        placed.append(outline)
    return parts


def _greenery(roads: tuple[Road, ...], length: float, paved: bool, generator: np.random.Generator) -> list[Part]:
    parts: list[Part] = []
    main = roads[0]
    for side in (1.0, -1.0):
        kerb = float(main.left if side > 0 else main.right)
        station = -RUN_UP + float(generator.uniform(0, 8))
        planted = bool(generator.random() < 0.8) or not paved
        while station < length + 90:
            off = 0.95 if paved else float(generator.choice([0.95, 4.6]))
            point, _ = pose_at(main, np.array(station), side * (kerb + off))
            clear = float(clearance(roads, point))
            if planted and abs(clear - off) < 0.3:
                parts += scenery.tree(float(point[0]), float(point[1]), KERB, generator)
            if not paved:
                parts += _garden(roads, station + 4.0, side, kerb, generator)
            station += float(generator.uniform(9.0, 17.0))
    for _ in range(16):
        station, off = float(generator.uniform(-20, length + 120)), float(generator.uniform(19, 45))
        point, _ = pose_at(main, np.array(station), float(generator.choice([-1.0, 1.0])) * off)
        if float(clearance(roads, point)) > 5:
            parts += scenery.tree(float(point[0]), float(point[1]), KERB, generator)
    return parts


def _garden(
    roads: tuple[Road, ...], station: float, side: float, kerb: float, generator: np.random.Generator
) -> list[Part]:
    point, heading = pose_at(roads[0], np.array(station), side * (kerb + 3.3))
    half = float(generator.uniform(1.5, 3.5))
    ends = rectangle(float(point[0]), float(point[1]), float(heading), (half, 0.3))
    if np.abs(clearance(roads, ends) - 3.3).max() > 0.6:
        return []
    if generator.random() < 0.65:
        return [scenery.hedge(float(point[0]), float(point[1]), float(heading), half, KERB, generator)]
    return scenery.bush(float(point[0]), float(point[1]), KERB, generator)


def _furniture(main: Road, roads: tuple[Road, ...], length: float, generator: np.random.Generator) -> list[Part]:
    parts: list[Part] = []
    for side, first in ((1.0, 6.0), (-1.0, 20.0)):
        kerb = float(main.left if side > 0 else main.right)
        for station in np.arange(first - RUN_UP, length + 80, 31.0):
            point, heading = pose_at(main, np.array(station), side * (kerb + 0.45))
            if abs(float(clearance(roads, point)) - 0.45) < 0.15:
                toward = float(heading) - side * np.pi / 2
                parts += scenery.lamp_post(float(point[0]), float(point[1]), toward, KERB)
        for station in generator.uniform(0, length, 4):
            point, heading = pose_at(main, np.array(station), side * (kerb + 0.5))
            if abs(float(clearance(roads, point)) - 0.5) > 0.15:
                continue
            if generator.random() < 0.6:
                facing = float(heading) + (np.pi if side < 0 else 0.0)
                parts += scenery.road_sign(float(point[0]), float(point[1]), facing, KERB, float(generator.random()))
            else:
                parts.append(scenery.bin_(float(point[0]), float(point[1]), float(heading), KERB, generator))
    return parts


def _light(heading: float, generator: np.random.Generator) -> Light:
    """Sun from a side, so that shadows show, at 32 to 58 degrees."""
    elevation = np.radians(generator.uniform(32, 58))
    azimuth = heading + float(generator.choice([-1.0, 1.0])) * np.radians(generator.uniform(50, 140))
    sun = np.array([np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)])
    warm = float(np.clip((np.radians(58) - elevation) / np.radians(26), 0, 1))
    sunlight = np.array([2.75, 2.55 - 0.25 * warm, 2.25 - 0.65 * warm])
    zenith = np.array([0.20, 0.39, 0.78]) * generator.uniform(0.9, 1.1)
    horizon = np.array([0.72 + 0.06 * warm, 0.80 - 0.02 * warm, 0.90 - 0.12 * warm])

    def single(values: object) -> jnp.ndarray:
        return jnp.asarray(np.asarray(values, dtype=np.float32))

    clouds = single(generator.uniform(0.25, 0.65))
    return Light(
        single(sun), single(sunlight), single(zenith), single(horizon), clouds, single(generator.uniform(0, 90))
    )
