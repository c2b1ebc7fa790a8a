"""Draw a scene into cameras: posed actors, sky behind, frames quantised as a policy sees them."""

import dataclasses

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, UInt8

from jaxrecon.geometry.cameras import pixel_rays
from jaxrecon.geometry.transforms import compose, inverse
from jaxrecon.kernels import DEFAULT_RASTER, Arena, RasterConfig, Views, rasterize
from jaxrecon.render.arenas import scene_arena
from jaxrecon.scene.scene import Scene, sky_colour


@dataclasses.dataclass(frozen=True)
class RenderConfig:
    """Structure of a rendering.

    Attributes:
        backend: as ``kernels.rasterize`` takes it.
        antialiased: likewise.
        detail: likewise; of level-of-detail forms, pixels that a merged cell may cover.
        raster: capacities and tile sizes.
    """

    backend: str = "auto"
    antialiased: bool = False
    detail: float = 1.0
    raster: RasterConfig = DEFAULT_RASTER


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
    views = _views(scene.actors, cameras, world_from_actor, actor_valid)
    raster = rasterize(
        arena,
        views,
        antialiased=config.antialiased,
        detail=config.detail,
        backend=config.backend,
        config=config.raster,
    )
    with jax.named_scope("sky"):
        rays = pixel_rays(cameras.intrinsics, cameras.width, cameras.height)
        rotations = cameras.world_from_camera[:, :3, :3]
        directions = jnp.einsum("cij,chwj->chwi", rotations, rays, precision=jax.lax.Precision.HIGHEST)
        rgb = raster.rgb + (1 - raster.alpha)[..., None] * sky_colour(scene.sky, directions)
    return Rendering(rgb=rgb, depth=raster.depth, alpha=raster.alpha, overflow=raster.overflow, pairs=raster.pairs)


def _views(actors: int, cameras: Cameras, world_from_actor: Array | None, actor_valid: Array | None) -> Views:
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
