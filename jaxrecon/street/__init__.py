"""The procedural street: an independent world with its own ray caster, which records drives."""

from jaxrecon.street.config import CameraConfig, LidarConfig, StreetConfig
from jaxrecon.street.draw import DrawConfig, Drawing, draw
from jaxrecon.street.lidar import cast
from jaxrecon.street.primitives import CLASS_NAMES
from jaxrecon.street.record import record
from jaxrecon.street.street import Street, generate, ground_truth
from jaxrecon.street.world import StreetWorld

__all__ = [
    "CLASS_NAMES",
    "CameraConfig",
    "DrawConfig",
    "Drawing",
    "LidarConfig",
    "Street",
    "StreetConfig",
    "StreetWorld",
    "cast",
    "draw",
    "generate",
    "ground_truth",
    "record",
]
