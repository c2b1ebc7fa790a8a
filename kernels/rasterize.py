"""The front door: Gaussians, cameras and poses in, images out."""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from jaxrecon.kernels.projection import project
from jaxrecon.kernels.raster import DEFAULT_RASTER, Raster, RasterConfig
from jaxrecon.kernels.reference import composite_reference
from jaxrecon.kernels.tiled import composite_tiled

BACKENDS = ("auto", "reference", "xla")


@partial(jax.jit, static_argnames=("width", "height", "backend", "config"))
def rasterize(
    means: Float[Array, "n 3"],
    quaternions: Float[Array, "n 4"],
    scales: Float[Array, "n 3"],
    opacities: Float[Array, " n"],
    sh: Float[Array, "n k 3"],
    *,
    group: Int[Array, " n"],
    camera_from_group: Float[Array, "camera group 4 4"],
    group_valid: Bool[Array, "camera group"],
    intrinsics: Float[Array, "camera 4"],
    width: int,
    height: int,
    backend: str = "auto",
    config: RasterConfig = DEFAULT_RASTER,
) -> Raster:
    """Draw Gaussians, each posed by its rigid group, into a batch of cameras.

    Differentiable in every Gaussian parameter, in poses and in intrinsics.

    Args:
        means: centres in the frame of their group, metres.
        quaternions: ``wxyz``, any non-zero norm.
        scales: standard deviations, metres.
        opacities: in [0, 1]; below 1/255 a Gaussian is not drawn.
        sh: spherical-harmonic colour, (degree + 1)^2 coefficients, degree 0 to 3.
        group: rigid body of each Gaussian, an index into ``camera_from_group``'s second axis.
        camera_from_group: rigid pose of each group in each camera.
        group_valid: groups to draw, per camera.
        intrinsics: fx, fy, cx, cy, pixels.
        width: pixels.
        height: pixels.
        backend: ``auto``, ``reference`` (the definition) or ``xla`` (tiled, any device).
        config: structure of the tiled rasterizer.

    Raises:
        ValueError: for an unknown backend or a number of coefficients that is no square up to 16.
    """
    if backend not in BACKENDS:
        raise ValueError(f"backend {backend!r} is unknown; expected one of {BACKENDS}")
    if sh.shape[1] not in (1, 4, 9, 16):
        raise ValueError(f"sh has {sh.shape[1]} coefficients; expected 1, 4, 9 or 16, for degree 0 to 3")
    with jax.named_scope("project"):
        splats = project(
            means, quaternions, scales, opacities, sh, group,
            camera_from_group, group_valid, intrinsics, width, height,
        )  # fmt: skip
    # Without this XLA repeats the projection inside everything that reads it.
    splats = lax.optimization_barrier(splats)
    with jax.named_scope("composite"):
        if backend == "reference":
            rgb, depth_sum, alpha = composite_reference(splats, width, height)
            pairs = jnp.sum(splats.visible, axis=1)
            overflow = jnp.zeros(pairs.shape, bool)
        else:
            rgb, depth_sum, alpha, overflow, pairs = composite_tiled(splats, width, height, config)
    depth = depth_sum / jnp.maximum(alpha, 1e-10)
    return Raster(rgb=rgb, depth=depth, alpha=alpha, overflow=overflow, pairs=pairs)
