"""Shapes of cars and people, as parts in their box frames."""

import dataclasses

import numpy as np
from jaxtyping import Float

from jaxrecon.street import primitives
from jaxrecon.street.primitives import BOX, CYLINDER, ELLIPSOID, PEDESTRIAN, PLAIN, QUADRIC, VEHICLE, Part, cone
from jaxrecon.street.vehicle import AXLE, WHEEL_RADIUS

Colour = tuple[float, float, float]

CAR_COLOURS: tuple[Colour, ...] = (
    (0.62, 0.62, 0.61), (0.02, 0.021, 0.023), (0.20, 0.21, 0.22), (0.42, 0.43, 0.44), (0.30, 0.015, 0.018),
    (0.02, 0.06, 0.22), (0.06, 0.09, 0.13), (0.03, 0.10, 0.06), (0.55, 0.50, 0.40), (0.35, 0.10, 0.02),
)  # fmt: skip
CLOTH_COLOURS: tuple[Colour, ...] = (
    (0.35, 0.04, 0.05), (0.03, 0.08, 0.28), (0.45, 0.42, 0.36), (0.03, 0.03, 0.035), (0.10, 0.16, 0.09),
    (0.42, 0.26, 0.04), (0.18, 0.19, 0.21), (0.06, 0.22, 0.26),
)  # fmt: skip
SKIN_COLOURS: tuple[Colour, ...] = ((0.50, 0.31, 0.22), (0.32, 0.18, 0.11), (0.14, 0.075, 0.045), (0.58, 0.38, 0.29))
HAIR_COLOURS: tuple[Colour, ...] = ((0.02, 0.015, 0.01), (0.07, 0.04, 0.02), (0.20, 0.13, 0.06), (0.25, 0.24, 0.23))


@dataclasses.dataclass(frozen=True)
class CarStyle:
    """Proportions of a car: (length, width, height), and of its cabin as shares of the half length.

    Attributes:
        size: metres.
        waist: height of the windows' lower edge, metres.
        bonnet: height of the bonnet's edge, metres.
        rear: where the cabin begins, from -1 at the back.
        front: where it ends, to 1 at the front.
        rake_rear: how far the rear window leans, as a share of the half length.
        rake_front: how far the windscreen leans.
    """

    size: tuple[float, float, float]
    waist: float
    bonnet: float
    rear: float
    front: float
    rake_rear: float
    rake_front: float


CAR_STYLES = (
    CarStyle((4.6, 1.80, 1.46), 0.92, 0.80, -0.78, 0.42, 0.26, 0.34),
    CarStyle((4.1, 1.76, 1.50), 0.95, 0.84, -0.97, 0.46, 0.10, 0.34),
    CarStyle((4.5, 1.84, 1.68), 1.05, 0.95, -0.97, 0.44, 0.12, 0.28),
    CarStyle((4.9, 1.92, 1.98), 1.12, 1.00, -0.985, 0.72, 0.03, 0.30),
    CarStyle((4.3, 1.78, 1.48), 0.94, 0.82, -0.96, 0.42, 0.20, 0.34),
)


def car(style: CarStyle, colour: Colour, random: float) -> list[Part]:
    """A car in its box frame."""
    length, width, height = (v / 2 for v in style.size)
    accent = (height, length, width)

    def body(low: float, high: float, half_length: float, half_width: float, shape: tuple, middle: float = 0.0) -> Part:
        size, centre = (half_length, half_width, high - low), (middle, 0.0, low - height)
        return Part(BOX, centre, size, primitives.CAR_BODY, VEHICLE, colour, accent, shape=shape, random=random)

    lower = body(0.20, 0.60, length, 0.972 * width, (0.012, 0.0, 0.01, 0.0))
    upper = body(0.60, style.bonnet, 0.988 * length, 0.965 * width, (0.05, 0.0, 0.06, 0.0))
    from_x, to_x = style.rear * length, style.front * length
    shoulder_front = to_x + 0.06 * length
    half = (shoulder_front + 0.975 * length) / 2
    shoulder = body(
        style.bonnet, style.waist, half, 0.91 * width, (0.09, -0.05, 0.03, 0.0), middle=shoulder_front - half
    )
    half = (to_x - from_x) / 2
    back, front = style.rake_rear * length / half, style.rake_front * length / half
    cabin = Part(
        BOX,
        ((from_x + to_x) / 2, 0.0, style.waist - height),
        (half, 0.88 * width, 2 * height - style.waist),
        primitives.CAR_CABIN,
        VEHICLE,
        colour,
        accent,
        shape=((back + front) / 2, (back - front) / 2, 0.20, 0.0),
        random=random,
    )
    across = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])
    wheels = [
        Part(
            QUADRIC,
            (end * AXLE * length, 0.0, WHEEL_RADIUS - height),
            (WHEEL_RADIUS, WHEEL_RADIUS, 0.995 * width),
            primitives.WHEEL,
            VEHICLE,
            (0.03, 0.03, 0.03),
            shape=CYLINDER,
            rotation=across,
        )
        for end in (-1.0, 1.0)
    ]
    return [lower, upper, shoulder, cabin, *wheels]


def _limb(start: Float[np.ndarray, "3"], finish: Float[np.ndarray, "3"], radius: float, **paint) -> Part:
    """A tapered limb from ``start`` (thick) to ``finish``."""
    axis = finish - start
    half = float(np.linalg.norm(axis)) / 2
    z = axis / (2 * half)
    x = np.cross([0.0, 1.0, 0.0], z)
    x = x / np.linalg.norm(x)
    rotation = np.stack([x, np.cross(z, x), z], 1)
    centre = tuple(float(v) for v in (start + finish) / 2)
    return Part(QUADRIC, centre, (radius, radius, half), shape=cone(0.16), rotation=rotation, **paint)  # type: ignore[arg-type]


def pedestrian(height: float, generator: np.random.Generator) -> tuple[list[Part], tuple[float, float, float]]:
    """A walking person in the box frame, and the box's size."""
    half = height / 2
    stride, sway = 0.20 * height / 1.7, 0.09

    def pick(colours: tuple) -> Colour:
        return colours[generator.integers(len(colours))]

    coat, trousers, skin, hair = pick(CLOTH_COLOURS), pick(CLOTH_COLOURS[3:]), pick(SKIN_COLOURS), pick(HAIR_COLOURS)
    random = float(generator.random())
    cloth = {"material": primitives.CLOTH, "category": PEDESTRIAN, "random": random}

    def at(x: float, y: float, z: float) -> np.ndarray:
        return np.array([x, y, z * height - half])

    parts = []
    for side in (-1.0, 1.0):
        hip, foot = at(0.0, side * sway, 0.53), at(side * stride, side * sway, 0.045)
        parts.append(_limb(hip, foot, 0.095, colour=trousers, **cloth))
        shoe = foot + np.array([0.05, 0.0, -0.02])
        centre = (float(shoe[0]), float(shoe[1]), float(shoe[2]))
        parts.append(
            Part(QUADRIC, centre, (0.13, 0.055, 0.05), PLAIN, PEDESTRIAN, (0.03, 0.028, 0.027), shape=ELLIPSOID)
        )
        shoulder, hand = at(0.0, side * 0.21, 0.80), at(-side * 0.17, side * 0.25, 0.47)
        parts.append(_limb(shoulder, hand, 0.058, colour=coat, **cloth))
    torso = at(0.0, 0.0, 0.66)
    centre = (float(torso[0]), float(torso[1]), float(torso[2]))
    parts.append(
        Part(QUADRIC, centre, (0.145, 0.235, 0.205 * height), colour=coat, shape=ELLIPSOID, **cloth)  # type: ignore[arg-type]
    )
    head = at(0.02, 0.0, 0.928)
    centre = (float(head[0]), float(head[1]), float(head[2]))
    size = (0.105, 0.088, 0.072 * height)
    parts.append(Part(QUADRIC, centre, size, primitives.HEAD, PEDESTRIAN, skin, hair, shape=ELLIPSOID))
    return parts, (2 * (stride + 0.19), 0.64, height)
