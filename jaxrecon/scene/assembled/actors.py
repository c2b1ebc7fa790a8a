"""Actors of an assembled world: from a bank where one fits, else made of splats to the size of their boxes."""

import hashlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from jaxrecon.geometry.transforms import quaternion_to_matrix
from jaxrecon.logs.driving_log import CYCLIST, PEDESTRIAN, VEHICLE, DrivingLog, Track
from jaxrecon.scene.assembled.config import AssembleConfig
from jaxrecon.scene.assembled.people import cyclist, pedestrian, thing
from jaxrecon.scene.assembled.splats import Splats
from jaxrecon.scene.assembled.vehicles import vehicle
from jaxrecon.scene.assets import Asset
from jaxrecon.scene.gaussians import SH_C0

# An asset may be stretched by this factor along each side to fit a box.
STRETCH = 1.25
# Distance of an actor from the ego's path at which its splats are twice as large, metres.
COARSER = 25.0
APART = 3.0  # seconds by which a driven ego may be earlier or later than the recorded one
COARSEST = 3.0  # times the finest spacing


def actor_splats(log: DrivingLog, config: AssembleConfig, bank: Sequence[Asset], seed: int) -> list[Splats]:
    """One set for each track of the log, in its order, in its box frame.

    Args:
        log: with the tracks.
        config: how fine.
        bank: assets of vehicles to choose from.
        seed: of all choices; a track keeps its looks whatever other tracks there are.
    """
    return [_actor(track, log, config, bank, seed) for track in log.tracks]


def _actor(track: Track, log: DrivingLog, config: AssembleConfig, bank: Sequence[Asset], seed: int) -> Splats:
    own = int.from_bytes(hashlib.sha256(f"{seed} {track.identifier}".encode()).digest()[:8], "little")
    random = np.random.default_rng(own)
    fitting = [asset for asset in bank if asset.category == track.category and _fits(asset, track.size)]
    if fitting:
        return stretched(fitting[random.integers(len(fitting))], track.size)
    if track.category == PEDESTRIAN:
        return pedestrian(track.size, random)
    if track.category == CYCLIST:
        return cyclist(track.size, random)
    if track.category != VEHICLE:
        return thing(track.size, random)
    distance = closest(track, log)
    spacing = config.body_spacing * float(np.clip(1 + distance / COARSER, 1.0, COARSEST))
    return vehicle(track.size, spacing, random)


def closest(track: Track, log: DrivingLog) -> float:
    """Distance at which a track passes the ego's path within a few seconds of the ego, metres."""
    frames = np.arange(log.frames)
    near = np.abs(log.timestamps[:, None] - log.timestamps[frames[track.valid]]) <= APART
    offset = log.world_from_ego[:, None, :2, 3] - track.world_from_box[track.valid][:, :2, 3]
    return float(np.linalg.norm(offset, axis=-1)[near].min())


def _fits(asset: Asset, size: Float[np.ndarray, "3"]) -> bool:
    ratio = size / np.asarray(asset.size, np.float64)
    return bool((ratio < STRETCH).all() and (ratio > 1 / STRETCH).all())


def stretched(asset: Asset, size: Float[np.ndarray, "3"]) -> Splats:
    """An asset made to the size of a box, in its mean colours.

    Centres are stretched along each side of the box; splats grow by the mean of the three factors, which differ little.
    """
    used = np.asarray(asset.gaussians.valid)
    ratio = size / np.asarray(asset.size, np.float64)
    arrays = {
        name: np.asarray(getattr(asset.gaussians, name), np.float64)[used]
        for name in ("means", "quaternions", "log_scales", "opacity_logits", "sh")
    }
    opacities = 1 / (1 + np.exp(-arrays["opacity_logits"]))
    return Splats(
        means=arrays["means"] * ratio,
        axes=quaternion_to_matrix(arrays["quaternions"]),
        scales=np.exp(arrays["log_scales"]) * np.prod(ratio) ** (1 / 3),
        colours=np.clip(0.5 + SH_C0 * arrays["sh"][:, 0], 0, 1),
        opacities=np.clip(opacities, 1e-6, 1 - 1e-6),
    )
