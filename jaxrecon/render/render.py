"""Draw a scene into cameras: posed actors, sky behind, frames quantised as a policy sees them."""

import dataclasses
from collections.abc import Callable
from functools import partial

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, UInt8

from jaxrecon.geometry.cameras import pixel_rays
from jaxrecon.geometry.transforms import compose, inverse
from jaxrecon.kernels import DEFAULT_RASTER, Arena, Raster, RasterConfig, Views, rasterize
from jaxrecon.render.arenas import scene_arena
from jaxrecon.render.sky import between
from jaxrecon.scene.scene import Scene, sky_colour, sky_colours


@dataclasses.dataclass(frozen=True)
class RenderConfig:
    """Structure of a rendering.

    Attributes:
        backend: as ``kernels.rasterize`` takes it.
        antialiased: likewise.
        detail: likewise; of level-of-detail forms, pixels that a merged cell may cover.
        sky_stride: pixels between those whose sky is looked up; it is bilinear in between. The sky's gradient costs
            as much less.
        raster: capacities and tile sizes.
    """

    backend: str = "auto"
    antialiased: bool = False
    detail: float = 1.0
    sky_stride: int = 1
    raster: RasterConfig = DEFAULT_RASTER

    def __post_init__(self) -> None:
        if not isinstance(self.sky_stride, int) or self.sky_stride < 1:
            raise ValueError(f"RenderConfig.sky_stride is {self.sky_stride!r}; expected a positive integer")


DEFAULT_RENDER = RenderConfig()


@flax.struct.dataclass
class Cameras:
    """A batch of pinhole cameras of one image size.

    Attributes:
        world_from_camera: rigid poses.
        intrinsics: fx, fy, cx, cy, pixels.
        width: pixels.
        height: pixels.
    """

    world_from_camera: Float[Array, "camera 4 4"]
    intrinsics: Float[Array, "camera 4"]
    width: int = flax.struct.field(pytree_node=False)
    height: int = flax.struct.field(pytree_node=False)


@flax.struct.dataclass
class Rendering:
    """What the cameras see.

    Attributes:
        rgb: colour over the sky, nominally in [0, 1], not clipped.
        depth: expected z-depth of what is not sky, metres; zero where nothing was hit.
        alpha: coverage by Gaussians.
        overflow: cameras that lack splats because ``RasterConfig.pairs_per_camera`` was too small.
        pairs: (splat, tile) pairs that each camera needed.
    """

    rgb: Float[Array, "camera height width 3"]
    depth: Float[Array, "camera height width"]
    alpha: Float[Array, "camera height width"]
    overflow: Bool[Array, " camera"]
    pairs: Array


def render(
    scene: Scene,
    cameras: Cameras,
    world_from_actor: Float[Array, "camera actor 4 4"] | None = None,
    actor_valid: Bool[Array, "camera actor"] | None = None,
    config: RenderConfig = DEFAULT_RENDER,
) -> Rendering:
    """Draw the scene with its actors where the caller puts them; differentiable in scene, cameras and actor poses.

    Args:
        scene: what to draw.
        cameras: where from.
        world_from_actor: pose of each actor's box for each camera; None draws no actors.
        actor_valid: actors to draw; None draws all that have a pose.
        config: backend and capacities.

    Raises:
        ValueError: if the number of actor poses is not the scene's number of actors.
    """
    return render_arena(scene_arena(scene), scene, cameras, world_from_actor, actor_valid, config)


def render_arena(
    arena: Arena,
    scene: Scene,
    cameras: Cameras,
    world_from_actor: Float[Array, "camera actor 4 4"] | None = None,
    actor_valid: Bool[Array, "camera actor"] | None = None,
    config: RenderConfig = DEFAULT_RENDER,
) -> Rendering:
    """Draw some form of a scene, as ``scene_arena`` or ``levels_arena`` makes it, over the scene's sky.

    Args:
        arena: what to draw.
        scene: whose form it is.
        cameras: where from.
        world_from_actor: as ``render`` takes it.
        actor_valid: likewise.
        config: likewise.

    Raises:
        ValueError: if the number of actor poses is not the scene's number of actors.
    """
    views = views_of(scene.actors, cameras, world_from_actor, actor_valid)
    return _over_sky(_rasterized(arena, views, config), cameras, partial(sky_colour, scene.sky), config)


def render_scenes(
    arena: Arena,
    skies: Float[Array, "scene row column 3"],
    cameras: Cameras,
    scene: Int[Array, " camera"],
    world_from_actor: Float[Array, "camera actor 4 4"],
    actor_valid: Bool[Array, "camera actor"],
    config: RenderConfig = DEFAULT_RENDER,
) -> Rendering:
    """Draw several scenes at once, each camera its own, from one arena.

    Args:
        arena: of all scenes, as ``join_arenas`` makes it, or of one alone.
        skies: of the scenes.
        cameras: where from.
        scene: what each camera looks at.
        world_from_actor: pose of each actor's box for each camera; at least as many slots as any scene has actors.
        actor_valid: actors to draw.
        config: backend and capacities.
    """
    views = views_of(world_from_actor.shape[1], cameras, world_from_actor, actor_valid)
    if arena.scene_start is not None:
        views = dataclasses.replace(views, scene=scene)
    return _over_sky(_rasterized(arena, views, config), cameras, partial(sky_colours, skies, scene), config)


def directions_of(cameras: Cameras) -> Float[Array, "camera height width 3"]:
    """World direction of the ray through each pixel's centre; its norm is that of the ray with z = 1."""
    rays = pixel_rays(cameras.intrinsics, cameras.width, cameras.height)
    rotations = cameras.world_from_camera[:, :3, :3]
    return jnp.einsum("cij,chwj->chwi", rotations, rays, precision=jax.lax.Precision.HIGHEST)


def sparser(cameras: Cameras, stride: int) -> Cameras:
    """Cameras whose pixels are every ``stride``-th of the given ones along each side, to the last one or beyond."""
    if stride == 1:
        return cameras
    width, height = (max(-(-(size - 1) // stride), 1) + 1 for size in (cameras.width, cameras.height))
    focal, centre = cameras.intrinsics[..., :2], cameras.intrinsics[..., 2:]
    intrinsics = jnp.concatenate([focal / stride, (centre - 0.5) / stride + 0.5], axis=-1)
    return dataclasses.replace(cameras, intrinsics=intrinsics, width=width, height=height)


def _rasterized(arena: Arena, views: Views, config: RenderConfig) -> Raster:
    return rasterize(
        arena,
        views,
        antialiased=config.antialiased,
        detail=config.detail,
        backend=config.backend,
        config=config.raster,
    )


def _over_sky(raster: Raster, cameras: Cameras, sky: Callable[[Array], Array], config: RenderConfig) -> Rendering:
    with jax.named_scope("sky"):
        behind = sky(directions_of(sparser(cameras, config.sky_stride)))
        behind = between(behind, config.sky_stride, cameras.height, cameras.width)
        rgb = raster.rgb + (1 - raster.alpha)[..., None] * behind
    return Rendering(rgb=rgb, depth=raster.depth, alpha=raster.alpha, overflow=raster.overflow, pairs=raster.pairs)


def views_of(
    actors: int,
    cameras: Cameras,
    world_from_actor: Float[Array, "camera actor 4 4"] | None,
    actor_valid: Bool[Array, "camera actor"] | None,
) -> Views:
    """Cameras and the poses of all groups of Gaussians, the static world first, as the rasterizer takes them.

    Args:
        actors: of the scene.
        cameras: where from.
        world_from_actor: as ``render`` takes it.
        actor_valid: likewise.

    Raises:
        ValueError: if the number of actor poses is not the scene's number of actors.
    """
    count = cameras.world_from_camera.shape[0]
    camera_from_world = inverse(cameras.world_from_camera)
    if world_from_actor is None:
        # The static world alone: actors' splats stay in the arena but their groups are absent.
        world_from_actor = jnp.broadcast_to(jnp.eye(4), (count, actors, 4, 4))
        actor_valid = jnp.zeros((count, actors), bool)
    elif world_from_actor.shape[1] != actors:
        raise ValueError(
            f"world_from_actor poses {world_from_actor.shape[1]} actors but the scene has {actors}; "
            "give one pose an actor and mark the absent ones in actor_valid"
        )
    if actor_valid is None:
        actor_valid = jnp.ones((count, actors), bool)
    camera_from_actor = compose(camera_from_world[:, None], world_from_actor)
    return Views(
        camera_from_group=jnp.concatenate([camera_from_world[:, None], camera_from_actor], axis=1),
        group_valid=jnp.concatenate([jnp.ones((count, 1), bool), actor_valid], axis=1),
        intrinsics=cameras.intrinsics,
        width=cameras.width,
        height=cameras.height,
    )


def quantise(rgb: Float[Array, "*b 3"]) -> UInt8[Array, "*b 3"]:
    """Colour in [0, 1], clipped, as the 8-bit values that policies and images hold."""
    return jnp.round(jnp.clip(rgb, 0, 1) * 255).astype(jnp.uint8)
