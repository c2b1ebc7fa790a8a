"""Walls with windows, doors and shops."""

from typing import Any

import flax.struct
import jax.numpy as jnp

from jaxrecon.street import noise, vectors
from jaxrecon.street.surface import Surface
from jaxrecon.street.vectors import Vector, within

GROUND_FLOOR = 3.5  # metres


def _spread(random: Any, factor: float, low: float, high: float) -> Any:
    """A number in [low, high) derived from one random number."""
    value = random * factor
    return low + (high - low) * (value - jnp.floor(value))


@flax.struct.dataclass
class _Pattern:
    """Where a wall has what, as coverages.

    Attributes:
        u: metres from the face's edge.
        opening: windows and doors.
        surround: with their frames.
        ledge: stone sills.
        bars: of the windows.
        panel: closed doors.
        curtain: behind the glass.
        recess: shade under the lintel.
        sign: of shops.
        chance: in [0, 1), a window's own number.
        light_panel: raised middle of a door.
    """

    u: Any
    opening: Any
    surround: Any
    ledge: Any
    bars: Any
    panel: Any
    curtain: Any
    recess: Any
    sign: Any
    chance: Any
    light_panel: Any


def _pattern(surface: Surface, blur: Any) -> _Pattern:
    random = surface.random
    facing_x = jnp.abs(surface.side[0]) > jnp.abs(surface.side[1])
    half = jnp.where(facing_x, surface.size[1], surface.size[0])
    u = jnp.where(facing_x, surface.local[1], surface.local[0]) * half + half
    v, height = surface.local[2] * surface.size[2], surface.size[2]
    bay, storey = _spread(random, 7.31, 2.3, 3.5), _spread(random, 13.7, 2.9, 3.4)
    count = jnp.maximum(jnp.round(2 * half / bay), 1.0)
    bay = 2 * half / count
    column = jnp.floor(u / bay)
    in_u = u - column * bay
    upper = v > GROUND_FLOOR
    floor = jnp.where(upper, 1 + jnp.floor((v - GROUND_FLOOR) / storey), 0.0)
    in_v = jnp.where(upper, jnp.remainder(v - GROUND_FLOOR, storey), v)
    whole = jnp.where(upper, GROUND_FLOOR + floor * storey < height - 0.3, True)
    chance = noise.cell(column + 31.0 * facing_x, floor, random * 997.0)
    shop = _spread(random, 29.3, 0.0, 1.0) > 0.55
    wide = _spread(random, 5.17, 0.95, 1.5)
    door = ~upper & (jnp.remainder(column + jnp.floor(random * 7), 4.0) == 1)
    width = jnp.where(upper, wide, jnp.where(shop, bay - 0.5, wide))
    width = jnp.minimum(jnp.where(door, 1.1, width), bay - 0.35)
    sill = jnp.where(upper, 0.85, jnp.where(door, 0.05, jnp.where(shop, 0.45, 0.95)))
    head = jnp.where(upper, _spread(random, 3.3, 2.2, 2.55), jnp.where(shop & ~door, 2.75, 2.35))

    def columns(grow: float) -> Any:
        return within(in_u, bay / 2 - width / 2 - grow, bay / 2 + width / 2 + grow, blur) * whole

    rail = sill + 0.62 * (head - sill)
    bars = jnp.maximum(within(in_u, bay / 2 - 0.03, bay / 2 + 0.03, blur), within(in_v, rail, rail + 0.05, blur))
    drawn = within(in_v, sill + (head - sill) * (1.55 - chance), 9.0, blur)
    return _Pattern(
        u=u,
        opening=columns(0.0) * within(in_v, sill, head, blur),
        surround=columns(0.10) * within(in_v, sill - 0.10, head + 0.10, blur),
        ledge=columns(0.15) * within(in_v, sill - 0.14, sill, blur) * jnp.where(door, 0.0, 1.0),
        bars=jnp.where(door, 0.0, bars),
        panel=jnp.where(door & ~shop, within(in_v, 0.0, 2.1, blur), 0.0),
        curtain=jnp.where((chance > 0.55) & ~(shop & ~upper), drawn, 0.0),
        recess=within(in_v, head - 0.16, head, blur),
        sign=within(v, 2.85, 3.35, blur) * jnp.where(shop, 1.0, 0.0),
        chance=chance,
        light_panel=within(in_u, bay / 2 - 0.36, bay / 2 + 0.36, blur),
    )


def paint_facade(surface: Surface, mask: Any, coarse: Any, fine: Any, blur: Any) -> tuple[Vector, Any]:
    """Colour of a wall and how much of a mirror it is (window glass).

    Args:
        surface: where rays met walls.
        mask: where that is.
        coarse: slow noise, about [-1, 1].
        fine: fast noise.
        blur: footprint of a ray on the wall, metres.
    """
    at = vectors.if_any(mask, lambda: _pattern(surface, blur))
    wall = vectors.if_any(mask, lambda: _wall(surface, at.u, coarse, fine, blur))
    trim = vectors.mix(wall, (0.62, 0.60, 0.56), _spread(surface.random, 17.9, 0.2, 0.9))
    colour = vectors.mix(wall, trim, at.surround)
    colour = vectors.mix(colour, (0.50, 0.49, 0.46), at.ledge)
    glass: Vector = (0.022 + 0.05 * at.chance, 0.028 + 0.05 * at.chance, 0.036 + 0.045 * at.chance)
    glass = vectors.mix(glass, (0.34, 0.32, 0.28), at.curtain * 0.55)
    glass = vectors.mix(glass, trim, at.bars)
    glass = vectors.mix(glass, vectors.scale(surface.accent, 0.8 + 0.25 * at.light_panel), at.panel)
    colour = vectors.mix(colour, vectors.scale(glass, 1 - 0.55 * at.recess), at.opening)
    colour = vectors.mix(colour, surface.accent, at.sign * 0.9)
    return colour, at.opening * (1 - at.panel) * (1 - 0.8 * at.bars) * (1 - 0.4 * at.curtain)


def _wall(surface: Surface, u: Any, coarse: Any, fine: Any, blur: Any) -> Vector:
    random = surface.random
    v, height = surface.local[2] * surface.size[2], surface.size[2]
    brick = jnp.where(_spread(random, 41.9, 0.0, 1.0) > 0.5, 1.0, 0.0)
    course = jnp.floor(v / 0.09)
    in_brick = u / 0.26 + 0.5 * jnp.remainder(course, 2.0)
    mortar = jnp.maximum(
        within(jnp.remainder(v, 0.09), 0.0, 0.014, blur), within(jnp.remainder(in_brick, 1.0), 0.0, 0.06, blur / 0.26)
    )
    sharp = jnp.clip(1.3 - blur / 0.12, 0.0, 1.0) * brick
    each = noise.cell(in_brick, course, random * 997.0) - 0.5
    streak = jnp.maximum(coarse, 0.0) * jnp.clip(v / height, 0.0, 1.0)
    tone = 1 + 0.13 * coarse + 0.10 * fine - 0.16 * streak + sharp * 0.35 * each
    wall = vectors.scale(surface.colour, tone)
    wall = vectors.mix(wall, (0.42, 0.40, 0.37), 0.65 * mortar * sharp)
    plinth = within(v, -1.0, 0.55, blur)
    wall = vectors.mix(wall, vectors.scale(wall, 0.62), plinth)
    cornice = within(v, height - 0.45, height + 1.0, blur) + 0.6 * within(
        v, GROUND_FLOOR - 0.1, GROUND_FLOOR + 0.12, blur
    )
    wall = vectors.mix(wall, (0.55, 0.53, 0.49), 0.7 * jnp.clip(cornice, 0.0, 1.0))
    groove = within(v, height - 0.53, height - 0.45, blur)
    dirt = 0.80 + 0.20 * jnp.clip(v / 2.0, 0.0, 1.0)
    return vectors.scale(wall, dirt * (1 - 0.45 * groove))


def paint_roof(surface: Surface, coarse: Any, fine: Any, blur: Any) -> Vector:
    """Tiles on the slopes, plaster on the gable ends."""
    along, row = surface.metric[0] / 0.3, surface.local[2] * surface.size[2] / 0.16
    tile = noise.cell(along, row, surface.random * 997.0) - 0.5
    sharp = jnp.clip(1.4 - blur / 0.25, 0.0, 1.0)
    lap = within(jnp.remainder(row, 1.0), 0.0, 0.2, blur / 0.16)
    tiles = vectors.scale(surface.colour, (1 + 0.2 * coarse + 0.15 * fine + 0.3 * tile * sharp) * (1 - 0.35 * lap))
    gable = jnp.abs(surface.side[0]) > 0.7
    return vectors.where(gable, vectors.scale(surface.accent, 1 + 0.12 * coarse + 0.08 * fine), tiles)
