"""Normals and texture coordinates where rays entered solids."""

from typing import Any

import flax.struct
import jax.numpy as jnp

from jaxrecon.street import vectors
from jaxrecon.street.primitives import BOX, CAR_BODY, CAR_CABIN, CROWN, QUADRIC, box_faces
from jaxrecon.street.vectors import Vector

BEVEL_SHARP, BEVEL_CAR, BEVEL_CABIN = 0.004, 0.075, 0.055  # metres over which the normals of two faces blend


@flax.struct.dataclass
class Surface:
    """What is known about solid surfaces where rays met them, component arrays of equal shape.

    Attributes:
        local: position in the unit frame.
        metric: position in the parent frame's axes, metres, for textures.
        side: normal in the solid's own axes, unit.
        normal: normal in the world, unit.
        size: metres a unit.
        shape: shape parameters of the solid.
        colour: first colour.
        accent: second colour or sizes.
        material: number.
        category: class number.
        random: in [0, 1).
    """

    local: Any
    metric: Any
    side: Any
    normal: Any
    size: Any
    shape: Any
    colour: Any
    accent: Any
    material: Any
    category: Any
    random: Any


def describe(geometry: Any, look: Any, kind: Any, hit: Any, point: Vector) -> Surface:
    """Describe surfaces from the gathered rows of the solids hit.

    Args:
        geometry: 16 components, each of the rays' shape.
        look: 15 components.
        kind: BOX, QUADRIC or CROWN a ray.
        hit: whether a ray met a solid at all.
        point: world points.
    """
    shape, size, offset = tuple(geometry[12:]), tuple(look[0:3]), tuple(look[3:6])
    material, category, random = look[12], look[13], look[14]
    local = vectors.if_any(hit, lambda: vectors.transform(geometry, point, 1.0))
    bevel = jnp.where(material == CAR_BODY, BEVEL_CAR, jnp.where(material == CAR_CABIN, BEVEL_CABIN, BEVEL_SHARP))
    flat = vectors.if_any(hit & (kind == BOX), lambda: _box_normal(local, shape, size, bevel))
    round_ = vectors.if_any(hit & (kind != BOX), lambda: _round_normal(local, shape, size, kind))
    side = vectors.where(kind == BOX, flat, round_)

    def turned() -> Vector:
        rows = [tuple(geometry[4 * i : 4 * i + 3]) for i in range(3)]
        normal = tuple(sum(rows[i][j] * size[i] * side[i] for i in range(3)) for j in range(3))
        return vectors.normalise(normal)

    return Surface(
        local=local,
        metric=tuple(x * s + o for x, s, o in zip(local, size, offset, strict=True)),
        side=side,
        normal=vectors.if_any(hit, turned),
        size=size,
        shape=shape,
        colour=tuple(look[6:9]),
        accent=tuple(look[9:12]),
        material=material,
        category=category,
        random=random,
    )


def _box_normal(local: Vector, shape: Any, size: Vector, bevel: Any) -> Vector:
    taper_x, shift_x, taper_y, shift_y = shape
    zero, one = jnp.zeros_like(local[0]), jnp.ones_like(local[0])
    gradients = [
        (-one, zero, taper_x + shift_x),
        (one, zero, taper_x - shift_x),
        (zero, -one, taper_y + shift_y),
        (zero, one, taper_y - shift_y),
        (zero, zero, -one),
        (zero, zero, one),
    ]
    total: Vector = (zero, zero, zero)
    for level, gradient in zip(box_faces(local, shape, 1.0), gradients, strict=True):
        metric = tuple(g / s for g, s in zip(gradient, size, strict=True))
        short = 1 / jnp.sqrt(vectors.dot(metric, metric))
        weight = jnp.exp(jnp.minimum(level, 0.0) * short / bevel)
        total = vectors.add(total, vectors.scale(metric, short * weight))
    return vectors.normalise(total)


def _round_normal(local: Vector, shape: Any, size: Vector, kind: Any) -> Vector:
    x, y, z = local
    q, m, c, _ = shape
    ball = kind == CROWN
    q, m, c = jnp.where(ball, 1.0, q), jnp.where(ball, 0.0, m), jnp.where(ball, 2.0, c)
    level = x * x + y * y + (q * z + 2 * m) * z - c
    cap = (kind == QUADRIC) & (level < -2e-3) & (jnp.abs(z) > 0.99)
    gradient = jnp.where(cap, 0.0, x), jnp.where(cap, 0.0, y), jnp.where(cap, jnp.sign(z), q * z + m)
    return vectors.normalise(tuple(g / s for g, s in zip(gradient, size, strict=True)))
