"""From a log to a scene: first Gaussians from LiDAR, gradient descent through the renderer, scores."""

from jaxrecon.reconstruct.certificate import Certificate, certify
from jaxrecon.reconstruct.checkpoint import CheckpointError
from jaxrecon.reconstruct.checks import Finding, check_log, heed
from jaxrecon.reconstruct.confidence import ConfidenceScales, render_confidence, view_confidence
from jaxrecon.reconstruct.confidence_error import (
    ConfidenceCalibration,
    binned_error,
    calibrate_confidence,
    predicted_error,
)
from jaxrecon.reconstruct.corrections import Corrections, correct_views, no_corrections
from jaxrecon.reconstruct.exposure import Exposure, neutral
from jaxrecon.reconstruct.fit import FitReport, FitResult, fit
from jaxrecon.reconstruct.fit_config import FitConfig
from jaxrecon.reconstruct.initialise import InitialiseConfig, initialise
from jaxrecon.reconstruct.loop import CurvePoint
from jaxrecon.reconstruct.losses import LossWeights
from jaxrecon.reconstruct.parameters import LearningRates
from jaxrecon.reconstruct.score import Score, score
from jaxrecon.reconstruct.support import Support, load_support, save_support, view_support
from jaxrecon.reconstruct.survey import CertificateConfig
from jaxrecon.reconstruct.views import ReconstructionError, Views, collect_views, heldout_frames

__all__ = [
    "Certificate",
    "CertificateConfig",
    "CheckpointError",
    "ConfidenceCalibration",
    "ConfidenceScales",
    "Corrections",
    "CurvePoint",
    "Exposure",
    "Finding",
    "FitConfig",
    "FitReport",
    "FitResult",
    "InitialiseConfig",
    "LearningRates",
    "LossWeights",
    "ReconstructionError",
    "Score",
    "Support",
    "Views",
    "binned_error",
    "calibrate_confidence",
    "certify",
    "check_log",
    "collect_views",
    "correct_views",
    "fit",
    "heed",
    "heldout_frames",
    "initialise",
    "load_support",
    "neutral",
    "no_corrections",
    "predicted_error",
    "render_confidence",
    "save_support",
    "score",
    "view_confidence",
    "view_support",
]
