"""A recorded drive on the host: NumPy, float64 poses, uint8 images. Every reader produces this and nothing else.

Frames: world is x forward/east, y left/north, z up, recentred so that coordinates stay small. Ego is x forward,
y left, z up with its origin on the ground below the middle of the rear axle. Camera is x right, y down, z forward.
A box frame has its origin at the box's centre, x along its length.
"""

import dataclasses

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

VEHICLE, PEDESTRIAN, CYCLIST, OTHER = "vehicle", "pedestrian", "cyclist", "other"
CATEGORIES = (VEHICLE, PEDESTRIAN, CYCLIST, OTHER)


@dataclasses.dataclass(frozen=True)
class EgoVehicle:
    """Size of the recording car, in metres; ``rear_overhang`` is from the rear axle back to the bumper."""

    length: float = 4.77
    width: float = 1.83
    height: float = 1.5
    wheelbase: float = 2.765
    rear_overhang: float = 1.0

    @property
    def centre_ahead(self) -> float:
        """How far the box's centre lies ahead of the rear axle."""
        return self.length / 2 - self.rear_overhang


@dataclasses.dataclass(frozen=True)
class CameraStream:
    """One camera's images over the whole log, undistorted.

    Attributes:
        name: unique in its log.
        intrinsics: (fx, fy, cx, cy) in pixels, float64.
        ego_from_camera: rigid 4x4, float64.
        images: sRGB, uint8, one per frame of the log.
    """

    name: str
    intrinsics: Float[np.ndarray, "4"]
    ego_from_camera: Float[np.ndarray, "4 4"]
    images: UInt8[np.ndarray, "frame height width 3"]

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        return self.images.shape[2], self.images.shape[1]


@dataclasses.dataclass(frozen=True)
class CameraMount:
    """Where a camera sat on the recording car, for logs that keep its calibration but not its images.

    Attributes:
        name: unique among the mounts of its log.
        intrinsics: (fx, fy, cx, cy) in pixels, float64, of the undistorted image.
        size: (width, height) in pixels.
        ego_from_camera: rigid 4x4, float64.
    """

    name: str
    intrinsics: Float[np.ndarray, "4"]
    size: tuple[int, int]
    ego_from_camera: Float[np.ndarray, "4 4"]


@dataclasses.dataclass(frozen=True)
class Track:
    """One actor: a box of constant size that moves.

    Attributes:
        identifier: unique in its log.
        category: one of ``CATEGORIES``.
        size: (length, width, height) in metres.
        world_from_box: one rigid pose a frame; the identity where invalid.
        valid: whether the actor was seen in that frame; true somewhere.
    """

    identifier: str
    category: str
    size: Float[np.ndarray, "3"]
    world_from_box: Float[np.ndarray, "frame 4 4"]
    valid: Bool[np.ndarray, " frame"]


LINE_KINDS = (
    "unknown",
    "solid_white",
    "dashed_white",
    "double_white",
    "solid_yellow",
    "dashed_yellow",
    "double_yellow",
)


@dataclasses.dataclass(frozen=True)
class RoadMap:
    """Vector map; every entry is one polyline or polygon of world points (n, 3) resp. (n, 2), float64.

    Attributes:
        lane_centres: polylines in driving direction.
        lane_lines: polylines along painted lines.
        road_edges: polylines where the road ends.
        drivable: polygons of road surface.
        crosswalks: polygons.
        line_kinds: of each of ``lane_lines``, one of ``LINE_KINDS``; empty where the log tells none.
    """

    lane_centres: tuple[np.ndarray, ...] = ()
    lane_lines: tuple[np.ndarray, ...] = ()
    road_edges: tuple[np.ndarray, ...] = ()
    drivable: tuple[np.ndarray, ...] = ()
    crosswalks: tuple[np.ndarray, ...] = ()
    line_kinds: tuple[str, ...] = ()


LIGHT_STATES = ("unknown", "stop", "caution", "go")


@dataclasses.dataclass(frozen=True)
class TrafficLight:
    """A signal that rules one lane.

    Attributes:
        lane: index of the lane's centre line in ``RoadMap.lane_centres``; -1 where the log does not say.
        stop_point: world, metres: where a car that must stop stops.
        state: index into ``LIGHT_STATES`` in every frame.
    """

    lane: int
    stop_point: Float[np.ndarray, "3"]
    state: Int[np.ndarray, " frame"]


@dataclasses.dataclass(frozen=True)
class DrivingLog:
    """A whole recorded drive. All per-frame arrays share the same frames, at a constant rate.

    Attributes:
        name: identifies the recording, for folders and reports.
        timestamps: seconds since the first frame, increasing.
        world_from_ego: rigid pose of the ego a frame.
        cameras: empty for motion-only logs.
        lidar: a point cloud a frame, in the ego frame, float32; empty tuple where there is no LiDAR.
        tracks: the other road users.
        ego: size of the recording car.
        road_map: None where there is none.
        lights: traffic lights, where the log has any.
        mounts: cameras of the recording car of which there are no images.
    """

    name: str
    timestamps: Float[np.ndarray, " frame"]
    world_from_ego: Float[np.ndarray, "frame 4 4"]
    cameras: tuple[CameraStream, ...] = ()
    lidar: tuple[np.ndarray, ...] = ()
    tracks: tuple[Track, ...] = ()
    ego: EgoVehicle = EgoVehicle()
    road_map: RoadMap | None = None
    lights: tuple[TrafficLight, ...] = ()
    mounts: tuple[CameraMount, ...] = ()

    @property
    def frames(self) -> int:
        """How many frames there are."""
        return len(self.timestamps)

    @property
    def seconds_per_frame(self) -> float:
        """Mean time between frames."""
        return float(self.timestamps[-1] - self.timestamps[0]) / max(self.frames - 1, 1)

    def camera(self, name: str) -> CameraStream:
        """The camera of that name.

        Raises:
            KeyError: naming the cameras that there are.
        """
        for stream in self.cameras:
            if stream.name == name:
                return stream
        raise KeyError(f"log {self.name} has no camera {name!r}; it has {[c.name for c in self.cameras]}")

    def world_from_camera(self, camera: CameraStream) -> Float[np.ndarray, "frame 4 4"]:
        """Pose of a camera in every frame."""
        return self.world_from_ego @ camera.ego_from_camera
