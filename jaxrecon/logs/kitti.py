"""Reader of KITTI raw drives ("Vision meets Robotics: The KITTI Dataset", Geiger, Lenz, Stiller, Urtasun, 2013)."""

import os
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import numpy as np
from jaxtyping import Float, Float32

from jaxrecon.geometry import cameras as camera_geometry
from jaxrecon.geometry import transforms
from jaxrecon.logs import kitti_text
from jaxrecon.logs.driving_log import CameraStream, DrivingLog, EgoVehicle
from jaxrecon.logs.errors import LogError
from jaxrecon.logs.images import read_images
from jaxrecon.logs.kitti_labels import find_labels, read_tracks
from jaxrecon.logs.kitti_poses import find_poses, read_poses, read_timestamps
from jaxrecon.logs.validate import validate

COLOUR_CAMERAS = ("image_02", "image_03")
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")
# The recording car, a VW Passat B6 estate.
EGO = EgoVehicle(length=4.77, width=1.82, height=1.47, wheelbase=2.71, rear_overhang=1.13)
# From KITTI's sensor drawing: the Velodyne stands 1.73 m above the ground and 0.76 m ahead of the rear axle. Planes
# fitted to the ground of two drives lie 1.71 m and 1.73 m below that point (medians) and rise by 0.4 degrees along
# the road, so the Velodyne's axes serve as the ego's.
EGO_FROM_VELO = transforms.rigid(np.eye(3), np.array([0.76, 0.0, 1.73]))
# A Velodyne HDL-64E sees 120 m; whatever lies beyond this is not a measurement.
FARTHEST_LIDAR_POINT = 1000.0
_DRIVE_PATTERN = re.compile(r"\d{4}_\d{2}_\d{2}_drive_(\d{4})_(?:sync|extract)")


def find_drives(path: pathlib.Path) -> list[pathlib.Path]:
    """Drive folders ``*_drive_NNNN_sync`` that are ``path`` itself or lie in it or in a date folder in it."""
    path = path.resolve()
    if _DRIVE_PATTERN.fullmatch(path.name):
        return [path]
    found = [*path.glob("*_drive_*"), *path.glob("*/*_drive_*")]
    return sorted(drive for drive in found if drive.is_dir() and _DRIVE_PATTERN.fullmatch(drive.name))


def read_kitti(
    path: str | os.PathLike,
    *,
    poses: str = "auto",
    cameras: Sequence[str] | None = None,
    frames: slice | None = None,
    lidar: bool = True,
    drive: str | None = None,
    sequence: str | None = None,
) -> DrivingLog:
    """A drive in the layout of KITTI raw, with tracking labels and refined poses where they lie beside it.

    The ego frame has the axes of the Velodyne and its origin 1.73 m below and 0.76 m behind it; the world keeps the
    recorded axes (east, north, up) and has its origin at the ego's first position. Pixel centres move from KITTI's
    whole numbers to +0.5. Images smaller than the calibration's are taken as resized.

    Args:
        path: the drive's folder, its date folder with the calibration, or the folder that holds the date folder and
            optionally ``derived/T_world_velo_icp_NNNN.txt`` (refined poses) and ``tracking/label_02/*.txt`` (labels).
        poses: "icp" reads the refined poses, "oxts" computes them from the inertial unit, "auto" takes the refined
            ones where present.
        cameras: folders of images to read; None takes every colour camera present.
        frames: which frame numbers to read; None takes all.
        lidar: whether to read the point clouds.
        drive: number of the drive, such as "0013", where ``path`` holds several.
        sequence: name of the label file, such as "0003", where ``tracking/label_02`` holds several.

    Returns:
        The validated log; tracks that no selected frame shows are left out.

    Raises:
        LogError: anything is missing or broken, with its file and frame.
    """
    if poses not in ("auto", "icp", "oxts"):
        raise ValueError(f"poses: received {poses!r}, expected 'auto', 'icp' or 'oxts'")
    folder = _find_drive(pathlib.Path(path), drive)
    calibration, extras = folder.parent, folder.parent.parent
    refined = extras / "derived" / f"T_world_velo_icp_{_drive_number(folder)}.txt"
    source = find_poses(folder, refined, poses)
    names = _camera_names(folder, cameras)
    images = {name: kitti_text.numbered_files(folder / name / "data", IMAGE_SUFFIXES, name) for name in names}
    scans = folder / "velodyne_points" / "data"
    clouds = kitti_text.numbered_files(scans, (".bin",), "lidar") if lidar else {}
    label_file = find_labels(extras / "tracking" / "label_02", sequence)

    streams: dict[pathlib.Path, Mapping[int, Any]] = {folder / name / "data": images[name] for name in names}
    streams |= {source.file: source.entries} | ({scans: clouds} if lidar else {})
    count = 1 + max(max(entries, default=-1) for entries in streams.values())
    numbers = _selected(count, frames, folder)
    kitti_text.require_frames(streams, numbers)

    world_from_ego = read_poses(source, numbers, calibration) @ transforms.inverse(EGO_FROM_VELO)
    world_from_ego[:, :3, 3] -= world_from_ego[0, :3, 3].copy()
    ego_from_rect0 = EGO_FROM_VELO @ transforms.inverse(_rect0_from_velo(calibration))
    log = DrivingLog(
        name=folder.name,
        timestamps=read_timestamps(folder, names, numbers),
        world_from_ego=world_from_ego,
        cameras=tuple(_read_camera(name, images[name], numbers, calibration, ego_from_rect0) for name in names),
        lidar=tuple(_read_cloud(clouds[number], number) for number in numbers) if lidar else (),
        tracks=read_tracks(label_file, count, numbers, world_from_ego @ ego_from_rect0) if label_file else (),
        ego=EGO,
    )
    return validate(log, folder)


def _drive_number(folder: pathlib.Path) -> str:
    return folder.name.split("_")[4]


def _find_drive(path: pathlib.Path, drive: str | None) -> pathlib.Path:
    drives = find_drives(path)
    chosen = [folder for folder in drives if drive in (None, _drive_number(folder))]
    if len(chosen) != 1:
        raise LogError(
            f"holds the drives {[folder.name for folder in drives]}, expected one"
            + (f" with the number {drive}" if drive else ""),
            file=path,
            field="drive",
            remedy="Name the folder of one drive or pass its number, such as drive='0013'",
        )
    return chosen[0]


def _camera_names(folder: pathlib.Path, cameras: Sequence[str] | None) -> tuple[str, ...]:
    if cameras is not None:
        return tuple(cameras)
    names = tuple(name for name in COLOUR_CAMERAS if (folder / name).is_dir())
    if not names:
        raise LogError(
            f"has none of the colour cameras {', '.join(COLOUR_CAMERAS)}",
            file=folder,
            field="cameras",
            remedy="Add the folder of images, or pass cameras=() to read the drive without",
        )
    return names


def _selected(count: int, frames: slice | None, folder: pathlib.Path) -> range:
    numbers = range(count)[frames or slice(None)]
    if not numbers or numbers.step < 0:
        problem = f"has {count} frames, of which {frames} takes none or takes them backwards"
        raise LogError(problem, file=folder, field="frames", remedy="Choose other frames")
    return numbers


def _rect0_from_velo(calibration: pathlib.Path) -> Float[np.ndarray, "4 4"]:
    file = calibration / "calib_cam_to_cam.txt"
    row = kitti_text.calibration_row(kitti_text.read_calibration(file), "R_rect_00", 9, file)
    rectification = kitti_text.nearest_rotation(row.reshape(3, 3), file, "calibration R_rect_00")
    rect0_from_camera0 = transforms.rigid(rectification, np.zeros(3))
    return rect0_from_camera0 @ kitti_text.read_rigid_calibration(calibration / "calib_velo_to_cam.txt")


def _projection(name: str, file: pathlib.Path) -> tuple[Float[np.ndarray, "3 4"], tuple[int, int]]:
    """Projection of a rectified camera, and the (width, height) in pixels that it is for."""
    rows, number = kitti_text.read_calibration(file), name.removeprefix("image_")
    projection = kitti_text.calibration_row(rows, f"P_rect_{number}", 12, file).reshape(3, 4)
    width, height = kitti_text.calibration_row(rows, f"S_rect_{number}", 2, file)
    fx, skew, _, lower, fy = projection[:2, :3].ravel()[:5]
    bottom_is_unit = np.array_equal(projection[2, :3], [0.0, 0.0, 1.0])
    if min(fx, fy, width, height) <= 0 or skew != 0 or lower != 0 or not bottom_is_unit:
        raise LogError(
            f"is no pinhole projection: {projection.tolist()} for {width:g}x{height:g} pixels",
            file=file,
            field=f"calibration P_rect_{number}",
            remedy=kitti_text.COPY_AGAIN,
        )
    return projection, (round(width), round(height))


def _read_camera(
    name: str,
    files: Mapping[int, pathlib.Path],
    numbers: Sequence[int],
    calibration: pathlib.Path,
    ego_from_rect0: Float[np.ndarray, "4 4"],
) -> CameraStream:
    projection, size = _projection(name, calibration / "calib_cam_to_cam.txt")
    images = read_images([files[number] for number in numbers], numbers, name)
    actual = (images.shape[2], images.shape[1])
    # A resized image's sides are rounded to whole pixels, so its two scales differ a little.
    if abs((actual[0] / size[0]) / (actual[1] / size[1]) - 1) > 0.05:
        raise LogError(
            f"is {actual[0]}x{actual[1]}, which is no resizing of the calibrated {size[0]}x{size[1]}",
            file=files[numbers[0]],
            frame=numbers[0],
            field=name,
            remedy="Use the drive's rectified images whole, not cropped",
        )
    kernel = projection[:, :3]
    intrinsics = np.array([kernel[0, 0], kernel[1, 1], kernel[0, 2] + 0.5, kernel[1, 2] + 0.5])
    rect0_from_camera = transforms.rigid(np.eye(3), -np.linalg.solve(kernel, projection[:, 3]))
    intrinsics = camera_geometry.rescale_intrinsics(intrinsics, size, actual)
    return CameraStream(name, intrinsics, ego_from_rect0 @ rect0_from_camera, images)


def _read_cloud(file: pathlib.Path, frame: int) -> Float32[np.ndarray, "n 3"]:
    def refuse(problem: str, cause: Exception | None = None) -> NoReturn:
        remedy = kitti_text.COPY_AGAIN
        raise LogError(problem, file=file, frame=frame, field="lidar", remedy=remedy) from cause

    try:
        data = file.read_bytes()
    except OSError as error:
        refuse(f"cannot be read ({error.strerror})", error)
    if not data or len(data) % 16:
        refuse(f"has {len(data)} bytes, expected a positive multiple of 16 (four float32 a point)")
    points = np.frombuffer(data, "<f4").reshape(-1, 4)[:, :3]
    measured = (np.abs(points) < FARTHEST_LIDAR_POINT).all(axis=1)
    if not measured.all():
        refuse(f"point {np.argmin(measured)} is no measurement: {points[np.argmin(measured)]}")
    return transforms.transform_points(EGO_FROM_VELO, points.astype(np.float64)).astype(np.float32)
