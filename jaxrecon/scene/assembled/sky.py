"""A bright sky with haze, thin clouds and a line of trees far away; the ground's colour below the horizon."""

import numpy as np
from jaxtyping import Float

from jaxrecon.scene.assembled.noise import value_noise
from jaxrecon.scene.assembled.splats import SUN

ROWS, COLUMNS = 361, 720
ZENITH, HORIZON, CLOUD = np.array([0.30, 0.52, 0.83]), np.array([0.80, 0.87, 0.93]), np.array([0.95, 0.95, 0.96])
TREES, HILLS, GROUND = np.array([0.35, 0.42, 0.35]), np.array([0.60, 0.67, 0.70]), np.array([0.40, 0.41, 0.38])


def paint_sky(random: np.random.Generator) -> Float[np.ndarray, "row column 3"]:
    """The panorama that scenes hold: rows from the zenith to the nadir, columns by azimuth from -pi to pi."""
    elevation = np.linspace(np.pi / 2, -np.pi / 2, ROWS)[:, None]
    azimuth = ((np.arange(COLUMNS) + 0.5) / COLUMNS * 2 * np.pi - np.pi)[None]
    up = np.broadcast_to(np.sin(elevation), (ROWS, COLUMNS))[..., None]
    colour = HORIZON + (ZENITH - HORIZON) * (1 - np.exp(-3.2 * np.maximum(up, 0)))
    flat = np.stack(np.broadcast_arrays(np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth)), -1)
    layer = (flat / (np.maximum(up, 0) + 0.15)).reshape(-1, 2) + random.uniform(0, 50, 2)
    seed = int(random.integers(2**31))
    fields = [value_noise(layer, cell, seed + i) / 2**i for i, cell in enumerate((1.1, 0.5, 0.22))]
    cover = np.clip((np.sum(fields, axis=0) - 0.95) * 1.6, 0, 0.8).reshape(ROWS, COLUMNS, 1) * np.clip(up * 5, 0, 1)
    colour = colour * (1 - cover) + CLOUD * cover
    facing = np.maximum(flat @ SUN[:2] + up[..., 0] * SUN[2], 0)[..., None]
    colour = colour + np.array([0.25, 0.23, 0.18]) * facing**24
    ring = np.stack([np.cos(azimuth[0]), np.sin(azimuth[0])], axis=-1)
    hills = 0.012 + 0.035 * value_noise(ring * 4 + 20, 1.0, seed + 5)
    trees = 0.006 + 0.016 * value_noise(ring * 6 + 40, 1.0, seed + 6) + 0.010 * value_noise(ring * 60, 1.0, seed + 7)
    colour = np.where(elevation[..., None] < hills[None, :, None], HILLS, colour)
    colour = np.where(elevation[..., None] < trees[None, :, None], TREES, colour)
    colour = np.where(elevation[..., None] < 0, GROUND, colour)
    return np.clip(colour, 0, 1).astype(np.float32)
