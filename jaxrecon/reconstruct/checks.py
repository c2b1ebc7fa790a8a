"""What is wrong with a log before it is fitted: each finding says what, how much, and what to do about it."""

import dataclasses
import warnings
from typing import Literal

import numpy as np
import scipy.ndimage
import scipy.spatial
from jaxtyping import Float

from jaxrecon.geometry.transforms import transform_points
from jaxrecon.logs.driving_log import DrivingLog
from jaxrecon.reconstruct.alignment import Misalignment, misalignment
from jaxrecon.reconstruct.views import (
    ReconstructionError,
    Views,
    in_threads,
    lidar_in_world,
    project_into,
    training_by_camera,
)

_FEWEST_FRAMES = 3
_SHORTEST_PATH = 1.0  # metres
_ACCELERATION, _STEP = 15.0, 0.2  # m/s^2 and metres in one frame, more than which no car departs from its motion
_ANGULAR_ACCELERATION, _TURN = np.radians(200.0), np.radians(2.0)  # the same of its attitude
_LARGEST_EXPOSURE_JUMP = 0.08  # logarithm of the ratio of brightness
_DARKEST, _BRIGHTEST = 10, 245  # sRGB grey values that are neither crushed nor blown
_FEWEST_COMMON, _MOST_SCATTER = 50, 0.4  # points that two images must both show, and how alike they must change
_SURE, _CLEAR = 3.0, 0.15  # standard errors of a gain, and its share of the score reached
_MANY_JUMPS, _LEAST_CONTRAST = 200, 0.1  # depth jumps a view, and what a calibration that fits shows at least
_LEAST_TURN_DEG, _LEAST_SHIFT = 0.5, 0.2  # metres; smaller changes of a camera's pose are within the method's error,
_LEAST_TURN_SPARSE_DEG = 1.0  # and so are these where jumps are few


@dataclasses.dataclass(frozen=True)
class Finding:
    """One thing that a reconstruction of a log will suffer from.

    Attributes:
        name: of the check.
        severity: a warning degrades the reconstruction, a refusal makes it impossible.
        message: names the log, the figure and the remedy.
        value: the figure, in the unit that the message gives.
    """

    name: str
    severity: Literal["warning", "refusal"]
    message: str
    value: float


def check_log(log: DrivingLog, views: Views, exposure_fitted: bool = False) -> list[Finding]:
    """Look for everything that is known to spoil a reconstruction; nothing is found in a sound log.

    Held-out views are not looked at.

    Args:
        log: the recording.
        views: its images, from ``collect_views``.
        exposure_fitted: whether the fit gives each frame an exposure of its own, which mends jumps of it.
    """
    refusals = [*_few_frames(log, views), *_clock(log)]
    if refusals:
        return refusals
    found = [*_static_ego(log), *_path_jump(log), *_no_boxes(log), *_no_lidar(log), *_calibration(log, views)]
    return found if exposure_fitted else found + _exposure(log, views)


def heed(findings: list[Finding]) -> None:
    """Act on findings: warn of every warning, then refuse.

    Warns:
        UserWarning: for each finding of severity "warning".

    Raises:
        ReconstructionError: with the message of the first refusal.
    """
    for finding in findings:
        if finding.severity == "warning":
            warnings.warn(finding.message, stacklevel=2)
    for finding in findings:
        if finding.severity == "refusal":
            raise ReconstructionError(finding.message)


def _few_frames(log: DrivingLog, views: Views) -> list[Finding]:
    count = len(np.unique(views.frame[~views.heldout]))
    if count >= _FEWEST_FRAMES:
        return []
    message = (
        f"log {log.name} has {log.frames} frame(s), {count} of them to learn from; a reconstruction needs at least "
        f"{_FEWEST_FRAMES} beside those held out: read more frames of the recording"
    )
    return [Finding("few_frames", "refusal", message, count)]


def _clock(log: DrivingLog) -> list[Finding]:
    steps = np.diff(log.timestamps)
    if not len(steps) or (steps > 0).all():
        return []
    worst = int(np.argmin(np.where(np.isfinite(steps), steps, -np.inf)))
    message = (
        f"log {log.name}: timestamps do not rise: frame {worst + 1} comes {steps[worst]:.6g} s after frame {worst}; "
        "sort the frames by time, or correct the clock"
    )
    return [Finding("clock", "refusal", message, float(steps[worst]))]


def _static_ego(log: DrivingLog) -> list[Finding]:
    places = log.world_from_ego[:, :3, 3]
    reach = float(np.linalg.norm(places - places[0], axis=1).max())
    if reach >= _SHORTEST_PATH:
        return []
    message = (
        f"log {log.name}: the car moves {reach:.2f} m in all, so nothing is seen from two sides: renders from anywhere "
        "but the recorded place are not to be trusted; use a part of the recording in which it drives"
    )
    return [Finding("static_ego", "warning", message, reach)]


def _path_jump(log: DrivingLog) -> list[Finding]:
    """Steps of the path that depart from the motion before and after by more than a car can."""
    step = np.diff(log.timestamps)[:, None]
    velocity = np.diff(log.world_from_ego[:, :3, 3], axis=0) / step
    turns = np.swapaxes(log.world_from_ego[:-1, :3, :3], 1, 2) @ log.world_from_ego[1:, :3, :3]
    rate = scipy.spatial.transform.Rotation.from_matrix(turns).as_rotvec() / step
    found = []
    for values, most, least, name, unit, scale in (
        (velocity, _ACCELERATION, _STEP, "path_jump", "m", 1.0),
        (rate, _ANGULAR_ACCELERATION, _TURN, "attitude_jump", "degrees", 180 / np.pi),
    ):
        usual = scipy.ndimage.median_filter(values, size=(5, 1), mode="nearest")
        departure = np.linalg.norm(values - usual, axis=1)
        excess = departure / np.maximum(most * step[:, 0], least / step[:, 0])
        worst = int(np.argmax(excess))
        if excess[worst] > 1:
            jump = float(departure[worst] * step[worst, 0] * scale)
            message = (
                f"log {log.name}: between frames {worst} and {worst + 1} the pose jumps by {jump:.2f} {unit} beside "
                f"the motion around it ({int((excess > 1).sum())} such steps in all); refine the poses, or cut the "
                "recording there"
            )
            found.append(Finding(name, "warning", message, jump))
    return found


def _no_boxes(log: DrivingLog) -> list[Finding]:
    if log.tracks:
        return []
    message = (
        f"log {log.name} has no boxes: whatever moved will smear into the static scene; add tracks, unless nothing did"
    )
    return [Finding("no_boxes", "warning", message, 0.0)]


def _no_lidar(log: DrivingLog) -> list[Finding]:
    points = sum(len(cloud) for cloud in log.lidar)
    if points:
        return []
    message = (
        f"log {log.name} has no LiDAR: depths come from the images and the car's path alone, and calibration cannot "
        "be checked; expect worse views beside the path, or add the LiDAR"
    )
    return [Finding("no_lidar", "warning", message, 0.0)]


def _calibration(log: DrivingLog, views: Views) -> list[Finding]:
    if not any(len(cloud) for cloud in log.lidar):
        return []
    found = []
    for name, training in training_by_camera(log, views):
        result = misalignment(log, views, training)
        if result is None:
            continue
        about = f"log {log.name}: camera {name} does not fit the LiDAR: "
        turn = float(np.linalg.norm(result.rotation_deg))
        if _is_clear(result):
            yaw, pitch, roll = result.rotation_deg
            right, down, ahead = result.shift
            message = about + (
                f"depth jumps meet edges of the image better, {result.score + result.gain:.2f} instead of "
                f"{result.score:.2f} +- {result.error:.2f}, when it looks {yaw:+.1f} degrees right, {pitch:+.1f} down, "
                f"{roll:+.1f} clockwise and sits {right:+.1f} m right, {down:+.1f} down, {ahead:+.1f} ahead; correct "
                "its ego_from_camera, or the LiDAR's mounting"
            )
            found.append(Finding("calibration", "warning", message, turn))
        elif result.jumps > _MANY_JUMPS and result.contrast < _LEAST_CONTRAST:
            message = about + (
                f"depth jumps meet edges of the image hardly better, by {result.contrast:.2f}, than for a camera "
                "turned by some degrees at random; its ego_from_camera may be wrong by more than 3 degrees, unless the "
                "images show little (night, rain)"
            )
            found.append(Finding("calibration", "warning", message, turn))
    return found


def _is_clear(result: Misalignment) -> bool:
    """Whether a change of pose is too large and too much better to be chance or the method's own error."""
    least = _LEAST_TURN_DEG if result.jumps > _MANY_JUMPS else _LEAST_TURN_SPARSE_DEG
    turned = np.linalg.norm(result.rotation_deg) >= least
    moved = np.linalg.norm(result.shift) >= _LEAST_SHIFT - 1e-6
    clear = result.gain > max(_SURE * result.error, _CLEAR * (result.score + result.gain))
    return bool((turned or moved) and clear)


def _exposure(log: DrivingLog, views: Views) -> list[Finding]:
    """The largest change of brightness of the same points between training frames that follow each other."""
    largest = (0.0, "", 0, 0)
    for name, training in training_by_camera(log, views):
        pairs = list(zip(training[:-1].tolist(), training[1:].tolist(), strict=True))
        jumps = in_threads(lambda pair: _brightness_ratio(log, views, *pair), pairs)
        for (before, after), jump in zip(pairs, jumps, strict=True):
            largest = max(largest, (abs(jump), name, int(views.frame[before]), int(views.frame[after])))
    jump, name, before, after = largest
    if jump <= _LARGEST_EXPOSURE_JUMP:
        return []
    message = (
        f"log {log.name}: from frame {before} to {after} the same points change their brightness by a factor of "
        f"{np.exp(jump):.2f} in camera {name}: its exposure adapts; fit with FitConfig.exposure=True"
    )
    return [Finding("exposure", "warning", message, jump)]


def _brightness_ratio(log: DrivingLog, views: Views, before: int, after: int) -> float:
    """Median logarithm of how much brighter the second view shows what both show; 0 where that is unclear."""
    points = _common_points(log, int(views.frame[before]))
    values = []
    for view in (before, after):
        index, rows, columns, _ = project_into(
            points, views.world_from_camera[view], views.intrinsics[view], views.size
        )
        grey = np.full(len(points), np.nan)
        grey[index] = views.images[view, rows, columns].mean(axis=-1)
        values.append(grey)
    usable = (np.minimum(*values) > _DARKEST) & (np.maximum(*values) < _BRIGHTEST)  # false where unseen
    if usable.sum() < _FEWEST_COMMON:
        return 0.0
    lower, middle, upper = np.quantile(np.log(values[1][usable] / values[0][usable]), [0.25, 0.5, 0.75])
    # An exposure changes all points alike; what passes in between scatters them.
    return float(middle) if lower * upper > 0 and upper - lower < _MOST_SCATTER else 0.0


def _common_points(log: DrivingLog, frame: int) -> Float[np.ndarray, "n 3"]:
    """World points of one frame that other frames see too: LiDAR, or the ground ahead where there is none."""
    if log.lidar and len(log.lidar[frame]):
        return lidar_in_world(log, frame)
    ahead, aside = np.meshgrid(np.arange(5.0, 25.0, 0.25), np.arange(-4.0, 4.1, 0.25))
    ground = np.stack([ahead.ravel(), aside.ravel(), np.zeros(ahead.size)], axis=-1)
    return transform_points(log.world_from_ego[frame], ground)
