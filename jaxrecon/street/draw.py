"""Images of the street at any pose, by casting rays."""

import dataclasses
import functools
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from jaxrecon.geometry import transforms
from jaxrecon.street import shading, sky, trace, vectors
from jaxrecon.street.ground import hit_ground
from jaxrecon.street.groups import in_groups
from jaxrecon.street.primitives import BOX, CROWN, INFINITY, QUADRIC
from jaxrecon.street.surface import describe
from jaxrecon.street.world import EXACT, Posed, StreetWorld, kind_ranges, looks, pose

Array = Any

CELL_PX = 2  # shadow casters are picked for cells of so many pixels


@dataclasses.dataclass(frozen=True)
class DrawConfig:
    """How images are cast.

    Attributes:
        supersampling: rays a pixel along each axis.
        tile_px: side of the image tiles that share a list of solids; even.
        longest_list: solids of one kind that a tile can hold.
        tiles_at_once: tiles cast together; None picks those of 2^13 rays on CPU and of 2^21 elsewhere.
        solids_at_once: of a tile's list, see ``trace.nearest``.
    """

    supersampling: int = 1
    tile_px: int = 16
    longest_list: int = 256
    tiles_at_once: int | None = None
    solids_at_once: int | None = None

    def __post_init__(self) -> None:
        for name in ("supersampling", "tile_px", "longest_list"):
            if getattr(self, name) < 1:
                raise ValueError(f"DrawConfig.{name}: received {getattr(self, name)}, expected at least 1")
        if self.tile_px % CELL_PX:
            raise ValueError(f"DrawConfig.tile_px: received {self.tile_px}, expected a multiple of {CELL_PX}")

    @property
    def block(self) -> int:
        """Tiles cast together on this machine."""
        if self.tiles_at_once is not None:
            return self.tiles_at_once
        rays = 2**13 if jax.default_backend() == "cpu" else 2**21
        return max(1, rays // (self.tile_px * self.supersampling) ** 2)


@flax.struct.dataclass
class Drawing:
    """Images of a batch of cameras.

    Attributes:
        rgb: sRGB in [0, 1].
        depth: z-depth in metres of the foremost surface in a pixel, infinite where there is only sky.
        category: class of that surface, an index of ``CLASS_NAMES``.
        overflow: whether some tile met more solids than its list holds, so that far ones may be missing.
    """

    rgb: Float[Array, "camera height width 3"]
    depth: Float[Array, "camera height width"]
    category: Int[Array, "camera height width"]
    overflow: Bool[Array, " camera"]


def draw(
    world: StreetWorld,
    world_from_camera: Float[Array, "camera 4 4"],
    intrinsics: Float[Array, "camera 4"],
    width: int,
    height: int,
    world_from_actor: Float[Array, "camera actor 4 4"],
    actor_valid: Bool[Array, "camera actor"],
    config: DrawConfig = DrawConfig(),
    scene: Int[Array, " camera"] | None = None,
) -> Drawing:
    """Cast images of the street with its actors at given poses; pure, jittable with static sizes and config.

    Args:
        world: the street.
        world_from_camera: camera poses.
        intrinsics: (fx, fy, cx, cy) in pixels.
        width: pixels.
        height: pixels.
        world_from_actor: box poses of all actors for every camera.
        actor_valid: which of them are there.
        config: sampling.
        scene: which street each camera is in; the world then has a leading scene axis.

    Raises:
        ValueError: the actors are not as many as the world has.
    """
    actors = world.actor_sizes.shape[-2]
    if world_from_actor.shape[1] != actors:
        raise ValueError(
            f"world_from_actor: received {world_from_actor.shape[1]} actors, "
            f"expected the world's {actors}, in the order of Street.actors"
        )
    world_from_camera, intrinsics = (jnp.asarray(v, jnp.float32) for v in (world_from_camera, intrinsics))
    across, down = -(-width // config.tile_px), -(-height // config.tile_px)

    prepare = functools.partial(_prepare, world, (across, down), config)
    with jax.default_matmul_precision(EXACT):
        views = jax.vmap(prepare)(scene, world_from_camera, intrinsics, world_from_actor, actor_valid)
    cameras, tiles = world_from_camera.shape[0], across * down
    count = cameras * tiles
    load = sum(counts for _, counts in views.lists).reshape(count)
    flat = tuple((slots.reshape(count, -1), counts.reshape(count)) for slots, counts in views.lists)

    def cast_block(chosen: Any, mine: Any) -> Any:
        camera = chosen // tiles
        street = world if scene is None else _with_own_streets(world, scene[camera])
        return _cast_tiles(street, views, camera, chosen % tiles, across, mine, config)

    blocks = -(-count // config.block)
    rgb, depth, category, lost = in_groups(cast_block, (jnp.arange(count), flat), blocks, load)

    def image(values: Any) -> Any:
        side = config.tile_px
        grid = values.reshape(cameras, down, across, side, side, *values.shape[2:])
        grid = jnp.swapaxes(grid, 2, 3)
        return grid.reshape(cameras, down * side, across * side, *values.shape[2:])[:, :height, :width]

    lost = lost.reshape(cameras, tiles).any(1)
    return Drawing(image(rgb), image(depth), image(category), views.overflow | lost)


@flax.struct.dataclass
class _Views:
    """What a camera's rays need, with a leading camera axis.

    Attributes:
        world_from_camera: pose.
        intrinsics: pixels.
        posed: the solids at its instant.
        looks: of the solids.
        shadows: their boxes as the sun sees them.
        lists: of its tiles.
        overflow: whether one of them is too short.
        box_from_world: 12 components of each actor's inverse pose.
        actor_valid: which actors are there.
    """

    world_from_camera: Any
    intrinsics: Any
    posed: Posed
    looks: Any
    shadows: trace.Shadows
    lists: Any
    overflow: Any
    box_from_world: Any
    actor_valid: Any


def _prepare(
    world: StreetWorld,
    tiles: tuple[int, int],
    config: DrawConfig,
    scene: Any,
    camera: Any,
    lens: Any,
    actors: Any,
    valid: Any,
) -> _Views:
    street = world if scene is None else jax.tree.map(lambda leaf: leaf[scene], world)
    posed = pose(street, actors, valid)
    lists, overflow = trace.image_lists(
        posed, camera, lens, tiles, config.tile_px, kind_ranges(street), config.longest_list
    )
    return _Views(
        world_from_camera=camera,
        intrinsics=lens,
        posed=posed,
        looks=looks(street),
        shadows=trace.seen_from_sun(posed, street.light.sun),
        lists=lists,
        overflow=jnp.any(overflow),
        box_from_world=transforms.inverse(actors.astype(jnp.float32))[:, :3].reshape(-1, 12),
        actor_valid=valid,
    )


def _with_own_streets(world: StreetWorld, scene: Int[Array, " block"]) -> StreetWorld:
    """The world whose roads, light and actors broadcast against rays; its solids, which views hold, are left alone."""
    names = ("roads", "light", "urban", "actor_sizes", "actor_grounded")
    own = vectors.per_ray({name: getattr(world, name) for name in names}, scene)
    return dataclasses.replace(world, **own)


def _cast_tiles(
    world: StreetWorld, views: _Views, camera: Any, tile: Any, across: int, lists: Any, config: DrawConfig
) -> Any:
    u, v = trace.tile_pattern(config.tile_px, CELL_PX, config.supersampling)
    fx, fy, cx, cy = (views.intrinsics[camera, i][:, None] for i in range(4))
    x = (u[None] + ((tile % across) * config.tile_px)[:, None] - cx) / fx
    y = (v[None] + ((tile // across) * config.tile_px)[:, None] - cy) / fy
    turn = views.world_from_camera[camera]
    origin = tuple(turn[:, i, 3][:, None] for i in range(3))
    direction = tuple(turn[:, i, 0, None] * x + turn[:, i, 1, None] * y + turn[:, i, 2, None] for i in range(3))

    earth = hit_ground(world.roads, origin, direction)
    geometry = views.posed.geometry
    # The ground is the furthest that counts.
    t, slot = trace.nearest(geometry, camera, lists, origin, direction, earth.distance, config.solids_at_once)
    length = jnp.sqrt(vectors.dot(direction, direction))
    nothing = t >= INFINITY
    reach = jnp.where(nothing, 1e3, t)
    hits = _hits(kind_ranges(world), views, camera, origin, direction, reach, slot, nothing, earth, length, fx, config)
    sunlit, lost = _sunlight(world, views, camera, hits, config)
    boxes, there = jnp.moveaxis(views.box_from_world[camera], 0, 2), jnp.moveaxis(views.actor_valid[camera], 0, 1)
    dark = shading.crowding(world, boxes, there, hits.point)
    colour, category = shading.shade(world, hits, sunlit, jnp.where(hits.on_ground, dark, 0.0))
    return _resolve(sky.display(colour), jnp.where(nothing, jnp.inf, t), slot, category, lost, config)


def _hits(
    kinds: trace.Ranges, views: _Views, camera: Any, origin: Any, direction: Any, reach: Any, slot: Any,
    nothing: Any, earth: Any, length: Any, focal: Any, config: DrawConfig,
) -> shading.Hits:  # fmt: skip
    point = tuple(o + reach * d for o, d in zip(origin, direction, strict=True))
    safe = jnp.maximum(slot, 0)

    def rows() -> tuple[Any, Any]:
        met = camera[:, None], safe
        return jnp.moveaxis(views.posed.geometry[met], 2, 0), jnp.moveaxis(views.looks[met], 2, 0)

    solid = slot >= 0
    geometry, traits = vectors.if_any(solid, rows)
    kind = jnp.where(safe < kinds[0][1], BOX, jnp.where(safe < kinds[1][1], QUADRIC, CROWN))
    return shading.Hits(
        view=vectors.scale(direction, 1 / length),
        point=point,
        distance=reach * length,
        blur=reach * length / (focal * config.supersampling),
        sky=nothing,
        on_ground=(slot < 0) & ~nothing,
        ground=earth,
        surface=describe(geometry, traits, kind, solid, point),
    )


def _sunlight(
    world: StreetWorld, views: _Views, camera: Any, hits: shading.Hits, config: DrawConfig
) -> tuple[Any, Any]:
    """1 where the sun is seen, and whether some block met too many casters."""
    sun = sky.components(world.light.sun)
    normal = vectors.where(hits.on_ground, (0.0, 0.0, 1.0), hits.surface.normal)
    leafy = hits.surface.category == shading.VEGETATION
    facing = (vectors.dot(normal, sun) > 0) | (leafy & ~hits.on_ground)
    counts = facing & ~hits.sky
    start = vectors.add(hits.point, vectors.scale(normal, 0.012 + 4e-4 * hits.distance))
    cells = hits.distance.shape[1] // (CELL_PX * CELL_PX)
    cells = cells // max(1, cells // 64)
    lists, lost = trace.shadow_lists(
        views.shadows, camera, start, counts, cells, kind_ranges(world), config.longest_list
    )
    furthest = jnp.where(counts, INFINITY, 0.0)
    _, slot = trace.nearest(views.posed.geometry, camera, lists, start, sun, furthest, config.solids_at_once)
    return jnp.where(counts & (slot < 0), 1.0, 0.0), lost


def _resolve(colour: Any, depth: Any, slot: Any, category: Any, lost: Any, config: DrawConfig) -> Any:
    """Average the samples of every pixel and put pixels in image order.

    Depth is that of the pixel's foremost surface, from the mean inverse depth of the samples on it: inverse depth is
    affine over a plane's image, so this is the depth at the pixel's centre.
    """
    side, samples = config.tile_px, config.supersampling**2
    rgb = jnp.stack(colour, -1).reshape(len(depth), side * side, samples, 3).mean(2)
    depth, slot, category = (a.reshape(len(depth), side * side, samples) for a in (depth, slot, category))
    first = jnp.argmin(depth, axis=2, keepdims=True)
    same = slot == jnp.take_along_axis(slot, first, 2)
    same = same & jnp.isfinite(depth)
    inverse = jnp.sum(jnp.where(same, 1 / depth, 0.0), 2) / jnp.maximum(jnp.sum(same, 2), 1)
    z = jnp.where(inverse > 0, 1 / jnp.where(inverse > 0, inverse, 1.0), jnp.inf)
    category = jnp.take_along_axis(category, first, 2)[..., 0]
    per = side // CELL_PX
    cells = np.arange(side * side).reshape(per, per, CELL_PX, CELL_PX).transpose(0, 2, 1, 3).reshape(-1)
    return rgb[:, cells], z[:, cells], category[:, cells].astype(jnp.int32), lost
