"""Ribbons of splats along lines of the map: paint between strips of road, kerbs between road and pavement.

Splats are drawn in the order of their distance, so paint that lay on top of road splats would be half covered by those
in front of it. Ribbons take the place of the ground instead, with splats that follow the line.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

from jaxrecon.logs.driving_log import RoadMap
from jaxrecon.scene.assembled.config import AssembleConfig
from jaxrecon.scene.assembled.layout import Layout, densified, directions
from jaxrecon.scene.assembled.splats import Splats, flat, join
from jaxrecon.scene.assembled.surface import CONCRETE, GUTTER, KERB_HEIGHT, Cutouts, asphalt_colour

WHITE, YELLOW = np.array([0.86, 0.86, 0.84]), np.array([0.83, 0.65, 0.17])
KERB = np.array([0.70, 0.69, 0.66])
LINE_WIDTH = 0.13  # metres
DASH, PERIOD = 3.0, 12.0  # metres of paint and from dash to dash, as on the roads of the USA
# Metres from the path beyond which ribbons have half, and a quarter of their samples.
NEAR, FAR = 18.0, 40.0
PROBE = 0.6  # metres beside a line at which it is asked whether there is road
UP = np.array([[0.0, 0.0, 1.0]])


@dataclasses.dataclass(frozen=True)
class Ribbon:
    """Samples along a line.

    Attributes:
        points: x, y, metres.
        forward: unit directions.
        step: distance to the next sample, metres.
        along: distance from the line's start, metres.
        near: whether the path is near.
    """

    points: Float[np.ndarray, "n 2"]
    forward: Float[np.ndarray, "n 2"]
    step: Float[np.ndarray, " n"]
    along: Float[np.ndarray, " n"]
    near: Bool[np.ndarray, " n"]

    @property
    def left(self) -> Float[np.ndarray, "n 2"]:
        """Unit directions to the left."""
        return np.stack([-self.forward[:, 1], self.forward[:, 0]], axis=-1)

    def where(self, chosen: Bool[np.ndarray, " n"]) -> "Ribbon":
        """Some of the samples."""
        return Ribbon(*(getattr(self, field.name)[chosen] for field in dataclasses.fields(Ribbon)))


def ribbon(line: np.ndarray, layout: Layout, config: AssembleConfig) -> Ribbon:
    """Samples of a line within reach, dense where the path is near."""
    fine = densified(line[:, :2], 2 * config.spacing)
    step = float(np.linalg.norm(fine[1] - fine[0])) if len(fine) > 1 else 2 * config.spacing
    forward, along = directions(fine), step * np.arange(len(fine))
    distance = layout.path_distance(fine)
    stride = np.where(distance < NEAR, 1, np.where(distance < FAR, 2, 4))
    kept = (distance < config.reach) & (np.arange(len(fine)) % stride == 0)
    samples = Ribbon(fine, forward, stride * step, along, distance < FAR)
    return samples.where(kept)


def row(
    samples: Ribbon,
    layout: Layout,
    offset: float,
    width: float,
    colours: np.ndarray,
    raised: float = 0.0,
    normal: np.ndarray = UP,
) -> Splats:
    """One row of splats beside a line, ``offset`` metres to its left, ``width`` metres from row to row."""
    points = samples.points + offset * samples.left
    means = np.column_stack([points, layout.height(points) + raised])
    along = np.column_stack([samples.forward, np.zeros(len(points))])
    # Splats of neighbouring rows blur into each other; a row that is a little slimmer keeps paint crisp.
    return flat(means, along, normal, (samples.step, 0.95 * width), colours)


def paint_lines(
    road_map: RoadMap, layout: Layout, config: AssembleConfig, covered: Sequence["Tiling"], seed: int
) -> tuple[Splats, Cutouts]:
    """Painted lines, where they lie on the road and no crosswalk covers them.

    Args:
        road_map: with the lines and, where known, their kinds.
        layout: of the world.
        config: how fine.
        covered: what replaces them.
        seed: of the asphalt's texture.
    """
    kinds = road_map.line_kinds or ("unknown",) * len(road_map.lane_lines)
    parts: list[Splats] = []
    points, radii = [], []
    for line, kind in zip(road_map.lane_lines, kinds, strict=True):
        samples = ribbon(line, layout, config)
        free = layout.off_road(samples.points) < -0.15
        for tiling in covered:
            free &= ~tiling.holds(samples.points, 0.25)
        samples = samples.where(free)
        if not len(samples.points):
            continue
        kind = guess_kind(line, road_map) if kind == "unknown" else kind
        for offset, width, painted in _profile(kind, samples):
            shade = asphalt_colour(road_map.lane_centres, samples.points + offset * samples.left, seed)
            worn = np.random.default_rng(seed).uniform(0.86, 1.0, (len(shade), 1))
            ink = (YELLOW if kind.endswith("yellow") else WHITE) * worn
            parts.append(row(samples, layout, offset, width, np.where(painted[:, None], ink, shade)))
        points.append(samples.points)
        radii.append(np.where(samples.near, 0.37, 0.45) + (0.1 if kind.startswith("double") else 0.0))
    return join(parts), Cutouts(*_gathered(points, radii))


def _gathered(points: list[np.ndarray], radii: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    return np.concatenate([np.zeros((0, 2)), *points]), np.concatenate([np.zeros(0), *radii])


def _profile(kind: str, samples: Ribbon) -> list[tuple[float, float, np.ndarray]]:
    """Rows across a line: (offset, width, which samples are painted)."""
    everywhere = np.ones(len(samples.points), bool)
    bare = ~everywhere
    ink = np.mod(samples.along, PERIOD) < DASH if kind.startswith("dashed") else everywhere
    if kind.startswith("double"):
        return [
            (-0.38, 0.16, bare), (-0.25, 0.14, bare), (-0.12, LINE_WIDTH, ink), (0.0, 0.11, bare),
            (0.12, LINE_WIDTH, ink), (0.25, 0.14, bare), (0.38, 0.16, bare),
        ]  # fmt: skip
    return [(-0.28, 0.16, bare), (-0.14, 0.14, bare), (0.0, LINE_WIDTH, ink), (0.14, 0.14, bare), (0.28, 0.16, bare)]


def guess_kind(line: np.ndarray, road_map: RoadMap) -> str:
    """The kind of a line of which the map tells none, from the lanes on either side of it.

    Between lanes of one direction it is dashed and white, between opposite ones double and yellow, else solid white.
    """
    if not road_map.lane_centres:
        return "solid_white"
    centres = [lane for lane in road_map.lane_centres if len(lane) > 1]
    vertices = np.concatenate([lane[:, :2] for lane in centres])
    headings = np.concatenate([directions(lane) for lane in centres])
    middle = densified(line[:, :2], 2.0)
    forward = directions(middle)
    left = np.stack([-forward[:, 1], forward[:, 0]], axis=-1)
    votes = {"dashed_white": 0, "double_yellow": 0, "solid_white": 0}
    for index in np.unique(np.linspace(0, len(middle) - 1, 5).astype(int)):
        across = (vertices - middle[index]) @ left[index]
        beside = np.abs((vertices - middle[index]) @ forward[index]) < 1.5
        straight = headings @ forward[index]
        sides = [beside & (side * across > 0.8) & (side * across < 3.2) & (np.abs(straight) > 0.8) for side in (1, -1)]
        if not all(side.any() for side in sides):
            votes["solid_white"] += 1
        elif np.sign(straight[sides[0]].mean()) == np.sign(straight[sides[1]].mean()):
            votes["dashed_white"] += 1
        else:
            votes["double_yellow"] += 1
    return max(votes, key=lambda kind: votes[kind])


def kerbs(outlines: Sequence[np.ndarray], layout: Layout, config: AssembleConfig) -> tuple[Splats, Cutouts, Ribbon]:
    """Kerbs where a line divides road from what is beside it; also the samples, whose left is the road's side."""
    found = [_sided(ribbon(line, layout, config), layout) for line in outlines]
    samples = Ribbon(
        *(
            np.concatenate([np.zeros((0, 2)) if field.name in ("points", "forward") else np.zeros(0), *parts])
            for field in dataclasses.fields(Ribbon)
            for parts in [[getattr(one, field.name) for one in found]]
        )
    )
    samples = dataclasses.replace(samples, near=samples.near.astype(bool))
    outer = samples.points - PROBE * samples.left
    open_sides = layout.marked(layout.paved, outer)
    standing = samples.where(~open_sides)
    face = np.column_stack([standing.left, np.zeros(len(standing.points))])
    shade = np.random.default_rng(0).uniform(0.94, 1.04, (len(standing.points), 1))
    parts = [
        row(standing, layout, 0.26, 0.17, GUTTER * shade),
        row(standing, layout, 0.10, 0.16, GUTTER * 0.93 * shade),
        row(standing, layout, 0.01, KERB_HEIGHT, KERB * 0.78 * shade, KERB_HEIGHT / 2, face),
        row(standing, layout, -0.08, 0.15, KERB * shade, KERB_HEIGHT),
        row(standing, layout, -0.23, 0.16, CONCRETE * shade, KERB_HEIGHT),
    ]
    return join(parts), Cutouts(standing.points, np.where(standing.near, 0.34, 0.42)), samples


def _sided(samples: Ribbon, layout: Layout) -> Ribbon:
    """Those samples that have road on exactly one side, turned so that it is the left one."""
    sides = [layout.off_road(samples.points + side * PROBE * samples.left) < 0 for side in (1, -1)]
    flipped = np.where(sides[0][:, None], samples.forward, -samples.forward)
    turned = dataclasses.replace(samples, forward=flipped)
    return turned.where(sides[0] != sides[1])


@dataclasses.dataclass(frozen=True)
class Tiling:
    """A rectangle of the road that is tiled with splats of its own.

    Attributes:
        centre: x, y, metres.
        axis: unit direction of its length.
        half: half its length and width, metres.
    """

    centre: Float[np.ndarray, "2"]
    axis: Float[np.ndarray, "2"]
    half: tuple[float, float]

    def local(self, points: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 2"]:
        """Points along and across the rectangle, from its centre."""
        side = np.array([-self.axis[1], self.axis[0]])
        return np.stack([(points - self.centre) @ self.axis, (points - self.centre) @ side], axis=-1)

    def holds(self, points: Float[np.ndarray, "n 2"], margin: float = 0.0) -> Bool[np.ndarray, " n"]:
        """Whether points lie in it or within a margin of it."""
        return (np.abs(self.local(points)) < np.array(self.half) + margin).all(axis=-1)
