"""Drives that the reconstruction suite rebuilds, what was made of them, and how that is compared."""

import dataclasses
from typing import Any

import jax
import numpy as np
from lateral_truth import LateralTruth
from reconstruct_presets import Preset, fit_config
from reconstruction_measures import measure, truths_of

from jaxrecon import reconstruct
from jaxrecon.logs import CameraStream, DrivingLog
from jaxrecon.metrics.lpips import LpipsWeights
from jaxrecon.street import Street, generate, record

CURVE_FROM = 10.0  # seconds from which on the curve is compared with the peer's
WITHOUT_LIDAR = {"depth": 0.0, "cover": 0.0}  # loss weights


@dataclasses.dataclass(frozen=True)
class Drive:
    """Something to rebuild.

    Attributes:
        log: the recording.
        camera: the one camera that is learned from.
        config: how it is fitted.
        street: that was recorded, where it is a procedural one.
        beside: whether truth beside the path is looked at.
    """

    log: DrivingLog
    camera: CameraStream
    config: reconstruct.FitConfig
    street: Street | None = None
    beside: bool = True


@dataclasses.dataclass(frozen=True)
class Rebuilt:
    """A drive and what was made of it.

    Attributes:
        drive: what was rebuilt.
        result: of the fit.
        truths: beside the path.
        figures: as ``measure`` gives them.
    """

    drive: Drive
    result: reconstruct.FitResult
    truths: list[LateralTruth]
    figures: dict[str, Any]


def rebuild(drive: Drive, seed: int, weights: LpipsWeights | None) -> Rebuilt:
    """Fit a drive and measure it.

    Raises:
        KeyboardInterrupt: the fit was stopped: its figures would say nothing.
    """
    result = reconstruct.fit(drive.log, drive.config, jax.random.key(seed), camera=drive.camera.name)
    if result.report.interrupted:
        raise KeyboardInterrupt
    truths = truths_of(drive.log, drive.camera, drive.street, result.views) if drive.beside else []
    figures = measure(result, drive.log, drive.camera, drive.config.render, truths, weights)
    return Rebuilt(drive, result, truths, figures)


def record_street(preset: Preset, seed: int) -> Drive:
    """A procedural street's recording."""
    world = generate(preset.street, seed)
    log = record(world)
    return Drive(log, log.cameras[0], fit_config(preset, log, 1, recorded=False), world)


def without(part: str, drive: Drive) -> Drive:
    """The drive as it is rebuilt without a part of the model."""
    config = drive.config
    if part == "actors":
        return dataclasses.replace(drive, log=dataclasses.replace(drive.log, tracks=()))
    if part == "lidar":
        weights = dataclasses.replace(config.weights, **WITHOUT_LIDAR)
        return dataclasses.replace(drive, config=dataclasses.replace(config, weights=weights))
    return dataclasses.replace(drive, config=dataclasses.replace(config, **{part: False}))


def least_margin(ours: list[list[float]], theirs: list[list[float]], since: float = CURVE_FROM) -> float | None:
    """Least lead of a curve of [seconds, PSNR] over another at the other's points from then on; None without any."""
    seconds, values = np.array(ours).T
    # Before the first and after the last point a curve is not known: it counts as flat.
    leads = [np.interp(at, seconds, values) - value for at, value in theirs if at >= since]
    return float(min(leads)) if leads else None


def brief(figures: dict[str, Any]) -> dict[str, Any]:
    """What stands beside every figure of a fit."""
    names = ("train_psnr", "seconds", "seconds_initial", "seconds_compile", "steps", "gaussians")
    return {**figures["heldout"], **{name: figures[name] for name in names}}


def curve(figures: dict[str, Any]) -> list[list[float]]:
    """[seconds, PSNR] on the way and at the end."""
    return [[point["seconds"], point["psnr"]] for point in figures["curve"]]


def difference(one: float | None, other: float | None) -> float | None:
    """One less the other, None where either is not known."""
    return None if one is None or other is None else one - other
