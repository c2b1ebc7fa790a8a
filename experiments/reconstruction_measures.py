"""What is measured of a fit: held-out views, views beside the path whose truth is known, confidence, and its cost."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from fitted_drawing import FittedDrawing
from image_quality import perceptual
from jaxtyping import Float
from lateral_truth import SHIFTS, LateralTruth, draw_beside, lateral_quality, second_cameras, shifted_path

from jaxrecon import reconstruct
from jaxrecon.logs import CameraStream, DrivingLog
from jaxrecon.metrics.lpips import LpipsWeights
from jaxrecon.reconstruct import FitResult, Views
from jaxrecon.render import RenderConfig
from jaxrecon.street import Street

HELDOUT = ("psnr", "psnr_static", "psnr_actors", "ssim", "lpips")


@dataclasses.dataclass(frozen=True)
class Trust:
    """What recorded views say of a scene.

    Attributes:
        support: of each Gaussian by the training views.
        confidence: in each pixel of the held-out views.
        certificate: how far from the path the scene can be trusted.
    """

    support: reconstruct.Support
    confidence: Float[np.ndarray, "view height width"]
    certificate: reconstruct.Certificate


def truths_of(log: DrivingLog, camera: CameraStream, street: Street | None, views: Views) -> list[LateralTruth]:
    """Everything that is known of what can be seen from beside the path.

    Args:
        log: the recording.
        camera: the one camera that was fitted.
        street: that was recorded, where it was a procedural one.
        views: what was fitted.
    """
    truths = second_cameras(log, camera, views.size)
    if street is not None:
        pinhole = np.asarray(views.intrinsics[0])
        shifted = [shifted_path(street, log, camera, pinhole, views.size, metres) for metres in SHIFTS]
        truths += [truth for truth in shifted if truth is not None]
    return truths


def measure(
    result: FitResult,
    log: DrivingLog,
    camera: CameraStream,
    render: RenderConfig,
    truths: Sequence[LateralTruth],
    weights: LpipsWeights | None,
) -> dict[str, Any]:
    """Figures of a fit, as JSON can hold them.

    Args:
        result: of the fit.
        log: that it was fitted to.
        camera: the first or only camera that it was fitted to.
        render: the renderer.
        truths: beside the path.
        weights: of LPIPS; None leaves it out (null).
    """
    report, drawing = result.report, FittedDrawing(result, log, camera, render)
    return {
        "heldout": heldout_quality(result, weights),
        "lateral": {truth.name: lateral_quality(draw_beside(drawing, truth), truth, weights) for truth in truths},
        "train_psnr": report.train_psnr,
        "seconds": report.seconds,
        "seconds_initial": report.seconds_initial,
        "seconds_compile": report.seconds_compile,
        "gaussians": report.gaussians,
        "steps": report.steps,
        "interrupted": report.interrupted,
        "curve": curve_of(result),
    }


def heldout_quality(result: FitResult, weights: LpipsWeights | None) -> dict[str, float | None]:
    """Means over held-out views, null where nothing is held out or a figure is not defined in any."""
    if result.heldout is None:
        return dict.fromkeys(HELDOUT)
    seen = result.heldout
    return {**seen.summary(), "lpips": perceptual(seen.rendered, seen.recorded, weights)}


def curve_of(result: FitResult) -> list[dict[str, Any]]:
    """Held-out quality on the way and at the end."""
    points = [dataclasses.asdict(point) for point in result.curve]
    report = result.report
    if report.heldout_psnr is not None:
        last = {"seconds": report.seconds, "step": report.steps}
        points.append({**last, "psnr": report.heldout_psnr, "ssim": report.heldout_ssim})
    return points


def certify_fit(
    result: FitResult, log: DrivingLog, render: RenderConfig, config: reconstruct.CertificateConfig
) -> Trust | None:
    """How far from its path a scene can be trusted.

    Returns:
        None where nothing is held out: there is then nothing to calibrate confidence on.
    """
    if result.heldout is None:
        return None
    scene, views = result.scene, result.views
    support = reconstruct.view_support(scene, views, np.flatnonzero(~views.heldout), result.exposure, render)
    confidence = reconstruct.view_confidence(scene, support, views, result.heldout.view, config=render)
    certificate = reconstruct.certify(scene, log, views, result.heldout, support, config=config, render=render)
    return Trust(support, confidence, certificate)
