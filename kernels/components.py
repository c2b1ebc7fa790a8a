"""Vectors taken apart so that their gradients are cheap."""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float


@jax.custom_vjp
def components(values: Float[Array, "*b k"]) -> tuple[Float[Array, "*b"], ...]:
    """The entries of each vector, one array each.

    Their gradients are finished one by one before they are put together. The gradient of plain indexing is a sum of
    padded arrays, of which XLA computes every entry with all the arithmetic of all of them.
    """
    return tuple(values[..., i] for i in range(values.shape[-1]))


def _components_forward(values: Array) -> tuple[tuple[Array, ...], None]:
    return components(values), None


def _components_backward(_: None, cotangents: tuple[Array, ...]) -> tuple[Array]:
    return (jnp.stack(lax.optimization_barrier(cotangents), axis=-1),)


components.defvjp(_components_forward, _components_backward)
