"""Sun, sky, clouds and the hazy horizon."""

from typing import Any

import flax.struct
import jax.numpy as jnp
from jaxtyping import Float

from jaxrecon.street import noise, vectors
from jaxrecon.street.vectors import Vector, ramp

Array = Any

HAZE = 620.0  # metres over which distance haze takes 63%


@flax.struct.dataclass
class Light:
    """The weather of one street, in linear RGB.

    Attributes:
        sun: (3,) unit vector towards the sun.
        sunlight: (3,) radiance of a white surface that faces it.
        zenith: (3,) sky colour overhead.
        horizon: (3,) sky colour low down, and of the haze.
        clouds: share of the sky they cover.
        shift: random offset of clouds and hills.
    """

    sun: Float[Array, "3"]
    sunlight: Float[Array, "3"]
    zenith: Float[Array, "3"]
    horizon: Float[Array, "3"]
    clouds: Float[Array, ""]
    shift: Float[Array, ""]


def components(array: Any) -> Vector:
    """A (3,) array as a vector of scalars."""
    return array[0], array[1], array[2]


def gradient(light: Light, direction: Vector) -> Vector:
    """Sky without clouds: paler towards the horizon, warmer around the sun."""
    up = jnp.maximum(direction[2], 0.0)
    colour = vectors.mix(components(light.horizon), components(light.zenith), 1 - jnp.exp(-4.0 * up))
    facing = jnp.maximum(vectors.dot(direction, components(light.sun)), 0.0)
    glow = 0.10 * facing**6 + 0.35 * facing**48
    return vectors.add(colour, vectors.scale(components(light.sunlight), glow * 0.35))


def cloud_point(light: Light, direction: Vector) -> Vector:
    """Texture coordinates of clouds: a flat layer seen from below, squeezed towards the horizon."""
    flat = 1.0 / (jnp.maximum(direction[2], 0.0) + 0.12)
    return direction[0] * flat * 0.9 + light.shift, direction[1] * flat * 0.9, jnp.full_like(direction[0], 3.1)


def paint_sky(light: Light, direction: Vector, coarse: Any) -> Vector:
    """Colour of unobstructed sky; ``coarse`` is noise in about [-1, 1] at ``cloud_point``."""
    colour = gradient(light, direction)
    cover = ramp(1.0 - 1.6 * light.clouds, 1.7 - 1.6 * light.clouds, coarse + 0.5)
    cover = cover * ramp(0.01, 0.16, direction[2]) * 0.9
    bright = vectors.add(
        vectors.scale(components(light.sunlight), 0.22), vectors.scale(components(light.horizon), 0.62)
    )
    shade = 1.0 - 0.28 * ramp(0.1, 1.2, coarse)
    colour = vectors.mix(colour, vectors.scale(bright, shade), cover)
    facing = vectors.dot(direction, components(light.sun))
    colour = vectors.add(colour, vectors.scale(components(light.sunlight), 6.0 * ramp(0.9994, 0.9997, facing)))
    return _horizon(light, direction, colour)


def _horizon(light: Light, direction: Vector, colour: Vector) -> Vector:
    """Hills and a line of trees far away, by azimuth."""
    azimuth = jnp.arctan2(direction[1], direction[0])
    zero = jnp.zeros_like(azimuth)
    hills = 0.018 + 0.045 * noise.value_noise((azimuth * 5.0 + light.shift, zero + 0.5, zero + 9.5))
    trees = 0.008 + 0.016 * noise.value_noise((azimuth * 9.0 + light.shift, zero + 4.5, zero + 2.5))
    trees = trees + 0.010 * noise.value_noise((azimuth * 70.0, zero + 1.5, zero + 6.5))
    far = vectors.mix((0.10, 0.14, 0.12), components(light.horizon), 0.72)
    near = vectors.mix((0.05, 0.085, 0.04), components(light.horizon), 0.42)
    colour = vectors.mix(colour, far, ramp(0.004, -0.004, direction[2] - hills))
    return vectors.mix(colour, near, ramp(0.003, -0.003, direction[2] - trees))


def haze(light: Light, colour: Vector, distance: Any) -> Vector:
    """Blend a surface into the horizon with distance."""
    return vectors.mix(colour, components(light.horizon), 1 - jnp.exp(-distance / HAZE))


def display(colour: Vector) -> Vector:
    """Linear radiance to sRGB in [0, 1] through a filmic curve (Narkowicz 2015's fit of ACES)."""

    def curve(x: Any) -> Any:
        x = jnp.maximum(x, 0.0) * 0.8
        x = jnp.clip(x * (2.51 * x + 0.03) / (x * (2.43 * x + 0.59) + 0.14), 0.0, 1.0)
        return jnp.where(x < 0.0031308, 12.92 * x, 1.055 * jnp.maximum(x, 0.0031308) ** (1 / 2.4) - 0.055)

    return curve(colour[0]), curve(colour[1]), curve(colour[2])
