"""The definition of the image: every splat against every pixel, front to back. Slow, short, differentiable.

Other backends are held against this one. Source: Kerbl et al., 3D Gaussian Splatting, 2023, equation 3, with the
thresholds of gsplat 1.5.3.
"""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from jaxrecon.kernels.projection import Splats
from jaxrecon.kernels.raster import MAXIMUM_ALPHA, MINIMUM_ALPHA, MINIMUM_TRANSMITTANCE

State = tuple[Array, Array, Array, Array]  # transmittance, whether a pixel is live, accumulated values, alpha


def composite_reference(splats: Splats, width: int, height: int) -> tuple[Array, Array, Array]:
    """Blend each camera's splats by increasing depth; equal depths keep the order of the arrays.

    Returns:
        Accumulated colour (camera, height, width, 3), accumulated depth sum of w z, and alpha (camera, height, width).
    """
    return jax.vmap(lambda one: _composite_one(one, width, height))(splats)


def _composite_one(splats: Splats, width: int, height: int) -> tuple[Array, Array, Array]:
    x = jnp.arange(width, dtype=jnp.float32)[None, :] + 0.5
    y = jnp.arange(height, dtype=jnp.float32)[:, None] + 0.5
    order = jnp.argsort(jnp.where(splats.visible, splats.depth, jnp.inf), stable=True)

    def blend(state: State, splat: Splats) -> tuple[State, None]:
        transmittance, live, accumulated, alpha_sum = state
        dx, dy = x - splat.mean[0], y - splat.mean[1]
        sigma = 0.5 * (splat.conic[0] * dx * dx + splat.conic[2] * dy * dy) + splat.conic[1] * dx * dy
        alpha = jnp.minimum(splat.opacity * jnp.exp(-jnp.maximum(sigma, 0.0)), MAXIMUM_ALPHA)
        hit = splat.visible & live & (sigma >= 0) & (alpha >= MINIMUM_ALPHA)
        after = transmittance * (1 - alpha)
        stops = hit & (after <= MINIMUM_TRANSMITTANCE)
        blends = hit & ~stops
        weight = jnp.where(blends, alpha * transmittance, 0.0)
        values = jnp.concatenate([splat.colour, splat.depth[None]])
        state = (
            jnp.where(blends, after, transmittance),
            live & ~stops,
            accumulated + weight[..., None] * values,
            alpha_sum + weight,
        )
        return state, None

    start = (
        jnp.ones((height, width)),
        jnp.ones((height, width), bool),
        jnp.zeros((height, width, 4)),
        jnp.zeros((height, width)),
    )
    (_, _, accumulated, alpha), _ = lax.scan(blend, start, jax.tree.map(lambda leaf: leaf[order], splats))
    return accumulated[..., :3], accumulated[..., 3], alpha
