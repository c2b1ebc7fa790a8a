"""Three-vectors as tuples of component arrays, which compilers vectorise better than a last axis of three."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

Vector = tuple[Any, Any, Any]


def dot(a: Vector, b: Vector) -> Any:
    """Inner product."""
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def add(a: Vector, b: Vector) -> Vector:
    """Sum."""
    return a[0] + b[0], a[1] + b[1], a[2] + b[2]


def scale(a: Vector, factor: Any) -> Vector:
    """Product with a scalar field."""
    return a[0] * factor, a[1] * factor, a[2] * factor


def mix(a: Vector, b: Vector, weight: Any) -> Vector:
    """``a`` where ``weight`` is 0, ``b`` where it is 1."""
    return a[0] + (b[0] - a[0]) * weight, a[1] + (b[1] - a[1]) * weight, a[2] + (b[2] - a[2]) * weight


def where(condition: Any, a: Vector, b: Vector) -> Vector:
    """Component-wise choice."""
    return jnp.where(condition, a[0], b[0]), jnp.where(condition, a[1], b[1]), jnp.where(condition, a[2], b[2])


def normalise(a: Vector) -> Vector:
    """Unit vector; the zero vector stays zero."""
    return scale(a, 1 / jnp.sqrt(jnp.maximum(dot(a, a), 1e-12)))


def transform(matrix: Any, point: Vector, weight: float) -> Vector:
    """Apply row-major 3x4 ``matrix`` (12 components on the leading axis) to points (1) or directions (0)."""
    rows = []
    for row in range(3):
        m = matrix[4 * row : 4 * row + 4]
        value = m[0] * point[0] + m[1] * point[1] + m[2] * point[2]
        rows.append(value + m[3] if weight else value)
    return rows[0], rows[1], rows[2]


def per_ray(values: Any, block: Any) -> Any:
    """Values of blocks of rays, picked from leaves with a leading axis, so that they broadcast against (block, ray).

    Args:
        values: a tree; each leaf has a leading axis, and whatever follows leads in the answer.
        block: index into that axis for each block.
    """
    return jax.tree.map(lambda leaf: jnp.moveaxis(leaf[block], 0, -1)[..., None], values)


def ramp(low: Any, high: Any, value: Any) -> Any:
    """0 below ``low``, 1 above ``high``, smooth between."""
    t = jnp.clip((value - low) / (high - low), 0.0, 1.0)
    return t * t * (3 - 2 * t)


def within(value: Any, low: Any, high: Any, blur: Any) -> Any:
    """Coverage of [low, high] by a box of width ``blur`` around ``value``: a filtered stripe."""
    blur = jnp.maximum(blur, 1e-4)
    top = jnp.minimum(value + blur / 2, high)
    bottom = jnp.maximum(value - blur / 2, low)
    return jnp.clip((top - bottom) / blur, 0.0, 1.0)


def if_any(mask: Any, function: Callable[[], Any]) -> Any:
    """``function()``, or zeros of its shapes without computing it where ``mask`` is nowhere true.

    Besides skipping work, it keeps what it returns from being computed again by every consumer.
    """
    shapes = jax.eval_shape(function)
    return jax.lax.cond(jnp.any(mask), function, lambda: jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes))
