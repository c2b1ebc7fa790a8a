"""The bird's-eye view beside a film: what stands still in a log's world, and what moves in a frame of it."""

import jax
import numpy as np

from jaxrecon import viz
from jaxrecon.geometry.transforms import yaw_of
from jaxrecon.logs import DrivingLog
from jaxrecon.scene.occupancy import DistanceField

NO_EVENTS = np.zeros(4, bool)


def moment(log: DrivingLog, frame: int) -> viz.Moment:
    """The boxes of a frame for the bird's-eye view."""
    pose = log.world_from_ego[frame]
    heading = float(yaw_of(pose[:3, :3]))
    centre = pose[:3, 3] + pose[:3, 0] * log.ego.centre_ahead
    boxes = [
        [*t.world_from_box[frame, :2, 3], float(yaw_of(t.world_from_box[frame, :3, :3])), t.size[0], t.size[1]]
        for t in log.tracks
        if t.valid[frame]
    ]
    return viz.Moment(
        ego=np.array([*centre[:2], heading, log.ego.length, log.ego.width]),
        actors=np.array(boxes).reshape(-1, 5),
        trail=log.world_from_ego[: frame + 1, :2, 3],
        events=NO_EVENTS,
    )


def ground_of(log: DrivingLog, obstacles: DistanceField) -> viz.Ground:
    """The obstacles and, where the log has one, the map for the bird's-eye view."""
    field = jax.device_get(obstacles)
    row, column = np.nonzero(field.distance < 0)
    cells = field.origin + np.stack([column, row], axis=-1) * field.cell
    road = log.road_map
    drivable, lines = ((), ()) if road is None else (road.drivable, (*road.lane_lines, *road.road_edges))
    return viz.Ground(
        log.world_from_ego[:, :2, 3], cells.astype(float).reshape(-1, 2), float(field.cell), drivable, lines
    )
