"""Shapes of trees, houses and street furniture, as parts in the world."""

import numpy as np

from jaxrecon.geometry.transforms import yaw_to_matrix
from jaxrecon.street import primitives
from jaxrecon.street.primitives import BOX, BUILDING, CROWN, CYLINDER, OBJECT, PLAIN, QUADRIC, VEGETATION, Part, cone

Colour = tuple[float, float, float]
GREY: Colour = (0.17, 0.175, 0.18)
WALL_COLOURS: tuple[Colour, ...] = (
    (0.42, 0.20, 0.13), (0.52, 0.43, 0.31), (0.58, 0.55, 0.48), (0.36, 0.16, 0.11), (0.50, 0.36, 0.20),
    (0.45, 0.47, 0.46), (0.55, 0.34, 0.24), (0.62, 0.58, 0.42), (0.33, 0.37, 0.40), (0.57, 0.45, 0.40),
)  # fmt: skip
DOOR_COLOURS: tuple[Colour, ...] = (
    (0.03, 0.07, 0.14), (0.20, 0.02, 0.02), (0.03, 0.10, 0.06), (0.12, 0.07, 0.03), (0.03, 0.03, 0.03),
    (0.28, 0.18, 0.04),
)  # fmt: skip
ROOF_COLOURS: tuple[Colour, ...] = ((0.28, 0.10, 0.06), (0.12, 0.12, 0.13), (0.20, 0.09, 0.06), (0.16, 0.13, 0.11))
LEAF_COLOURS: tuple[tuple[Colour, Colour], ...] = (
    ((0.030, 0.075, 0.014), (0.10, 0.19, 0.04)),
    ((0.045, 0.085, 0.015), (0.17, 0.22, 0.05)),
    ((0.022, 0.060, 0.020), (0.07, 0.15, 0.045)),
    ((0.080, 0.085, 0.015), (0.26, 0.22, 0.06)),
)


def tree(x: float, y: float, ground: float, generator: np.random.Generator) -> list[Part]:
    """A broad-leaved tree."""
    height = float(generator.uniform(4.6, 8.2))
    radius = float(generator.uniform(0.25, 0.36)) * height
    dark, light = LEAF_COLOURS[generator.choice(len(LEAF_COLOURS), p=[0.4, 0.3, 0.22, 0.08])]
    bare = 0.36 * height
    trunk = 0.028 * height
    parts = [
        Part(
            QUADRIC, (x, y, ground + 0.36 * height), (trunk, trunk, 0.36 * height), primitives.BARK, VEGETATION,
            (0.13, 0.10, 0.075), shape=cone(0.22), random=float(generator.random()),
        )
    ]  # fmt: skip
    for i in range(5):
        angle = 2 * np.pi * (i / 4 + generator.uniform(-0.08, 0.08))
        off = 0.0 if i == 4 else 0.46 * radius
        size = radius * float(generator.uniform(0.62, 0.80)) * (1.12 if i == 4 else 1.0)
        tall = size * float(generator.uniform(0.85, 1.05))
        up = bare + 0.72 * radius + float(generator.uniform(-0.16, 0.16)) * radius + (0.75 * radius if i == 4 else 0.0)
        centre = (x + off * float(np.cos(angle)), y + off * float(np.sin(angle)), ground + up)
        parts.append(_crown(centre, (size, size, tall), dark, light, generator))
    return parts


def _crown(centre: tuple, size: tuple, dark: Colour, light: Colour, generator: np.random.Generator) -> Part:
    # The leaf pattern's cells are about 0.55 m, whatever the crown's size.
    shape = (size[0] / 0.55, float(generator.uniform(0, 50)), 0.70, 0.85)
    return Part(
        CROWN, centre, size, primitives.LEAVES, VEGETATION, dark, light, shape=shape, random=float(generator.random())
    )


def bush(x: float, y: float, ground: float, generator: np.random.Generator) -> list[Part]:
    """A low shrub."""
    dark, light = LEAF_COLOURS[generator.integers(3)]
    radius = float(generator.uniform(0.45, 0.95))
    return [_crown((x, y, ground + 0.55 * radius), (radius, radius, 0.85 * radius), dark, light, generator)]


def hedge(x: float, y: float, yaw: float, half_length: float, ground: float, generator: np.random.Generator) -> Part:
    """A clipped hedge."""
    dark, light = LEAF_COLOURS[generator.integers(3)]
    size = (half_length, 0.32, float(generator.uniform(0.8, 1.3)))
    return Part(
        BOX, (x, y, ground), size, primitives.LEAVES, VEGETATION, dark, light, shape=(0.01, 0.0, 0.12, 0.0),
        rotation=yaw_to_matrix(np.array(yaw)), random=float(generator.random()),
    )  # fmt: skip


def house(
    x: float,
    y: float,
    yaw: float,
    half: tuple[float, float],
    storeys: int,
    gabled: bool,
    generator: np.random.Generator,
) -> list[Part]:
    """A building whose x axis runs along the street."""
    base = np.array(WALL_COLOURS[generator.integers(len(WALL_COLOURS))])
    red, green, blue = np.clip(base * generator.uniform(0.85, 1.15, 3), 0, 0.7)
    colour: Colour = (float(red), float(green), float(blue))
    accent = DOOR_COLOURS[generator.integers(len(DOOR_COLOURS))]
    random, rotation = float(generator.random()), yaw_to_matrix(np.array(yaw))
    height = 3.6 + 3.15 * (storeys - 1) + float(generator.uniform(0.3, 0.8))
    walls = Part(
        BOX, (x, y, 0.0), (half[0], half[1], height), primitives.FACADE, BUILDING, colour, accent,
        rotation=rotation, random=random,
    )  # fmt: skip
    if gabled:
        rise = float(generator.uniform(0.42, 0.62)) * half[1]
        tiles = ROOF_COLOURS[generator.integers(len(ROOF_COLOURS))]
        top = Part(
            BOX, (x, y, height), (half[0] + 0.05, half[1] + 0.3, rise), primitives.ROOF, BUILDING, tiles, colour,
            shape=(0.0, 0.0, 0.99, 0.0), rotation=rotation, random=random,
        )  # fmt: skip
        chimney_at = rotation @ np.array([half[0] * float(generator.uniform(-0.7, 0.7)), half[1] * 0.3, 0.0])
        chimney = Part(
            BOX, (x + float(chimney_at[0]), y + float(chimney_at[1]), height), (0.4, 0.35, rise + 0.5), PLAIN, BUILDING,
            (0.28, 0.14, 0.10), rotation=rotation, random=random,
        )  # fmt: skip
        return [walls, top, chimney]
    room_at = rotation @ np.array([half[0] * float(generator.uniform(-0.5, 0.5)), 0.0, 0.0])
    room = Part(
        BOX, (x + float(room_at[0]), y + float(room_at[1]), height), (half[0] * 0.22, half[1] * 0.4, 2.0), PLAIN,
        BUILDING, (0.33, 0.33, 0.32), rotation=rotation, random=random,
    )  # fmt: skip
    ledge = Part(
        BOX, (x, y, height - 0.12), (half[0] + 0.14, half[1] + 0.14, 0.3), PLAIN, BUILDING, (0.50, 0.48, 0.45),
        rotation=rotation, random=random,
    )  # fmt: skip
    return [walls, ledge, room]


def lamp_post(x: float, y: float, toward_road: float, ground: float) -> list[Part]:
    """A street lamp whose arm points along the heading ``toward_road``."""
    rotation = yaw_to_matrix(np.array(toward_road))
    reach = rotation @ np.array([0.75, 0.0, 0.0])
    end = rotation @ np.array([1.45, 0.0, 0.0])
    return [
        Part(QUADRIC, (x, y, ground + 3.1), (0.085, 0.085, 3.1), PLAIN, OBJECT, GREY, shape=cone(0.22)),
        Part(
            BOX, (x + float(reach[0]), y + float(reach[1]), ground + 6.1), (0.8, 0.035, 0.07), PLAIN, OBJECT, GREY,
            rotation=rotation,
        ),
        Part(
            BOX, (x + float(end[0]), y + float(end[1]), ground + 6.03), (0.32, 0.12, 0.10), PLAIN, OBJECT,
            (0.30, 0.31, 0.32), shape=(0.25, 0.0, 0.3, 0.0), rotation=rotation,
        ),
    ]  # fmt: skip


def road_sign(x: float, y: float, facing: float, ground: float, random: float) -> list[Part]:
    """A round sign on a pole that faces along the heading ``facing``."""
    turn = yaw_to_matrix(np.array(facing)) @ np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    ahead = turn @ np.array([0.0, 0.0, 0.06])
    return [
        Part(QUADRIC, (x, y, ground + 1.35), (0.035, 0.035, 1.35), PLAIN, OBJECT, GREY, shape=CYLINDER),
        Part(
            QUADRIC, (x + float(ahead[0]), y + float(ahead[1]), ground + 2.42), (0.33, 0.33, 0.015), primitives.SIGN,
            OBJECT, (0.7, 0.7, 0.7), shape=CYLINDER, rotation=turn, random=random,
        ),
    ]  # fmt: skip


def bin_(x: float, y: float, yaw: float, ground: float, generator: np.random.Generator) -> Part:
    """A litter bin or a cable box."""
    colour = ((0.05, 0.09, 0.06), (0.16, 0.17, 0.17), (0.10, 0.10, 0.11))[generator.integers(3)]
    size = (float(generator.uniform(0.22, 0.4)), 0.22, float(generator.uniform(0.8, 1.2)))
    return Part(
        BOX,
        (x, y, ground),
        size,
        PLAIN,
        OBJECT,
        colour,
        shape=(0.08, 0.0, 0.08, 0.0),
        rotation=yaw_to_matrix(np.array(yaw)),
    )
