"""Motion-forecasting scenarios of Argoverse 2: tracks of points with headings, which get boxes of usual size."""

import pathlib

import numpy as np
from jaxtyping import Float
from scipy import spatial

from jaxrecon.geometry import transforms
from jaxrecon.logs.argoverse2_map import find_map, read_map
from jaxrecon.logs.driving_log import CYCLIST, OTHER, PEDESTRIAN, VEHICLE, DrivingLog, EgoVehicle, RoadMap, Track
from jaxrecon.logs.errors import LogError
from jaxrecon.logs.json_text import COPY_AGAIN, measured
from jaxrecon.logs.tables import NUMBER, TEXT, WHOLE, read_table

SECONDS_PER_FRAME = 0.1
EGO = "AV"
# Category and usual (length, width, height) in metres, medians of such boxes in the sensor data set.
KIND_OF_TYPE = {
    "vehicle": (VEHICLE, (4.6, 1.9, 1.7)),
    "bus": (VEHICLE, (12.0, 2.9, 3.3)),
    "pedestrian": (PEDESTRIAN, (0.7, 0.7, 1.75)),
    "cyclist": (CYCLIST, (1.8, 0.7, 1.75)),
    "motorcyclist": (CYCLIST, (2.0, 0.8, 1.7)),
    "riderless_bicycle": (CYCLIST, (1.7, 0.5, 1.1)),
    "static": (OTHER, (0.6, 0.6, 1.0)),
    "background": (OTHER, (0.6, 0.6, 1.0)),
    "construction": (OTHER, (0.6, 0.6, 1.0)),
    "unknown": (OTHER, (0.6, 0.6, 1.0)),
}
_COLUMNS = {"track_id": TEXT, "object_type": TEXT, "timestep": WHOLE, "num_timestamps": WHOLE}
_COLUMNS |= {name: NUMBER for name in ("position_x", "position_y", "heading")}
_REMEDY = "Correct the table, or copy it again"


def read_scenario(file: pathlib.Path, ego: EgoVehicle, frames: slice | None) -> DrivingLog:
    """A scenario; the track of the recording car, "AV", is taken for the motion of its rear axle.

    Args:
        file: ``scenario_*.parquet``, with the map beside it.
        ego: size of the recording car.
        frames: which of its steps to read; None takes all.

    Raises:
        LogError: naming the column or track at fault.
    """
    table = read_table(file, _COLUMNS)
    if not len(table["timestep"]):
        raise LogError("has no rows", file=file, field="content", remedy=COPY_AGAIN)
    recorded = int(table["num_timestamps"].max())
    steps = table["timestep"]
    if not (0 < recorded < 100_000 and steps.min() >= 0 and steps.max() < recorded):
        problem = f"runs from {steps.min()} to {steps.max()}, expected 0 to {recorded - 1}"
        raise LogError(problem, file=file, field="timestep", remedy=_REMEDY)
    chosen = np.arange(recorded)[frames or slice(None)]
    if len(chosen) == 0 or (len(chosen) > 1 and chosen[0] > chosen[1]):
        problem = f"has {recorded} steps, of which {frames} takes none or takes them backwards"
        raise LogError(problem, file=file, field="frames", remedy="Choose other frames")
    positions, headings, valid, types = _motions(table, recorded, file)
    if EGO not in positions or not valid[EGO][chosen].all():
        problem = f"has no track {EGO}, or not in every frame that is read"
        raise LogError(problem, file=file, field="track_id", remedy="Choose frames in which the ego was recorded")
    road_map = read_map(find_map(file.parent), np.zeros(3))
    ground = _ground(road_map, file)
    start = np.append(positions[EGO][chosen[0]], ground(positions[EGO][chosen[:1]]))
    world_from_ego = _stand(positions[EGO][chosen], headings[EGO][chosen], ground, start, 0.0)
    tracks = [
        _track(name, types[name], positions[name][chosen], headings[name][chosen], valid[name][chosen], ground, start)
        for name in positions
        if name != EGO and valid[name][chosen].any()
    ]
    stride = int(chosen[1] - chosen[0]) if len(chosen) > 1 else 1
    return DrivingLog(
        name=file.stem.removeprefix("scenario_"),
        timestamps=SECONDS_PER_FRAME * stride * np.arange(len(chosen)).astype(np.float64),
        world_from_ego=world_from_ego,
        tracks=tuple(tracks),
        ego=ego,
        road_map=read_map(find_map(file.parent), start),
    )


class _Ground:
    """Height of the nearest vertex of the map's boundaries, in the city's frame."""

    def __init__(self, vertices: Float[np.ndarray, "n 3"]):
        self.tree, self.height = spatial.cKDTree(vertices[:, :2]), vertices[:, 2]

    def __call__(self, points: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, " n"]:
        near = min(4, len(self.height))
        distance, index = self.tree.query(points, k=[*range(1, near + 1)])
        weight = 1 / (distance + 0.1)
        return np.sum(weight * self.height[index], axis=1) / np.sum(weight, axis=1)


def _ground(road_map: RoadMap, file: pathlib.Path) -> _Ground:
    if not road_map.lane_centres:
        raise LogError("the map has no lane to stand on", file=file, field="map", remedy=COPY_AGAIN)
    return _Ground(np.concatenate(road_map.lane_centres))


def _motions(
    table: dict[str, np.ndarray], recorded: int, file: pathlib.Path
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], dict[str, np.ndarray], dict[str, str]]:
    """Positions (frame, 2), headings (frame,), validity (frame,) and type of every track."""
    position = measured(np.stack([table["position_x"], table["position_y"]], axis=-1), file, "position")
    positions, headings, valid, types = {}, {}, {}, {}
    for name in dict.fromkeys(table["track_id"].tolist()):
        rows = np.flatnonzero(table["track_id"] == name)
        steps, kinds = table["timestep"][rows], set(table["object_type"][rows].tolist())
        field = f"track {name}"
        if len(kinds) != 1 or not kinds <= set(KIND_OF_TYPE):
            problem = f"has the types {sorted(kinds)}, expected one of {', '.join(KIND_OF_TYPE)}"
            raise LogError(problem, file=file, field=field, remedy=_REMEDY)
        if len(np.unique(steps)) < len(steps):
            raise LogError("has two rows at one timestep", file=file, field=field, remedy=_REMEDY)
        positions[name], headings[name] = np.zeros((recorded, 2)), np.zeros(recorded)
        valid[name] = np.zeros(recorded, bool)
        positions[name][steps], headings[name][steps] = position[rows], table["heading"][rows]
        valid[name][steps], types[name] = True, kinds.pop()
    return positions, headings, valid, types


def _stand(
    position: np.ndarray, heading: np.ndarray, ground: _Ground, start: np.ndarray, raised: float
) -> Float[np.ndarray, "frame 4 4"]:
    """Upright poses, ``raised`` metres above the ground, recentred."""
    place = np.column_stack([position, ground(position) + raised]) - start
    return transforms.rigid(transforms.yaw_to_matrix(heading), place)


def _track(
    name: str,
    kind: str,
    position: np.ndarray,
    heading: np.ndarray,
    valid: np.ndarray,
    ground: _Ground,
    start: np.ndarray,
) -> Track:
    category, size = KIND_OF_TYPE[kind]
    poses = _stand(position, heading, ground, start, size[2] / 2)
    return Track(name, category, np.array(size), np.where(valid[:, None, None], poses, np.eye(4)), valid)
