"""Paint of cars and wheels. A car's parts carry (half height, half length, half width) as their accent."""

from typing import Any

import jax.numpy as jnp

from jaxrecon.street import vectors
from jaxrecon.street.surface import Surface
from jaxrecon.street.vectors import Vector, within

WHEEL_RADIUS = 0.33
AXLE = 0.60  # of the half length: how far the axles lie from the middle


def _choose(base: Vector, colour: Vector, weight: Any) -> Vector:
    return vectors.mix(base, colour, jnp.clip(weight, 0.0, 1.0))


def _body_marks(surface: Surface, blur: Any) -> tuple[Any, Any, Any, Any]:
    """Coverages: dark plastic and seams, head lamps, tail lamps, number plates."""
    x, y, z = surface.metric
    half_height, half_length, half_width = surface.accent
    up = z + half_height
    side = jnp.where(jnp.abs(surface.side[1]) > 0.6, 1.0, 0.0)
    front = jnp.where(surface.side[0] > 0.6, 1.0, 0.0)
    rear = jnp.where(surface.side[0] < -0.6, 1.0, 0.0)
    dark = within(up, 0.0, 0.31, blur)
    wheel = jnp.sqrt((jnp.abs(x) - AXLE * half_length) ** 2 + (up - WHEEL_RADIUS) ** 2)
    dark = dark + side * within(wheel, -1.0, WHEEL_RADIUS + 0.07, blur)
    grille = within(y, -0.52 * half_width, 0.52 * half_width, blur) * within(up, 0.40, 0.58, blur)
    dark = dark + front * grille + (front + rear) * within(up, 0.30, 0.40, blur)
    fade = jnp.clip(1.3 - blur * 12, 0.0, 1.0)
    doors = jnp.minimum(jnp.abs(x - 0.02 * half_length), jnp.abs(jnp.abs(x + 0.02) - 0.44 * half_length))
    seam = side * within(doors, -1.0, 0.014, blur) * within(up, 0.34, 2.0, blur) * fade
    handle = within(jnp.remainder(x / half_length, 0.42), 0.04, 0.12, blur) * within(up, 0.77, 0.80, blur)
    dark = jnp.clip(dark + 0.8 * seam + 0.7 * side * handle * fade, 0.0, 1.0)
    outer = within(jnp.abs(y), 0.56 * half_width, 0.95 * half_width, blur)
    lamp = front * outer * within(up, 0.60, 0.74, blur)
    tail = rear * within(jnp.abs(y), 0.60 * half_width, 0.97 * half_width, blur) * within(up, 0.64, 0.84, blur)
    plate = (front * 0.9 + rear) * within(y, -0.26, 0.26, blur) * within(up, 0.44, 0.55, blur)
    return dark, lamp, tail, plate


def paint_body(surface: Surface, mask: Any, blur: Any) -> tuple[Vector, Any, Any]:
    """Colour, mirror and glow of a car's body below its windows, where ``mask`` says that rays met one."""
    dark, lamp, tail, plate = vectors.if_any(mask, lambda: _body_marks(surface, blur))
    colour = _choose(surface.colour, (0.02, 0.02, 0.022), dark)
    colour = _choose(colour, (0.75, 0.78, 0.80), lamp)
    colour = _choose(colour, (0.45, 0.012, 0.015), tail)
    colour = _choose(colour, (0.70, 0.69, 0.62), plate)
    return colour, 0.55 - 0.44 * dark, lamp * 0.35 + tail * 0.18


def paint_cabin(surface: Surface, blur: Any) -> tuple[Vector, Any]:
    """Colour and mirror of a cabin: glass between pillars under a painted roof."""
    taper_x, shift_x, taper_y, shift_y = surface.shape
    x, y, z = surface.local
    across = (x - shift_x * z) / (1 - taper_x * z)
    sideways = (y - shift_y * z) / (1 - taper_y * z)
    unit_blur = blur / surface.size[0]
    height_blur = blur / surface.size[2]
    is_side = jnp.abs(surface.side[1]) > jnp.abs(surface.side[0])
    band = within(z, 0.10, 0.86, height_blur)
    side = within(across, -0.90, 0.0, unit_blur) + within(across, 0.06, 0.93, unit_blur)
    ends = within(sideways, -0.90, 0.90, blur / surface.size[1])
    glass = band * jnp.where(is_side, side, ends) * jnp.where(surface.side[2] > 0.93, 0.0, 1.0)
    trim = jnp.clip(1 - jnp.where(is_side, side, ends), 0.0, 1.0) * band * 0.8
    colour = _choose(surface.colour, (0.02, 0.02, 0.022), trim * jnp.where(is_side, 1.0, 0.3))
    return _choose(colour, (0.014, 0.018, 0.02), glass), 0.55 + 0.45 * glass


def paint_wheel(surface: Surface, blur: Any) -> tuple[Vector, Any]:
    """Colour and mirror of a tyre with a spoked rim."""
    x, y, z = surface.local
    radius = jnp.sqrt(x * x + y * y)
    disc = jnp.where(jnp.abs(z) > 0.985, 1.0, 0.0)
    rim = disc * within(radius, -1.0, 0.64, blur / surface.size[0])
    angle = jnp.arctan2(y, x) * (5 / (2 * jnp.pi))
    spoke = within(jnp.abs(angle - jnp.round(angle)), -1.0, 0.24, 0.1)
    spoke = jnp.maximum(spoke, within(radius, -1.0, 0.18, 0.1))
    spoke = jnp.maximum(spoke, within(radius, 0.54, 0.64, 0.1))
    alloy = vectors.mix((0.03, 0.03, 0.03), (0.36, 0.37, 0.38), spoke)
    return vectors.mix((0.022, 0.022, 0.023), alloy, rim), 0.3 * rim * spoke
