"""A made-up drive in the layout of KITTI raw, small enough to break hundreds of times."""

import dataclasses
import io
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np
import PIL.Image
import pytest
from scipy.spatial.transform import Rotation

from jaxrecon.geometry import transforms
from jaxrecon.logs import CameraMount, CameraStream, DrivingLog, EgoVehicle, RoadMap, Track, TrafficLight

DATE = "2011_09_26"
DRIVE = f"{DATE}/{DATE}_drive_0042_sync"
FRAMES, WIDTH, HEIGHT = 3, 32, 16
Files = dict[str, bytes]


def _text(*lines: str) -> bytes:
    return ("\n".join(lines) + "\n").encode()


def _row(values: np.ndarray) -> str:
    return " ".join(f"{value:.8f}" for value in np.ravel(values))


def _image(random: np.random.Generator, kind: str) -> bytes:
    buffer = io.BytesIO()
    PIL.Image.fromarray(random.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)).save(buffer, kind)
    return buffer.getvalue()


def _calibration() -> Files:
    axes = np.array([[0.0, -1.0, 0.0], [0.0, 0.0, -1.0], [1.0, 0.0, 0.0]])
    tilt = Rotation.from_rotvec([0.01, -0.02, 0.015]).as_matrix()
    rectification = Rotation.from_rotvec([0.002, 0.01, 0]).as_matrix()
    lines = ["calib_time: 09-Jan-2012 13:57:47", f"R_rect_00: {_row(rectification)}"]
    for camera, shift in (("02", 1.2), ("03", -9.4)):
        projection = np.array([[20.0, 0, 15.5, shift], [0, 20.0, 7.5, 0.05], [0, 0, 1, 0.003]])
        lines += [f"S_rect_{camera}: {WIDTH} {HEIGHT}", f"P_rect_{camera}: {_row(projection)}"]
    return {
        f"{DATE}/calib_cam_to_cam.txt": _text(*lines),
        f"{DATE}/calib_velo_to_cam.txt": _text(f"R: {_row(tilt @ axes)}", "T: -0.004 -0.076 -0.27"),
        f"{DATE}/calib_imu_to_velo.txt": _text(f"R: {_row(tilt)}", "T: -0.81 0.32 -0.80"),
    }


def _scans(random: np.random.Generator) -> Files:
    points = random.uniform(-30, 30, (FRAMES, 20, 4)).astype("<f4")
    return {f"{DRIVE}/velodyne_points/data/{n:010d}.bin": points[n].tobytes() for n in range(FRAMES)}


def _images(random: np.random.Generator, camera: str, kind: str) -> Files:
    suffix = {"PNG": "png", "JPEG": "jpg"}[kind]
    return {f"{DRIVE}/{camera}/data/{n:010d}.{suffix}": _image(random, kind) for n in range(FRAMES)}


def _packet(n: int) -> list[float]:
    return [49.0131 + 1e-5 * n, 8.4378 + 2e-6 * n, 114.1 + 0.01 * n, 0.01, -0.02 + 0.001 * n, 1.8 + 0.02 * n]


def _clock(seconds: float) -> list[str]:
    return [f"2011-09-26 13:10:51.{168593664 + int(1e9 * seconds * n)}" for n in range(FRAMES)]


def _label(frame: int, track: int, kind: str, x: float, turn: float) -> str:
    shape = "-1 -1 -1 -1000 -1000 -1000 -10" if kind == "DontCare" else f"1.5 1.7 4.{track} {x} 1.6 {12 + frame} {turn}"
    return f"{frame} {track} {kind} 0 0 -1.5 1.0 2.0 3.0 4.0 {shape}"


def refined_drive() -> Files:
    """One camera of JPEG images, refined poses and tracking labels."""
    random = np.random.default_rng(1)
    poses = []
    for n in range(FRAMES):
        rotation = Rotation.from_euler("ZYX", [1.8 + 0.02 * n, 0.01, -0.02]).as_matrix()
        poses.append(_row(np.column_stack([rotation, [3.0 + n, 5.0 + 0.1 * n, 1.0]])))
    labels = [
        _label(0, -1, "DontCare", 0, 0), _label(0, 0, "Car", -3.0, 0.3), _label(1, 0, "Car", -3.1, 0.31),
        _label(1, 2, "Pedestrian", 2.0, 1.2), _label(2, 2, "Person_sitting", 2.0, 1.2),
        _label(2, 7, "Cyclist", 4.0, -2.0),
    ]  # fmt: skip
    return {
        **_calibration(),
        **_scans(random),
        **_images(random, "image_02", "JPEG"),
        f"{DRIVE}/image_02/timestamps.txt": _text(*_clock(0.1035)),
        "derived/T_world_velo_icp_0042.txt": _text(*poses),
        "tracking/label_02/0007.txt": _text(*labels),
    }


def plain_drive() -> Files:
    """As KITTI publishes it: PNG images of two cameras and a file of OXTS values a frame."""
    random = np.random.default_rng(2)
    packets = {
        f"{DRIVE}/oxts/data/{n:010d}.txt": _text(" ".join(f"{value:.13g}" for value in [*_packet(n), *range(24)]))
        for n in range(FRAMES)
    }
    return {
        **_calibration(),
        **_scans(random),
        **_images(random, "image_02", "PNG"),
        **_images(random, "image_03", "PNG"),
        **packets,
        f"{DRIVE}/oxts/timestamps.txt": _text(*_clock(0.1)),
    }


def table_drive() -> Files:
    """OXTS values in one table, with labels."""
    random = np.random.default_rng(3)
    rows = [",".join(f"{value:.13g}" for value in [1.3e9 + 0.1 * n, *_packet(n), 11.5]) for n in range(FRAMES)]
    header = "timestamp_unix_s,lat_deg,lon_deg,alt_m,roll_rad,pitch_rad,yaw_rad,vf_mps"
    return {
        **_calibration(),
        **_scans(random),
        **_images(random, "image_03", "JPEG"),
        f"{DRIVE}/poses_oxts.csv": _text(header, *rows),
        "tracking/label_02/0000.txt": _text(_label(1, 3, "Van", 1.0, -0.5)),
    }


DRIVES = {"refined": refined_drive(), "plain": plain_drive(), "table": table_drive()}


def write_files(folder: pathlib.Path, files: Files) -> pathlib.Path:
    """Put files into a folder."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture(scope="session")
def drives() -> dict[str, Files]:
    """The files of each made-up drive, by the name of its layout."""
    return DRIVES


@pytest.fixture(scope="session")
def put_files() -> Callable[[pathlib.Path, Files], pathlib.Path]:
    """Puts files into a folder."""
    return write_files


def _poses(random: np.random.Generator, count: int) -> np.ndarray:
    return transforms.rigid(Rotation.random(count, random).as_matrix(), random.normal(size=(count, 3)))


def make_log() -> DrivingLog:
    """A log in which every field holds something."""
    random = np.random.default_rng(4)
    frames, seen = 3, np.array([True, False, True])
    cameras = tuple(
        CameraStream(name, np.array([20.0, 21, 5, 4]) + random.random(4), _poses(random, 1)[0], images)
        for name, images in (
            ("front", random.integers(0, 256, (frames, 8, 10, 3), np.uint8)),
            ("rear/left", random.integers(0, 256, (frames, 6, 4, 3), np.uint8)),
        )
    )
    boxes = np.where(seen[:, None, None], _poses(random, frames), np.eye(4))
    tracks = (
        Track("car", "vehicle", np.array([4.1, 1.8, 1.5]), boxes, seen),
        Track("1", "other", np.array([0.4, 0.8, 1.5]), _poses(random, frames), np.ones(frames, bool)),
    )
    return DrivingLog(
        name="drive 1",
        timestamps=np.array([0.0, 0.1, 0.21]),
        world_from_ego=_poses(random, frames),
        cameras=cameras,
        lidar=tuple(random.normal(size=(n, 3)).astype(np.float32) for n in (4, 0, 7)),
        tracks=tracks,
        ego=EgoVehicle(length=4.5, rear_overhang=0.9),
        road_map=RoadMap(
            lane_centres=(random.normal(size=(2, 3)), random.normal(size=(5, 3))),
            lane_lines=(random.normal(size=(3, 3)), random.normal(size=(2, 3))),
            drivable=(random.normal(size=(4, 2)),),
            crosswalks=(random.normal(size=(4, 2)), random.normal(size=(3, 2))),
            line_kinds=("dashed_white", "unknown"),
        ),
        lights=(
            TrafficLight(1, random.normal(size=3), np.array([1, 2, 3])),
            TrafficLight(-1, random.normal(size=3), np.array([0, 3, 3])),
        ),
        mounts=(
            CameraMount("ring/front", np.array([20.0, 21, 5, 4]), (10, 8), _poses(random, 1)[0]),
            CameraMount("ring/rear", np.array([22.0, 21, 6, 4]), (12, 8), _poses(random, 1)[0]),
        ),
    )


def differences(left: Any, right: Any, name: str = "log") -> list[str]:
    """Where two logs, or parts of them, differ in type, dtype, shape or any bit."""
    if type(left) is not type(right):
        return [f"{name}: {type(left)} {type(right)}"]
    if isinstance(left, np.ndarray):
        alike = left.dtype == right.dtype and left.shape == right.shape and left.tobytes() == right.tobytes()
        return [] if alike else [name]
    if isinstance(left, tuple):
        inner = [d for i, pair in enumerate(zip(left, right, strict=False)) for d in differences(*pair, f"{name}[{i}]")]
        return inner if len(left) == len(right) else [f"{name}: {len(left)} {len(right)}", *inner]
    if dataclasses.is_dataclass(left):
        names = [field.name for field in dataclasses.fields(left)]
        return [d for n in names for d in differences(getattr(left, n), getattr(right, n), f"{name}.{n}")]
    return [] if left == right else [f"{name}: {left} {right}"]


@pytest.fixture
def small_log() -> DrivingLog:
    """A log in which every field holds something."""
    return make_log()


@pytest.fixture(scope="session")
def log_differences() -> Callable[[DrivingLog, DrivingLog], list[str]]:
    """Where two logs differ."""
    return differences
