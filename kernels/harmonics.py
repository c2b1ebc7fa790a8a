"""Real spherical harmonics up to degree 3, in the order and with the signs of 3DGS and gsplat."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxrecon.kernels.components import components


def harmonics_basis(directions: Float[Array, "*b 3"], degree: int) -> Float[Array, "*b k"]:
    """Values of the (degree + 1)^2 basis functions in unit directions.

    Source: Sloan, "Efficient spherical harmonic evaluation", JCGT 2013 (polynomial form).
    """
    x, y, z = components(directions)
    terms = [jnp.full_like(x, 0.28209479177387814)]
    if degree >= 1:
        terms += [-0.4886025119029199 * y, 0.4886025119029199 * z, -0.4886025119029199 * x]
    if degree >= 2:
        terms += [
            1.0925484305920792 * x * y,
            -1.0925484305920792 * y * z,
            0.31539156525252005 * (3 * z * z - 1),
            -1.0925484305920792 * x * z,
            0.5462742152960396 * (x * x - y * y),
        ]
    if degree >= 3:
        terms += [
            -0.5900435899266435 * y * (3 * x * x - y * y),
            2.890611442640554 * x * y * z,
            -0.4570457994644658 * y * (5 * z * z - 1),
            0.3731763325901154 * z * (5 * z * z - 3),
            -0.4570457994644658 * x * (5 * z * z - 1),
            1.445305721320277 * z * (x * x - y * y),
            -0.5900435899266435 * x * (x * x - 3 * y * y),
        ]
    return jnp.stack(terms, axis=-1)


def harmonics_colour(
    coefficients: Float[Array, "*b k 3"], directions: Float[Array, "*b 3"], degree: int
) -> Float[Array, "*b 3"]:
    """Colour max(0, 0.5 + sum of coefficients times basis) seen along directions of any non-zero norm."""
    norm = jnp.sqrt(jnp.maximum(jnp.sum(directions * directions, axis=-1, keepdims=True), 1e-20))
    basis = harmonics_basis(directions / norm, degree)
    return jnp.maximum(0.5 + jnp.sum(basis[..., None] * coefficients, axis=-2), 0.0)
