"""What is fitted frame by frame: held-out frames take theirs from their neighbours in time, never from their pixels."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

Array = Any  # NumPy or JAX


def time_weights(fitted: Bool[np.ndarray, " frame"]) -> Float[np.ndarray, "frame frame"]:
    """Each frame as a mean of fitted frames: itself, or the nearest on either side by distance, or the nearest.

    Where no frame is fitted every frame keeps its own.
    """
    frames = np.arange(len(fitted))
    knots = np.flatnonzero(fitted)
    if not len(knots):
        return np.eye(len(fitted), dtype=np.float32)
    after = np.clip(np.searchsorted(knots, frames), 0, len(knots) - 1)
    before = np.clip(np.searchsorted(knots, frames, side="right") - 1, 0, len(knots) - 1)
    left, right = knots[before], knots[after]
    share = np.where(right > left, (frames - left) / np.maximum(right - left, 1), 0.0)
    weights = np.zeros((len(fitted), len(fitted)), np.float32)
    weights[frames, left] += 1 - share
    weights[frames, right] += share
    return weights


def lies_between(fitted: Bool[np.ndarray, " frame"], apart: int) -> Bool[np.ndarray, " frame"]:
    """Frames that are not fitted but have a fitted one on either side, at most ``apart`` frames from each other."""
    frames, knots = np.arange(len(fitted)), np.flatnonzero(fitted)
    after = np.searchsorted(knots, frames)
    inner = ~fitted & (after > 0) & (after < len(knots))
    gap = np.full(len(fitted), np.inf)
    gap[inner] = knots[after[inner]] - knots[after[inner] - 1]
    return gap <= apart


def in_time(weights: Float[Array, "frame frame"], values: Float[Array, " frame *k"]) -> Float[Array, " frame *k"]:
    """Values of every frame, those that were not fitted by ``time_weights``."""
    return jnp.tensordot(jnp.asarray(weights), values, axes=1, precision=jax.lax.Precision.HIGHEST)


def roughness(values: Float[Array, " frame *k"]) -> Float[Array, ""]:
    """Mean square of what a straight line through each frame's neighbours leaves of it, summed over components."""
    if values.shape[0] < 3:
        return jnp.zeros(())
    bend = values[1:-1] - 0.5 * (values[2:] + values[:-2])
    return jnp.sum(bend * bend) / bend.shape[0]
