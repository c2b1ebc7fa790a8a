"""The promises of a DrivingLog, checked once on the host so that nothing after it has to."""

import dataclasses
import os
from collections.abc import Sequence

import numpy as np

from jaxrecon.logs.driving_log import (
    CATEGORIES,
    LIGHT_STATES,
    LINE_KINDS,
    CameraMount,
    CameraStream,
    DrivingLog,
    Track,
    TrafficLight,
)
from jaxrecon.logs.errors import LogError

# Poses that went through float32 once are orthonormal to a few 1e-7; 1e-5 displaces a point at 100 m by 1 mm.
ROTATION_TOLERANCE = 1e-5
# Steps may differ by half from the usual one: clocks jitter, but a dropped frame shows as a step of double length.
TIME_STEP_TOLERANCE = 0.5

POLYGONS = ("drivable", "crosswalks")  # parts of the map whose points have no height
MAP_PARTS = ("lane_centres", "lane_lines", "road_edges", *POLYGONS)

Source = str | os.PathLike | None


def validate(log: DrivingLog, source: Source = None) -> DrivingLog:
    """Check every promise that the classes of ``driving_log`` make.

    Args:
        log: what a reader made.
        source: where the log came from, for errors.

    Returns:
        The same log.

    Raises:
        LogError: naming ``source``, the frame and the field at fault, what was expected and what to do.
    """
    check_timestamps(log.timestamps, source)
    _check_poses(log.world_from_ego, "world_from_ego", log.frames, source)
    _check_unique([camera.name for camera in log.cameras], "cameras", source)
    for camera in log.cameras:
        _check_camera(camera, log.frames, source)
    _check_unique([mount.name for mount in log.mounts], "mounts", source)
    for mount in log.mounts:
        _check_mount(mount, source)
    _check_lidar(log, source)
    _check_unique([track.identifier for track in log.tracks], "tracks", source)
    for track in log.tracks:
        _check_track(track, log.frames, source)
    for name, value in dataclasses.asdict(log.ego).items():
        _require(np.isfinite(value) and value > 0, f"is {value}, expected positive metres", f"ego.{name}", source)
    _check_map(log, source)
    lanes = 0 if log.road_map is None else len(log.road_map.lane_centres)
    for number, light in enumerate(log.lights):
        _check_light(light, f"lights[{number}]", log.frames, lanes, source)
    return log


def check_timestamps(timestamps: object, source: Source, numbers: Sequence[int] | None = None) -> None:
    """Check a log's clock: from 0, increasing, in steps of about the same length.

    Args:
        timestamps: seconds, one a frame.
        source: where they came from, for errors.
        numbers: of the frames, for errors, where they do not count from 0.
    """
    field = "timestamps"
    _check_array(timestamps, (None,), np.float64, field, source)
    assert isinstance(timestamps, np.ndarray)
    frames = range(len(timestamps)) if numbers is None else numbers
    _require(len(timestamps) > 0, "the log has no frames", field, source, remedy="Record at least one frame")
    finite = np.isfinite(timestamps)
    _require(finite.all(), "is not finite", field, source, frames[int(np.argmin(finite))])
    first = timestamps[0]
    _require(first == 0, f"is {first} s, expected 0 for the first frame", field, source, frames[0])
    steps = np.diff(timestamps)
    if len(steps) == 0:
        return
    backwards = steps <= 0
    usual = float(np.quantile(steps[~backwards], 0.5, method="lower")) if not backwards.all() else 0.0
    uneven = backwards if backwards.any() else np.abs(steps - usual) > TIME_STEP_TOLERANCE * usual
    worst = int(np.argmax(uneven))
    _require(
        not uneven.any(),
        f"comes {steps[worst]:.6g} s after the frame before it, where the usual step is {usual:.6g} s",
        field,
        source,
        frames[worst + 1],
        "Read the frames on one side of the gap, or correct the clock",
    )


def _require(
    truth: bool | np.bool_,
    problem: str,
    field: str,
    source: Source,
    frame: int | None = None,
    remedy: str | None = None,
) -> None:
    if not truth:
        remedy = remedy or "Correct the recording, or the reader that made the log"
        raise LogError(problem, file=source, frame=frame, field=field, remedy=remedy)


def _check_array(array: object, shape: tuple[int | None, ...], dtype: type, field: str, source: Source) -> None:
    """``None`` in the shape stands for any length."""
    _require(isinstance(array, np.ndarray), f"is a {type(array).__name__}, expected a NumPy array", field, source)
    assert isinstance(array, np.ndarray)
    fits = array.ndim == len(shape) and all(e in (None, n) for e, n in zip(shape, array.shape, strict=True))
    expected = "x".join("any" if n is None else str(n) for n in shape)
    _require(
        fits and array.dtype == dtype,
        f"is {array.dtype} {array.shape}, expected {np.dtype(dtype)} of {expected}",
        field,
        source,
    )


def _check_unique(names: list[str], field: str, source: Source) -> None:
    repeated = sorted({name for name in names if names.count(name) > 1})
    _require(not repeated, f"the names {repeated} are used more than once", field, source)


def _check_poses(poses: object, field: str, frames: int | None, source: Source) -> None:
    """Rigid poses (frames, 4, 4), or one pose where ``frames`` is None."""
    _check_array(poses, (4, 4) if frames is None else (frames, 4, 4), np.float64, field, source)
    assert isinstance(poses, np.ndarray)
    stack: np.ndarray = poses.reshape(-1, 4, 4)
    rotation = stack[:, :3, :3]
    finite = np.isfinite(stack).all(axis=(1, 2))
    with np.errstate(invalid="ignore", over="ignore"):
        deviation = np.abs(np.einsum("nij,nkj->nik", rotation, rotation) - np.eye(3)).max(axis=(1, 2))
        determinant = np.linalg.det(np.where(finite[:, None, None], rotation, np.eye(3)))
        orthonormal = (deviation <= ROTATION_TOLERANCE) & (determinant > 0)
    closed = (stack[:, 3] == np.array([0, 0, 0, 1])).all(axis=1)
    whole = finite & orthonormal & closed
    if whole.all():
        return
    frame = int(np.argmin(whole))
    where = None if frames is None else frame
    _require(finite[frame], "pose holds a value that is not finite", field, source, where)
    _require(
        orthonormal[frame],
        f"pose is not a rotation: R R^T differs from the identity by {deviation[frame]:.2g} "
        f"(allowed {ROTATION_TOLERANCE:g}), determinant {determinant[frame]:.3g} (expected 1)",
        field,
        source,
        where,
    )
    _require(closed[frame], f"pose ends with the row {stack[frame, 3]}", field, source, where)


def _check_camera(camera: CameraStream, frames: int, source: Source) -> None:
    field = f"camera {camera.name}"
    _check_array(camera.images, (frames, None, None, 3), np.uint8, f"{field} images", source)
    _require(min(camera.size) > 0, f"has the size {camera.size}, expected pixels", f"{field} images", source)
    _check_calibration(camera, field, source)


def _check_mount(mount: CameraMount, source: Source) -> None:
    field = f"mount {mount.name}"
    whole = len(mount.size) == 2 and all(isinstance(side, int) and side > 0 for side in mount.size)
    _require(whole, f"is {mount.size}, expected (width, height) in whole pixels", f"{field} size", source)
    _check_calibration(mount, field, source)


def _check_calibration(camera: CameraStream | CameraMount, field: str, source: Source) -> None:
    _check_array(camera.intrinsics, (4,), np.float64, f"{field} intrinsics", source)
    _require(
        np.isfinite(camera.intrinsics).all() and (camera.intrinsics[:2] > 0).all(),
        f"(fx, fy, cx, cy) are {camera.intrinsics}, expected finite pixels and positive focal lengths",
        f"{field} intrinsics",
        source,
    )
    _check_poses(camera.ego_from_camera, f"{field} ego_from_camera", None, source)


def _check_lidar(log: DrivingLog, source: Source) -> None:
    clouds = len(log.lidar)
    _require(clouds in (0, log.frames), f"has {clouds} clouds, expected none or {log.frames}", "lidar", source)
    for frame, points in enumerate(log.lidar):
        whole = isinstance(points, np.ndarray) and points.dtype == np.float32 and points.shape[1:] == (3,)
        shape = getattr(points, "dtype", type(points).__name__), getattr(points, "shape", None)
        _require(whole, f"is {shape}, expected float32 of anyx3", "lidar", source, frame)
        _require(np.isfinite(points).all(), "holds a point that is not finite", "lidar", source, frame)


def _check_track(track: Track, frames: int, source: Source) -> None:
    field = f"track {track.identifier}"
    _require(
        track.category in CATEGORIES,
        f"is a {track.category!r}, expected one of {CATEGORIES}",
        f"{field} category",
        source,
    )
    _check_array(track.size, (3,), np.float64, f"{field} size", source)
    _require(
        np.isfinite(track.size).all() and (track.size > 0).all(),
        f"(length, width, height) is {track.size}, expected finite positive metres",
        f"{field} size",
        source,
    )
    _check_array(track.valid, (frames,), np.bool_, f"{field} valid", source)
    _require(track.valid.any(), "has no box in any frame", field, source, remedy="Leave the track out")
    _check_poses(track.world_from_box, f"{field} world_from_box", frames, source)
    stray = ~track.valid & (track.world_from_box != np.eye(4)).any(axis=(1, 2))
    _require(
        not stray.any(),
        "is invalid there, expected the identity",
        f"{field} world_from_box",
        source,
        int(stray.argmax()),
    )


def _check_map(log: DrivingLog, source: Source) -> None:
    if log.road_map is None:
        return
    for part in MAP_PARTS:
        polygon = part in POLYGONS
        for number, line in enumerate(getattr(log.road_map, part)):
            field = f"road_map.{part}[{number}]"
            _check_array(line, (None, 2 if polygon else 3), np.float64, field, source)
            enough = 3 if polygon else 2
            _require(len(line) >= enough, f"has {len(line)} points, expected at least {enough}", field, source)
            _require(np.isfinite(line).all(), "holds a point that is not finite", field, source)
    kinds, lines = log.road_map.line_kinds, len(log.road_map.lane_lines)
    field = "road_map.line_kinds"
    _require(len(kinds) in (0, lines), f"has {len(kinds)} kinds, expected none or {lines}", field, source)
    foreign = sorted(set(kinds) - set(LINE_KINDS))
    _require(not foreign, f"holds {foreign}, expected some of {LINE_KINDS}", field, source)


def _check_light(light: TrafficLight, field: str, frames: int, lanes: int, source: Source) -> None:
    _require(
        isinstance(light.lane, int) and -1 <= light.lane < lanes,
        f"is {light.lane}, expected -1 or the index of one of {lanes} lane centres",
        f"{field} lane",
        source,
    )
    _check_array(light.stop_point, (3,), np.float64, f"{field} stop_point", source)
    _require(np.isfinite(light.stop_point).all(), "is not finite", f"{field} stop_point", source)
    _check_array(light.state, (frames,), np.int64, f"{field} state", source)
    strange = (light.state < 0) | (light.state >= len(LIGHT_STATES))
    frame = int(strange.argmax())
    _require(
        not strange.any(),
        f"is {light.state[frame]}, expected an index into {LIGHT_STATES}",
        f"{field} state",
        source,
        frame,
    )
