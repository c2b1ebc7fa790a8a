"""Where an environment's frames come from: sources that draw the cameras of many environments at once."""

import dataclasses
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import flax.struct
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, UInt8

from jaxrecon.geometry.cameras import rescale_intrinsics
from jaxrecon.render import (
    Arena,
    Cameras,
    RenderConfig,
    Rendering,
    join_arenas,
    levels_arena,
    packed_for,
    quantise,
    render_scenes,
    scene_arena,
)
from jaxrecon.scene.levels import Levels
from jaxrecon.scene.scene import Scene, sky_colour

EXACT_RENDER = RenderConfig()
POLICY_RENDER = RenderConfig(antialiased=True, detail=3.5)  # how a policy-resolution form looks best for its price
CONFIDENCE_SCALE = 4  # pixels of an image along each side to one of its confidence


@flax.struct.dataclass
class Drawing:
    """Frames from a source.

    Attributes:
        frames: (camera, height, width, 3) uint8, sRGB.
        overflow: (camera,) bool, frames that lack content because a capacity was too small.
        depth: (camera, height, width) expected z-depth, metres, zero where nothing was hit; None where not asked for.
        confidence: (camera, rows, columns) in [0, 1], how well the recorded views support what is shown, coarser than
            the frames; None where the source cannot tell.
    """

    frames: UInt8[Array, "camera height width 3"]
    overflow: Bool[Array, " camera"]
    depth: Float[Array, "camera height width"] | None = None
    confidence: Float[Array, "camera rows columns"] | None = None


@runtime_checkable
class CameraSource(Protocol):
    """Anything that can draw worlds: a pytree, so that it may pass through jit as part of a ``World``."""

    def draw(
        self,
        cameras: Cameras,
        scene: Int[Array, " camera"],
        world_from_actor: Float[Array, "camera actor 4 4"],
        actor_valid: Bool[Array, "camera actor"],
    ) -> Drawing:
        """Frames of a batch of cameras, each in its scene with its own actors, in the order of the log's tracks."""
        ...


@flax.struct.dataclass
class FieldOfView:
    """How well the recorded views support each Gaussian of an arena, and the sky in each direction.

    Attributes:
        arena: the Gaussians again, with their confidence in [0, 1] in place of colour.
        sky: (scene, row, column, 3) likewise of the sky, by direction as in ``Scene``.
    """

    arena: Arena
    sky: Float[Array, "scene row column 3"]


@flax.struct.dataclass
class SplatCameras:
    """Frames of reconstructed scenes, whose actors are the logs' tracks in their order.

    Attributes:
        arena: the Gaussians of all scenes, see ``exact_cameras`` and ``policy_cameras``.
        skies: (scene, row, column, 3) as in ``Scene``.
        view: what was recorded; None: not known, and no confidence is drawn.
        actors: of each scene.
        config: how to draw.
        depth: whether to return it.
    """

    arena: Arena
    skies: Float[Array, "scene row column 3"]
    view: FieldOfView | None = None
    actors: tuple[int, ...] = flax.struct.field(pytree_node=False, default=(0,))
    config: RenderConfig = flax.struct.field(pytree_node=False, default=EXACT_RENDER)
    depth: bool = flax.struct.field(pytree_node=False, default=False)

    def draw(
        self,
        cameras: Cameras,
        scene: Int[Array, " camera"],
        world_from_actor: Float[Array, "camera actor 4 4"],
        actor_valid: Bool[Array, "camera actor"],
    ) -> Drawing:
        """Frames of a batch of cameras, each in its scene with its own actor poses."""
        drawn = self.render(cameras, scene, world_from_actor, actor_valid)
        confidence, overflow = None, drawn.overflow
        if self.view is not None:
            confidence, short = self._confidence(self.view, cameras, scene, world_from_actor, actor_valid)
            overflow |= short
        return Drawing(quantise(drawn.rgb), overflow, drawn.depth if self.depth else None, confidence)

    def render(
        self,
        cameras: Cameras,
        scene: Int[Array, " camera"],
        world_from_actor: Float[Array, "camera actor 4 4"],
        actor_valid: Bool[Array, "camera actor"],
    ) -> Rendering:
        """The same before it is quantised, with the room that it needed."""
        slots, most = world_from_actor.shape[1], max(self.actors)
        if slots < most:
            raise ValueError(
                f"the scene has {most} actors but the world has only {slots} slots; build the world from the log that "
                "the scene was reconstructed from"
            )
        return render_scenes(self.arena, self.skies, cameras, scene, world_from_actor, actor_valid, self.config)

    def _confidence(
        self, view: FieldOfView, cameras: Cameras, scene: Array, world_from_actor: Array, actor_valid: Array
    ) -> tuple[Array, Array]:
        """Of coarse pixels: blended over the Gaussians, and the sky's behind them."""
        size = (cameras.width, cameras.height)
        coarse = (max(1, size[0] // CONFIDENCE_SCALE), max(1, size[1] // CONFIDENCE_SCALE))
        few = Cameras(cameras.world_from_camera, rescale_intrinsics(cameras.intrinsics, size, coarse), *coarse)
        # In pixels this coarse the renderer's blur would close the gaps between splats.
        config = dataclasses.replace(self.config, antialiased=True)
        drawn = render_scenes(view.arena, view.sky, few, scene, world_from_actor, actor_valid, config)
        return jnp.clip(drawn.rgb[..., 0], 0.0, 1.0), drawn.overflow


def exact_cameras(scene: Scene, config: RenderConfig = EXACT_RENDER) -> SplatCameras:
    """Draw a scene's own Gaussians, whatever their size."""
    return SplatCameras(
        arena=packed_for(scene_arena(scene), config.backend),
        skies=jnp.asarray(scene.sky)[None],
        actors=(scene.actors,),
        config=config,
    )


def policy_cameras(levels: Levels, scene: Scene, config: RenderConfig = POLICY_RENDER) -> SplatCameras:
    """Draw a scene's policy-resolution form: small images faster, and nearer to what a camera averages, than exactly.

    Args:
        levels: as ``scene.build_levels`` makes it, or ``scene.load_levels`` reads it from the scene's folder.
        scene: whose form it is, for the sky.
        config: how to draw.
    """
    return SplatCameras(
        arena=packed_for(levels_arena(levels), config.backend),
        skies=jnp.asarray(scene.sky)[None],
        actors=(scene.actors,),
        config=config,
    )


def join_cameras(sources: Sequence[SplatCameras], config: RenderConfig | None = None) -> SplatCameras:
    """Several scenes' splats in one arena, skies at the finest resolution of any.

    Args:
        sources: of single scenes, all exact or all in their policy-resolution form.
        config: how to draw; by default as all of them do.

    Raises:
        ValueError: if there are none, or they differ in how they draw and no ``config`` is given, or only some know
            the field of view.
    """
    if not sources:
        raise ValueError("join_cameras got no sources; expected at least one scene")
    configs = {source.config for source in sources}
    if config is None and len(configs) > 1:
        raise ValueError(f"the sources draw in {len(configs)} ways; give join_cameras the config to draw all with")
    config = sources[0].config if config is None else config
    views = [source.view for source in sources if source.view is not None]
    if len(views) not in (0, len(sources)):
        raise ValueError(f"{len(views)} of {len(sources)} sources know the recorded field of view; give it to all")
    view = None
    if views:
        view = FieldOfView(
            arena=join_arenas([one.arena for one in views]),
            sky=join_skies([one.sky for one in views]),
        )
    joined = SplatCameras(
        arena=join_arenas([source.arena for source in sources]),
        skies=join_skies([source.skies for source in sources]),
        view=view,
        actors=tuple(actors for source in sources for actors in source.actors),
        depth=all(source.depth for source in sources),
    )
    return drawn_by(joined, config)


def drawn_by(source: SplatCameras, config: RenderConfig) -> SplatCameras:
    """The same splats drawn in another way; their arena is packed for the config's backend."""
    view = source.view
    if view is not None:
        view = dataclasses.replace(view, arena=packed_for(view.arena, config.backend))
    arena = packed_for(source.arena, config.backend)
    return dataclasses.replace(source, arena=arena, view=view, config=config)


def join_skies(skies: Sequence[Float[Array, "_ _ _ 3"]]) -> Float[Array, "scene row column 3"]:
    """Skies of several scenes, resampled where they differ to the most rows and columns of any."""
    rows, columns = (max(sky.shape[axis] for sky in skies) for axis in (1, 2))
    elevation = np.pi * (0.5 - np.arange(rows) / (rows - 1))[:, None]
    azimuth = 2 * np.pi * ((np.arange(columns) + 0.5) / columns - 0.5)[None]
    level = np.cos(elevation)
    x, y, z = np.broadcast_arrays(level * np.cos(azimuth), level * np.sin(azimuth), np.sin(elevation))
    directions = jnp.asarray(np.stack([x, y, z], axis=-1), jnp.float32)
    resampled = [
        sky if sky.shape[1:3] == (rows, columns) else jnp.stack([sky_colour(one, directions) for one in sky])
        for sky in skies
    ]
    return jnp.concatenate(resampled)
