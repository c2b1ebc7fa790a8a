"""Cousins of recorded drives: other ways that the ego could have driven, checked, shown and stored for imitation."""

from jaxrecon.trajectories.checks import CHECKS, CheckLimits
from jaxrecon.trajectories.confidence import confidence_of
from jaxrecon.trajectories.cousins import NAMES, CousinConfig, CousinError, Cousins, Generated
from jaxrecon.trajectories.curves import Curve, smooth_curve
from jaxrecon.trajectories.data_set import (
    CousinData,
    CousinDataError,
    Source,
    StaleCousinsError,
    read_cousins,
    read_plan,
    read_source,
    scene_content,
    write_cousins,
)
from jaxrecon.trajectories.diversity import Gain, Motions, coverage, effective_number, entropy, gain, histograms
from jaxrecon.trajectories.generate import generate
from jaxrecon.trajectories.ranges import FAMILIES, Range
from jaxrecon.trajectories.recorded import Recorded, RecordedConfig, recorded_drive
from jaxrecon.trajectories.showing import cousin_world, show

__all__ = [
    "CHECKS",
    "FAMILIES",
    "NAMES",
    "CheckLimits",
    "CousinConfig",
    "CousinData",
    "CousinDataError",
    "CousinError",
    "Cousins",
    "Curve",
    "Gain",
    "Generated",
    "Motions",
    "Range",
    "Recorded",
    "RecordedConfig",
    "Source",
    "StaleCousinsError",
    "confidence_of",
    "cousin_world",
    "coverage",
    "effective_number",
    "entropy",
    "gain",
    "generate",
    "histograms",
    "read_cousins",
    "read_plan",
    "read_source",
    "recorded_drive",
    "scene_content",
    "show",
    "smooth_curve",
    "write_cousins",
]
