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
from jaxrecon.metrics.image import psnr, ssim

__all__ = [
    "EVENTS",
    "METRICS",
    "Interval",
    "Measure",
    "Trace",
    "paired_difference",
    "per_clip",
    "psnr",
    "ssim",
    "summarise",
]
