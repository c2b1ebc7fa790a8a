"""What was recorded of a scene, so that a world can say how much of what it shows was ever seen."""

import dataclasses

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxrecon.reconstruct.confidence import SCALES, ConfidenceScales
from jaxrecon.reconstruct.support import Support
from jaxrecon.render import levels_arena, packed_for, scene_arena
from jaxrecon.scene.gaussians import SH_C0
from jaxrecon.scene.levels import DEFAULT_LEVELS, LevelsConfig, build_levels
from jaxrecon.scene.scene import Scene
from jaxrecon.simulator.cameras import FieldOfView, SplatCameras


def with_field_of_view(
    source: SplatCameras,
    scene: Scene,
    support: Support,
    levels: LevelsConfig = DEFAULT_LEVELS,
    scales: ConfidenceScales = SCALES,
) -> SplatCameras:
    """A source that also draws how well the recorded views support what it shows, in coarse pixels.

    ``reconstruct.render_confidence`` weighs each Gaussian anew for every camera. Here each has one confidence for all,
    from how many views saw it and how well they agree, so that thousands of cameras cost one more small drawing.

    Args:
        source: of that scene alone, exact or in the policy-resolution form.
        scene: as reconstructed.
        support: of the same scene, see ``reconstruct.support.view_support``.
        levels: as the policy-resolution form was built, where that is what the source draws.
        scales: what doubt costs.

    Raises:
        ValueError: if the scene and its support or the source differ in their Gaussians.
    """
    if support.views.shape[0] != scene.gaussians.capacity:
        raise ValueError(
            f"the scene has {scene.gaussians.capacity} Gaussians but its support is of {support.views.shape[0]}; "
            "take the support of this very scene"
        )
    confident = coloured_by(scene, splat_confidence(support, scales))
    if source.arena.clusters is None:
        arena = scene_arena(confident)
    else:
        arena = levels_arena(build_levels(confident, levels))
    if arena.count != source.arena.count:
        raise ValueError(
            f"the source draws {source.arena.count} Gaussians but this scene gives {arena.count}; give the scene, and "
            "the LevelsConfig, that the source was made from"
        )
    sky = jnp.repeat(sky_confidence(support, scales)[None, :, :, None], 3, axis=-1)
    view = FieldOfView(arena=packed_for(arena, source.config.backend), sky=sky)
    return dataclasses.replace(source, view=view)


def splat_confidence(support: Support, scales: ConfidenceScales = SCALES) -> Float[Array, " n"]:
    """Confidence of each Gaussian in [0, 1]: exp(-doubt / tolerance), doubt the error of the pixels that it showed in.

    Like ``render_confidence`` it mixes in pseudo-views of the unknown's error, so that one view is not proof.
    """
    views = support.views.astype(jnp.float32)
    doubt = (views * support.error + scales.views * scales.unknown) / (views + scales.views)
    doubt = jnp.where(views > 0, jnp.minimum(doubt, scales.unknown), scales.unknown)
    return jnp.exp(-doubt / scales.tolerance)


def sky_confidence(support: Support, scales: ConfidenceScales = SCALES) -> Float[Array, "row column"]:
    """Confidence in the sky by direction: a direction that no view saw as sky is a hole."""
    share = jnp.clip(support.sky_share, 0.0, 1.0)
    doubt = share * jnp.minimum(support.sky_error, scales.unknown) + (1 - share) * scales.unknown
    return jnp.exp(-doubt / scales.tolerance)


def coloured_by(scene: Scene, values: Float[Array, " n"]) -> Scene:
    """The scene with a grey in [0, 1] for each Gaussian's colour, the same from everywhere."""
    sh = jnp.repeat(((values - 0.5) / SH_C0)[:, None, None], 3, axis=-1)
    return dataclasses.replace(scene, gaussians=dataclasses.replace(scene.gaussians, sh=sh))
