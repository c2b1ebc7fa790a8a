"""The three solids everything on a street is made of, and where a ray enters them.

All are convex and live in a unit frame, so one affine map a solid places them:

- box: ``0 <= z <= 1`` with a cross-section that is the unit square at z = 0 and tapers linearly, so houses, gables,
  bonnets and cabins are boxes. ``shape = (taper x, shift x, taper y, shift y)`` of the top.
- quadric: ``x^2 + y^2 + q z^2 + 2 m z <= c`` between ``|z| <= 1``: ellipsoid, cylinder or cone.
  ``shape = (q, m, c, 0)``.
- crown: a unit ball whose outer shell is pierced by a leaf pattern. ``shape = (frequency, offset, threshold, core)``.
"""

import dataclasses
from typing import Any

import flax.struct
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from jaxrecon.street import noise
from jaxrecon.street.vectors import Vector

Array = Any

BOX, QUADRIC, CROWN = range(3)
INFINITY = 1e9
NEAREST = 1e-3  # metres: a ray that starts on a surface does not hit it

ELLIPSOID = (1.0, 0.0, 1.0, 0.0)
CYLINDER = (0.0, 0.0, 1.0, 0.0)
PLAIN_BOX = (0.0, 0.0, 0.0, 0.0)

SKY, ROAD, PAVEMENT, GRASS, BUILDING, VEGETATION, OBJECT, VEHICLE, PEDESTRIAN = range(9)
CLASS_NAMES = ("sky", "road", "pavement", "grass", "building", "vegetation", "object", "vehicle", "pedestrian")

PLAIN, FACADE, ROOF, CAR_BODY, CAR_CABIN, WHEEL, BARK, LEAVES, CLOTH, HEAD, SIGN, LAMP = range(12)


def cone(shrink: float) -> tuple[float, float, float, float]:
    """Shape of a cone that has unit radius at z = -1 and radius ``1 - 2 * shrink`` at z = 1."""
    return -shrink * shrink, shrink * (1 - shrink), (1 - shrink) ** 2, 0.0


@flax.struct.dataclass
class Primitives:
    """Solids of one kind, fixed in the world (actor -1) or in an actor's box frame.

    Attributes:
        local_from_parent: (n, 3, 4) into the unit frame.
        parent_from_local: (n, 3, 4) back.
        shape: (n, 4) see the module.
        size: (n, 3) metres a unit along each local axis.
        offset: (n, 3) the unit frame's origin in the parent frame, for textures.
        colour: (n, 3) linear RGB.
        accent: (n, 3) second colour.
        traits: (n, 3) material, class and a random number in [0, 1).
        actor: (n,) which actor carries it, or -1.
        valid: (n,) whether the slot is in use.
    """

    local_from_parent: Float[Array, "n 3 4"]
    parent_from_local: Float[Array, "n 3 4"]
    shape: Float[Array, "n 4"]
    size: Float[Array, "n 3"]
    offset: Float[Array, "n 3"]
    colour: Float[Array, "n 3"]
    accent: Float[Array, "n 3"]
    traits: Float[Array, "n 3"]
    actor: Int[Array, " n"]
    valid: Bool[Array, " n"]


@dataclasses.dataclass(frozen=True)
class Part:
    """One solid on the host.

    Attributes:
        kind: BOX, QUADRIC or CROWN.
        centre: origin of the unit frame in the parent frame: a box's bottom centre, else the middle.
        size: metres a unit along the local axes: half lengths, but a box's whole height.
        material: how it is painted.
        category: its class number.
        colour: linear RGB.
        accent: second colour.
        shape: see the module.
        rotation: parent-from-local 3x3.
        random: in [0, 1), varies the texture.
    """

    kind: int
    centre: tuple[float, float, float]
    size: tuple[float, float, float]
    material: int
    category: int
    colour: tuple[float, float, float]
    accent: tuple[float, float, float] = (0.0, 0.0, 0.0)
    shape: tuple[float, float, float, float] = PLAIN_BOX
    rotation: np.ndarray = dataclasses.field(default_factory=lambda: np.eye(3))
    random: float = 0.5

    def __post_init__(self) -> None:
        if self.kind == BOX and (
            abs(self.shape[1]) > self.shape[0] + 1e-9 or abs(self.shape[3]) > self.shape[2] + 1e-9
        ):
            raise ValueError(f"Part.shape: received {self.shape}, expected a top inside its bottom (|shift| <= taper)")


def stack(parts: list[tuple[Part, int]], kind: int, multiple: int = 64) -> Primitives:
    """The parts of one kind as arrays, padded to a multiple of ``multiple`` slots so that streets share compilations.

    Args:
        parts: solids, each with the actor that carries it or -1.
        kind: which kind to pick.
        multiple: capacities are multiples of it.
    """
    chosen = [(part, actor) for part, actor in parts if part.kind == kind]
    count = max(1, -(-len(chosen) // multiple)) * multiple
    filler = (Part(kind, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), PLAIN, SKY, (0.0, 0.0, 0.0)), -1)
    rows = chosen + [filler] * (count - len(chosen))
    forward, backward = np.zeros((count, 3, 4)), np.zeros((count, 3, 4))
    for i, (part, _) in enumerate(rows):
        size, centre = np.array(part.size), np.array(part.centre)
        backward[i] = np.concatenate([part.rotation * size, centre[:, None]], 1)
        inverse = part.rotation.T / size[:, None]
        forward[i] = np.concatenate([inverse, -(inverse @ centre)[:, None]], 1)

    def field(values: list) -> Any:
        return jnp.asarray(np.array(values, dtype=np.float32))

    return Primitives(
        local_from_parent=field(list(forward)),
        parent_from_local=field(list(backward)),
        shape=field([p.shape for p, _ in rows]),
        size=field([p.size for p, _ in rows]),
        offset=field([p.centre for p, _ in rows]),
        colour=field([p.colour for p, _ in rows]),
        accent=field([p.accent for p, _ in rows]),
        traits=field([(p.material, p.category, p.random) for p, _ in rows]),
        actor=jnp.asarray(np.array([a for _, a in rows], dtype=np.int32)),
        valid=jnp.asarray(np.arange(count) < len(chosen)),
    )


def _interval(level: Any, slope: Any, enter: Any, leave: Any) -> tuple[Any, Any]:
    """Cut a ray's interval by the half-space ``level + t * slope <= 0``."""
    slope = jnp.where(jnp.abs(slope) < 1e-9, 1e-9, slope)
    t = -level / slope
    return jnp.where(slope < 0, jnp.maximum(enter, t), enter), jnp.where(slope > 0, jnp.minimum(leave, t), leave)


def box_faces(point: Vector, shape: Any, weight: float) -> list[Any]:
    """Signed levels of a box's six faces (-x, +x, -y, +y, bottom, top), at most 0 inside.

    ``weight`` is 1 for points and 0 for directions.
    """
    x, y, z = point
    taper_x, shift_x, taper_y, shift_y = shape
    return [
        -x + (taper_x + shift_x) * z - weight,
        x + (taper_x - shift_x) * z - weight,
        -y + (taper_y + shift_y) * z - weight,
        y + (taper_y - shift_y) * z - weight,
        -z,
        z - weight,
    ]


def box_span(origin: Vector, direction: Vector, shape: Any) -> tuple[Any, Any]:
    """Ray parameters between which a ray is inside a tapered box; empty where the first exceeds the second."""
    enter, leave = jnp.asarray(-INFINITY), jnp.asarray(INFINITY)
    for level, slope in zip(box_faces(origin, shape, 1.0), box_faces(direction, shape, 0.0), strict=True):
        enter, leave = _interval(level, slope, enter, leave)
    return enter, leave


def quadric_span(origin: Vector, direction: Vector, shape: Any) -> tuple[Any, Any]:
    """Ray parameters between which a ray is inside a capped quadric."""
    q, m, c, _ = shape
    ox, oy, oz = origin
    dx, dy, dz = direction
    a = dx * dx + dy * dy + q * dz * dz
    a = jnp.where(jnp.abs(a) < 1e-9, 1e-9, a)
    b = ox * dx + oy * dy + (q * oz + m) * dz
    level = ox * ox + oy * oy + (q * oz + 2 * m) * oz - c
    under = b * b - a * level
    root = jnp.sqrt(jnp.maximum(under, 0.0))
    first, second = (-b - root) / a, (-b + root) / a
    met, steep = under > 0, a < 0
    enter = jnp.where(met, first, INFINITY)
    leave = jnp.where(met, second, -INFINITY)
    # A ray steeper than a cone's side crosses it once (its apex lies above the cap) or, inside, never.
    enter = jnp.where(steep, jnp.where(met & (dz < 0), first, -INFINITY), enter)
    leave = jnp.where(steep, jnp.where(met & (dz > 0), second, INFINITY), leave)
    enter, leave = _interval(oz - 1, dz, enter, leave)
    return _interval(-oz - 1, -dz, enter, leave)


def entry(kind: int, origin: Vector, direction: Vector, shape: Any) -> Any:
    """Ray parameter at which a ray that starts outside enters a solid; ``INFINITY`` where it does not."""
    if kind == CROWN:
        return _crown_entry(origin, direction, shape)
    enter, leave = (box_span if kind == BOX else quadric_span)(origin, direction, shape)
    return jnp.where((enter < leave) & (enter > NEAREST), enter, INFINITY)


def _crown_entry(origin: Vector, direction: Vector, shape: Any) -> Any:
    frequency, shift, threshold, core = shape
    a = direction[0] ** 2 + direction[1] ** 2 + direction[2] ** 2
    b = origin[0] * direction[0] + origin[1] * direction[1] + origin[2] * direction[2]
    c = origin[0] ** 2 + origin[1] ** 2 + origin[2] ** 2
    best = jnp.asarray(INFINITY)
    # Shells from the inside out: a ray passes the pierced ones and stops at the core at the latest.
    for radius, cut in ((core, None), (0.5 + 0.5 * core, 0.35 * threshold), (1.0, threshold)):
        under = b * b - a * (c - radius * radius)
        t = (-b - jnp.sqrt(jnp.maximum(under, 0.0))) / a
        solid = (under > 0) & (t > NEAREST)
        if cut is not None:
            point = tuple((o + t * d) * frequency + shift for o, d in zip(origin, direction, strict=True))
            solid = solid & (noise.leaves(point) > cut)
        best = jnp.where(solid, t, best)
    return best
