"""What a procedural street is made of and how it is recorded."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from jaxrecon.geometry import transforms
from jaxrecon.logs.driving_log import CameraMount

LAYOUTS = ("curve", "junction", "merge", "parked")


def _require(condition: bool, field: str, received: object, expected: str) -> None:
    if not condition:
        raise ValueError(f"{field}: received {received!r}, expected {expected}")


@dataclasses.dataclass(frozen=True)
class CameraConfig:
    """One pinhole camera on the recording car.

    Attributes:
        name: unique in its rig.
        width: pixels.
        height: pixels.
        field_of_view_deg: horizontal; pixels are square.
        position: (x, y, z) in the ego frame, metres.
        yaw_deg: to the left of straight ahead.
        pitch_deg: downwards.
    """

    name: str = "front"
    width: int = 192
    height: int = 128
    field_of_view_deg: float = 75.0
    position: tuple[float, float, float] = (1.2, 0.0, 1.5)
    yaw_deg: float = 0.0
    pitch_deg: float = 2.0

    def __post_init__(self) -> None:
        _require(self.width > 0, "CameraConfig.width", self.width, "a positive number of pixels")
        _require(self.height > 0, "CameraConfig.height", self.height, "a positive number of pixels")
        _require(
            0 < self.field_of_view_deg < 170, "CameraConfig.field_of_view_deg", self.field_of_view_deg, "0 < x < 170"
        )
        _require(len(self.position) == 3, "CameraConfig.position", self.position, "three metres (x, y, z)")

    def intrinsics(self) -> Float[np.ndarray, "4"]:
        """(fx, fy, cx, cy) in pixels."""
        focal = self.width / 2 / math.tan(math.radians(self.field_of_view_deg) / 2)
        return np.array([focal, focal, self.width / 2, self.height / 2])

    def ego_from_camera(self) -> Float[np.ndarray, "4 4"]:
        """Where the camera sits on the car."""
        yaw, pitch = math.radians(self.yaw_deg), math.radians(self.pitch_deg)
        level = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
        nod = np.array(
            [[math.cos(pitch), 0.0, math.sin(pitch)], [0.0, 1.0, 0.0], [-math.sin(pitch), 0.0, math.cos(pitch)]]
        )
        return transforms.rigid(transforms.yaw_to_matrix(np.array(yaw)) @ nod @ level, np.array(self.position))

    def mount(self) -> CameraMount:
        """The camera as a log names it that has no images of it."""
        return CameraMount(self.name, self.intrinsics(), (self.width, self.height), self.ego_from_camera())


@dataclasses.dataclass(frozen=True)
class LidarConfig:
    """A spinning multi-beam LiDAR; ``beams * columns`` rays a frame, at most that many points.

    Attributes:
        beams: rays in one column, evenly spaced from ``lowest_deg`` to ``highest_deg``.
        columns: azimuths a turn; the first azimuth differs from frame to frame.
        lowest_deg: elevation of the lowest beam.
        highest_deg: elevation of the highest beam.
        position: (x, y, z) in the ego frame, metres.
        longest: range limit, metres.
        noise: standard deviation of the range, metres.
    """

    beams: int = 64
    columns: int = 120
    lowest_deg: float = -24.9
    highest_deg: float = 8.0
    position: tuple[float, float, float] = (0.9, 0.0, 1.75)
    longest: float = 80.0
    noise: float = 0.01

    def __post_init__(self) -> None:
        _require(self.beams > 0, "LidarConfig.beams", self.beams, "at least one beam")
        _require(self.columns > 0, "LidarConfig.columns", self.columns, "at least one column")
        _require(
            -90 < self.lowest_deg <= self.highest_deg < 90,
            "LidarConfig.lowest_deg, highest_deg",
            (self.lowest_deg, self.highest_deg),
            "-90 < lowest <= highest < 90",
        )
        _require(self.longest > 0, "LidarConfig.longest", self.longest, "a positive range in metres")
        _require(self.noise >= 0, "LidarConfig.noise", self.noise, "a standard deviation in metres, at least 0")


@dataclasses.dataclass(frozen=True)
class StreetConfig:
    """One procedural street, its traffic and the recording made in it.

    Attributes:
        layout: one of ``LAYOUTS``, or "random" to draw one by seed.
        length: built-up length of the main road, metres.
        seconds: duration of the recording.
        frames_per_second: rate of recording and of the traffic simulation.
        moving: cars that drive, the recording one not counted.
        parked: parked cars asked for; fewer where the kerb is full.
        pedestrians: on the pavements.
        cameras: the rig; may be empty.
        lidar: None for none.
        supersampling: rays a pixel along each axis in recorded images.
    """

    layout: str = "random"
    length: float = 240.0
    seconds: float = 14.0
    frames_per_second: float = 10.0
    moving: int = 5
    parked: int = 14
    pedestrians: int = 6
    cameras: Sequence[CameraConfig] = (CameraConfig(),)
    lidar: LidarConfig | None = LidarConfig()
    supersampling: int = 2

    def __post_init__(self) -> None:
        expected = f"one of {('random', *LAYOUTS)}"
        _require(self.layout in ("random", *LAYOUTS), "StreetConfig.layout", self.layout, expected)
        _require(self.length >= 120, "StreetConfig.length", self.length, "at least 120 m")
        _require(self.frames_per_second > 0, "StreetConfig.frames_per_second", self.frames_per_second, "above 0")
        _require(self.frames >= 1, "StreetConfig.seconds", self.seconds, "at least one frame long")
        for name in ("moving", "parked", "pedestrians"):
            _require(getattr(self, name) >= 0, f"StreetConfig.{name}", getattr(self, name), "a count, at least 0")
        _require(1 <= self.supersampling <= 8, "StreetConfig.supersampling", self.supersampling, "1 to 8")
        object.__setattr__(self, "cameras", tuple(self.cameras))
        names = [camera.name for camera in self.cameras]
        _require(len(set(names)) == len(names), "StreetConfig.cameras", names, "unique names")

    @property
    def frames(self) -> int:
        """Recorded frames."""
        return round(self.seconds * self.frames_per_second)


DEFAULT = StreetConfig()
