"""Recorded drives: what they hold, and readers and writers of them."""

from jaxrecon.logs.driving_log import (
    CATEGORIES,
    CYCLIST,
    OTHER,
    PEDESTRIAN,
    VEHICLE,
    CameraStream,
    DrivingLog,
    EgoVehicle,
    RoadMap,
    Track,
)
from jaxrecon.logs.errors import LogError
from jaxrecon.logs.kitti import read_kitti
from jaxrecon.logs.native import read_native, write_log
from jaxrecon.logs.read import read_log
from jaxrecon.logs.validate import validate

__all__ = [
    "CATEGORIES",
    "CYCLIST",
    "OTHER",
    "PEDESTRIAN",
    "VEHICLE",
    "CameraStream",
    "DrivingLog",
    "EgoVehicle",
    "LogError",
    "RoadMap",
    "Track",
    "read_kitti",
    "read_log",
    "read_native",
    "validate",
    "write_log",
]
