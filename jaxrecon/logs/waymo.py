"""Reader of Waymo Open Motion scenarios in the JSON of Nocturne and GPUDrive.

Source: "Large Scale Interactive Motion Forecasting for Autonomous Driving", Ettinger et al., 2021 (the data);
"GPUDrive: Data-driven, multi-agent driving simulation at 1 million FPS", Kazemkhani et al., 2024 (the JSON).
"""

import dataclasses
import os
import pathlib
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from jaxrecon.geometry import transforms
from jaxrecon.logs.driving_log import CYCLIST, OTHER, PEDESTRIAN, VEHICLE, DrivingLog, EgoVehicle, Track
from jaxrecon.logs.errors import LogError
from jaxrecon.logs.json_text import COPY_AGAIN, entry, measured, number, numbers, points, read_json
from jaxrecon.logs.validate import validate
from jaxrecon.logs.waymo_map import read_lights, read_map

SECONDS_PER_FRAME = 0.1
# The recording car, a Chrysler Pacifica: its box comes with the log, its axles do not.
WHEELBASE, REAR_OVERHANG = 3.09, 1.11
CATEGORY_OF_TYPE = {
    "vehicle": VEHICLE,
    "pedestrian": PEDESTRIAN,
    "cyclist": CYCLIST,
    "other": OTHER,
    "unset": OTHER,
}
HEADING_UNITS = ("auto", "deg", "rad")
# Files without heights: metres by category, and for vehicles by length, as the files with heights have them.
USUAL_HEIGHT = {PEDESTRIAN: 1.75, CYCLIST: 1.75, OTHER: 1.0}
USUAL_VEHICLE_HEIGHTS = ((5.5, 1.65), (7.5, 2.4), (np.inf, 3.3))
# Below this speed the direction of motion says nothing about the heading.
MOVING = 2.0  # m/s
# By how much one unit has to fit the directions of motion better than the other.
CLEARLY = 0.05  # radians


@dataclasses.dataclass(frozen=True)
class _Motion:
    """One object of the file: box centres in the world of the file, invalid rows hold anything."""

    identifier: str
    category: str
    size: Float[np.ndarray, "3"]
    centre: Float[np.ndarray, "frame 3"]
    heading: Float[np.ndarray, " frame"]
    velocity: Float[np.ndarray, "frame 2"]
    valid: Bool[np.ndarray, " frame"]


def read_waymo(path: str | os.PathLike, *, frames: slice | None = None, heading_unit: str = "auto") -> DrivingLog:
    """A scenario of the Waymo Open Motion Dataset.

    The world keeps the axes of the file and has its origin on the ground below the ego's first position. Boxes stand
    upright. Files without heights are laid on level ground, with usual heights of boxes. Objects that are never valid,
    bike lanes and lines of fewer than two points are left out.

    Args:
        path: a file ``*.json`` or ``*.json.gz``.
        frames: which of the recorded steps to read; None takes all.
        heading_unit: "deg", "rad", or "auto" to tell by the directions in which objects move.

    Returns:
        The validated log; the ego is the last object of the file, as the converters put it.

    Raises:
        LogError: naming what is wrong in the file, and what to do.
    """
    file = pathlib.Path(path)
    content = read_json(file)
    objects = entry(content, "objects", list, file, "")
    if not objects:
        raise LogError("holds no object, not even the ego", file=file, field="objects", remedy=COPY_AGAIN)
    axes = _axes(objects, file)
    motions = [_read_object(note, f"objects[{number}]", axes, file) for number, note in enumerate(objects)]
    motions = _in_radians(motions, heading_unit, file)
    ego, recorded = motions[-1], len(motions[-1].valid)
    chosen = np.arange(recorded)[frames or slice(None)]
    _check_frames(motions, chosen, frames, file)
    length, width, height = map(float, ego.size)
    car = EgoVehicle(length, width, height, WHEELBASE, REAR_OVERHANG)
    world_from_ego, origin = _ego_poses(ego, car, chosen)
    road_map, lane_of_road = read_map(entry(content, "roads", list, file, ""), axes, origin, file)
    states = entry(content, "tl_states", dict, file, "") if "tl_states" in content else {}
    log = DrivingLog(
        name=file.name.removesuffix(".gz").removesuffix(".json"),
        timestamps=SECONDS_PER_FRAME * (np.arange(len(chosen)) * _stride(chosen)).astype(np.float64),
        world_from_ego=world_from_ego,
        tracks=tuple(_track(motion, chosen, origin) for motion in motions[:-1] if motion.valid[chosen].any()),
        ego=car,
        road_map=road_map,
        lights=read_lights(states, lane_of_road, recorded, origin, chosen, file),
    )
    return validate(log, file)


def _axes(objects: list[Any], file: pathlib.Path) -> str:
    """Whether the points of this version of the file have heights: "xyz" or "xy"."""
    positions = entry(objects[-1], "position", list, file, f"objects[{len(objects) - 1}]")
    return "xyz" if positions and isinstance(positions[0], dict) and "z" in positions[0] else "xy"


def _read_object(note: Any, field: str, axes: str, file: pathlib.Path) -> _Motion:
    kind = entry(note, "type", str, file, field)
    if kind not in CATEGORY_OF_TYPE:
        known = ", ".join(CATEGORY_OF_TYPE)
        raise LogError(f"is {kind!r}, known are {known}", file=file, field=f"{field}.type", remedy=COPY_AGAIN)
    category = CATEGORY_OF_TYPE[kind]
    flags = entry(note, "valid", list, file, field)
    if not all(isinstance(flag, bool) for flag in flags):
        raise LogError("holds something but true and false", file=file, field=f"{field}.valid", remedy=COPY_AGAIN)
    valid = np.array(flags, bool)
    centre = points(entry(note, "position", list, file, field), axes, file, f"{field}.position")
    heading = numbers(entry(note, "heading", list, file, field), file, f"{field}.heading")
    velocity = points(entry(note, "velocity", list, file, field), "xy", file, f"{field}.velocity")[:, :2]
    for name, values in (("position", centre), ("heading", heading), ("velocity", velocity)):
        if len(values) != len(valid):
            problem = f"has {len(values)} steps, expected {len(valid)} as in valid"
            raise LogError(problem, file=file, field=f"{field}.{name}", remedy=COPY_AGAIN)
        measured(values[valid], file, f"{field}.{name}", np.flatnonzero(valid))
    size = _size(note, category, axes, field, file)
    if axes == "xy":
        centre[:, 2] = size[2] / 2
    return _Motion(str(note.get("id", field)), category, size, centre, heading, velocity, valid)


def _size(note: Any, category: str, axes: str, field: str, file: pathlib.Path) -> Float[np.ndarray, "3"]:
    """(length, width, height) in metres."""
    length, width = (number(note, name, file, field) for name in ("length", "width"))
    if axes == "xyz":
        height = number(note, "height", file, field)
    elif category == VEHICLE:
        height = next(height for bound, height in USUAL_VEHICLE_HEIGHTS if not length > bound)
    else:
        height = USUAL_HEIGHT[category]
    size = np.array([length, width, height])
    if not (np.isfinite(size).all() and (size > 0).all() and (size < 100).all()):
        problem = f"(length, width, height) is {size}, expected metres between 0 and 100"
        raise LogError(problem, file=file, field=f"{field}.size", remedy=COPY_AGAIN)
    return size


def _in_radians(motions: list[_Motion], unit: str, file: pathlib.Path) -> list[_Motion]:
    if unit not in HEADING_UNITS:
        raise LogError(f"is {unit!r}, expected one of {HEADING_UNITS}", field="heading_unit")
    if unit == "auto":
        unit = _heading_unit(motions, file)
    turn = np.pi / 180 if unit == "deg" else 1.0
    return [dataclasses.replace(motion, heading=motion.heading * turn) for motion in motions]


def _heading_unit(motions: list[_Motion], file: pathlib.Path) -> str:
    """The unit in which the headings agree with the directions of motion, or else the only one that their size allows.

    Some files in radians hold headings of up to 10 for parked cars, so size alone decides only beyond that.
    """
    heading = np.concatenate([motion.heading[motion.valid] for motion in motions])
    velocity = np.concatenate([motion.velocity[motion.valid] for motion in motions])
    moving = np.linalg.norm(velocity, axis=1) > MOVING
    if moving.any():
        direction = np.arctan2(velocity[moving, 1], velocity[moving, 0])
        off = {
            unit: np.median(np.abs(transforms.wrap_angle(heading[moving] * turn - direction)))
            for unit, turn in (("rad", 1.0), ("deg", np.pi / 180))
        }
        if abs(off["rad"] - off["deg"]) > CLEARLY:
            return min(off, key=lambda unit: off[unit])
    if (np.abs(heading) > 6 * np.pi).any():
        return "deg"
    problem = "may be degrees or radians: all are small, and what moves tells no difference"
    remedy = 'Pass heading_unit="deg" or heading_unit="rad"'
    raise LogError(problem, file=file, field="heading", remedy=remedy)


def _check_frames(motions: list[_Motion], chosen: np.ndarray, frames: slice | None, file: pathlib.Path) -> None:
    ego = motions[-1]
    recorded = len(ego.valid)
    for place, motion in enumerate(motions):
        if len(motion.valid) != recorded:
            problem = f"has {len(motion.valid)} steps, expected {recorded} as the ego has"
            raise LogError(problem, file=file, field=f"objects[{place}].valid", remedy=COPY_AGAIN)
    if len(chosen) == 0 or _stride(chosen) < 1:
        problem = f"has {recorded} steps, of which {frames} takes none or takes them backwards"
        raise LogError(problem, file=file, field="frames", remedy="Choose other frames")
    if not ego.valid[chosen].all():
        missing = int(chosen[np.argmin(ego.valid[chosen])])
        problem = "the ego, which is the last object, is not valid there"
        remedy = "Pass frames=slice(...) with the steps in which it is"
        raise LogError(problem, file=file, frame=missing, field=f"objects[{len(motions) - 1}].valid", remedy=remedy)


def _stride(chosen: np.ndarray) -> int:
    return int(chosen[1] - chosen[0]) if len(chosen) > 1 else 1


def _ego_poses(
    ego: _Motion, car: EgoVehicle, chosen: np.ndarray
) -> tuple[Float[np.ndarray, "frame 4 4"], Float[np.ndarray, "3"]]:
    """Poses on the ground below the rear axle, recentred, and the origin that was taken off."""
    rotation = transforms.yaw_to_matrix(ego.heading[chosen])
    behind = np.array([-car.centre_ahead, 0.0, -car.height / 2])
    position = ego.centre[chosen] + rotation @ behind
    return transforms.rigid(rotation, position - position[0]), position[0]


def _track(motion: _Motion, chosen: np.ndarray, origin: np.ndarray) -> Track:
    valid = motion.valid[chosen]
    rotation = transforms.yaw_to_matrix(np.where(valid, motion.heading[chosen], 0.0))
    centre = np.where(valid[:, None], motion.centre[chosen] - origin, 0.0)
    return Track(motion.identifier, motion.category, motion.size, transforms.rigid(rotation, centre), valid)
