"""What a drive and an image are worth, as pure functions."""

from jaxrecon.metrics.closed_loop import (
    EVENTS,
    METRICS,
    Interval,
    Measure,
    Trace,
    paired_difference,
    per_clip,
    summarise,
)
from jaxrecon.metrics.comfort import COMFORT, Motion, discomfort, motion_of
from jaxrecon.metrics.image import psnr, ssim
from jaxrecon.metrics.neighbour_metrics import navsim, neighbours, nuplan, waymax
from jaxrecon.metrics.surroundings import Surroundings

__all__ = [
    "COMFORT",
    "EVENTS",
    "METRICS",
    "Interval",
    "Measure",
    "Motion",
    "Surroundings",
    "Trace",
    "discomfort",
    "motion_of",
    "navsim",
    "neighbours",
    "nuplan",
    "paired_difference",
    "per_clip",
    "psnr",
    "ssim",
    "summarise",
    "waymax",
]
