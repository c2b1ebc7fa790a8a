"""The recorded drive as a reference: the expert's path and route, its motion in time, and the road under it."""

from collections.abc import Sequence

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from scipy.signal import savgol_filter

from jaxrecon.dynamics import VehicleState
from jaxrecon.geometry.padding import pad_axis
from jaxrecon.geometry.polylines import Projection, polyline
from jaxrecon.geometry.transforms import wrap_angle, yaw_of
from jaxrecon.logs.driving_log import DrivingLog
from jaxrecon.simulator.paths import SPACING, Paths, as_paths, join_paths

BEFORE, AFTER = 50.0, 200.0  # metres by which the path runs on straight before the first and after the last pose
SLOW = 0.6  # m/s below which a path's curvature says nothing about the steering


@flax.struct.dataclass
class Reference:
    """What the recorded drivers of one or several scenes did.

    A scene's path runs through its recorded rear-axle positions, thinned out to ``paths.SPACING``, and goes on
    straight beyond both ends. Vertex fields belong to the path's slots; frame fields to the log's frames. Scenes are
    padded to the most vertices and frames of any by repeating the last.

    Attributes:
        paths: seen from above.
        vertex_position: (scene, vertex, 3) world, metres.
        vertex_normal: (scene, vertex, 3) upward unit normal of the road.
        vertex_heading: (scene, vertex) of the car, radians, unwrapped along the path.
        recorded: the nearest points of the path to the recorded positions, (scene, frame).
        motion: recorded position, yaw, speed, acceleration and steering, each (scene, frame, ...).
        yaw_rate: (scene, frame) rad/s.
        frames: (scene,) int32, recorded poses.
    """

    paths: Paths
    vertex_position: Float[Array, "scene vertex 3"]
    vertex_normal: Float[Array, "scene vertex 3"]
    vertex_heading: Float[Array, "scene vertex"]
    recorded: Projection
    motion: VehicleState
    yaw_rate: Float[Array, "scene frame"]
    frames: Int[Array, " scene"]

    @property
    def route(self) -> Float[Array, "scene frame"]:
        """Arc length of the path at each frame, metres."""
        return self.recorded.arc

    def recorded_projection(self, scene: Int[Array, "*b"], frame: Int[Array, "*b"]) -> Projection:
        """Nearest point of the path to the recorded position at a log frame."""
        return jax.tree.map(lambda values: values[scene, frame], self.recorded)

    def nearest(self, scene: Int[Array, "*b"], position: Float[Array, "*b 2"], route: Float[Array, "*b"]) -> Projection:
        """Nearest point of the path to a rear axle, near where it was on the path before."""
        return self.paths.nearest(scene, position, route)

    def heading(
        self, scene: Int[Array, "*b"], segment: Int[Array, "*b"], fraction: Float[Array, "*b"]
    ) -> Float[Array, "*b"]:
        """The expert's heading (radians, unwrapped) at a place on the path."""
        return _between(self.vertex_heading, scene, segment, fraction)

    def at_route(
        self, scene: Int[Array, "*b"], route: Float[Array, "*b"]
    ) -> tuple[Float[Array, "*b 2"], Float[Array, "*b"]]:
        """Point (metres) and the expert's heading (radians, unwrapped) at an arc length (metres) of the path."""
        place = self.paths.locate(scene, route)
        return _between(self.paths.points, scene, *place), self.heading(scene, *place)

    def motion_at(self, scene: Int[Array, "*b"], frame: Int[Array, "*b"]) -> VehicleState:
        """The recorded car at a log frame."""
        return jax.tree.map(lambda values: values[scene, frame], self.motion)

    def position_after(self, scene: Int[Array, "*b"], frame: Int[Array, "*b"], frames: float) -> Float[Array, "*b 2"]:
        """Recorded rear axle some (fractional) frames after a frame, metres; held at the log's end."""
        whole, last = int(np.floor(frames)), self.frames[scene] - 1
        first = jnp.minimum(frame + whole, last)
        second = jnp.minimum(first + 1, last)
        share = frames - whole
        return self.motion.position[scene, first] * (1 - share) + self.motion.position[scene, second] * share

    def road_plane(
        self, scene: Int[Array, "*b"], position: Float[Array, "*b 2"], projection: Projection
    ) -> tuple[Float[Array, "*b"], Float[Array, "*b 2"]]:
        """Height (metres) under a position of the road plane at its nearest point of the path, and that plane's slope.

        The slope is the rise in metres a metre along world x and y.
        """
        point = _between(self.vertex_position, scene, projection.segment, projection.fraction)
        normal = _between(self.vertex_normal, scene, projection.segment, projection.fraction)
        slope = -normal[..., :2] / normal[..., 2:]
        return point[..., 2] + jnp.sum(slope * (position - point[..., :2]), axis=-1), slope


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
    paths, near = as_paths(path), path.arc[jnp.asarray(frame_vertex)]
    recorded = jax.jit(Paths.nearest)(paths, jnp.zeros(log.frames, jnp.int32), motion.position, near)
    return Reference(
        paths=paths,
        vertex_position=jnp.asarray(chain[repeat, :3, 3][None], jnp.float32),
        vertex_normal=jnp.asarray(chain[repeat, :3, 2][None], jnp.float32),
        vertex_heading=jnp.asarray(headings[repeat][None], jnp.float32),
        recorded=jax.tree.map(lambda values: values[None], recorded),
        motion=jax.tree.map(lambda values: values[None], motion),
        yaw_rate=jnp.asarray(yaw_rate[None], jnp.float32),
        frames=jnp.asarray([log.frames], jnp.int32),
    )


def join_references(references: Sequence[Reference]) -> Reference:
    """Several scenes' drives, padded to the longest."""
    frames = max(one.yaw_rate.shape[1] for one in references)
    vertices = max(one.vertex_heading.shape[1] for one in references)

    def join(leaves: Sequence[Array], to: int) -> Array:
        return jnp.concatenate([pad_axis(leaf, 1, to, "edge") for leaf in leaves])

    def framewise(*leaves: Array) -> Array:
        return join(leaves, frames)

    return Reference(
        paths=join_paths([one.paths for one in references]),
        vertex_position=join([one.vertex_position for one in references], vertices),
        vertex_normal=join([one.vertex_normal for one in references], vertices),
        vertex_heading=join([one.vertex_heading for one in references], vertices),
        recorded=jax.tree.map(framewise, *(one.recorded for one in references)),
        motion=jax.tree.map(framewise, *(one.motion for one in references)),
        yaw_rate=join([one.yaw_rate for one in references], frames),
        frames=jnp.concatenate([one.frames for one in references]),
    )


def _vertices(position: np.ndarray) -> np.ndarray:
    """Frames whose positions become vertices of the path."""
    kept = [0]
    for frame in range(1, len(position)):
        if np.linalg.norm(position[frame] - position[kept[-1]]) >= SPACING:
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


def _between(values: Array, scene: Array, segment: Array, fraction: Array) -> Array:
    share = fraction if values.ndim == 2 else fraction[..., None]
    return values[scene, segment] * (1 - share) + values[scene, segment + 1] * share
