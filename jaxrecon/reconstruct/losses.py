"""What a fit minimises: photometric error, LiDAR depth, and small pulls on opacity and size."""

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxrecon.geometry.transforms import quaternion_to_matrix
from jaxrecon.metrics.image import ssim
from jaxrecon.render import Rendering
from jaxrecon.scene.gaussians import Gaussians
from jaxrecon.scene.ground import HeightField

_LEAST_DEPTH = 0.1  # metres
_ON_GROUND, _UPRIGHT = 0.2, 0.8  # metres; cosine


@flax.struct.dataclass
class LossWeights:
    """Weight of each term; traced, so that a sweep compiles once.

    Attributes:
        absolute: mean absolute colour error.
        squared: mean squared colour error.
        similarity: one minus SSIM.
        depth: LiDAR depth, mean absolute difference of logarithms.
        cover: transparency where LiDAR hit something.
        opacity: mean opacity.
        size: mean standard deviation, metres.
        ground: metres by which splats that lie on the ground stand out of it, and their thickness, mean.
        exposure: mean square of the exposure parameters.
        exposure_roughness: what of them does not change evenly from frame to frame, squared.
        rotation_roughness: likewise of corrected rotations, per square radian.
        shift_roughness: likewise of corrected places, per square metre.
    """

    absolute: float = 0.8
    squared: float = 0.0
    similarity: float = 0.2
    depth: float = 0.05
    cover: float = 0.02
    opacity: float = 0.002
    size: float = 0.002
    ground: float = 0.05
    exposure: float = 0.01
    exposure_roughness: float = 1.0
    rotation_roughness: float = 100.0
    shift_roughness: float = 0.25


def photometric_loss(
    rgb: Float[Array, "height width 3"], reference: Float[Array, "height width 3"], weights: LossWeights
) -> Float[Array, ""]:
    """Weighted L1 + (1 - SSIM), Kerbl et al. 2023, eq. 7, and the square of the error."""
    error = rgb - reference
    colour = weights.absolute * jnp.mean(jnp.abs(error)) + weights.squared * jnp.mean(error**2)
    return colour + weights.similarity * (1.0 - ssim(rgb, reference))


def depth_loss(
    depth: Float[Array, "height width"],
    alpha: Float[Array, "height width"],
    pixel: Int[Array, " point"],
    measured: Float[Array, " point"],
    valid: Bool[Array, " point"],
    weights: LossWeights,
) -> Float[Array, ""]:
    """Rendered against measured depth, relative so that near and far count alike, and coverage, at LiDAR pixels.

    Args:
        depth: rendered z-depth, metres.
        alpha: rendered coverage.
        pixel: flat index of the pixel that each LiDAR point hits.
        measured: its z-depth, metres.
        valid: points in use; with none the loss is zero and so is its gradient.
        weights: of the terms.
    """
    rendered, cover = depth.reshape(-1)[pixel], alpha.reshape(-1)[pixel]
    relative = jnp.abs(jnp.log(jnp.maximum(rendered, _LEAST_DEPTH)) - jnp.log(jnp.maximum(measured, _LEAST_DEPTH)))
    # A pixel that almost nothing covers has no depth to correct: only its coverage is asked for.
    relative = jnp.where(cover > 0.1, relative, 0.0)
    terms = weights.depth * relative + weights.cover * (1.0 - cover)
    return jnp.sum(jnp.where(valid, terms, 0.0)) / jnp.maximum(jnp.sum(valid), 1)


def regularisation(gaussians: Gaussians, weights: LossWeights) -> Float[Array, ""]:
    """Pulls towards few, small Gaussians, so that those without use fade and can be relocated.

    Source: Kheradmand et al. 2024 (3DGS-MCMC), eq. 12.
    """
    count = jnp.maximum(jnp.sum(gaussians.valid), 1)
    opacity = jnp.sum(gaussians.opacities) / count
    size = jnp.sum(jnp.where(gaussians.valid[:, None], gaussians.scales, 0.0)) / (3 * count)
    return weights.opacity * opacity + weights.size * size


def ground_loss(gaussians: Gaussians, group: Int[Array, " n"], ground: HeightField) -> Float[Array, ""]:
    """How far the static splats that lie on the ground are from its surface, and how thick they are, metres, mean.

    A splat lies on the ground if its centre is within ``_ON_GROUND`` of it and its thinnest axis points up.
    """
    axes = quaternion_to_matrix(gaussians.quaternions)
    upright = jnp.take_along_axis(jnp.abs(axes[:, 2]), jnp.argmin(gaussians.log_scales, axis=1)[:, None], axis=1)[:, 0]
    surface = ground(jax.lax.stop_gradient(gaussians.means[:, :2]))
    off = jnp.abs(gaussians.means[:, 2] - surface)
    on_ground = gaussians.valid & (group == 0) & (off < _ON_GROUND) & (upright > _UPRIGHT)
    thickness = jnp.sqrt(jnp.sum((axes[:, 2] * gaussians.scales) ** 2, axis=1) + 1e-12)
    return jnp.sum(jnp.where(on_ground, off + thickness, 0.0)) / jnp.maximum(jnp.sum(on_ground), 1)


def view_loss(
    rendering: Rendering,
    rgb: Float[Array, "height width 3"],
    reference: Float[Array, "height width 3"],
    lidar: tuple[Int[Array, " point"], Float[Array, " point"], Bool[Array, " point"]],
    weights: LossWeights,
) -> Float[Array, ""]:
    """Loss of one rendered view.

    Args:
        rendering: of one camera.
        rgb: its colours after exposure.
        reference: the recorded image in [0, 1].
        lidar: flat pixel, z-depth (metres) and validity of the view's LiDAR points.
        weights: of the terms.
    """
    photometric = photometric_loss(rgb, reference, weights)
    return photometric + depth_loss(rendering.depth[0], rendering.alpha[0], *lidar, weights)
