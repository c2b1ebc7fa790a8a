"""What cameras beside the recorded path truly see, where that is known, and how close a fitted scene comes to it.

It is known of a second camera of the same car that no fit looks at (KITTI's ``image_03``), and of any place in a
procedural street, whose own ray caster shares nothing with the renderer of splats.
"""

import dataclasses
from typing import Any

import numpy as np
from fitted_drawing import FittedDrawing
from image_quality import by_parallax, colour_fitted, mean_psnr, quality
from jaxtyping import Float, Int, UInt8

from jaxrecon.geometry.cameras import rescale_intrinsics
from jaxrecon.geometry.transforms import inverse, transform_points
from jaxrecon.logs import CameraStream, DrivingLog
from jaxrecon.metrics.lpips import LpipsWeights
from jaxrecon.reconstruct import heldout_frames
from jaxrecon.reconstruct.views import lidar_in_world, nearest_by_key, project_into, resize_images
from jaxrecon.street import Street, ground_truth

SAME_WAY = 0.99  # cosine between the axes of cameras that look the same way
SHIFTS = (3.0, 6.0)  # metres to the left: into the next lane and beyond
NEAREST, MOST_NEAR = 1.0, 0.05  # metres, and the share of pixels that may show something nearer: else it is inside it
SPACE = 0.5  # metres that a camera keeps from the boxes of actors


@dataclasses.dataclass(frozen=True)
class LateralTruth:
    """True images of cameras beside the path.

    Attributes:
        name: of the camera, or how far to the left it was shifted.
        frame: of the log, of each view.
        world_from_camera: in the log's world.
        intrinsics: in pixels.
        images: the truth.
        parallax: distance from the recording camera over a pixel's true depth; not a number where that is unknown.
        baseline: mean distance from the recording camera, metres.
        blocked: shifted views that were left out because the camera would stand in something.
    """

    name: str
    frame: Int[np.ndarray, " view"]
    world_from_camera: Float[np.ndarray, "view 4 4"]
    intrinsics: Float[np.ndarray, "4"]
    images: UInt8[np.ndarray, "view height width 3"]
    parallax: Float[np.ndarray, "view height width"]
    baseline: float
    blocked: int = 0

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        return self.images.shape[2], self.images.shape[1]


def second_cameras(log: DrivingLog, camera: CameraStream, size: tuple[int, int]) -> list[LateralTruth]:
    """The log's other cameras that look the way of the one that was fitted, in every frame.

    Depth is known where LiDAR measured it, so the bins by parallax say nothing of what it does not reach.

    Args:
        log: the recording.
        camera: the one camera that was fitted.
        size: (width, height) in pixels of the images that were fitted.
    """
    truths, path = [], log.world_from_camera(camera)
    for other in log.cameras:
        along = float(other.ego_from_camera[:3, 2] @ camera.ego_from_camera[:3, 2])
        if other.name == camera.name or other.size != camera.size or along < SAME_WAY:
            continue
        poses = log.world_from_camera(other)
        intrinsics = rescale_intrinsics(other.intrinsics, other.size, size)
        baseline = np.linalg.norm(poses[:, :3, 3] - path[:, :3, 3], axis=1)
        depth = np.stack([_measured(log, frame, poses[frame], intrinsics, size) for frame in range(log.frames)])
        parallax = baseline[:, None, None] / depth
        images = resize_images(other.images, size)
        frames = np.arange(log.frames)
        truths.append(LateralTruth(other.name, frames, poses, intrinsics, images, parallax, float(baseline.mean())))
    return truths


def _measured(
    log: DrivingLog, frame: int, pose: np.ndarray, intrinsics: np.ndarray, size: tuple[int, int]
) -> np.ndarray:
    """Depth (metres) of the nearest LiDAR point in each pixel, not a number where there is none."""
    depth = np.full(size[0] * size[1], np.nan)
    if log.lidar:
        _, rows, columns, depths = project_into(lidar_in_world(log, frame), pose, intrinsics, size)
        flat = rows * size[0] + columns
        nearest = nearest_by_key(flat, depths)
        depth[flat[nearest]] = depths[nearest]
    return depth.reshape(size[1], size[0])


def shifted_path(
    street: Street,
    log: DrivingLog,
    camera: CameraStream,
    intrinsics: Float[np.ndarray, "4"],
    size: tuple[int, int],
    metres: float,
) -> LateralTruth | None:
    """What the street's ray caster shows from beside the recorded path, in its held-out frames.

    Args:
        street: that was recorded.
        log: its recording.
        camera: that was fitted.
        intrinsics: of the images that were fitted, pixels.
        size: (width, height) of the images that were fitted, pixels.
        metres: to the left of the path.

    Returns:
        The truth; None where the camera would stand in something all the time.
    """
    kept, images, parallax = [], [], []
    frames = np.flatnonzero(heldout_frames(log.frames))
    poses = log.world_from_camera(camera)
    poses[:, :3, 3] += metres * log.world_from_ego[:, :3, 1]
    for frame in frames:
        drawn = ground_truth(street, int(frame), poses[frame][None], intrinsics[None], *size)
        depth = np.asarray(drawn.depth[0])
        if (depth < NEAREST).mean() > MOST_NEAR or _in_a_box(street, int(frame), poses[frame, :3, 3]):
            continue
        kept.append(frame)
        images.append(np.round(np.asarray(drawn.rgb[0]) * 255).astype(np.uint8))
        parallax.append(metres / depth)
    if not kept:
        return None
    index = np.array(kept)
    stacks = np.stack(images), np.stack(parallax)
    return LateralTruth(f"{metres:g}m", index, poses[index], intrinsics, *stacks, metres, len(frames) - len(kept))


def _in_a_box(street: Street, frame: int, place: np.ndarray) -> bool:
    """Whether a place is within an actor's box or nearly so."""
    poses, _ = street.actor_poses(frame)
    for actor, pose in zip(street.actors, poses, strict=True):
        local = transform_points(inverse(pose.astype(np.float64)), place[None])[0]
        if (np.abs(local) < np.asarray(actor.size) / 2 + SPACE).all():
            return True
    return False


def draw_beside(drawing: FittedDrawing, truth: LateralTruth) -> UInt8[np.ndarray, "view height width 3"]:
    """What a fitted scene shows to the cameras beside its path."""
    views = zip(truth.frame, truth.world_from_camera, strict=True)
    return np.stack([drawing(int(frame), pose, truth.intrinsics, truth.size).rgb for frame, pose in views])


def lateral_quality(
    images: UInt8[np.ndarray, "view height width 3"], truth: LateralTruth, weights: LpipsWeights | None
) -> dict[str, Any]:
    """How close images are to the truth: whole, with exposure left out of it, and by baseline over depth."""
    return {
        **quality(images, truth.images, weights=weights),
        "psnr_colour_fitted": mean_psnr(colour_fitted(images, truth.images), truth.images),
        "baseline_m": truth.baseline,
        "views": len(truth.frame),
        "views_blocked": truth.blocked,
        "bins": by_parallax(images, truth.images, truth.parallax),
    }
