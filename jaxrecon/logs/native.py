"""The native folder of a log: a checked manifest, arrays in npz, images as lossless PNG. Exact in every bit."""

import concurrent.futures
import dataclasses
import os
import pathlib
import zipfile
from typing import Any

import numpy as np
import PIL.Image
from jaxtyping import UInt8

from jaxrecon.logs.driving_log import (
    CameraMount,
    CameraStream,
    DrivingLog,
    EgoVehicle,
    RoadMap,
    Track,
    TrafficLight,
)
from jaxrecon.logs.errors import LogError
from jaxrecon.logs.images import read_images
from jaxrecon.logs.validate import MAP_PARTS, POLYGONS, validate
from jaxrecon.storage import read_folder, write_folder

KIND, VERSION = "jaxrecon-log", 1


def write_log(log: DrivingLog, path: str | os.PathLike, *, overwrite: bool = False) -> str:
    """Write a log as a native folder, whole or not at all.

    Args:
        log: validated first.
        path: the folder to make.
        overwrite: whether to replace what is there.

    Returns:
        Its content hash.

    Raises:
        LogError: the log breaks a promise.
        StorageError: something is at ``path`` already.
    """
    validate(log)
    metadata = {
        "name": log.name,
        "frames": log.frames,
        "ego": dataclasses.asdict(log.ego),
        "cameras": [camera.name for camera in log.cameras],
        "tracks": [{"identifier": track.identifier, "category": track.category} for track in log.tracks],
        "lidar": bool(log.lidar),
        "road_map": log.road_map is not None,
        "line_kinds": [] if log.road_map is None else list(log.road_map.line_kinds),
        "mounts": [{"name": mount.name, "size": list(mount.size)} for mount in log.mounts],
        "lights": len(log.lights),
    }

    def write(folder: pathlib.Path) -> None:
        np.savez(folder / "arrays.npz", **_arrays(log))  # type: ignore[arg-type]
        for number, camera in enumerate(log.cameras):
            _write_images(camera.images, folder / f"camera_{number:02d}")

    return write_folder(path, write, kind=KIND, version=VERSION, metadata=metadata, overwrite=overwrite)


def read_native(path: str | os.PathLike, *, frames: slice | None = None) -> DrivingLog:
    """Read a folder that ``write_log`` wrote.

    Args:
        path: the folder.
        frames: which frames to read; None takes all. Tracks that none of them shows are left out.

    Returns:
        The validated log.

    Raises:
        StorageError: a file is missing, damaged or foreign.
        LogError: the files are whole but hold no valid log.
    """
    path = pathlib.Path(path)
    metadata = read_folder(path, kind=KIND, version=VERSION).metadata
    try:
        with np.load(path / "arrays.npz", allow_pickle=False) as stored:
            log = _assemble(path, metadata, dict(stored), frames)
    except LogError:
        raise
    except (KeyError, TypeError, ValueError, IndexError, OSError, zipfile.BadZipFile) as error:
        raise LogError(
            f"is whole but does not hold what a log of version {VERSION} holds ({type(error).__name__}: {error})",
            file=path,
            remedy="Write the log again with write_log",
        ) from error
    return validate(log, path)


def _arrays(log: DrivingLog) -> dict[str, np.ndarray]:
    """Every number of a log but its images, by name."""
    frames, count = log.frames, len(log.tracks)
    arrays = {
        "timestamps": log.timestamps,
        "world_from_ego": log.world_from_ego,
        "camera_intrinsics": _stack([camera.intrinsics for camera in log.cameras], (0, 4)),
        "camera_ego_from_camera": _stack([camera.ego_from_camera for camera in log.cameras], (0, 4, 4)),
        "mount_intrinsics": _stack([mount.intrinsics for mount in log.mounts], (0, 4)),
        "mount_ego_from_camera": _stack([mount.ego_from_camera for mount in log.mounts], (0, 4, 4)),
        "light_lane": np.array([light.lane for light in log.lights], np.int64),
        "light_stop_point": _stack([light.stop_point for light in log.lights], (0, 3)),
        "light_state": np.array([light.state for light in log.lights], np.int64).reshape(len(log.lights), frames),
        "track_size": _stack([track.size for track in log.tracks], (0, 3)),
        "track_world_from_box": _stack([track.world_from_box for track in log.tracks], (0, frames, 4, 4)),
        "track_valid": np.array([track.valid for track in log.tracks], bool).reshape(count, frames),
        "lidar_counts": np.array([len(points) for points in log.lidar], np.int64),
        "lidar_points": np.concatenate([np.zeros((0, 3), np.float32), *log.lidar]),
    }
    for part in MAP_PARTS if log.road_map is not None else ():
        lines = getattr(log.road_map, part)
        arrays[f"map_{part}_counts"] = np.array([len(line) for line in lines], np.int64)
        arrays[f"map_{part}_points"] = np.concatenate([np.zeros((0, _width(part))), *lines])
    return arrays


def _width(part: str) -> int:
    """Coordinates a point of a part of the map has: polygons are flat."""
    return 2 if part in POLYGONS else 3


def _stack(arrays: list[np.ndarray], empty: tuple[int, ...]) -> np.ndarray:
    return np.stack(arrays) if arrays else np.zeros(empty)


def _split(points: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, ...]:
    """Undo a concatenation of parts of those lengths."""
    return tuple(part.copy() for part in np.split(points, np.cumsum(counts)[:-1])) if len(counts) else ()


def _write_images(images: UInt8[np.ndarray, "frame height width 3"], folder: pathlib.Path) -> None:
    folder.mkdir()

    def encode(frame: int) -> None:
        PIL.Image.fromarray(images[frame]).save(_image_file(folder, frame), compress_level=1)

    with concurrent.futures.ThreadPoolExecutor() as pool:
        for _ in pool.map(encode, range(len(images))):
            pass


def _image_file(folder: pathlib.Path, frame: int) -> pathlib.Path:
    return folder / f"{frame:06d}.png"


def _assemble(
    path: pathlib.Path, metadata: dict[str, Any], arrays: dict[str, np.ndarray], frames: slice | None
) -> DrivingLog:
    chosen = range(metadata["frames"])[frames or slice(None)]
    if len(chosen) == 0 or chosen.step < 0:
        problem = f"has {metadata['frames']} frames, of which {frames} takes none or takes them backwards"
        raise LogError(problem, file=path, field="frames", remedy="Choose other frames")
    timestamps = arrays["timestamps"][chosen]
    cameras = []
    for number, name in enumerate(metadata["cameras"]):
        files = [_image_file(path / f"camera_{number:02d}", frame) for frame in chosen]
        intrinsics, ego_from_camera = arrays["camera_intrinsics"][number], arrays["camera_ego_from_camera"][number]
        cameras.append(CameraStream(name, intrinsics, ego_from_camera, read_images(files, chosen, name)))
    tracks = []
    for number, note in enumerate(metadata["tracks"]):
        valid = arrays["track_valid"][number][chosen]
        if valid.any():
            poses = arrays["track_world_from_box"][number][chosen]
            tracks.append(Track(note["identifier"], note["category"], arrays["track_size"][number], poses, valid))
    clouds = _split(arrays["lidar_points"], arrays["lidar_counts"])
    return DrivingLog(
        name=metadata["name"],
        timestamps=timestamps - timestamps[0],
        world_from_ego=arrays["world_from_ego"][chosen],
        cameras=tuple(cameras),
        lidar=tuple(clouds[frame] for frame in chosen) if metadata["lidar"] else (),
        tracks=tuple(tracks),
        ego=EgoVehicle(**metadata["ego"]),
        road_map=_assemble_map(metadata, arrays) if metadata["road_map"] else None,
        lights=_assemble_lights(metadata, arrays, chosen),
        mounts=_assemble_mounts(metadata, arrays),
    )


# Folders from before there were crosswalks, kinds of lines, lights and mounts are whole without them.


def _assemble_map(metadata: dict[str, Any], arrays: dict[str, np.ndarray]) -> RoadMap:
    present = [part for part in MAP_PARTS if part != "crosswalks" or f"map_{part}_counts" in arrays]
    lines = {part: _split(arrays[f"map_{part}_points"], arrays[f"map_{part}_counts"]) for part in present}
    return RoadMap(**lines, line_kinds=tuple(metadata.get("line_kinds", ())))


def _assemble_lights(
    metadata: dict[str, Any], arrays: dict[str, np.ndarray], chosen: range
) -> tuple[TrafficLight, ...]:
    return tuple(
        TrafficLight(int(arrays["light_lane"][n]), arrays["light_stop_point"][n], arrays["light_state"][n][chosen])
        for n in range(metadata.get("lights", 0))
    )


def _assemble_mounts(metadata: dict[str, Any], arrays: dict[str, np.ndarray]) -> tuple[CameraMount, ...]:
    return tuple(
        CameraMount(
            note["name"],
            arrays["mount_intrinsics"][number],
            tuple(note["size"]),
            arrays["mount_ego_from_camera"][number],
        )
        for number, note in enumerate(metadata.get("mounts", ()))
    )
