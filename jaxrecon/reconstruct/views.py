"""What a fit looks at: images at the working size, poses, boxes and LiDAR depths, stacked over views."""

import concurrent.futures
import dataclasses
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import flax.struct
import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from PIL import Image

from jaxrecon.geometry.cameras import project, rescale_intrinsics
from jaxrecon.geometry.transforms import inverse, transform_points
from jaxrecon.logs.driving_log import CameraStream, DrivingLog

Array = Any  # NumPy on the host, JAX once a fit has moved them to the device
Item = TypeVar("Item")
Result = TypeVar("Result")

HELDOUT_PERIOD, HELDOUT_PHASE = 4, 2
_NEAREST = 0.3  # metres; nothing closer to a camera is used


class ReconstructionError(ValueError):
    """A log that cannot be reconstructed; the message names the log, what is missing and the remedy."""


@flax.struct.dataclass
class Views:
    """Every image of the chosen cameras, with what a renderer needs to draw the same moment.

    Attributes:
        images: sRGB, uint8, at the working size.
        world_from_camera: rigid poses.
        intrinsics: fx, fy, cx, cy at the working size, pixels.
        frame: frame of the log that a view belongs to.
        heldout: views that no fit may learn from.
        world_from_actor: box poses by frame of the log.
        actor_valid: which actors were seen in a frame.
        lidar_pixel: flat pixel index of the LiDAR points that project into a view.
        lidar_depth: their z-depth, metres.
        lidar_valid: entries in use.
    """

    images: UInt8[Array, "view height width 3"]
    world_from_camera: Float[Array, "view 4 4"]
    intrinsics: Float[Array, "view 4"]
    frame: Int[Array, " view"]
    heldout: Bool[Array, " view"]
    world_from_actor: Float[Array, "frame actor 4 4"]
    actor_valid: Bool[Array, "frame actor"]
    lidar_pixel: Int[Array, "view point"]
    lidar_depth: Float[Array, "view point"]
    lidar_valid: Bool[Array, "view point"]

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        return self.images.shape[2], self.images.shape[1]

    def only(self, view: int) -> "Views":
        """One view alone, with its own frame as frame 0."""
        per_frame = ("world_from_actor", "actor_valid")
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        moment = int(self.frame[view])
        chosen = {name: value[moment : moment + 1] if name in per_frame else value[view : view + 1]
                  for name, value in fields.items()}  # fmt: skip
        return Views(**chosen | {"frame": np.zeros(1, np.int32)})


def heldout_frames(frames: int) -> Bool[np.ndarray, " frame"]:
    """Frames kept for scoring: every fourth, i % 4 == 2."""
    return np.arange(frames) % HELDOUT_PERIOD == HELDOUT_PHASE


def collect_views(
    log: DrivingLog, camera: str | None = None, width: int | None = None, lidar_points: int = 4096, seed: int = 0
) -> Views:
    """Stack a log's images and what belongs to them, on the host (NumPy).

    Args:
        log: a recording with images.
        camera: name of the one camera to use; None uses all of them.
        width: working width in pixels, the height follows; None keeps the recorded size. Never enlarges.
        lidar_points: most LiDAR depths kept a view, a random choice; held-out views get none.
        seed: of that choice.

    Raises:
        ReconstructionError: if the log has no images, or cameras of different working sizes.
        KeyError: if it has no camera of that name.
    """
    streams = log.cameras if camera is None else (log.camera(camera),)
    if not streams:
        raise ReconstructionError(f"log {log.name} has no camera images; a reconstruction needs at least one camera")
    sizes = {_working_size(stream, width) for stream in streams}
    if len(sizes) > 1:
        raise ReconstructionError(
            f"log {log.name}: cameras of different working sizes {sorted(sizes)}; name one camera or give a width "
            "at which they agree"
        )
    size = sizes.pop()
    intrinsics = [rescale_intrinsics(stream.intrinsics, stream.size, size) for stream in streams]
    poses = np.concatenate([log.world_from_camera(stream) for stream in streams])
    per_view = np.repeat(np.stack(intrinsics), log.frames, axis=0)
    frame = np.tile(np.arange(log.frames), len(streams))
    heldout = heldout_frames(log.frames)[frame]
    pixel, depth, valid = _lidar_depths(log, frame, heldout, poses, per_view, size, lidar_points, seed)
    return Views(
        images=np.concatenate([resize_images(stream.images, size) for stream in streams]),
        world_from_camera=poses.astype(np.float32),
        intrinsics=per_view.astype(np.float32),
        frame=frame.astype(np.int32),
        heldout=heldout,
        world_from_actor=actor_poses(log).astype(np.float32),
        actor_valid=actor_validity(log),
        lidar_pixel=pixel,
        lidar_depth=depth,
        lidar_valid=valid,
    )


def actor_poses(log: DrivingLog) -> Float[np.ndarray, "frame actor 4 4"]:
    """Pose of every track's box in every frame; the identity where it was not seen."""
    if not log.tracks:
        return np.zeros((log.frames, 0, 4, 4))
    return np.stack([track.world_from_box for track in log.tracks], axis=1)


def actor_validity(log: DrivingLog) -> Bool[np.ndarray, "frame actor"]:
    """Which tracks were seen in which frame."""
    if not log.tracks:
        return np.zeros((log.frames, 0), bool)
    return np.stack([track.valid for track in log.tracks], axis=1)


def resize_images(
    images: UInt8[np.ndarray, "frame height width 3"], size: tuple[int, int]
) -> UInt8[np.ndarray, "frame new_height new_width 3"]:
    """Images resampled to (width, height) by averaging the area that each new pixel covers."""
    if (images.shape[2], images.shape[1]) == size:
        return images
    return np.stack(
        in_threads(lambda image: np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BOX)), images)
    )


def training_by_camera(log: DrivingLog, views: Views) -> list[tuple[str, Int[np.ndarray, " view"]]]:
    """Name and training views, in the order of time, of each camera that has any."""
    found = []
    for block in np.split(np.arange(len(views.frame)), np.flatnonzero(np.diff(views.frame) <= 0) + 1):
        mounting = inverse(log.world_from_ego[views.frame[block[0]]]) @ views.world_from_camera[block[0]]
        offsets = [np.abs(camera.ego_from_camera - mounting).max() for camera in log.cameras]
        if (training := block[~views.heldout[block]]).size:
            found.append((log.cameras[int(np.argmin(offsets))].name, training))
    return found


def in_threads(function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """A function of each item, in order; for work whose time goes into NumPy and SciPy, which run side by side.

    What the function draws at random must come from a generator of its own item, or the order of threads would show.
    """
    with concurrent.futures.ThreadPoolExecutor() as pool:
        return list(pool.map(function, items))


def box_mask(
    log: DrivingLog, frame: int, world_from_camera: Float[np.ndarray, "4 4"], intrinsics: Float[np.ndarray, "4"],
    size: tuple[int, int], margin: float = 0.0,
) -> Bool[np.ndarray, "height width"]:  # fmt: skip
    """Pixels inside the image rectangle of any track's box seen in that frame.

    Args:
        log: whose tracks.
        frame: at which moment.
        world_from_camera: pose of the camera.
        intrinsics: at ``size``.
        size: (width, height) in pixels.
        margin: added around each box, as a share of the rectangle's sides.
    """
    mask = np.zeros((size[1], size[0]), bool)
    for track in log.tracks:
        if track.valid[frame]:
            rectangle = box_rectangle(inverse(world_from_camera) @ track.world_from_box[frame], track.size, intrinsics)
            if rectangle is not None:
                left, top, right, bottom = rectangle
                grow_x, grow_y = margin * (right - left), margin * (bottom - top)
                columns = slice(max(int(left - grow_x), 0), max(int(np.ceil(right + grow_x)), 0))
                rows = slice(max(int(top - grow_y), 0), max(int(np.ceil(bottom + grow_y)), 0))
                mask[rows, columns] = True
    return mask


def box_rectangle(
    camera_from_box: Float[np.ndarray, "4 4"], size: Float[np.ndarray, "3"], intrinsics: Float[np.ndarray, "4"]
) -> tuple[float, float, float, float] | None:
    """Rectangle (left, top, right, bottom) in pixels, not clipped, around the visible part of a box; None behind."""
    # Points along the edges rather than the corners alone, so that a box cut by the image plane keeps its front part.
    steps = np.linspace(-0.5, 0.5, 9)
    grid = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 3)
    edges = grid[np.sum(np.abs(grid) == 0.5, axis=1) >= 2] * size
    points = transform_points(camera_from_box, edges)
    points = points[points[:, 2] > _NEAREST]
    if not len(points):
        return None
    pixels = project(np.asarray(intrinsics, dtype=np.float64), points)
    left, top = pixels.min(axis=0)
    right, bottom = pixels.max(axis=0)
    return float(left), float(top), float(right), float(bottom)


def project_into(
    world_points: Float[np.ndarray, "n 3"],
    world_from_camera: Float[np.ndarray, "4 4"],
    intrinsics: Float[np.ndarray, "4"],
    size: tuple[int, int],
) -> tuple[Int[np.ndarray, " m"], Int[np.ndarray, " m"], Int[np.ndarray, " m"], Float[np.ndarray, " m"]]:
    """Which points fall into an image, and where: their indices, rows, columns and z-depths (metres)."""
    points = transform_points(inverse(np.asarray(world_from_camera, np.float64)), np.asarray(world_points, np.float64))
    index = np.flatnonzero(points[:, 2] > _NEAREST)
    pixels = np.floor(project(np.asarray(intrinsics, np.float64), points[index])).astype(np.int64)
    inside = (pixels >= 0).all(axis=1) & (pixels[:, 0] < size[0]) & (pixels[:, 1] < size[1])
    index, pixels = index[inside], pixels[inside]
    return index, pixels[:, 1], pixels[:, 0], points[index, 2]


def rays_at(
    views: Views, view: int, rows: Int[np.ndarray, " n"], columns: Int[np.ndarray, " n"]
) -> Float[np.ndarray, "n 3"]:
    """World directions of the rays through some pixels' centres, scaled so that their z-depth is one."""
    fx, fy, cx, cy = views.intrinsics[view].astype(np.float64)
    x, y = (columns + 0.5 - cx) / fx, (rows + 0.5 - cy) / fy
    return np.stack([x, y, np.ones_like(x)], axis=-1) @ views.world_from_camera[view, :3, :3].T.astype(np.float64)


def nearest_by_key(keys: Int[np.ndarray, " n"], distances: Float[np.ndarray, " n"]) -> Int[np.ndarray, " m"]:
    """Index of the nearest of all entries that share a key, in the order of the keys; the first one of equals."""
    if not len(keys):
        return np.zeros(0, np.int64)
    nearest_first = np.argsort(distances, kind="stable")
    keys = keys[nearest_first]
    order = np.argsort(keys)  # not stable, and so fast: the least of a key's places is its nearest entry
    starts = np.flatnonzero(np.append(True, np.diff(keys[order]) != 0))
    return nearest_first[np.minimum.reduceat(order, starts)]


def lidar_in_world(log: DrivingLog, frame: int) -> Float[np.ndarray, "n 3"]:
    """One frame's LiDAR points in the world, metres; rows of the cloud beyond x, y, z are ignored."""
    return transform_points(log.world_from_ego[frame], np.asarray(log.lidar[frame][:, :3], np.float64))


def _working_size(stream: CameraStream, width: int | None) -> tuple[int, int]:
    recorded = stream.size
    if width is None or width >= recorded[0]:
        return recorded
    return width, max(round(recorded[1] * width / recorded[0]), 1)


def _lidar_depths(
    log: DrivingLog, frame: np.ndarray, heldout: np.ndarray, poses: np.ndarray, intrinsics: np.ndarray,
    size: tuple[int, int], capacity: int, seed: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # fmt: skip
    """Pixel, depth and validity (view, point) of the nearest LiDAR point in each pixel it hits."""
    capacity = capacity if log.lidar else 1
    pixel = np.zeros((len(frame), capacity), np.int32)
    depth = np.ones((len(frame), capacity), np.float32)
    valid = np.zeros((len(frame), capacity), bool)

    def measure(view: int) -> None:
        cloud = lidar_in_world(log, int(frame[view]))
        _, rows, columns, depths = project_into(cloud, poses[view], intrinsics[view], size)
        flat = rows * size[0] + columns
        kept = nearest_by_key(flat, depths)
        kept = np.random.default_rng([seed, view]).permutation(kept)[:capacity]
        pixel[view, : len(kept)], depth[view, : len(kept)] = flat[kept], depths[kept]
        valid[view, : len(kept)] = True

    in_threads(measure, np.flatnonzero(~heldout).tolist() if log.lidar else ())
    return pixel, depth, valid
