"""From a log to a scene: first Gaussians from LiDAR, gradient descent through the renderer, scores."""

from jaxrecon.reconstruct.descent import LearningRates
from jaxrecon.reconstruct.exposure import Exposure, neutral
from jaxrecon.reconstruct.fit import FitConfig, FitReport, FitResult, fit
from jaxrecon.reconstruct.initialise import InitialiseConfig, initialise
from jaxrecon.reconstruct.losses import LossWeights
from jaxrecon.reconstruct.score import Score, score
from jaxrecon.reconstruct.views import ReconstructionError, Views, collect_views, heldout_frames

__all__ = [
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
    "fit",
    "heldout_frames",
    "initialise",
    "neutral",
    "score",
]
