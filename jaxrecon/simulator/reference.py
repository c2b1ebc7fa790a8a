"""The recorded drive as a reference: the expert's path and route, its motion in time, and the road under it."""

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from scipy.signal import savgol_filter

from jaxrecon.dynamics import VehicleState
from jaxrecon.geometry.polylines import Polyline, Projection, locate, polyline, project
from jaxrecon.geometry.transforms import rigid, wrap_angle, yaw_of
from jaxrecon.logs.driving_log import DrivingLog

BEFORE, AFTER = 50.0, 200.0  # metres by which the path runs on straight before the first and after the last pose
SMALLEST_STEP = 0.05  # metres; recorded poses nearer to the one before add no vertex to the path
WINDOW = 10.0  # metres along the path within which the nearest point may move in one step
SLOW = 0.6  # m/s below which a path's curvature says nothing about the steering


@flax.struct.dataclass
class Reference:
    """What the recorded driver did.

    The path runs through the recorded rear-axle positions and goes on straight beyond both ends. Vertex fields belong
    to the path's slots; frame fields to the log's frames.

    Attributes:
        path: seen from above.
        vertex_position: (vertex, 3) world, metres.
        vertex_normal: (vertex, 3) upward unit normal of the road.
        vertex_heading: (vertex,) of the car, radians, unwrapped along the path.
        recorded: the nearest points of the path to the recorded positions, (frame,).
        motion: recorded position, yaw, speed, acceleration and steering, each (frame, ...).
        yaw_rate: (frame,) rad/s.
    """

    path: Polyline
    vertex_position: Float[Array, "vertex 3"]
    vertex_normal: Float[Array, "vertex 3"]
    vertex_heading: Float[Array, " vertex"]
    recorded: Projection
    motion: VehicleState
    yaw_rate: Float[Array, " frame"]

    @property
    def route(self) -> Float[Array, " frame"]:
        """Arc length of the path at each frame, metres."""
        return self.recorded.arc

    @property
    def frames(self) -> int:
        """How many recorded poses there are."""
        return self.recorded.arc.shape[0]

    def recorded_projection(self, frame: Int[Array, "*b"]) -> Projection:
        """Nearest point of the path to the recorded position at a log frame."""
        return jax.tree.map(lambda values: values[frame], self.recorded)

    def nearest(self, position: Float[Array, "*b 2"], route: Float[Array, "*b"]) -> Projection:
        """Nearest point of the path to a rear axle, within ``WINDOW`` of where it was on the path before."""
        return project(self.path, position, near=route, window=WINDOW)

    def heading(self, segment: Int[Array, "*b"], fraction: Float[Array, "*b"]) -> Float[Array, "*b"]:
        """The expert's heading (radians, unwrapped) at a place on the path."""
        return _between(self.vertex_heading, segment, fraction)

    def at_route(self, route: Float[Array, "*b"]) -> tuple[Float[Array, "*b 2"], Float[Array, "*b"]]:
        """Point (metres) and the expert's heading (radians, unwrapped) at an arc length (metres) of the path."""
        segment, fraction = locate(self.path, route)
        return _between(self.vertex_position, segment, fraction)[..., :2], self.heading(segment, fraction)

    def motion_at(self, frame: Int[Array, "*b"]) -> VehicleState:
        """The recorded car at a log frame."""
        return jax.tree.map(lambda values: values[frame], self.motion)

    def position_after(self, frame: Int[Array, "*b"], frames: float) -> Float[Array, "*b 2"]:
        """Recorded rear axle some (fractional) frames after a frame, metres; held at the log's end."""
        whole = int(np.floor(frames))
        first = jnp.minimum(frame + whole, self.frames - 1)
        second = jnp.minimum(first + 1, self.frames - 1)
        share = frames - whole
        return self.motion.position[first] * (1 - share) + self.motion.position[second] * share

    def road_pose(self, vehicle: VehicleState, projection: Projection) -> Float[Array, "*b 4 4"]:
        """Pose of a car that stands on the road plane at its nearest point of the path, with its planar state."""
        point = _between(self.vertex_position, projection.segment, projection.fraction)
        normal = _between(self.vertex_normal, projection.segment, projection.fraction)
        normal = normal / jnp.linalg.norm(normal, axis=-1, keepdims=True)
        slope = -normal[..., :2] / normal[..., 2:]
        rise = jnp.sum(slope * (vehicle.position - point[..., :2]), axis=-1)
        position = jnp.concatenate([vehicle.position, (point[..., 2] + rise)[..., None]], axis=-1)
        direction = jnp.stack([jnp.cos(vehicle.yaw), jnp.sin(vehicle.yaw)], axis=-1)
        climb = jnp.sum(slope * direction, axis=-1, keepdims=True)
        forward = jnp.concatenate([direction, climb], axis=-1) / jnp.sqrt(1 + climb**2)
        left = jnp.cross(normal, forward)
        return rigid(jnp.stack([forward, left, normal], axis=-1), position)


def build_reference(log: DrivingLog, dt: float) -> Reference:
    """The reference of a log whose frames are ``dt`` seconds apart.

    Speeds and turn rates come from local cubic fits over seven frames (Savitzky-Golay), for recorded poses carry noise
    that differences over one frame would blow up.
    """
    poses = log.world_from_ego
    yaw = np.unwrap(yaw_of(poses[:, :3, :3]))
    vertex_frame = _vertices(poses[:, :2, 3])
    ends = poses[[0, -1]].copy()
    ends[0, :3, 3] -= BEFORE * ends[0, :3, 0]
    ends[1, :3, 3] = poses[vertex_frame[-1], :3, 3] + AFTER * ends[1, :3, 0]
    chain = np.concatenate([ends[:1], poses[vertex_frame], ends[1:]])
    headings = np.concatenate([yaw[:1], yaw[vertex_frame], yaw[-1:]])
    count, slots = len(chain), log.frames + 2
    repeat = np.minimum(np.arange(slots), count - 1)
    path = jax.jit(polyline)(jnp.asarray(chain[repeat, :2, 3], jnp.float32), count)
    frame_vertex = 1 + np.searchsorted(vertex_frame, np.arange(log.frames), side="right") - 1
    motion, yaw_rate = _motion(poses, yaw, dt, log.ego.wheelbase)
    near = path.arc[jnp.asarray(frame_vertex)]
    return Reference(
        path=path,
        vertex_position=jnp.asarray(chain[repeat, :3, 3], jnp.float32),
        vertex_normal=jnp.asarray(chain[repeat, :3, 2], jnp.float32),
        vertex_heading=jnp.asarray(headings[repeat], jnp.float32),
        recorded=jax.jit(project, static_argnames="window")(path, motion.position, near=near, window=SMALLEST_STEP),
        motion=motion,
        yaw_rate=jnp.asarray(yaw_rate, jnp.float32),
    )


def _vertices(position: np.ndarray) -> np.ndarray:
    """Frames whose positions become vertices of the path."""
    kept = [0]
    for frame in range(1, len(position)):
        if np.linalg.norm(position[frame] - position[kept[-1]]) >= SMALLEST_STEP:
            kept.append(frame)
    return np.array(kept)


def _motion(poses: np.ndarray, yaw: np.ndarray, dt: float, wheelbase: float) -> tuple[VehicleState, np.ndarray]:
    velocity = _rate(poses[:, :2, 3], dt)
    speed = np.maximum(np.sum(velocity * np.stack([np.cos(yaw), np.sin(yaw)], axis=-1), axis=-1), 0.0)
    yaw_rate = _rate(yaw, dt)
    moving = speed > SLOW
    steering = np.where(moving, np.arctan(wheelbase * yaw_rate / np.where(moving, speed, 1.0)), 0.0)
    motion = VehicleState(
        position=jnp.asarray(poses[:, :2, 3], jnp.float32),
        yaw=jnp.asarray(wrap_angle(yaw), jnp.float32),
        speed=jnp.asarray(speed, jnp.float32),
        acceleration=jnp.asarray(_rate(speed, dt), jnp.float32),
        steering=jnp.asarray(steering, jnp.float32),
    )
    return motion, yaw_rate


def _rate(values: np.ndarray, dt: float) -> np.ndarray:
    """Rate of change along the first axis."""
    window = min(7, len(values) - 1 + len(values) % 2)
    return (
        savgol_filter(values, window, min(3, window - 1), deriv=1, delta=dt, axis=0, mode="interp")
        if window > 2
        else (np.gradient(values, dt, axis=0))
    )


def _between(values: Array, segment: Array, fraction: Array) -> Array:
    share = fraction if values.ndim == 1 else fraction[..., None]
    return values[segment] * (1 - share) + values[segment + 1] * share
