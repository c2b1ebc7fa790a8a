"""Where buildings, trees and lamps stand: beside the road, never on it nor where anything was recorded to move."""

import dataclasses

import numpy as np
from jaxtyping import Float
from scipy import ndimage

from jaxrecon.scene.assembled import plants
from jaxrecon.scene.assembled.buildings import Building, build
from jaxrecon.scene.assembled.buildings import shadow as building_shadow
from jaxrecon.scene.assembled.config import AssembleConfig
from jaxrecon.scene.assembled.layout import CELL, Layout
from jaxrecon.scene.assembled.splats import Splats, join
from jaxrecon.scene.assembled.strips import Ribbon
from jaxrecon.scene.assembled.surface import ground_height

FULL_DETAIL = 0.2  # metres; with a coarser ground than this all that stands on it is coarser too
CLEARANCE = 3.0  # metres between a building and the road
TRUNK, POLE = 0.3, 0.15  # metres, radii as obstacles


@dataclasses.dataclass(frozen=True)
class Scenery:
    """What stands beside the road.

    Attributes:
        splats: of all of it.
        solid: points over the ground that it occupies, close together, metres.
        shadow: share of sunlight that each cell of the layout misses.
    """

    splats: Splats
    solid: Float[np.ndarray, "n 2"]
    shadow: Float[np.ndarray, "row column"]


def place_scenery(layout: Layout, kerb: Ribbon, config: AssembleConfig, random: np.random.Generator) -> Scenery:
    """Everything beside the road; ``kerb`` has the road on its left.

    Args:
        layout: of the world.
        kerb: samples along the road's edges.
        config: how much of it.
        random: of all choices.
    """
    site = _Site(layout, kerb, config, random)
    _place_lamps(site)
    _place_buildings(site)
    _place_plants(site)
    return Scenery(join(site.parts), np.concatenate([np.zeros((0, 2)), *site.solid]), _shadow(layout, site.shaded))


class _Site:
    """What is known of the place, which cells are still free, and what has been placed so far."""

    def __init__(self, layout: Layout, kerb: Ribbon, config: AssembleConfig, random: np.random.Generator):
        self.layout, self.kerb, self.config, self.random = layout, kerb, config, random
        self.free = ~layout.taken & (layout.beyond > 0.4)
        self.order = random.permutation(len(kerb.points))
        self.coarser = max(1.0, config.spacing / FULL_DETAIL)
        self.parts: list[Splats] = []
        self.solid: list[np.ndarray] = []
        self.shaded: list[np.ndarray] = []

    def take(self, points: np.ndarray, cover: np.ndarray) -> bool:
        """Occupies ``cover`` if all of ``points`` are free, and says whether it did."""
        inside, cells = self._cells(points)
        if not inside.all() or not self.free[cells].all():
            return False
        inside, (row, column) = self._cells(cover)
        self.free[row[inside], column[inside]] = False
        return True

    def _cells(self, points: np.ndarray) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
        column, row = np.round((points - self.layout.origin) / CELL).astype(int).T
        shape = self.free.shape
        inside = (row >= 0) & (row < shape[0]) & (column >= 0) & (column < shape[1])
        return inside, (np.clip(row, 0, shape[0] - 1), np.clip(column, 0, shape[1] - 1))

    def spread(self, spacing: float) -> list[int]:
        """Indices of samples of the kerb at least ``spacing`` metres from one another, in random order."""
        chosen: list[int] = []
        taken = np.zeros((0, 2))
        for index in self.order.tolist():
            point = self.kerb.points[index]
            if not len(taken) or np.min(np.sum((taken - point) ** 2, axis=1)) >= spacing**2:
                chosen.append(index)
                taken = np.concatenate([taken, point[None]])
        return chosen

    def on_ground(self, point: np.ndarray) -> Float[np.ndarray, "3"]:
        """A point of the ground, with its height."""
        return np.append(point, ground_height(self.layout, point[None])[0])


def _disc(centre: np.ndarray, radius: float) -> Float[np.ndarray, "n 2"]:
    side = np.linspace(-radius, radius, max(3, int(np.ceil(2 * radius / (CELL / 2))) + 1))
    grid = np.stack([axis.ravel() for axis in np.meshgrid(side, side)], axis=-1)
    return centre + grid[np.linalg.norm(grid, axis=1) <= radius + 1e-9]


def _place_lamps(site: _Site) -> None:
    for index in site.spread(site.config.lamps):
        towards = site.kerb.left[index]
        foot = site.kerb.points[index] - 0.9 * towards
        if site.take(_disc(foot, POLE), _disc(foot, 1.0)):
            site.parts.append(plants.lamp(site.on_ground(foot), towards))
            site.solid.append(_disc(foot, POLE))


def _place_buildings(site: _Site) -> None:
    blocks = site.random.uniform(0.2, 0.9)
    for index in site.spread(5.0):
        if site.random.random() > site.config.buildings:
            continue
        building = _made_up(site, index, site.random.random() < blocks)
        footprint = building.footprint(CELL, 0.8)
        beside = (site.layout.off_road(footprint) > CLEARANCE).all()
        if beside and site.take(footprint, building.footprint(CELL, 1.2)):
            site.parts.append(build(building, site.layout.path, site.coarser))
            site.solid.append(building.footprint(0.2))
            site.shaded.append(building_shadow(building, 0.6))


def _made_up(site: _Site, index: int, block: bool) -> Building:
    """A block with a flat roof, or a house with a gable, that faces a sample of the kerb."""
    random, away = site.random, -site.kerb.left[index]
    width = float(random.uniform(12, 24) if block else random.uniform(9, 14))
    depth = float(random.uniform(10, 15) if block else random.uniform(8, 10))
    setback = float(random.uniform(4.0, 6.5) if block else random.uniform(6.5, 10.0))
    centre = site.kerb.points[index] + away * (setback + depth / 2)
    return Building(
        centre=centre,
        yaw=float(np.arctan2(-away[1], -away[0])),
        size=(depth, width),
        storeys=int(random.integers(2, 5) if block else random.integers(1, 3)),
        gabled=not block,
        ground=float(site.layout.height(centre[None])[0]),
        look=float(random.random()),
    )


def _place_plants(site: _Site) -> None:
    random = site.random
    for index in site.spread(site.config.trees * 0.8):
        away, point = -site.kerb.left[index], site.kerb.points[index]
        for setback in (random.uniform(1.3, 3.2), random.uniform(9.0, 28.0)):
            _place_tree(site, point + away * setback + random.normal(size=2) * 0.3, float(random.uniform(5.0, 9.5)))
        foot = point + away * random.uniform(2.8, 6.0) + 2.0 * site.kerb.forward[index]
        radius = float(random.uniform(0.45, 0.9))
        if site.take(_disc(foot, radius), _disc(foot, radius)):
            site.parts.append(plants.bush(site.on_ground(foot), radius, random))
            site.solid.append(_disc(foot, 0.8 * radius))


def _place_tree(site: _Site, foot: np.ndarray, height: float) -> None:
    near = _disc(foot, TRUNK)
    if site.take(near, _disc(foot, 1.2)):
        place = site.on_ground(foot)
        leaves = plants.leaves_of(float(site.layout.path_distance(foot[None])[0]), site.coarser)
        site.parts.append(plants.tree(place, height, leaves, site.random))
        site.solid.append(near)
        site.shaded.append(plants.shaded(place, height, site.random))


def _shadow(layout: Layout, shaded: list[np.ndarray]) -> Float[np.ndarray, "row column"]:
    mask: np.ndarray = np.zeros(layout.beyond.shape)
    for points in shaded:
        column, row = np.round((points - layout.origin) / CELL).astype(int).T
        inside = (row >= 0) & (row < mask.shape[0]) & (column >= 0) & (column < mask.shape[1])
        mask[row[inside], column[inside]] = 1.0
    return np.clip(ndimage.gaussian_filter(mask, 1.0), 0, 1)
