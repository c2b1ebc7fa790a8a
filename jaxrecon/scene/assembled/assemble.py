"""A motion-only log, with its map and traffic, made into a world that cameras can see."""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy import ndimage

from jaxrecon.logs.driving_log import DrivingLog
from jaxrecon.scene.assembled.actors import actor_splats
from jaxrecon.scene.assembled.config import AssembleConfig
from jaxrecon.scene.assembled.crossings import crosswalk_tilings, stop_tilings, tiled
from jaxrecon.scene.assembled.layout import CELL, HEIGHT_CELL, Layout, build_layout
from jaxrecon.scene.assembled.placing import Scenery, place_scenery
from jaxrecon.scene.assembled.sky import paint_sky
from jaxrecon.scene.assembled.splats import Splats, gaussians, join
from jaxrecon.scene.assembled.strips import Tiling, kerbs, paint_lines
from jaxrecon.scene.assembled.surface import Cutouts, surface
from jaxrecon.scene.assets import Asset
from jaxrecon.scene.gaussians import concatenate, empty
from jaxrecon.scene.ground import HeightField
from jaxrecon.scene.occupancy import DistanceField, distance_field
from jaxrecon.scene.scene import Scene

SHADE = 0.42  # share of its light that ground loses in the shadow of a house
ROOM = 0.97  # share of the capacity that a coarser attempt aims at
ATTEMPTS = 6

DEFAULT_CONFIG = AssembleConfig()


@dataclasses.dataclass(frozen=True)
class AssembledWorld:
    """What a log was made into.

    Attributes:
        scene: static world, and one actor for each of the log's tracks, in their order.
        obstacles: signed distance to buildings, trunks, poles and bushes; tracks are no part of it.
        ground: height of the road and what is beside it, without kerbs.
    """

    scene: Scene
    obstacles: DistanceField
    ground: HeightField


def assemble(
    log: DrivingLog,
    config: AssembleConfig = DEFAULT_CONFIG,
    key: Array | None = None,
    bank: Sequence[Asset] = (),
) -> AssembledWorld:
    """Make a world from the map, the tracks and the path of a log.

    Road surface, paint, kerbs and crosswalks follow the map; buildings, trees, lamps, colours and the sky are made up,
    the same for the same key, and stand where neither is road nor anything was recorded to move.

    Args:
        log: with a map; images are not looked at.
        config: what and how finely.
        key: of all that is made up; the key of seed 0 where it is absent.
        bank: assets of vehicles, used for tracks of about their size; other tracks get made-up bodies.

    Returns:
        The world, on the device, its scene with ``config.capacity`` slots.

    Raises:
        ValueError: if the log has no map, or the capacity does not hold it however coarse it is made.
    """
    drawn = jax.random.key_data(jax.random.key(0) if key is None else key)
    seed = int(np.random.default_rng(np.asarray(drawn)).integers(2**31))
    layout = build_layout(log, config)
    static, scenery, actors = _fitting(log, layout, config, bank, seed)
    scene = _scene(log, static, actors, config, np.random.default_rng(seed))
    return AssembledWorld(scene, _obstacles(layout, scenery, config), _ground(layout))


def _fitting(
    log: DrivingLog, layout: Layout, config: AssembleConfig, bank: Sequence[Asset], seed: int
) -> tuple[Splats, Scenery, list[Splats]]:
    """All that is drawn, made coarser and coarser until the capacity holds it."""
    finer = config
    for _ in range(ATTEMPTS):
        static, scenery = _static(log, layout, finer, seed)
        actors = actor_splats(log, finer, bank, seed)
        count = static.count + sum(actor.count for actor in actors)
        if count <= config.capacity:
            return static, scenery, actors
        factor = float(np.sqrt(count / (ROOM * config.capacity)))
        finer = dataclasses.replace(
            finer,
            spacing=finer.spacing * factor,
            body_spacing=finer.body_spacing * factor,
            trees=finer.trees * factor,
        )
    raise ValueError(
        f"log {log.name} needs {count} splats when made coarse, capacity is {config.capacity}; "
        f"pass capacity={count} or more, or a smaller reach"
    )


def _static(log: DrivingLog, layout: Layout, config: AssembleConfig, seed: int) -> tuple[Splats, Scenery]:
    """Ground, paint, kerbs and all that stands beside the road."""
    assert log.road_map is not None
    crosswalks = crosswalk_tilings(log, layout, config)
    stops = [stop for stop in stop_tilings(log, layout, config) if not _covered(stop, crosswalks)]
    kerb, kerb_cut, samples = kerbs(_outlines(log), layout, config)
    bars, bar_cut = tiled(crosswalks, stops, log, layout, seed)
    paint, paint_cut = paint_lines(log.road_map, layout, config, [*crosswalks, *stops], seed)
    cuts = [kerb_cut, bar_cut, paint_cut]
    cutouts = Cutouts(np.concatenate([cut.points for cut in cuts]), np.concatenate([cut.radii for cut in cuts]))
    ground = surface(layout, log.road_map.lane_centres, cutouts, config, seed)
    scenery = place_scenery(layout, samples, config, np.random.default_rng(seed))
    level = join([ground, kerb, bars, paint])
    return join([_in_shadow(level, layout, scenery.shadow), scenery.splats]), scenery


def _covered(stop: Tiling, crosswalks: list[Tiling]) -> bool:
    return any(crosswalk.holds(stop.centre[None], 0.3)[0] for crosswalk in crosswalks)


def _outlines(log: DrivingLog) -> list[np.ndarray]:
    """Lines along which there may be a kerb: road edges, or else the outlines of drivable areas."""
    assert log.road_map is not None
    if log.road_map.road_edges:
        return [*log.road_map.road_edges]
    return [np.concatenate([polygon, polygon[:1]]) for polygon in log.road_map.drivable]


def _in_shadow(level: Splats, layout: Layout, shadow: Float[np.ndarray, "row column"]) -> Splats:
    grid = ((level.means[:, :2] - layout.origin) / CELL)[:, ::-1].T
    share = ndimage.map_coordinates(shadow, grid, order=1, mode="nearest")
    return dataclasses.replace(
        level, colours=level.colours * (1 - SHADE * share[:, None] * np.array([1.0, 0.97, 0.88]))
    )


def _scene(
    log: DrivingLog, static: Splats, actors: list[Splats], config: AssembleConfig, random: np.random.Generator
) -> Scene:
    parts = [static, *actors]
    used = gaussians(join(parts), config.sh_degree)
    spare = config.capacity - used.capacity
    group = np.repeat(np.arange(len(parts)), [part.count for part in parts])
    sizes = np.array([track.size for track in log.tracks]).reshape(-1, 3)
    return Scene(
        gaussians=concatenate([used, empty(spare, config.sh_degree)]),
        group=jnp.asarray(np.pad(group, (0, spare)), jnp.int32),
        sky=jnp.asarray(paint_sky(random)),
        actor_sizes=jnp.asarray(sizes, jnp.float32),
    )


def _obstacles(layout: Layout, scenery: Scenery, config: AssembleConfig) -> DistanceField:
    low = layout.path.min(axis=0) - config.obstacle_reach
    cell = config.obstacle_cell
    columns, rows = (np.ceil((layout.path.max(axis=0) + config.obstacle_reach - low) / cell).astype(int) + 1).tolist()
    occupied = np.zeros((rows, columns), bool)
    column, row = np.round((scenery.solid - low) / cell).astype(int).T
    inside = (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
    occupied[row[inside], column[inside]] = True
    return distance_field(occupied, low, cell)


def _ground(layout: Layout) -> HeightField:
    return HeightField(
        jnp.asarray(layout.heights, jnp.float32),
        jnp.asarray(layout.origin, jnp.float32),
        jnp.asarray(HEIGHT_CELL, jnp.float32),
    )
