"""Poses and timestamps of a KITTI raw drive, from refined poses or from the inertial unit (OXTS)."""

import dataclasses
import datetime
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float

from jaxrecon.geometry import transforms
from jaxrecon.logs.errors import LogError
from jaxrecon.logs.kitti_text import (
    COPY_AGAIN,
    nearest_rotation,
    numbered_files,
    parse_numbers,
    read_lines,
    read_rigid_calibration,
    require_frames,
)
from jaxrecon.logs.validate import check_timestamps

EARTH_RADIUS = 6378137.0
SECONDS_PER_FRAME = 0.1
OXTS_COLUMNS = 30
OXTS_TABLE_FIELDS = ("lat_deg", "lon_deg", "alt_m", "roll_rad", "pitch_rad", "yaw_rad")


@dataclasses.dataclass(frozen=True)
class PoseSource:
    """Where a drive's poses come from.

    Attributes:
        kind: "icp" for rows of refined poses, "table" for rows of a table of OXTS packets, "packets" for a file each.
        file: the file or folder that holds them.
        entries: row or file of each frame, unparsed.
    """

    kind: Literal["icp", "table", "packets"]
    file: pathlib.Path
    entries: Mapping[int, str | pathlib.Path]


def find_poses(drive: pathlib.Path, refined: pathlib.Path, choice: str) -> PoseSource:
    """The poses of a drive folder that ``choice`` asks for; ``refined`` is where refined ones would lie."""
    table, packets = drive / "poses_oxts.csv", drive / "oxts"
    if choice == "icp" or (choice == "auto" and refined.exists()):
        return PoseSource("icp", refined, dict(enumerate(read_lines(refined, "poses"))))
    if table.exists():
        return PoseSource("table", table, dict(enumerate(read_lines(table, "oxts")[1:])))
    if packets.is_dir():
        return PoseSource("packets", packets / "data", numbered_files(packets / "data", (".txt",), "oxts"))
    raise LogError(
        "has neither oxts/data nor poses_oxts.csv" + (f", and {refined} is missing" if choice == "auto" else ""),
        file=drive,
        field="oxts",
        remedy="Add the folder oxts of the drive" + (" or the refined poses" if choice == "auto" else ""),
    )


def read_poses(source: PoseSource, numbers: Sequence[int], calibration: pathlib.Path) -> Float[np.ndarray, "frame 4 4"]:
    """World-from-Velodyne poses of the frames of those numbers, in metres east, north, up of some origin."""
    entries = {number: source.entries[number] for number in numbers}
    if source.kind == "icp":
        return np.stack([parse_pose(str(row), source.file, number) for number, row in entries.items()])
    if source.kind == "table":
        columns = _table_columns(source.file)
        packets = [_table_packet(str(row), columns, source.file, number) for number, row in entries.items()]
    else:
        packets = [_file_packet(pathlib.Path(file), number) for number, file in entries.items()]
    velo_from_imu = read_rigid_calibration(calibration / "calib_imu_to_velo.txt")
    return world_from_imu(np.stack(packets)) @ transforms.inverse(velo_from_imu)


def parse_pose(line: str, file: pathlib.Path, frame: int) -> Float[np.ndarray, "4 4"]:
    """A pose from a row-major 3x4 matrix."""
    matrix = parse_numbers(line.split(), 12, file, "pose", frame).reshape(3, 4)
    return transforms.rigid(nearest_rotation(matrix[:, :3], file, "pose", frame), matrix[:, 3])


def world_from_imu(packets: Float[np.ndarray, "frame 6"]) -> Float[np.ndarray, "frame 4 4"]:
    """Poses of the inertial unit in metres east, north and up of its first position.

    Args:
        packets: latitude, longitude (degrees), altitude (metres), roll, pitch, yaw (radians) a frame.

    Returns:
        Rigid poses; yaw 0 faces east, counter-clockwise positive.

    Source: the development kit of KITTI raw (``convertOxtsToPose``): Mercator projection with the scale of the
    first latitude, rotation Rz(yaw) Ry(pitch) Rx(roll).
    """
    latitude, longitude, altitude, roll, pitch, yaw = packets.T
    scale = math.cos(math.radians(latitude[0]))
    east = scale * EARTH_RADIUS * np.radians(longitude)
    north = scale * EARTH_RADIUS * np.log(np.tan(np.pi / 4 + np.radians(latitude) / 2))
    position = np.stack([east, north, altitude], axis=-1)
    zero, one = np.zeros_like(yaw), np.ones_like(yaw)
    about_x = np.stack([one, zero, zero, zero, np.cos(roll), -np.sin(roll), zero, np.sin(roll), np.cos(roll)], -1)
    about_y = np.stack([np.cos(pitch), zero, np.sin(pitch), zero, one, zero, -np.sin(pitch), zero, np.cos(pitch)], -1)
    rotation = transforms.yaw_to_matrix(yaw) @ about_y.reshape(-1, 3, 3) @ about_x.reshape(-1, 3, 3)
    return transforms.rigid(rotation, position - position[0])


def read_timestamps(drive: pathlib.Path, cameras: Sequence[str], numbers: Sequence[int]) -> Float[np.ndarray, " frame"]:
    """Seconds of the frames of those numbers since the first of them.

    A camera's clock is taken as recorded. Without one, frames are evenly spaced at the mean rate of the OXTS clock
    (its packets come every 10 ms and the nearest one is stored, so it jitters while the cameras are triggered evenly),
    or at KITTI's nominal 10 Hz where there is no clock at all.
    """
    for file in [drive / name / "timestamps.txt" for name in cameras]:
        if file.exists():
            lines = dict(enumerate(read_lines(file, "timestamp")))
            require_frames({file: lines, drive: dict.fromkeys(numbers)}, numbers)
            times = np.array([_parse_timestamp(lines[number], file, number) for number in numbers])
            check_timestamps(times - times[0], file, numbers)
            return times - times[0]
    return (np.array(numbers, np.float64) - numbers[0]) * _oxts_interval(drive)


def _oxts_interval(drive: pathlib.Path) -> float:
    """Mean seconds between OXTS packets, which are stored one a frame."""
    table, clock = drive / "poses_oxts.csv", drive / "oxts" / "timestamps.txt"
    file = table if table.exists() else clock
    if not file.exists():
        return SECONDS_PER_FRAME
    if file == table:
        columns = _table_columns(table)
        rows = [_table_row(line, columns, table, n) for n, line in enumerate(read_lines(table, "oxts")[1:])]
        times = [parse_numbers([row["timestamp_unix_s"]], 1, table, "timestamp", n)[0] for n, row in enumerate(rows)]
    else:
        times = [_parse_timestamp(line, clock, n) for n, line in enumerate(read_lines(clock, "timestamp"))]
    interval = float(times[-1] - times[0]) / (len(times) - 1) if len(times) > 1 else SECONDS_PER_FRAME
    if interval <= 0:
        raise LogError(f"goes backwards, by {interval} s a frame", file=file, field="timestamp", remedy=COPY_AGAIN)
    return interval


def _parse_timestamp(line: str, file: pathlib.Path, frame: int) -> float:
    """Seconds since the epoch of a line such as ``2011-09-26 13:10:51.168593664``."""
    whole, _, fraction = line.strip().partition(".")
    try:
        moment = datetime.datetime.strptime(whole, "%Y-%m-%d %H:%M:%S").replace(tzinfo=datetime.UTC)
        return moment.timestamp() + float(f"0.{fraction or 0}")
    except ValueError as error:
        problem = f"is no date and time: {line.strip()!r}"
        raise LogError(problem, file=file, frame=frame, field="timestamp", remedy=COPY_AGAIN) from error


def _file_packet(file: pathlib.Path, frame: int) -> Float[np.ndarray, "6"]:
    """Latitude, longitude (degrees), altitude (metres), roll, pitch, yaw (radians) of an OXTS packet."""
    lines = read_lines(file, "oxts")
    if len(lines) != 1:
        problem = f"has {len(lines)} lines, expected 1"
        raise LogError(problem, file=file, frame=frame, field="oxts", remedy=COPY_AGAIN)
    return _checked_packet(parse_numbers(lines[0].split(), OXTS_COLUMNS, file, "oxts", frame)[:6], file, frame)


def _table_columns(file: pathlib.Path) -> list[str]:
    lines = read_lines(file, "oxts")
    columns = lines[0].split(",") if lines else []
    missing = [name for name in ("timestamp_unix_s", *OXTS_TABLE_FIELDS) if name not in columns]
    if missing:
        problem = f"lacks the columns {missing}; its first line is {lines[:1]}"
        raise LogError(problem, file=file, field="oxts", remedy=COPY_AGAIN)
    return columns


def _table_row(line: str, columns: list[str], file: pathlib.Path, frame: int) -> dict[str, str]:
    words = line.split(",")
    if len(words) != len(columns):
        problem = f"has {len(words)} values, expected {len(columns)}"
        raise LogError(problem, file=file, frame=frame, field="oxts", remedy=COPY_AGAIN)
    return dict(zip(columns, words, strict=True))


def _table_packet(line: str, columns: list[str], file: pathlib.Path, frame: int) -> Float[np.ndarray, "6"]:
    """The six numbers of ``_file_packet`` from a row of a table."""
    row = _table_row(line, columns, file, frame)
    packet = parse_numbers([row[name] for name in OXTS_TABLE_FIELDS], 6, file, "oxts", frame)
    return _checked_packet(packet, file, frame)


def _checked_packet(packet: Float[np.ndarray, "6"], file: pathlib.Path, frame: int) -> Float[np.ndarray, "6"]:
    latitude, longitude = packet[:2]
    if abs(latitude) > 85 or abs(longitude) > 180 or np.abs(packet[3:]).max() > 2 * np.pi:
        raise LogError(
            f"is no position and attitude: latitude {latitude}, longitude {longitude} degrees, "
            f"roll, pitch, yaw {packet[3:]} radians",
            file=file,
            frame=frame,
            field="oxts",
            remedy=COPY_AGAIN,
        )
    return packet
