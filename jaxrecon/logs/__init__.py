"""Recorded drives: what they hold, and readers and writers of them."""

from jaxrecon.logs.argoverse2 import read_argoverse2
from jaxrecon.logs.driving_log import (
    CATEGORIES,
    CYCLIST,
    LIGHT_STATES,
    LINE_KINDS,
    OTHER,
    PEDESTRIAN,
    VEHICLE,
    CameraMount,
    CameraStream,
    DrivingLog,
    EgoVehicle,
    RoadMap,
    Track,
    TrafficLight,
)
from jaxrecon.logs.errors import LogError
from jaxrecon.logs.kitti import read_kitti
from jaxrecon.logs.native import read_native, write_log
from jaxrecon.logs.read import read_log
from jaxrecon.logs.splits import Split, read_split
from jaxrecon.logs.validate import validate
from jaxrecon.logs.waymo import read_waymo

__all__ = [
    "CATEGORIES",
    "CYCLIST",
    "LIGHT_STATES",
    "LINE_KINDS",
    "OTHER",
    "PEDESTRIAN",
    "VEHICLE",
    "CameraMount",
    "CameraStream",
    "DrivingLog",
    "EgoVehicle",
    "LogError",
    "RoadMap",
    "Split",
    "Track",
    "TrafficLight",
    "read_argoverse2",
    "read_kitti",
    "read_log",
    "read_native",
    "read_split",
    "read_waymo",
    "validate",
    "write_log",
]
