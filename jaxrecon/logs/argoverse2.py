"""Reader of Argoverse 2: logs of the sensor data set and scenarios of motion forecasting, without their images.

Source: "Argoverse 2: Next Generation Datasets for Self-Driving Perception and Forecasting", Wilson et al., 2021.
"""

import os
import pathlib

import numpy as np
from jaxtyping import Float, Int

from jaxrecon.geometry import transforms
from jaxrecon.logs.argoverse2_map import find_map, read_map
from jaxrecon.logs.argoverse2_scenario import read_scenario
from jaxrecon.logs.driving_log import CYCLIST, OTHER, PEDESTRIAN, VEHICLE, CameraMount, DrivingLog, EgoVehicle, Track
from jaxrecon.logs.errors import LogError
from jaxrecon.logs.json_text import COPY_AGAIN, measured
from jaxrecon.logs.tables import NUMBER, TEXT, WHOLE, read_table
from jaxrecon.logs.validate import validate

POSES, SCENARIO = "city_SE3_egovehicle.feather", "scenario_*.parquet"
ANNOTATIONS = ("annotations.feather", "annotations_with_ego.feather")
# The recording car, a Ford Fusion Hybrid; length and height are those of its own box in the logs that have one.
EGO = EgoVehicle(length=4.877, width=1.85, height=1.473, wheelbase=2.85, rear_overhang=1.08)
# Argoverse's ego frame lies on the rear axle, a tyre's radius above the ground.
AXLE_HEIGHT = 0.33
EGO_CATEGORY = "EGO_VEHICLE"
CATEGORY_OF_NAME = (
    dict.fromkeys(
        [
            "REGULAR_VEHICLE",
            "LARGE_VEHICLE",
            "BUS",
            "BOX_TRUCK",
            "TRUCK",
            "TRUCK_CAB",
            "VEHICULAR_TRAILER",
            "SCHOOL_BUS",
            "ARTICULATED_BUS",
            "RAILED_VEHICLE",
        ],
        VEHICLE,
    )
    | dict.fromkeys(["PEDESTRIAN", "OFFICIAL_SIGNALER"], PEDESTRIAN)
    | dict.fromkeys(["BICYCLE", "BICYCLIST", "MOTORCYCLE", "MOTORCYCLIST", "WHEELED_RIDER"], CYCLIST)
    | dict.fromkeys(
        [
            "ANIMAL",
            "BOLLARD",
            "CONSTRUCTION_BARREL",
            "CONSTRUCTION_CONE",
            "DOG",
            "MESSAGE_BOARD_TRAILER",
            "MOBILE_PEDESTRIAN_CROSSING_SIGN",
            "SIGN",
            "STOP_SIGN",
            "STROLLER",
            "TRAFFIC_LIGHT_TRAILER",
            "WHEELCHAIR",
            "WHEELED_DEVICE",
        ],
        OTHER,
    )
)
_POSE = {name: NUMBER for name in ("qw", "qx", "qy", "qz", "tx_m", "ty_m", "tz_m")}
_BOX = {"timestamp_ns": WHOLE, "track_uuid": TEXT, "category": TEXT, "length_m": NUMBER, "width_m": NUMBER}
_BOX |= {"height_m": NUMBER, **_POSE}
_INTRINSICS = {"sensor_name": TEXT, "fx_px": NUMBER, "fy_px": NUMBER, "cx_px": NUMBER, "cy_px": NUMBER}
_INTRINSICS |= {"width_px": WHOLE, "height_px": WHOLE}


def is_argoverse2(path: pathlib.Path) -> bool:
    """Whether a folder is a log or a scenario of Argoverse 2."""
    return (path / POSES).is_file() or any(path.glob(SCENARIO))


def read_argoverse2(path: str | os.PathLike, *, frames: slice | None = None, cameras: str = "ring_") -> DrivingLog:
    """A log of the sensor data set, or a scenario of motion forecasting.

    The world keeps the axes of the city and has its origin on the ground below the ego's first rear axle. Frames of a
    sensor log are the moments that are annotated. Its lane lines are the painted boundaries of its lanes, its lane
    centres, without bike lanes, run midway between the boundaries where the map has no centre line.

    Args:
        path: folder with ``city_SE3_egovehicle.feather`` and annotations, or with ``scenario_*.parquet``; both with
            the map, here or in ``map/``.
        frames: which annotated moments to read; None takes all.
        cameras: how the names of the cameras begin whose calibration becomes ``mounts``, where there is a calibration.

    Returns:
        The validated log, without images; mounts have the undistorted pinhole of each camera.

    Raises:
        LogError: naming what is missing or wrong, and what to do.
    """
    path = pathlib.Path(path)
    if (path / POSES).is_file():
        return validate(_read_sensor_log(path, frames, cameras), path)
    scenarios = sorted(path.glob(SCENARIO))
    if len(scenarios) != 1:
        problem = f"has {len(scenarios)} files {SCENARIO} and no {POSES}, expected one of either"
        raise LogError(problem, file=path, field="path", remedy="Pass the folder of one log or scenario")
    return validate(read_scenario(scenarios[0], EGO, frames), path)


def _read_sensor_log(path: pathlib.Path, frames: slice | None, cameras: str) -> DrivingLog:
    found = [path / name for name in ANNOTATIONS if (path / name).is_file()]
    if not found:
        problem = f"has none of {', '.join(ANNOTATIONS)}"
        raise LogError(problem, file=path, field="annotations", remedy="Logs of the test split have none: take others")
    boxes = read_table(found[0], _BOX)
    moments = np.unique(boxes["timestamp_ns"])
    chosen = moments[frames or slice(None)]
    if len(chosen) == 0 or (len(chosen) > 1 and chosen[0] > chosen[1]):
        problem = f"has {len(moments)} annotated moments, of which {frames} takes none or takes them backwards"
        raise LogError(problem, file=found[0], field="frames", remedy="Choose other frames")
    city_from_axle = _ego_poses(path / POSES, chosen)
    ground = np.eye(4)
    ground[2, 3] = -AXLE_HEIGHT
    origin = (city_from_axle[0] @ ground)[:3, 3]
    world_from_axle = city_from_axle.copy()
    world_from_axle[:, :3, 3] -= origin
    return DrivingLog(
        name=path.resolve().name,
        timestamps=(chosen - chosen[0]) * 1e-9,
        world_from_ego=world_from_axle @ ground,
        tracks=_tracks(boxes, chosen, world_from_axle, found[0]),
        ego=EGO,
        road_map=read_map(find_map(path), origin),
        mounts=_mounts(path / "calibration", cameras, transforms.inverse(ground)),
    )


def _poses(table: dict[str, np.ndarray], file: pathlib.Path) -> Float[np.ndarray, "n 4 4"]:
    quaternions = np.stack([table[name] for name in ("qw", "qx", "qy", "qz")], axis=-1)
    norm = np.linalg.norm(quaternions, axis=1)
    if (np.abs(norm - 1) > 1e-3).any():
        row = int(np.argmax(np.abs(norm - 1)))
        problem = f"row {row} has the norm {norm[row]:.4g}, expected 1"
        raise LogError(problem, file=file, field="qw, qx, qy, qz", remedy=COPY_AGAIN)
    translation = np.stack([table[name] for name in ("tx_m", "ty_m", "tz_m")], axis=-1)
    measured(translation, file, "tx_m, ty_m, tz_m")
    return transforms.rigid(transforms.quaternion_to_matrix(quaternions), translation)


def _ego_poses(file: pathlib.Path, moments: Int[np.ndarray, " frame"]) -> Float[np.ndarray, "frame 4 4"]:
    """The pose of exactly each annotated moment."""
    table = read_table(file, {"timestamp_ns": WHOLE, **_POSE})
    poses = _poses(table, file)
    row_of_moment = {moment: row for row, moment in enumerate(table["timestamp_ns"].tolist())}
    missing = [frame for frame, moment in enumerate(moments.tolist()) if moment not in row_of_moment]
    if missing:
        problem = f"has no pose at the annotated moment {moments[missing[0]]} ns"
        raise LogError(problem, file=file, frame=missing[0], field="timestamp_ns", remedy=COPY_AGAIN)
    return poses[[row_of_moment[moment] for moment in moments.tolist()]]


def _tracks(
    boxes: dict[str, np.ndarray], moments: np.ndarray, world_from_axle: np.ndarray, file: pathlib.Path
) -> tuple[Track, ...]:
    """Boxes of the chosen moments, joined with the ego's poses and sorted into tracks by identity."""
    axle_from_box = _poses(boxes, file)
    sizes = np.stack([boxes[name] for name in ("length_m", "width_m", "height_m")], axis=-1)
    frame = np.searchsorted(moments, boxes["timestamp_ns"])
    frame = np.where(np.isin(boxes["timestamp_ns"], moments), frame, -1)
    tracks = []
    for identifier in dict.fromkeys(boxes["track_uuid"].tolist()):
        rows = np.flatnonzero((boxes["track_uuid"] == identifier) & (frame >= 0))
        names = set(boxes["category"][rows].tolist())
        field = f"track {identifier}"
        if not len(rows) or names == {EGO_CATEGORY}:
            continue
        if len(names) > 1 or not names <= set(CATEGORY_OF_NAME):
            problem = f"has the categories {sorted(names)}, expected one of those of Argoverse 2"
            raise LogError(problem, file=file, field=field, remedy=COPY_AGAIN)
        own = frame[rows]
        if len(np.unique(own)) < len(own):
            twice = int(own[np.argmax(np.bincount(own)[own] > 1)])
            raise LogError("is annotated twice", file=file, frame=twice, field=field, remedy=COPY_AGAIN)
        poses, valid = np.tile(np.eye(4), (len(moments), 1, 1)), np.zeros(len(moments), bool)
        poses[own], valid[own] = world_from_axle[own] @ axle_from_box[rows], True
        tracks.append(Track(identifier, CATEGORY_OF_NAME[names.pop()], np.median(sizes[rows], axis=0), poses, valid))
    return tuple(tracks)


def _mounts(folder: pathlib.Path, prefix: str, ground_from_axle: np.ndarray) -> tuple[CameraMount, ...]:
    """Calibrated cameras, none where there is no calibration."""
    if not folder.is_dir():
        return ()
    pinholes = read_table(folder / "intrinsics.feather", _INTRINSICS)
    places = read_table(folder / "egovehicle_SE3_sensor.feather", {"sensor_name": TEXT, **_POSE})
    axle_from_sensor = dict(
        zip(places["sensor_name"], _poses(places, folder / "egovehicle_SE3_sensor.feather"), strict=True)
    )
    mounts = []
    for row, name in enumerate(pinholes["sensor_name"].tolist()):
        if not name.startswith(prefix):
            continue
        if name not in axle_from_sensor:
            raise LogError(f"has no pose of {name}", file=folder, field="egovehicle_SE3_sensor", remedy=COPY_AGAIN)
        # Argoverse counts pixel centres in whole numbers, this house at +0.5.
        fx, fy, cx, cy = (float(pinholes[key][row]) for key in ("fx_px", "fy_px", "cx_px", "cy_px"))
        size = (int(pinholes["width_px"][row]), int(pinholes["height_px"][row]))
        intrinsics = np.array([fx, fy, cx + 0.5, cy + 0.5])
        mounts.append(CameraMount(name, intrinsics, size, ground_from_axle @ axle_from_sensor[name]))
    return tuple(mounts)
