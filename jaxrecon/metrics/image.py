"""Image metrics: peak signal-to-noise ratio and structural similarity, differentiable, for values in [0, 1]."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

Array = Any  # a NumPy or a JAX array; the answer is a JAX array

SSIM_WINDOW = 11  # pixels along a side of the Gaussian window
SSIM_SIGMA = 1.5  # pixels
_K1, _K2 = 0.01, 0.03
_HALF = np.arange(SSIM_WINDOW) - SSIM_WINDOW // 2
_TAPS = np.exp(-0.5 * (_HALF / SSIM_SIGMA) ** 2) / np.sum(np.exp(-0.5 * (_HALF / SSIM_SIGMA) ** 2))


@jax.jit
def psnr(
    image: Float[Array, "*b height width 3"],
    reference: Float[Array, "*b height width 3"],
    mask: Bool[Array, "*b height width"] | None = None,
) -> Float[Array, "*b"]:
    """Peak signal-to-noise ratio in decibels, of the whole image or of the pixels in ``mask``.

    Args:
        image: rendered colours in [0, 1].
        reference: true colours in [0, 1].
        mask: pixels that count; where it selects none the answer is not a number.

    Returns:
        10 log10(1 / mean squared error); infinite for equal images.
    """
    squared = jnp.mean((image - reference) ** 2, axis=-1)
    if mask is None:
        error = jnp.mean(squared, axis=(-2, -1))
    else:
        error = jnp.sum(squared * mask, axis=(-2, -1)) / jnp.sum(mask, axis=(-2, -1))
    return -10.0 * jnp.log10(error)


@jax.jit
def ssim(image: Float[Array, "*b height width 3"], reference: Float[Array, "*b height width 3"]) -> Float[Array, "*b"]:
    """Structural similarity: mean over channels and over every window that lies wholly inside the image.

    Args:
        image: rendered colours in [0, 1]; at least 11 pixels along each side.
        reference: true colours in [0, 1].

    Returns:
        Mean similarity in [-1, 1]; 1 for equal images.

    Raises:
        ValueError: if the image is smaller than the window.

    Source: Wang et al. 2004, eq. 13, with a Gaussian window of 11 pixels and sigma 1.5, K1 = 0.01, K2 = 0.03.
    """
    height, width = image.shape[-3:-1]
    if min(height, width) < SSIM_WINDOW:
        raise ValueError(f"ssim needs images of at least {SSIM_WINDOW} pixels a side; received {width} x {height}")
    mean_x, square_x, product = _blur(_blur(jnp.stack([image, image * image, image * reference]), -3), -2)
    mean_y, square_y = _blur(_blur(jnp.stack([reference, reference * reference]), -3), -2)
    variance_x, variance_y = square_x - mean_x**2, square_y - mean_y**2
    covariance = product - mean_x * mean_y
    numerator = (2 * mean_x * mean_y + _K1**2) * (2 * covariance + _K2**2)
    denominator = (mean_x**2 + mean_y**2 + _K1**2) * (variance_x + variance_y + _K2**2)
    return jnp.mean(numerator / denominator, axis=(-3, -2, -1))


def _slide(values: Array, axis: int) -> Array:
    """Weighted sum of shifted slices: XLA fuses the taps into one pass over memory."""
    length = values.shape[axis] - SSIM_WINDOW + 1
    parts = (float(t) * jax.lax.slice_in_dim(values, i, i + length, axis=axis) for i, t in enumerate(_TAPS))
    return sum(parts, start=jnp.zeros((), values.dtype))


def _blur(values: Array, axis: int) -> Array:
    """Gaussian blur along one axis, of the windows that fit."""
    axis = axis % values.ndim

    @jax.custom_vjp
    def blur(inputs: Array) -> Array:
        return _slide(inputs, axis)

    def backward(_: None, cotangent: Array) -> tuple[Array]:
        # The taps are symmetric, so the transpose is the same blur of the padded cotangent: one pad, not eleven.
        padding = [(0, 0)] * cotangent.ndim
        padding[axis] = (SSIM_WINDOW - 1, SSIM_WINDOW - 1)
        return (_slide(jnp.pad(cotangent, padding), axis),)

    blur.defvjp(lambda inputs: (_slide(inputs, axis), None), backward)
    return blur(values)
