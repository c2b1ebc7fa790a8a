"""From a log to a scene: first Gaussians from LiDAR, gradient descent through the renderer, scores."""

from jaxrecon.reconstruct.checkpoint import CheckpointError
from jaxrecon.reconstruct.corrections import Corrections, correct_views, no_corrections
from jaxrecon.reconstruct.exposure import Exposure, neutral
from jaxrecon.reconstruct.fit import FitReport, FitResult, fit
from jaxrecon.reconstruct.fit_config import FitConfig
from jaxrecon.reconstruct.initialise import InitialiseConfig, initialise
from jaxrecon.reconstruct.loop import CurvePoint
from jaxrecon.reconstruct.losses import LossWeights
from jaxrecon.reconstruct.parameters import LearningRates
from jaxrecon.reconstruct.score import Score, score
from jaxrecon.reconstruct.views import ReconstructionError, Views, collect_views, heldout_frames

__all__ = [
    "CheckpointError",
    "Corrections",
    "CurvePoint",
    "Exposure",
    "FitConfig",
    "FitReport",
    "FitResult",
    "InitialiseConfig",
    "LearningRates",
    "LossWeights",
    "ReconstructionError",
    "Score",
    "Views",
    "collect_views",
    "correct_views",
    "fit",
    "heldout_frames",
    "initialise",
    "neutral",
    "no_corrections",
    "score",
]
