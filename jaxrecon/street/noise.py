"""Value noise from an integer hash: the same on every device, no tables."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxrecon.street.vectors import Vector


def hashed(x: Any, y: Any, z: Any) -> Any:
    """Uniform [0, 1) of integer coordinates."""
    h = x.astype(jnp.uint32) * jnp.uint32(0x9E3779B1)
    h = (h ^ (y.astype(jnp.uint32) * jnp.uint32(0x85EBCA77))) + z.astype(jnp.uint32) * jnp.uint32(0xC2B2AE3D)
    h = (h ^ (h >> 15)) * jnp.uint32(0x2C1B3C6D)
    h = (h ^ (h >> 12)) * jnp.uint32(0x297A2D39)
    return (h >> 8).astype(jnp.float32) * (1.0 / 16777216.0)


def cell(x: Any, y: Any, z: Any = 0.0) -> Any:
    """Uniform [0, 1), constant in each unit cell of real coordinates."""
    x, y, z = jnp.broadcast_arrays(jnp.asarray(x), jnp.asarray(y), jnp.asarray(z))
    return hashed(*(jnp.floor(v).astype(jnp.int32) for v in (x, y, z)))


def value_noise(point: Vector) -> Any:
    """Smooth noise in [0, 1] with unit cells."""
    whole = [jnp.floor(v) for v in point]
    fx, fy, fz = (p - w for p, w in zip(point, whole, strict=True))
    fx, fy, fz = (f * f * (3 - 2 * f) for f in (fx, fy, fz))
    x, y, z = (w.astype(jnp.int32) for w in whole)

    def plane(dz: int) -> Any:
        low = hashed(x, y, z + dz) * (1 - fx) + hashed(x + 1, y, z + dz) * fx
        high = hashed(x, y + 1, z + dz) * (1 - fx) + hashed(x + 1, y + 1, z + dz) * fx
        return low * (1 - fy) + high * fy

    return plane(0) * (1 - fz) + plane(1) * fz


def octaves(point: Vector, blur: Any, count: int = 3) -> Any:
    """Sum of ``count`` octaves in about [-1, 1]; octaves finer than ``blur`` (in cells) fade out."""

    def visit(i: Any, total: Any) -> Any:
        power = i.astype(jnp.float32)
        frequency, amplitude = 2.17**power, 0.5**power
        shifted = tuple(v * frequency + 17.3 * power for v in point)
        keep = jnp.clip(1.5 - blur * frequency, 0.0, 1.0)
        return total + amplitude * keep * (2 * value_noise(shifted) - 1)

    return jax.lax.fori_loop(0, count, visit, jnp.zeros_like(point[0]))


def _saw(x: Any) -> Any:
    return jnp.abs(x - jnp.floor(x) - 0.5)


def leaves(point: Vector) -> Any:
    """Cheap clumpy pattern in about [0, 1.5] for use inside intersection loops."""
    x, y, z = point
    warped = x + 1.3 * _saw(y * 0.83 + 0.31), y + 1.3 * _saw(z * 0.91 + 0.17), z + 1.3 * _saw(x * 0.79 + 0.43)
    coarse = _saw(warped[0]) + _saw(warped[1]) + _saw(warped[2])
    return coarse * 0.7 + 0.3 * (_saw(2.7 * warped[0] + warped[1]) + _saw(2.9 * warped[1] + warped[2]))
