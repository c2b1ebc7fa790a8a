"""How well each pixel of any view is supported by the recorded views."""

import dataclasses
from functools import partial
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from jaxrecon.geometry.cameras import pixel_rays
from jaxrecon.reconstruct.score import enlarge
from jaxrecon.reconstruct.support import MOST_GROWTHS, Support, towards_camera
from jaxrecon.reconstruct.views import ReconstructionError, Views
from jaxrecon.render import Cameras, RenderConfig, render
from jaxrecon.scene.gaussians import SH_C0
from jaxrecon.scene.scene import Scene, sky_colour

Array = Any  # NumPy on the host, JAX on the device

_LEAST_SPREAD = 0.0873  # radians (5 degrees): directions from a single view still cover that much
_RENDER = RenderConfig()


@flax.struct.dataclass
class ConfidenceScales:
    """What doubt costs; traced, so that a sweep compiles once.

    Doubt is a colour error that one would expect of a pixel before any calibration. A Gaussian starts with the error
    of the training pixels that it was seen in, and more is added the less the recorded views say about the new one.

    Attributes:
        unknown: doubt of what no view ever saw, and the most that a Gaussian can have; absolute colour error.
        views: pseudo-views of error ``unknown`` that are mixed into each Gaussian's own.
        angle: doubt doubles when the new direction lies this many standard deviations off the recorded ones.
        nearness: doubt grows with this power of how much finer than ever recorded a Gaussian is now sampled.
        spread: doubt doubles when the logarithm of the distance along a pixel's ray spreads by this much, as it does
            where a pixel blends a floater, or the edge of something near, with what lies behind.
        tolerance: confidence is exp(-doubt / tolerance).
    """

    unknown: float = 0.2
    views: float = 0.1
    angle: float = 4.0
    nearness: float = 0.5
    spread: float = 0.5
    tolerance: float = 0.1


@flax.struct.dataclass
class ConfidenceRendering:
    """Confidence in what a scene's rendering shows.

    Attributes:
        confidence: in [0, 1]: 1 where many views agree with what is drawn and looked at it as this camera does.
        overflow: cameras that lack splats because ``RasterConfig.pairs_per_camera`` was too small.
        pairs: (splat, tile) pairs that each camera needed.
    """

    confidence: Float[Array, "camera height width"]
    overflow: Bool[Array, " camera"]
    pairs: Int[Array, " camera"]


SCALES = ConfidenceScales()


def render_confidence(
    scene: Scene,
    support: Support,
    cameras: Cameras,
    world_from_actor: Float[Array, "camera actor 4 4"] | None = None,
    actor_valid: Bool[Array, "camera actor"] | None = None,
    scales: ConfidenceScales = SCALES,
    config: RenderConfig = _RENDER,
) -> ConfidenceRendering:
    """Draw confidence in place of colour, one camera after the other, since it depends on where each one stands.

    Opacity alone says nothing: floaters are opaque. Each Gaussian carries its own doubt for this camera. What is left
    of a ray behind all Gaussians counts as sky, with the error that the sky has in training views, as far as some
    training view saw sky in that direction; beyond that it is a hole and unknown. A direction into which no training
    view looked is unknown too, sky or not.

    Args:
        scene: as fitted.
        support: of the same scene.
        cameras: where from.
        world_from_actor: pose of each actor's box for each camera; None draws no actors.
        actor_valid: actors to draw; None draws all that have a pose.
        scales: what doubt costs.
        config: of the renderer.
    """
    count = cameras.world_from_camera.shape[0]
    if world_from_actor is None:
        world_from_actor = jnp.broadcast_to(jnp.eye(4), (count, scene.actors, 4, 4))
        actor_valid = jnp.zeros((count, scene.actors), bool)
    elif actor_valid is None:
        actor_valid = jnp.ones((count, scene.actors), bool)

    def one(camera: tuple[Array, Array, Array, Array]) -> ConfidenceRendering:
        pose, intrinsics, actors, valid = camera
        single = Cameras(pose[None], intrinsics[None], cameras.width, cameras.height)
        doubtful, distance = _doubt_of_gaussians(scene, support, pose, intrinsics, actors, scales)
        logarithm = jnp.log1p(distance)
        values = jnp.stack([doubtful, logarithm, logarithm**2], axis=-1)
        gaussians = dataclasses.replace(scene.gaussians, sh=((values - 0.5) / SH_C0)[:, None])
        coloured = dataclasses.replace(scene, gaussians=gaussians, sky=jnp.zeros_like(scene.sky))
        drawn = render(coloured, single, actors[None], valid[None], config)
        directions = jnp.sum(pose[:3, :3] * pixel_rays(intrinsics, cameras.width, cameras.height)[..., None, :], -1)
        doubt = _doubt_of_pixels(drawn.rgb[0], drawn.alpha[0], support, directions, scales)
        return ConfidenceRendering(jnp.exp(-doubt / scales.tolerance), drawn.overflow[0], drawn.pairs[0])

    return jax.lax.map(one, (cameras.world_from_camera, cameras.intrinsics, world_from_actor, actor_valid))


def view_confidence(
    scene: Scene,
    support: Support,
    views: Views,
    chosen: Int[np.ndarray, " view"],
    scales: ConfidenceScales = SCALES,
    config: RenderConfig = _RENDER,
) -> Float[np.ndarray, "view height width"]:
    """Confidence of some recorded views, actors where the log has them; room for pairs grows as needed.

    Raises:
        ReconstructionError: if the views need more room than is sensible.
    """
    frame = np.asarray(views.frame)[chosen]
    cameras = Cameras(jnp.asarray(views.world_from_camera[chosen]), jnp.asarray(views.intrinsics[chosen]), *views.size)
    poses, valid = jnp.asarray(views.world_from_actor[frame]), jnp.asarray(views.actor_valid[frame])
    for _ in range(MOST_GROWTHS):
        drawn = _render_confidence(scene, support, cameras, poses, valid, scales, config)
        if not bool(jnp.any(drawn.overflow)):
            return np.asarray(drawn.confidence)
        config = with_room_for(config, drawn.pairs)
    raise ReconstructionError(
        f"views need more than {config.raster.pairs_per_camera} (splat, tile) pairs; are the Gaussians huge?"
    )


def with_room_for(config: RenderConfig, pairs: Int[Array, " camera"]) -> RenderConfig:
    """The same renderer with room for the most pairs that any camera needed."""
    return enlarge(config, max(1.5, 1.3 * int(jnp.max(pairs)) / config.raster.pairs_per_camera))


_render_confidence = partial(jax.jit, static_argnames="config")(render_confidence)


def _doubt_of_gaussians(
    scene: Scene, support: Support, pose: Array, intrinsics: Array, actors: Array, scales: ConfidenceScales
) -> tuple[Array, Array]:
    """Error to expect where each Gaussian shows in this camera, and its distance in metres."""
    unit, distance = towards_camera(scene, pose, actors)
    resultant = jnp.sqrt(jnp.maximum(jnp.sum(support.direction**2, axis=-1), 1e-12))
    cosine = jnp.sum(unit * support.direction, axis=-1) / resultant
    # For directions that scatter a little around their mean, twice the resultant's lack is their variance.
    deviation = jnp.sqrt(_LEAST_SPREAD**2 + 2 * jnp.maximum(1 - resultant, 0.0))
    off = jnp.arccos(jnp.clip(cosine, -1.0, 1.0)) / deviation
    finer = jnp.maximum(intrinsics[0] / distance / jnp.maximum(support.resolution, 1e-6), 1.0)
    views = support.views.astype(jnp.float32)
    own = (views * support.error + scales.views * scales.unknown) / (views + scales.views)
    doubt = own * (1 + off / scales.angle) * finer**scales.nearness
    return jnp.where(support.views > 0, jnp.minimum(doubt, scales.unknown), scales.unknown), distance


def _doubt_of_pixels(sums: Array, alpha: Array, support: Support, directions: Array, scales: ConfidenceScales) -> Array:
    """Error to expect of each pixel, from the blended doubt, logarithmic distance and its square."""
    doubt, mean, square = (sums[..., i] for i in range(3))
    covered = jnp.maximum(alpha, 1e-3)
    variance = square / covered - (mean / covered) ** 2
    spread = jnp.sqrt(jnp.maximum(variance, 0.0))
    maps = jnp.stack([support.sky_share, support.sky_error, jnp.zeros_like(support.sky_error)], axis=-1)
    share, sky_error, _ = jnp.moveaxis(sky_colour(maps, directions), -1, 0)
    beyond = 1 - alpha
    hole = jnp.maximum(beyond - share, 0.0)
    return doubt * (1 + alpha * spread / scales.spread) + beyond * sky_error + hole * scales.unknown
