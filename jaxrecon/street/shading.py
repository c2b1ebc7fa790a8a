"""From what a ray met to the light it carries."""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp

from jaxrecon.street import facade, ground, noise, primitives, sky, vectors, vehicle
from jaxrecon.street.primitives import VEGETATION
from jaxrecon.street.surface import Surface
from jaxrecon.street.vectors import Vector, within
from jaxrecon.street.world import StreetWorld


@flax.struct.dataclass
class Paint:
    """How a surface answers light.

    Attributes:
        colour: albedo.
        mirror: strength of its clear reflection of the sky, 0 to 1.
        glow: own light, as a share of the colour.
        soft: 0 for plain matt, 1 for leaves that light also shines through.
    """

    colour: Any
    mirror: Any
    glow: Any
    soft: Any


@flax.struct.dataclass
class Hits:
    """Everything that shading needs about a block of rays.

    Attributes:
        view: unit direction of every ray.
        point: world position met.
        distance: metres.
        blur: footprint across the ray, metres.
        sky: whether it met nothing.
        on_ground: whether it met the ground.
        ground: where.
        surface: the solid met otherwise.
    """

    view: Any
    point: Any
    distance: Any
    blur: Any
    sky: Any
    on_ground: Any
    ground: Any
    surface: Surface


def _noises(world: StreetWorld, hits: Hits) -> tuple[Any, Any]:
    """Slow and fast noise, each evaluated once at coordinates that suit what the ray met."""
    surface, material = hits.surface, hits.surface.material
    clouds = sky.cloud_point(world.light, hits.view)
    leafy = (material == primitives.LEAVES) | (material == primitives.BARK)
    slow = jnp.where(hits.on_ground, 0.35, jnp.where(leafy, 1.6, 0.55))
    fast = jnp.where(hits.on_ground, 9.0, jnp.where(leafy, 7.0, 8.0))
    base = vectors.where(hits.on_ground, hits.point, surface.metric)
    base = base[0], base[1], jnp.where(hits.on_ground, world.light.shift, base[2] + 61.0 * surface.random)
    coarse_at = vectors.where(hits.sky, clouds, vectors.scale(base, slow))
    coarse = noise.octaves(coarse_at, jnp.where(hits.sky, 0.0, hits.blur * slow), count=3)
    fine = noise.octaves(vectors.scale(base, fast), hits.blur * fast, count=2)
    return coarse, fine


def _paint_solids(surface: Surface, on_solid: Any, coarse: Any, fine: Any, blur: Any) -> Paint:
    """Colours of solids; each kind of material is computed only in blocks that show it."""
    material = surface.material
    zero = jnp.zeros_like(coarse)
    paint = Paint(vectors.scale(surface.colour, 1 + 0.08 * coarse + 0.06 * fine), zero, zero, zero)

    def between(low: int, high: int) -> Any:
        return (material >= low) & (material <= high) & on_solid

    is_wall = between(primitives.FACADE, primitives.FACADE)
    is_body = between(primitives.CAR_BODY, primitives.CAR_BODY)

    def walls() -> Paint:
        wall, glass = facade.paint_facade(surface, is_wall, coarse, fine, blur)
        flat = surface.side[2] > 0.7
        wall = vectors.where(flat, vectors.scale((0.19, 0.185, 0.18), 1 + 0.2 * coarse + 0.2 * fine), wall)
        return Paint(wall, jnp.where(flat, 0.0, glass), zero, zero)

    def roofs() -> Paint:
        return Paint(facade.paint_roof(surface, coarse, fine, blur), zero, zero, zero)

    def cars() -> Paint:
        body, body_mirror, glow = vehicle.paint_body(surface, is_body, blur)
        cabin, cabin_mirror = vehicle.paint_cabin(surface, blur)
        tyre, tyre_mirror = vehicle.paint_wheel(surface, blur)
        is_cabin = material == primitives.CAR_CABIN
        colour = vectors.where(is_body, body, vectors.where(is_cabin, cabin, tyre))
        mirror = jnp.where(is_body, body_mirror, jnp.where(is_cabin, cabin_mirror, tyre_mirror))
        return Paint(colour, mirror, jnp.where(is_body, glow, 0.0), zero)

    def plants() -> Paint:
        return _paint_plants(surface, coarse, fine)

    def rest() -> Paint:
        return _paint_rest(surface, coarse, fine)

    for mask, function in (
        (is_wall, walls),
        (between(primitives.ROOF, primitives.ROOF), roofs),
        (between(primitives.CAR_BODY, primitives.WHEEL), cars),
        (between(primitives.BARK, primitives.LEAVES), plants),
        (between(primitives.CLOTH, primitives.LAMP), rest),
    ):
        own = vectors.if_any(mask, function)
        paint = jax.tree.map(lambda new, old, mask=mask: jnp.where(mask, new, old), own, paint)
    return paint


def _paint_plants(surface: Surface, coarse: Any, fine: Any) -> Paint:
    x, y, z = surface.local
    is_leaves = surface.material == primitives.LEAVES
    leaf = vectors.mix(surface.colour, surface.accent, jnp.clip(0.5 + 0.55 * coarse + 0.35 * fine, 0.0, 1.0))
    hollow = 0.55 + 0.45 * jnp.clip((jnp.sqrt(x * x + y * y + z * z) - 0.7) / 0.3, 0.0, 1.0)
    # Hedges are boxes, without hollows.
    leaf = vectors.scale(leaf, jnp.where(surface.shape[3] > 0, hollow, 1.0) * (1 + 0.45 * fine))
    bark = vectors.scale(surface.colour, 1 + 0.35 * coarse + 0.35 * fine)
    zero = jnp.zeros_like(x)
    return Paint(vectors.where(is_leaves, leaf, bark), zero, zero, jnp.where(is_leaves, 1.0, 0.0))


def _paint_rest(surface: Surface, coarse: Any, fine: Any) -> Paint:
    """People and signs."""
    x, y, z = surface.local
    material, random = surface.material, surface.random
    colour = vectors.scale(surface.colour, 1 + 0.2 * coarse + 0.12 * fine)
    hair = jnp.where((z > 0.35) | ((x < -0.15) & (z > -0.35)), 1.0, 0.0)
    colour = vectors.where(material == primitives.HEAD, vectors.mix(surface.colour, surface.accent, hair), colour)
    radius, limit = jnp.sqrt(x * x + y * y), random < 0.5
    ring = jnp.where(limit, within(radius, 0.72, 1.1, 0.05), within(radius, 0.9, 1.1, 0.05))
    face = vectors.where(limit, (0.72, 0.72, 0.70), (0.03, 0.12, 0.48))
    edge = vectors.where(limit, (0.60, 0.02, 0.03), (0.72, 0.72, 0.70))
    digit = within(jnp.abs(x), -1.0, 0.14, 0.1) * within(jnp.abs(y), -1.0, 0.42, 0.1)
    face = vectors.mix(vectors.mix(face, edge, ring), vectors.where(limit, (0.03, 0.03, 0.03), edge), digit)
    sign = vectors.where(surface.side[2] < 0.5, (0.30, 0.31, 0.32), face)
    colour = vectors.where(material == primitives.SIGN, sign, colour)
    zero = jnp.zeros_like(x)
    return Paint(colour, zero, jnp.where(material == primitives.LAMP, 0.6, 0.0), zero)


def shade(world: StreetWorld, hits: Hits, sunlit: Any, crowded: Any) -> tuple[Vector, Any]:
    """Linear radiance along rays, and the class of what they met.

    Args:
        world: the street.
        hits: what the rays met.
        sunlit: 1 where nothing stands between the point and the sun, else 0.
        crowded: 0 to 1, how much of the sky the actors near a ground point hide.
    """
    light, surface = world.light, hits.surface
    on_ground, on_solid = hits.on_ground, ~hits.on_ground & ~hits.sky
    coarse, fine = _noises(world, hits)
    along = jnp.minimum(hits.blur / jnp.maximum(jnp.abs(hits.view[2]), 0.02), 4.0)

    def turf() -> tuple[Vector, Any]:
        return ground.paint_ground(world.roads, hits.ground, coarse, fine, hits.blur, along, world.urban, light.shift)

    def solid() -> Paint:
        facing = jnp.maximum(jnp.abs(vectors.dot(hits.view, surface.normal)), 0.15)
        return _paint_solids(surface, on_solid, coarse, fine, hits.blur / jnp.sqrt(facing))

    def above() -> Vector:
        return sky.paint_sky(light, hits.view, coarse)

    earth, category = vectors.if_any(on_ground, turf)
    paint = vectors.if_any(on_solid, solid)
    paint = paint.replace(colour=vectors.where(on_ground, earth, paint.colour))
    normal = vectors.where(on_solid, surface.normal, (0.0, 0.0, 1.0))
    bumpy = vectors.scale((coarse, fine, coarse * fine), 0.55 * paint.soft)
    normal = vectors.normalise(vectors.add(normal, bumpy))
    kerb = jnp.where(on_ground & (hits.ground.face > 0), 0.7, 1.0)
    radiance = _lit(world, hits, paint, normal, sunlit, kerb * (1 - crowded))
    radiance = sky.haze(light, radiance, hits.distance)
    radiance = vectors.where(hits.sky, vectors.if_any(hits.sky, above), radiance)
    category = jnp.where(on_ground, category, surface.category.astype(jnp.int32))
    return radiance, jnp.where(hits.sky, primitives.SKY, category)


def _weights(light: sky.Light, view: Vector, normal: Vector, soft: Any, sunlit: Any) -> tuple[Any, ...]:
    """Scalars of lighting: direct light, share of sky, Fresnel reflection, sun's glint; and what a mirror shows."""
    sun = sky.components(light.sun)
    cosine = vectors.dot(normal, sun)
    direct = jnp.maximum(cosine, 0.0) * (1 - 0.35 * soft) + soft * 0.22 * (0.5 + 0.5 * cosine)
    slant = vectors.dot(view, normal)
    reflected = vectors.add(view, vectors.scale(normal, -2 * slant))
    fresnel = 0.05 + 0.95 * (1 - jnp.clip(-slant, 0.0, 1.0)) ** 5
    glint = jnp.maximum(vectors.dot(reflected, sun), 0.0) ** 180 * sunlit * 2.5
    # Below the horizon a mirror shows the street: darker and without colour.
    seen = vectors.mix((0.13, 0.13, 0.125), sky.gradient(light, reflected), vectors.ramp(-0.06, 0.10, reflected[2]))
    return direct * jnp.maximum(sunlit, 0.22 * soft), 0.5 + 0.5 * normal[2], fresnel, glint * (0.15 + fresnel), seen


def _lit(world: StreetWorld, hits: Hits, paint: Paint, normal: Vector, sunlit: Any, open_: Any) -> Vector:
    light, colour = world.light, paint.colour
    sunlight = sky.components(light.sunlight)
    direct, up, fresnel, glint, seen = vectors.if_any(
        ~hits.sky, lambda: _weights(light, hits.view, normal, paint.soft, sunlit)
    )
    dome = vectors.mix(sky.components(light.horizon), sky.components(light.zenith), 0.55)
    bounce = vectors.scale(sunlight, 0.12)
    ambient = vectors.scale(vectors.mix(bounce, vectors.scale(dome, 1.02), up), open_)
    arriving = vectors.add(vectors.scale(sunlight, direct), ambient)
    radiance = (colour[0] * arriving[0], colour[1] * arriving[1], colour[2] * arriving[2])
    shine = vectors.add(vectors.scale(seen, fresnel), vectors.scale(sunlight, glint))
    radiance = vectors.add(radiance, vectors.scale(shine, paint.mirror))
    return vectors.add(radiance, vectors.scale(colour, 2.2 * paint.glow))


def crowding(world: StreetWorld, box_from_world: Any, valid: Any, point: Vector) -> Any:
    """How much of the sky the actors hide from ground points: dark under cars, fading within half a metre.

    Args:
        world: the street.
        box_from_world: (actor, 12, block) rows of each actor's inverse pose.
        valid: (actor, block).
        point: world points (block, ray).
    """

    nothing = jnp.zeros_like(point[0])
    if world.actor_sizes.shape[0] == 0:
        return nothing

    def visit(i: Any, hidden: Any) -> Any:
        local = vectors.transform(box_from_world[i][:, :, None], point, 1.0)
        half = world.actor_sizes[i] / 2
        dx = jnp.maximum(jnp.abs(local[0]) - half[0] + 0.12, 0.0)
        dy = jnp.maximum(jnp.abs(local[1]) - half[1] + 0.12, 0.0)
        near = jnp.exp(-(dx * dx + dy * dy) / (0.14 + 0.06 * half[0])) * world.actor_grounded[i]
        below = jnp.clip(1.2 + local[2] + half[2], 0.0, 1.0) * jnp.where(local[2] < half[2], 1.0, 0.0)
        return jnp.maximum(hidden, near * below * valid[i][:, None])

    hidden = jax.lax.fori_loop(0, world.actor_sizes.shape[0], visit, nothing)
    return 0.8 * hidden


__all__ = ["VEGETATION", "Hits", "Paint", "crowding", "shade"]
