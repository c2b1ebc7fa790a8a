"""Density control at fixed capacity: splats that nobody sees move to where opacity is, as a Markov chain.

Source: Kheradmand et al. 2024, "3D Gaussian Splatting as Markov Chain Monte Carlo".
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special
from jaxtyping import Array, Bool, Float

from jaxrecon.geometry.transforms import quaternion_to_matrix
from jaxrecon.scene.gaussians import Gaussians
from jaxrecon.scene.scene import Scene

DEAD_OPACITY = 0.005
_MOST_COPIES = 16  # of one Gaussian at a time; the alternating sum below stays accurate in float32
_NOISE_SHARPNESS, _NOISE_CENTRE = 100.0, 0.995


def relocate(scene: Scene, key: Array, fresh: Float[Array, ""]) -> tuple[Scene, Bool[Array, " n"]]:
    """Move dead Gaussians, and bring in unused slots, beside living ones drawn by opacity.

    A Gaussian and its copies together draw almost what it drew alone (eq. 9): each gets opacity
    1 - (1 - o)^(1/N) and a smaller covariance.

    Args:
        scene: current state.
        key: of the draw.
        fresh: how many unused slots to bring in, at most.

    Returns:
        The new scene, and the slots whose parameters changed (their optimiser state is stale).
    """
    gaussians = scene.gaussians
    opacities = gaussians.opacities
    dead = gaussians.valid & (opacities < DEAD_OPACITY)
    unused = ~gaussians.valid
    moving = dead | (unused & (jnp.cumsum(unused) <= fresh))
    alive = gaussians.valid & ~dead
    moving &= jnp.any(alive)
    cumulative = jnp.cumsum(jnp.where(alive, opacities, 0.0))
    draw = jax.random.uniform(key, opacities.shape) * cumulative[-1]
    source = jnp.clip(jnp.searchsorted(cumulative, draw, side="right"), 0, len(opacities) - 1)
    # Rounding of the last cumulative sum may point past the last living slot.
    moving &= alive[source]
    source = jnp.where(moving, source, jnp.arange(len(source)))
    copies = jnp.zeros(len(source), jnp.int32).at[source].add(moving)
    copies = jnp.minimum(copies, _MOST_COPIES - 1)
    opacity, shrink = shared(opacities, copies + 1)
    changed = moving | (copies > 0)
    copied = jax.tree.map(lambda leaf: leaf[source], gaussians)
    opacity = jnp.clip(opacity[source], DEAD_OPACITY, 1 - 1e-6)
    new = Gaussians(
        means=copied.means,
        quaternions=copied.quaternions,
        log_scales=jnp.where(changed[:, None], copied.log_scales + jnp.log(shrink[source])[:, None], copied.log_scales),
        opacity_logits=jnp.where(changed, jnp.log(opacity) - jnp.log1p(-opacity), copied.opacity_logits),
        sh=copied.sh,
        valid=gaussians.valid | moving,
    )
    return dataclasses.replace(scene, gaussians=new, group=scene.group[source]), changed


def shared(opacities: Float[Array, " n"], sharers: Array) -> tuple[Float[Array, " n"], Float[Array, " n"]]:
    """Opacity of each of N equal Gaussians that stand for one, and the factor on its standard deviations (eq. 9).

    Args:
        opacities: of the one, in (0, 1).
        sharers: N, from 1 to 16.
    """
    each = -jnp.expm1(jnp.log1p(-jnp.clip(opacities, 0.0, 1 - 1e-6)) / sharers)
    i, k = np.meshgrid(np.arange(1, _MOST_COPIES + 1), np.arange(_MOST_COPIES), indexing="ij")
    terms = scipy.special.binom(i - 1, k) * (-1.0) ** k / np.sqrt(k + 1)
    by_sharers = jnp.asarray(np.cumsum(terms, axis=0), jnp.float32)  # row N - 1 sums over i = 1..N
    powers = each[:, None] ** jnp.arange(1, _MOST_COPIES + 1)
    total = jnp.sum(by_sharers[sharers - 1] * powers, axis=1)
    return each, jnp.where(sharers > 1, opacities / jnp.maximum(total, 1e-8), 1.0)


def exploration(gaussians: Gaussians, key: Array) -> Float[Array, "n 3"]:
    """Random displacement of the means, shaped by each Gaussian and felt only by the nearly transparent.

    After eq. 8, with the square root of the covariance in place of the covariance, so that the noise is a share of the
    Gaussian's own size and its strength has no unit.
    """
    reluctance = jax.nn.sigmoid(-_NOISE_SHARPNESS * (gaussians.opacities - (1 - _NOISE_CENTRE)))
    along_axes = jax.random.normal(key, gaussians.means.shape) * gaussians.scales * reluctance[:, None]
    moved = jnp.einsum("nij,nj->ni", quaternion_to_matrix(gaussians.quaternions), along_axes)
    return jnp.where(gaussians.valid[:, None], moved, 0.0)
