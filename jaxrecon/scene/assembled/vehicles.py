"""Cars, vans, trucks and buses of splats, made to the size of a recorded box."""

import dataclasses
import itertools

import numpy as np
from jaxtyping import Float

from jaxrecon.scene.assembled.splats import Splats, flat, join, lit, unit

ABOVE = np.array([0.0, 0.0, 1.0])  # bodies turn, so their light comes from straight up
PAINTS = np.array(
    [
        [0.88, 0.88, 0.87], [0.13, 0.13, 0.14], [0.62, 0.63, 0.65], [0.42, 0.43, 0.45], [0.60, 0.09, 0.09],
        [0.12, 0.20, 0.42], [0.75, 0.73, 0.68], [0.20, 0.27, 0.24], [0.35, 0.13, 0.12], [0.28, 0.38, 0.52],
    ]
)  # fmt: skip
COMMON = np.array([0.24, 0.17, 0.17, 0.14, 0.06, 0.07, 0.05, 0.03, 0.03, 0.04])  # shares of these paints
GLASS, TYRE, RIM = np.array([0.13, 0.16, 0.19]), np.array([0.07, 0.07, 0.075]), np.array([0.60, 0.61, 0.62])
TRIM, HEADLIGHT, REARLIGHT = np.array([0.10, 0.10, 0.11]), np.array([0.95, 0.95, 0.90]), np.array([0.72, 0.06, 0.05])
# Standard deviation of a body's splats as a share of their distance: a pale body shows any gap to its dark inside.
BODY = 0.70
PLATE = np.array([0.85, 0.84, 0.75])


@dataclasses.dataclass(frozen=True)
class Shape:
    """The side view of a kind of vehicle, in shares: x from the rear (-1) to the front (1), z from the road (0) to 1.

    Attributes:
        outline: from the front bumper's lower edge over the roof to the rear bumper's.
        glass: (x of the rear end, x of the front end, lower z, upper z) of the side windows.
        pillars: x of what divides them.
        screens: (from, to) indices of the outline's segments that are glass: the windscreen, and the rear window.
        narrowing: how much slimmer than the box the roof is, as a share.
    """

    outline: tuple[tuple[float, float], ...]
    glass: tuple[float, float, float, float]
    pillars: tuple[float, ...]
    screens: tuple[int, ...]
    narrowing: float


SEDAN = Shape(
    ((0.985, 0.20), (1.0, 0.40), (0.95, 0.53), (0.40, 0.66), (0.10, 0.95), (-0.08, 1.0), (-0.42, 0.96), (-0.74, 0.70),
     (-0.97, 0.65), (-1.0, 0.42), (-0.985, 0.20)),
    (-0.60, 0.32, 0.66, 0.92), (-0.14, -0.45), (3, 6), 0.24,
)  # fmt: skip
HATCH = Shape(
    ((0.985, 0.20), (1.0, 0.40), (0.94, 0.54), (0.46, 0.64), (0.16, 0.94), (-0.10, 1.0), (-0.72, 0.95), (-0.94, 0.62),
     (-1.0, 0.45), (-0.985, 0.20)),
    (-0.78, 0.36, 0.64, 0.91), (-0.10, -0.50), (3, 6), 0.20,
)  # fmt: skip
VAN = Shape(
    ((0.985, 0.17), (1.0, 0.38), (0.93, 0.50), (0.72, 0.56), (0.46, 0.93), (0.30, 1.0), (-0.95, 0.98), (-1.0, 0.55),
     (-1.0, 0.17)),
    (-0.86, 0.56, 0.56, 0.88), (0.10, -0.40), (3, 6), 0.12,
)  # fmt: skip
PICKUP = Shape(
    ((0.985, 0.22), (1.0, 0.45), (0.96, 0.57), (0.46, 0.62), (0.24, 0.95), (0.10, 1.0), (-0.18, 0.98), (-0.26, 0.60),
     (-0.98, 0.58), (-1.0, 0.40), (-0.985, 0.22)),
    (-0.14, 0.36, 0.64, 0.92), (0.08,), (3, 6), 0.18,
)  # fmt: skip
BUS = Shape(
    ((0.99, 0.12), (1.0, 0.36), (0.985, 0.86), (0.96, 0.99), (-0.98, 1.0), (-1.0, 0.9), (-1.0, 0.12)),
    (-0.92, 0.94, 0.46, 0.82), (-0.6, -0.3, 0.0, 0.3, 0.6), (1,), 0.03,
)  # fmt: skip
TRUCK = Shape(
    ((0.99, 0.14), (1.0, 0.34), (0.97, 0.42), (0.86, 0.66), (0.62, 0.72), (0.60, 1.0), (-1.0, 1.0), (-1.0, 0.14)),
    (0.66, 0.86, 0.44, 0.62), (), (2,), 0.02,
)  # fmt: skip


def choose_shape(size: Float[np.ndarray, "3"], random: np.random.Generator) -> Shape:
    """A kind of vehicle that comes in such a size (length, width, height)."""
    length, _, height = size
    if height > 2.6 or length > 7.5:
        return BUS if length > 9.5 and random.random() < 0.7 else TRUCK
    if height > 2.0:
        return VAN
    if length > 5.3 and height > 1.7 and random.random() < 0.6:
        return PICKUP
    if height > 1.62:
        return HATCH
    return SEDAN if random.random() < 0.65 else HATCH


def vehicle(size: Float[np.ndarray, "3"], spacing: float, random: np.random.Generator) -> Splats:
    """A vehicle in its box frame: x forward, y left, z up, origin at the box's centre.

    Args:
        size: (length, width, height), metres.
        spacing: of its splats, metres.
        random: of its kind and colour.
    """
    shape = choose_shape(size, random)
    paint = PAINTS[random.choice(len(PAINTS), p=COMMON / COMMON.sum())] * random.uniform(0.92, 1.06)
    paint = np.clip(PAINTS[0] if shape in (BUS, TRUCK) and random.random() < 0.7 else paint, 0, 1)
    radius = float(np.clip(0.22 * size[2], 0.30, 0.50))
    body = [
        _skin(shape, size, paint, spacing, radius),
        *(_side(shape, size, paint, spacing, radius, y) for y in (1, -1)),
    ]
    return join([*body, _underside(size, spacing), shadow(size)])


def _half_width(shape: Shape, size: np.ndarray, height: np.ndarray) -> Float[np.ndarray, " n"]:
    """Half the body's width at heights given as shares."""
    inward = np.clip((height - 0.55) / 0.45, 0, 1) * shape.narrowing + np.clip((0.35 - height) / 0.35, 0, 1) * 0.05
    return size[1] / 2 * (1 - inward)


def _skin(shape: Shape, size: np.ndarray, paint: np.ndarray, spacing: float, radius: float) -> Splats:
    """Front, bonnet, windscreen, roof and rear: the outline drawn across the width."""
    outline = np.array(shape.outline) * np.array([size[0] / 2, size[2]])
    x, z, segment, step, tangent = _walk(outline, spacing)
    columns = max(5, round(size[1] / spacing))
    lateral = (np.arange(columns) + 0.5) / columns * 2 - 1
    share = np.repeat(z / size[2], columns)
    half = _half_width(shape, size, share)
    y = np.tile(lateral, len(x)) * half
    normal = np.repeat(np.stack([-tangent[:, 1], 0 * x, tangent[:, 0]], axis=-1), columns, axis=0)
    normal *= -1.0
    side = np.abs(np.tile(lateral, len(x)))
    segment, x, z = (np.repeat(values, columns) for values in (segment, x, z))
    # Edges of the body are rounded: light falls off towards them.
    normal = unit(normal + np.stack([0 * y, np.sign(y) * np.maximum(side - 0.8, 0) * 2.5, 0 * y], axis=-1))
    colours = np.tile(paint, (len(x), 1))
    glass = np.isin(segment, shape.screens) & (side < 0.9)
    colours[glass] = GLASS * 1.15
    facing = np.abs(normal[:, 0]) > 0.75
    front, rear = facing & (x > 0), facing & (x < 0)
    colours[front & (share < 0.46) & (side < 0.62)] = TRIM * 1.4
    colours[front & (share > 0.36) & (share < 0.52) & (side > 0.66)] = HEADLIGHT
    colours[rear & (share > 0.42) & (share < 0.64) & (side > 0.68)] = REARLIGHT
    colours[rear & (share > 0.34) & (share < 0.46) & (side < 0.22)] = PLATE
    colours[facing & (share < 0.28)] = TRIM * 1.6
    colours = lit(colours, normal, ABOVE)
    means = np.stack([x, y, z - size[2] / 2], axis=-1)
    across = np.tile(np.array([[0.0, 1, 0]]), (len(x), 1))
    return flat(means, across, normal, (2 * half / columns, np.repeat(step, columns)), colours, overlap=BODY)


def _walk(outline: np.ndarray, spacing: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Points along an outline: x, z, index of the segment, distance between points, unit tangent."""
    parts = []
    for index, (start, end) in enumerate(itertools.pairwise(outline)):
        length = float(np.linalg.norm(end - start))
        count = max(1, round(length / spacing))
        share = (np.arange(count) + 0.5) / count
        points = start + share[:, None] * (end - start)
        tangent = np.tile((end - start) / max(length, 1e-9), (count, 1))
        parts.append((points, np.full(count, index), np.full(count, length / count), tangent))
    points, segment, step, tangent = (np.concatenate(column) for column in zip(*parts, strict=True))
    return points[:, 0], points[:, 1], segment, step, tangent


def _roof(shape: Shape, share: np.ndarray) -> Float[np.ndarray, " n"]:
    """Height of the outline above each x, both as shares."""
    line = np.array(shape.outline)[::-1]
    return np.interp(share, np.maximum.accumulate(line[:, 0]), line[:, 1])


def _side(shape: Shape, size: np.ndarray, paint: np.ndarray, spacing: float, radius: float, hand: int) -> Splats:
    """One flank with its windows and wheels; ``hand`` is 1 on the left, -1 on the right."""
    fine = 0.8 * spacing
    counts = [max(4, round(side / fine)) for side in (size[0], size[2])]
    x, z = (axis.ravel() for axis in np.meshgrid(*(((np.arange(n) + 0.5) / n) for n in counts)))
    step = (size[0] / counts[0], size[2] / counts[1])
    along = 2 * x - 1
    centres = np.array([0.62, -0.60]) if size[0] < 7.5 else np.array([0.70, -0.55])
    hub = np.min(np.hypot((along[:, None] - centres) * size[0] / 2, (z * size[2] - radius)[:, None]), axis=1)
    sill = np.array(shape.outline)[0, 1]
    body = (z < _roof(shape, along)) & (z > sill)
    wheel = hub < radius
    colours = np.tile(paint, (len(x), 1))
    low, high, bottom, top = shape.glass
    slant = np.clip((z - bottom) / max(top - bottom, 1e-6), 0, 1)
    glass = (along > low + 0.10 * slant) & (along < high - 0.22 * slant) & (z > bottom) & (z < top)
    glass &= z < _roof(shape, along) - 0.05
    for pillar in shape.pillars:
        glass &= np.abs(along - pillar) > 0.02
    colours[glass] = GLASS
    colours[~glass & (z < sill + 0.07)] = TRIM * 1.5
    seams = np.min(np.abs(along[:, None] - np.array([*shape.pillars, high])), axis=1) < 0.5 * step[0] / size[0]
    colours[seams & (z > sill + 0.1) & (z < bottom)] *= 0.72
    colours[(hub < 1.16 * radius) & (hub >= radius) & (z < 0.6)] = TRIM
    colours[wheel] = TYRE
    colours[hub < 0.62 * radius] = RIM
    colours[hub < 0.18 * radius] = TRIM
    colours[(along > 0.90) & (z > 0.40) & (z < 0.52) & body] = HEADLIGHT
    colours[(along < -0.92) & (z > 0.46) & (z < 0.64) & body] = REARLIGHT
    kept = body | wheel
    half = _half_width(shape, size, z)
    lean = np.where(z > 0.55, shape.narrowing, -0.05)
    normal = unit(np.stack([0 * x, np.full(len(x), 1.0) * hand, lean], axis=-1))
    means = np.stack([along * size[0] / 2, hand * half, (z - 0.5) * size[2]], axis=-1)[kept]
    shade = lit(colours[kept], normal[kept], ABOVE) * 1.10
    return flat(means, np.array([[1.0, 0, 0]]), normal[kept], step, np.clip(shade, 0, 1), overlap=BODY)


def _underside(size: np.ndarray, spacing: float) -> Splats:
    """A dark floor, so that nobody sees through below."""
    step = 2.5 * spacing
    counts = [max(2, round(0.92 * side / step)) for side in size[:2]]
    grid = np.meshgrid(
        *(((np.arange(n) + 0.5) / n - 0.5) * 0.92 * side for n, side in zip(counts, size[:2], strict=True))
    )
    x, y = (axis.ravel() for axis in grid)
    means = np.stack([x, y, np.full(len(x), 0.20 * size[2] - size[2] / 2)], axis=-1)
    steps = (0.92 * size[0] / counts[0], 0.92 * size[1] / counts[1])
    return flat(means, np.array([[1.0, 0, 0]]), ABOVE, steps, TRIM[None] * 0.6)


def shadow(size: Float[np.ndarray, "3"]) -> Splats:
    """A soft dark patch on the ground below a body."""
    step = max(0.3, float(min(size[:2])) / 4)
    reach = size[:2] / 2 + 0.12
    grid = np.meshgrid(*(np.linspace(-r, r, max(2, round(2 * r / step))) for r in reach))
    x, y = (axis.ravel() for axis in grid)
    means = np.stack([x, y, np.full(len(x), 0.04 - size[2] / 2)], axis=-1)
    return flat(means, np.array([[1.0, 0, 0]]), ABOVE, (step, step), np.full((1, 3), 0.06), 0.55)
