"""Pedestrians, cyclists and small objects of splats, made to the size of a recorded box."""

import numpy as np
from jaxtyping import Float

from jaxrecon.scene.assembled.splats import Splats, blobs, flat, join, lit, rod, unit
from jaxrecon.scene.assembled.vehicles import ABOVE, shadow

SKIN = np.array([[0.86, 0.67, 0.55], [0.62, 0.44, 0.33], [0.42, 0.28, 0.21], [0.78, 0.60, 0.47]])
HAIR = np.array([[0.12, 0.09, 0.07], [0.33, 0.22, 0.13], [0.55, 0.45, 0.32], [0.55, 0.55, 0.55]])
CLOTHES = np.array(
    [
        [0.16, 0.20, 0.30], [0.55, 0.12, 0.12], [0.85, 0.84, 0.80], [0.20, 0.36, 0.28], [0.75, 0.58, 0.20],
        [0.12, 0.12, 0.13], [0.40, 0.45, 0.55], [0.60, 0.40, 0.50],
    ]
)  # fmt: skip
TROUSERS = np.array([[0.13, 0.16, 0.24], [0.10, 0.10, 0.11], [0.38, 0.34, 0.28], [0.28, 0.30, 0.33]])
CONE, BAND, POST = np.array([0.88, 0.38, 0.10]), np.array([0.92, 0.92, 0.90]), np.array([0.35, 0.36, 0.37])
RIDER_HEIGHT = 1.35  # metres; a bicycle that is lower has nobody on it


def pedestrian(size: Float[np.ndarray, "3"], random: np.random.Generator) -> Splats:
    """A walking person in the box frame, facing along x."""
    tall = float(size[2])
    figure = _figure(random, stride=0.16 * tall, lean=0.0)
    means, scales, colours = figure
    return join([_shaded(means * tall - np.array([0, 0, tall / 2]), scales * tall, colours), shadow(size)])


def _figure(random: np.random.Generator, stride: float, lean: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Centres, scales and colours of a person one metre tall whose feet are at the origin."""
    skin, hair, coat, trousers = (set_[random.integers(len(set_))] for set_ in (SKIN, HAIR, CLOTHES, TROUSERS))
    rows: list[tuple[float, float, float, float, float, float, np.ndarray]] = []
    for side, phase in ((1, 1.0), (-1, -1.0)):
        foot = 0.5 * stride * phase
        for share in np.linspace(0, 1, 5):
            rows.append((foot * (1 - share), 0.055 * side, 0.05 + 0.42 * share, 0.034, 0.034, 0.06, trousers))
        rows.append((foot + 0.03, 0.055 * side, 0.02, 0.055, 0.026, 0.016, TROUSERS[1]))
        for share in np.linspace(0, 1, 4):
            swing = -0.45 * stride * phase * share
            rows.append((lean + swing, 0.125 * side, 0.80 - 0.30 * share, 0.026, 0.026, 0.05, coat))
        rows.append((lean - 0.45 * stride * phase, 0.125 * side, 0.46, 0.02, 0.02, 0.025, skin))
    for level, wide in ((0.50, 0.062), (0.57, 0.060), (0.64, 0.062), (0.71, 0.068), (0.78, 0.070)):
        for side in (-1, 1):
            rows.append((lean * (level - 0.5) / 0.3, 0.045 * side, level, 0.042, wide * 0.7, 0.042, coat))
    rows.append((lean, 0.0, 0.85, 0.025, 0.025, 0.03, skin))
    rows.append((lean + 0.012, 0.0, 0.925, 0.037, 0.034, 0.042, skin))
    rows.append((lean - 0.012, 0.0, 0.952, 0.037, 0.037, 0.033, hair))
    table = np.array([row[:6] for row in rows])
    return table[:, :3], table[:, 3:6], np.array([row[6] for row in rows])


def _shaded(means: np.ndarray, scales: np.ndarray, colours: np.ndarray) -> Splats:
    normal = unit(np.column_stack([means[:, :2], np.full(len(means), 0.12)]))
    return blobs(means, scales, np.clip(lit(colours, normal, ABOVE) * 1.12, 0, 1))


def cyclist(size: Float[np.ndarray, "3"], random: np.random.Generator) -> Splats:
    """A bicycle in the box frame, with a rider where the box is high enough for one."""
    length, _, height = (float(side) for side in size)
    ground, radius = -height / 2, min(0.34, 0.19 * length)
    hubs = [np.array([x, 0.0, ground + radius]) for x in (0.5 * length - radius, radius - 0.5 * length)]
    parts = [_wheel(hub, radius) for hub in hubs]
    frame = CLOTHES[random.integers(len(CLOTHES))]
    saddle, bars = np.array([-0.22, 0, ground + 0.92]), np.array([0.38, 0, ground + 0.98])
    crank = np.array([-0.02, 0, ground + radius])
    for start, end in ((hubs[1], saddle), (saddle, bars), (crank, saddle), (crank, bars), (hubs[0], bars)):
        parts.append(rod(start, end, 0.035, 0.18, frame))
    parts.append(rod(bars + np.array([0, 0.25, 0]), bars - np.array([0, 0.25, 0]), 0.03, 0.2, TROUSERS[1]))
    if height > RIDER_HEIGHT:
        means, scales, colours = _figure(random, stride=0.10, lean=0.14)
        # Seated: the legs end at the pedals, the hip on the saddle.
        figure = means * np.array([1.0, 1.0, 0.95]) * height + np.array([-0.18, 0, ground + 0.06 * height])
        parts.append(_shaded(figure, scales * height, colours))
    return join([*parts, shadow(size)])


def _wheel(hub: np.ndarray, radius: float) -> Splats:
    angle = np.linspace(0, 2 * np.pi, 16, endpoint=False)
    rim = np.stack([np.cos(angle), 0 * angle, np.sin(angle)], axis=-1)
    tangent = np.stack([-np.sin(angle), 0 * angle, np.cos(angle)], axis=-1)
    return flat(hub + radius * rim, tangent, rim, (2 * np.pi * radius / 16, 0.06), np.full((1, 3), 0.09))


def thing(size: Float[np.ndarray, "3"], random: np.random.Generator) -> Splats:
    """Something small that is no road user: a traffic cone or a post with bands, or a box."""
    height, radius = float(size[2]), float(min(size[:2])) / 2
    slim = max(size[:2]) < 0.75 * height + 0.3
    rows, around = max(4, round(height / 0.12)), 10
    level, angle = (
        axis.ravel()
        for axis in np.meshgrid((np.arange(rows) + 0.5) / rows, np.linspace(0, 2 * np.pi, around, endpoint=False))
    )
    cone = slim and random.random() < 0.5
    outline = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    half = np.array(size[:2]) / 2 if not slim else np.full(2, min(radius, 0.25))
    taper = (1 - 0.8 * level) if cone else np.ones(len(level))
    means = np.column_stack([outline * half * taper[:, None], (level - 0.5) * height])
    normal = unit(np.column_stack([outline, np.full(len(level), 0.3 if cone else 0.0)]))
    band = (np.abs(level - 0.62) < 0.13) if slim else np.zeros(len(level), bool)
    base = CONE if cone else (POST if slim else CLOTHES[random.integers(len(CLOTHES))] * 0.5 + 0.3)
    colours = lit(np.where(band[:, None], BAND, base), normal, ABOVE)
    tangent = np.column_stack([-outline[:, 1], outline[:, 0], 0 * level])
    sizes = (2 * np.pi * half.mean() * np.maximum(taper, 0.15) / around, height / rows)
    return join([flat(means, tangent, normal, sizes, colours), shadow(size)])
