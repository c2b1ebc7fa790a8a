"""Images that vary slowly, from some of their pixels."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def between(
    values: Float[Array, "*b rows columns 3"], stride: int, height: int, width: int
) -> Float[Array, "*b height width 3"]:
    """An image from its pixels ``stride`` apart, the first one among them, bilinearly.

    Args:
        values: those pixels; along each side they reach to the last of the image or beyond.
        stride: pixels from one to the next.
        height: of the image.
        width: of the image.
    """
    return values if stride == 1 else _along(_along(values, stride, height, -3), stride, width, -2)


def _along(values: Array, stride: int, size: int, axis: int) -> Array:
    values = jnp.moveaxis(values, axis, 0)
    share = (jnp.arange(stride) / stride).reshape(1, stride, *[1] * (values.ndim - 1))
    mixed = values[:-1, None] * (1 - share) + values[1:, None] * share
    whole = jnp.concatenate([mixed.reshape(-1, *values.shape[1:]), values[-1:]])
    return jnp.moveaxis(whole[:size], 0, axis)
