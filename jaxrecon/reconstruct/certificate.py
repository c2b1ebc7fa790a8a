"""A scene's certificate: how well it redraws held-out views, and how far from the recorded path it can be trusted."""

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from jaxrecon.logs.driving_log import DrivingLog
from jaxrecon.reconstruct.confidence import SCALES, ConfidenceScales, view_confidence
from jaxrecon.reconstruct.confidence_error import (
    ConfidenceCalibration,
    ErrorBins,
    binned_error,
    calibrate_confidence,
    colour_error,
    unrelated_error,
)
from jaxrecon.reconstruct.score import Score
from jaxrecon.reconstruct.support import Support
from jaxrecon.reconstruct.survey import CertificateConfig, survey_path
from jaxrecon.reconstruct.views import ReconstructionError, Views
from jaxrecon.render import RenderConfig
from jaxrecon.scene.scene import Scene

Grid = tuple[tuple[float, ...], ...]  # rows by lateral offset


@dataclasses.dataclass(frozen=True)
class HeldOut:
    """Quality of the views that the fit never saw, one entry a view; None where a figure is not defined.

    Attributes:
        frame: of the log.
        psnr: decibels, whole image.
        psnr_static: decibels, outside all boxes.
        psnr_actors: decibels, inside them.
        ssim: structural similarity.
        summary: means over the views in which a figure is defined.
    """

    frame: tuple[int, ...]
    psnr: tuple[float | None, ...]
    psnr_static: tuple[float | None, ...]
    psnr_actors: tuple[float | None, ...]
    ssim: tuple[float | None, ...]
    summary: dict[str, float | None]


@dataclasses.dataclass(frozen=True)
class Certificate:
    """Health of a scene; ``dataclasses.asdict`` of it is JSON.

    Errors are mean absolute differences of colours in [0, 1], predicted by a calibration on the recorded path. Beside
    it they tend to be too small, where geometry is wrong that no recorded view shows to be: on four procedural
    streets the truth was 1.0 to 1.4 times the prediction 3 m and 6 m aside.

    Attributes:
        log: name of the recording.
        frames: of the recording.
        size: (width, height) in pixels at which the scene was fitted.
        gaussians: in use.
        median_views: training views that saw a Gaussian, at the median.
        heldout: quality of held-out views; None where there are none.
        calibration: from confidence to error.
        bins: measured error of held-out views by confidence; None where there are none.
        offsets: rows of the grids, metres to the left.
        yaws_deg: columns of the grids, to the left.
        sample_frames: from which cameras were moved.
        predicted_error: mean over the pixels of all samples.
        unsupported: share of their pixels with a confidence below ``unsupported_below``.
        extrapolated: share of their pixels with a confidence below any that the calibration was fitted to.
        trusted: whether error and unsupported share are within their limits.
        along_path: unsupported share by offset (rows) and sample (columns), without yaw.
        error_limit: of a trusted view.
        unsupported_limit: of a trusted view.
        unsupported_below: confidence below which a pixel counts as unsupported.
        trusted_offset: from the recorded path to either side as far as views stay trusted, metres.
        trusted_yaw_deg: likewise for yaw on the recorded path.
    """

    log: str
    frames: int
    size: tuple[int, int]
    gaussians: int
    median_views: float
    heldout: HeldOut | None
    calibration: ConfidenceCalibration
    bins: ErrorBins | None
    offsets: tuple[float, ...]
    yaws_deg: tuple[float, ...]
    sample_frames: tuple[int, ...]
    predicted_error: Grid
    unsupported: Grid
    extrapolated: Grid
    trusted: tuple[tuple[bool, ...], ...]
    along_path: Grid
    error_limit: float
    unsupported_limit: float
    unsupported_below: float
    trusted_offset: tuple[float, float]
    trusted_yaw_deg: tuple[float, float]


CONFIG = CertificateConfig()
_RENDER = RenderConfig()


def certify(
    scene: Scene,
    log: DrivingLog,
    views: Views,
    heldout: Score | None,
    support: Support,
    calibration: ConfidenceCalibration | None = None,
    config: CertificateConfig = CONFIG,
    scales: ConfidenceScales = SCALES,
    render: RenderConfig = _RENDER,
) -> Certificate:
    """Measure a scene on its held-out views and predict its error beside and askew of the recorded path.

    Args:
        scene: as fitted.
        log: what it was fitted to.
        views: of the fit, with corrected poses.
        heldout: score of the held-out views; None where there are none.
        support: of the same scene by its training views.
        calibration: to use instead of one on the held-out views, say where true lateral views exist.
        config: where to look and what to ask for.
        scales: of the confidence.
        render: the renderer; its room for pairs grows as needed.

    Raises:
        ReconstructionError: if there are neither held-out views nor a calibration.
    """
    bins = None
    if heldout is not None:
        confidence = view_confidence(scene, support, views, heldout.view, scales, render)
        error = colour_error(heldout.rendered, heldout.recorded)
        bins = binned_error(confidence, error)
        if calibration is None:
            calibration = calibrate_confidence(confidence, error, unrelated_error(heldout.recorded))
    if calibration is None:
        raise ReconstructionError(
            f"log {log.name} has no held-out view to calibrate confidence on; give a calibration of another scene"
        )
    frames = np.unique(np.linspace(0, log.frames - 1, min(config.samples, log.frames)).round().astype(int))
    survey = survey_path(scene, log, views, support, calibration, frames, config, scales, render)
    used = np.asarray(scene.gaussians.valid)
    return Certificate(
        log=log.name,
        frames=log.frames,
        size=views.size,
        gaussians=int(used.sum()),
        median_views=float(np.median(np.asarray(support.views)[used])) if used.any() else 0.0,
        heldout=None if heldout is None else _heldout_figures(heldout, views),
        calibration=calibration,
        bins=bins,
        offsets=config.offsets,
        yaws_deg=config.yaws_deg,
        sample_frames=tuple(int(frame) for frame in frames),
        unsupported_below=config.unsupported_below,
        **_region(survey, config),
    )


def _region(survey: Float[np.ndarray, "3 offset yaw sample"], config: CertificateConfig) -> dict[str, Any]:
    """What the figures of all novel views say about where to trust them."""
    error, unsupported, extrapolated = survey.mean(axis=-1)
    row, column = config.offsets.index(0.0), config.yaws_deg.index(0.0)
    limit = config.most_growth * float(error[row, column])
    most_unsupported = config.most_unsupported + float(unsupported[row, column])
    trusted = (error <= limit) & (unsupported <= most_unsupported)
    return {
        "predicted_error": _grid(error),
        "unsupported": _grid(unsupported),
        "extrapolated": _grid(extrapolated),
        "trusted": tuple(tuple(bool(cell) for cell in line) for line in trusted),
        "along_path": _grid(survey[1][:, column]),
        "error_limit": limit,
        "unsupported_limit": most_unsupported,
        "trusted_offset": _reach(trusted[:, column], config.offsets, row),
        "trusted_yaw_deg": _reach(trusted[row], config.yaws_deg, column),
    }


def _reach(trusted: Bool[np.ndarray, " n"], values: tuple[float, ...], start: int) -> tuple[float, float]:
    """Values at the ends of the unbroken run of trusted entries around ``start``, which is one itself."""
    low = high = start
    while low > 0 and trusted[low - 1]:
        low -= 1
    while high < len(values) - 1 and trusted[high + 1]:
        high += 1
    return values[low], values[high]


def _heldout_figures(heldout: Score, views: Views) -> HeldOut:
    def known(values: np.ndarray) -> tuple[float | None, ...]:
        return tuple(float(value) if np.isfinite(value) else None for value in values)

    return HeldOut(
        frame=tuple(int(frame) for frame in np.asarray(views.frame)[heldout.view]),
        psnr=known(heldout.psnr),
        psnr_static=known(heldout.psnr_static),
        psnr_actors=known(heldout.psnr_actors),
        ssim=known(heldout.ssim),
        summary=heldout.summary(),
    )


def _grid(values: Float[np.ndarray, "row column"]) -> Grid:
    return tuple(tuple(float(cell) for cell in line) for line in values)
