"""Buildings of splats: walls tiled storey by storey so that windows keep their edges, flat or gabled roofs."""

import dataclasses

import numpy as np
from jaxtyping import Float

from jaxrecon.scene.assembled.splats import SUN, Splats, flat, join, lit

WALLS = np.array(
    [
        [0.72, 0.66, 0.56], [0.78, 0.76, 0.71], [0.58, 0.38, 0.30], [0.66, 0.62, 0.57], [0.80, 0.72, 0.58],
        [0.55, 0.57, 0.58], [0.70, 0.55, 0.44], [0.62, 0.66, 0.66], [0.75, 0.70, 0.66], [0.50, 0.35, 0.29],
    ]
)  # fmt: skip
ROOFS = np.array([[0.42, 0.30, 0.25], [0.33, 0.33, 0.35], [0.38, 0.34, 0.31], [0.46, 0.40, 0.34]])
GLASS, FRAME, DOOR = np.array([0.20, 0.25, 0.31]), np.array([0.85, 0.84, 0.81]), np.array([0.27, 0.22, 0.19])
STOREY = 3.2  # metres
ROWS = 5  # of tiles a storey, at full detail
BURIED = 0.6  # metres that walls reach into the ground, which may slope


@dataclasses.dataclass(frozen=True)
class Building:
    """A house or block.

    Attributes:
        centre: x, y, metres.
        yaw: of its front's normal, radians.
        size: (depth along the normal, width along the front), metres.
        storeys: how many.
        gabled: a pitched roof instead of a flat one.
        ground: world z, metres.
        look: random number in [0, 1) that decides colours and windows.
    """

    centre: Float[np.ndarray, "2"]
    yaw: float
    size: tuple[float, float]
    storeys: int
    gabled: bool
    ground: float
    look: float

    @property
    def height(self) -> float:
        """Of its walls, metres."""
        return self.storeys * STOREY

    def footprint(self, spacing: float, margin: float = 0.0) -> Float[np.ndarray, "n 2"]:
        """Points over the ground that it covers, with a margin, at most ``spacing`` apart."""
        half = np.array(self.size) / 2 + margin
        sides = [np.linspace(-h, h, max(2, int(np.ceil(2 * h / spacing)) + 1)) for h in half]
        grid = np.stack([*np.meshgrid(*sides, indexing="ij")], axis=-1).reshape(-1, 2)
        cos, sin = np.cos(self.yaw), np.sin(self.yaw)
        return self.centre + grid @ np.array([[cos, sin], [-sin, cos]])


def build(building: Building, path: Float[np.ndarray, "point 2"], coarser: float = 1.0) -> Splats:
    """Its splats, coarser where the path is far; walls that nobody on the path can see are left out.

    Args:
        building: what to build.
        path: where cameras go, metres.
        coarser: factor on the size of all tiles.
    """
    random = np.random.default_rng(int(building.look * 2**31))
    wall, roof = WALLS[random.integers(len(WALLS))], ROOFS[random.integers(len(ROOFS))]
    wall = np.clip(wall * random.uniform(0.92, 1.06), 0, 1)
    offset = path - building.centre
    distance = float(np.linalg.norm(offset, axis=1).min()) - max(building.size) / 2
    coarse = next(tile for tile, bound in ((0.5, 14.0), (1.0, 40.0), (2.0, np.inf)) if distance < bound) * coarser
    depth, width = building.size
    sides = ((0.0, width, depth), (np.pi / 2, depth, width), (np.pi, width, depth), (-np.pi / 2, depth, width))
    pattern = int(random.integers(3))
    parts = [
        _wall(building, turn, span, off / 2, wall, coarse, pattern, random)
        for turn, span, off in sides
        if (offset @ _frame(building, turn)[0][:2] > off / 2).any()
    ]
    parts.append(_gable_roof(building, roof, wall, coarse) if building.gabled else _flat_roof(building, coarse))
    return join(parts)


def _frame(building: Building, turn: float) -> tuple[np.ndarray, np.ndarray]:
    """Outward normal and direction along a wall, world, horizontal unit vectors."""
    yaw = building.yaw + turn
    normal = np.array([np.cos(yaw), np.sin(yaw), 0.0])
    return normal, np.array([-np.sin(yaw), np.cos(yaw), 0.0])


def _wall(
    building: Building,
    turn: float,
    span: float,
    off: float,
    colour: np.ndarray,
    coarse: float,
    pattern: int,
    random: np.random.Generator,
) -> Splats:
    tall, wide = STOREY / ROWS * coarse, 0.65 * coarse
    columns, rows = max(2, round(span / wide)), int(np.ceil((building.height + BURIED) / tall))
    wide = span / columns
    normal, along = _frame(building, turn)
    across = (np.arange(columns) + 0.5) * wide - span / 2
    up = building.height - (np.arange(rows) + 0.5) * tall
    s, z = (axis.ravel() for axis in np.meshgrid(across, up))
    means = np.append(building.centre, building.ground) + s[:, None] * along + off * normal
    means[:, 2] += z
    colours = np.tile(colour, (len(s), 1)) * random.uniform(0.96, 1.03, (len(s), 1))
    storey = np.floor(z / STOREY)
    inside = (z - storey * STOREY) / STOREY
    column = np.floor(np.tile(np.arange(columns), rows) * coarse)
    bay = np.mod(column, (5, 4, 3)[pattern])
    window = (inside > 0.32) & (inside < 0.82) & (bay >= 1) & (bay <= (2, 2, 1)[pattern]) & (z > 0)
    window &= (column > 0) & (column < columns * coarse - 1)
    glass = GLASS * random.uniform(0.6, 1.5, (len(s), 1))
    shop = (storey == 0) & (not building.gabled) & (building.look > 0.35) & (turn == 0.0)
    window |= shop & (inside > 0.15) & (inside < 0.82) & (np.mod(column, 6) > 0)
    colours = np.where(window[:, None], glass, colours)
    colours = np.where((shop & (inside >= 0.82))[:, None], FRAME * random.uniform(0.5, 1.0, 3), colours)
    door = (turn == 0.0) & (np.abs(s) < 0.7) & (z > 0) & (z < 2.2) & (not shop.any())
    colours = np.where(door[:, None], DOOR, colours)
    colours = np.where((z > building.height - 0.6)[:, None], 0.8 * colour, colours)
    colours = lit(colours, np.tile(normal, (len(s), 1)))
    return flat(means, along, normal, (wide, tall), colours, overlap=0.56)


def _flat_roof(building: Building, coarse: float) -> Splats:
    points = building.footprint(1.3 * coarse)
    means = np.column_stack([points, np.full(len(points), building.ground + building.height)])
    return flat(
        means, _frame(building, 0.0)[0], np.array([0.0, 0, 1]), (1.3 * coarse, 1.3 * coarse), np.full((1, 3), 0.52)
    )


def _gable_roof(building: Building, roof: np.ndarray, wall: np.ndarray, coarse: float) -> Splats:
    """Two slopes that meet above the middle of the house, the ridge along its front, and the triangles below."""
    depth, width = building.size
    rise, eaves = 0.33 * depth, 0.5
    tile = 0.55 * coarse
    normal, along = _frame(building, 0.0)
    top = np.append(building.centre, building.ground + building.height)
    slope = float(np.hypot(depth / 2, rise)) + eaves
    parts = []
    down, across = (
        axis.ravel()
        for axis in np.meshgrid(
            (np.arange(np.ceil(slope / tile)) + 0.5) * tile,
            np.linspace(-width / 2 - eaves, width / 2 + eaves, max(2, round((width + 2 * eaves) / tile))),
        )
    )
    for side in (1, -1):
        fall = (side * normal * depth / 2 - np.array([0, 0, rise])) / np.hypot(depth / 2, rise)
        facing = np.cross(along, fall) if side < 0 else np.cross(fall, along)
        facing = facing * np.sign(facing[2])
        means = top + np.array([0, 0, rise]) + down[:, None] * fall + across[:, None] * along
        shade = lit(
            roof * (1 - 0.12 * (np.mod(np.round(down / tile), 2) > 0))[:, None], np.tile(facing, (len(down), 1))
        )
        parts.append(flat(means, along, facing, (tile, tile), shade))
    for side in (1, -1):
        s, z = (
            axis.ravel()
            for axis in np.meshgrid(np.arange(-depth / 2, depth / 2, tile) + tile / 2, np.arange(tile / 2, rise, tile))
        )
        inside = np.abs(s) < depth / 2 * (1 - z / rise)
        means = top + s[inside, None] * normal + side * width / 2 * along
        means[:, 2] += z[inside]
        shade = lit(np.tile(wall, (len(means), 1)), np.tile(side * along, (len(means), 1)))
        parts.append(flat(means, normal, side * along, (tile, tile), shade))
    return join(parts)


def shadow(building: Building, spacing: float) -> Float[np.ndarray, "n 2"]:
    """Points over the ground that it keeps from the sun."""
    points = building.footprint(spacing)
    length = building.height * np.linalg.norm(SUN[:2]) / SUN[2]
    steps = np.arange(0, length + spacing, spacing)
    away = -SUN[:2] / np.linalg.norm(SUN[:2])
    return (points[:, None] + steps[:, None] * away).reshape(-1, 2)
