"""Where the roads of several scenes are, for look-ups in constant time: their edges, lanes and stop lines."""

import dataclasses
from collections.abc import Sequence

import flax.struct
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxrecon.scene.fields import GridLayout, stack_layouts
from jaxrecon.scene.occupancy import FAR

SECTORS = 8  # directions of travel for which the distance to the nearest lane that leads there is kept
LANE_REACH = 10.0  # metres; the answer where no lane centre is nearer


@flax.struct.dataclass
class StopLines:
    """Lines at which a light may make cars stop; the last axis counts them.

    Attributes:
        point: (*b, line, 2) middle, world, metres.
        direction: (*b, line, 2) unit vector in which its lane crosses it.
        half_width: (*b, line) metres to each side of the middle.
        stop: (*b, line) bool, nobody may cross; on the host (frame, line).
        valid: (*b, line) bool.
    """

    point: Float[Array, "*b line 2"]
    direction: Float[Array, "*b line 2"]
    half_width: Float[Array, "*b line"]
    stop: Bool[Array, "*c line"]
    valid: Bool[Array, "*b line"]


@dataclasses.dataclass(frozen=True)
class RoadField:
    """The road of one scene, on the host.

    Attributes:
        origin: world x, y of the centre of cell (0, 0), metres.
        cell: side of a cell, metres.
        off_road: signed distance to the edge of the drivable surface at cell centres, positive off the road, metres.
        lane_heading: direction of the nearest lane centre, radians.
        lane_distance: to the nearest lane centre that leads within a right angle of each of ``SECTORS`` directions,
            at most ``LANE_REACH``, metres.
        stop_lines: with ``stop`` for every log frame.
        surface_known: whether the log says where the drivable surface is.
        lanes_known: whether the log has lanes.
    """

    origin: Float[np.ndarray, "2"]
    cell: float
    off_road: Float[np.ndarray, "row column"]
    lane_heading: Float[np.ndarray, "row column"]
    lane_distance: Float[np.ndarray, "row column sector"]
    stop_lines: StopLines
    surface_known: bool
    lanes_known: bool


@flax.struct.dataclass
class Roads:
    """The roads of several scenes.

    Attributes:
        layout: where each scene's cells are.
        off_road: (cell,) as in ``RoadField``.
        lane_heading: (cell,) float16.
        lane_distance: (cell * SECTORS,) float16.
        lines: the stop lines of each scene, without their lights: ``stop`` is (scene, line), true where there is one.
        stop: (scene, frame, line) bool; the last frame of shorter logs repeats.
        surface_known: (scene,) bool.
        lanes_known: (scene,) bool.
        lights_known: (scene,) bool, the scene has stop lines.
    """

    layout: GridLayout
    off_road: Float[Array, " cell"]
    lane_heading: Float[Array, " cell"]
    lane_distance: Float[Array, " values"]
    lines: StopLines
    stop: Bool[Array, "scene frame line"]
    surface_known: Bool[Array, " scene"]
    lanes_known: Bool[Array, " scene"]
    lights_known: Bool[Array, " scene"]


def no_stop_lines(frames: int = 1) -> StopLines:
    """The stop lines of a log without lights (host)."""
    return StopLines(
        point=np.zeros((0, 2)),  # type: ignore[arg-type]
        direction=np.zeros((0, 2)),  # type: ignore[arg-type]
        half_width=np.zeros(0),  # type: ignore[arg-type]
        stop=np.zeros((frames, 0), bool),  # type: ignore[arg-type]
        valid=np.zeros(0, bool),  # type: ignore[arg-type]
    )


def unknown_road() -> RoadField:
    """The road of a log without a map: nothing there is off the road, or the wrong way."""
    return RoadField(
        origin=np.zeros(2),
        cell=1.0,
        off_road=np.full((2, 2), -FAR),
        lane_heading=np.zeros((2, 2)),
        lane_distance=np.full((2, 2, SECTORS), LANE_REACH),
        stop_lines=no_stop_lines(),
        surface_known=False,
        lanes_known=False,
    )


def stack_roads(roads: Sequence[RoadField]) -> Roads:
    """The roads of several scenes, in their order, on the device.

    Raises:
        ValueError: if there are none, or they have more cells than an index can count.
    """
    layout = stack_layouts([(road.origin, road.cell, road.off_road.shape) for road in roads], SECTORS)

    def flat(name: str, dtype: type) -> Array:
        return jnp.asarray(np.concatenate([np.asarray(getattr(road, name), dtype).ravel() for road in roads]))

    lines, stop = _stack_lines([road.stop_lines for road in roads])
    return Roads(
        layout=layout,
        off_road=flat("off_road", np.float32),
        lane_heading=flat("lane_heading", np.float16),
        lane_distance=flat("lane_distance", np.float16),
        lines=lines,
        stop=stop,
        surface_known=jnp.asarray([road.surface_known for road in roads]),
        lanes_known=jnp.asarray([road.lanes_known for road in roads]),
        lights_known=jnp.any(lines.valid, axis=-1),
    )


def off_road_distance(roads: Roads, scene: Int[Array, "*b"], points: Float[Array, "*b n 2"]) -> Float[Array, "*b n"]:
    """Signed distance from world points to the edge of the drivable surface, positive off the road, metres.

    Beyond a scene's grid the answer is that of its border; where a log says nothing of the surface, ``-FAR``.
    """
    return roads.layout.locate(scene, points).bilinear(roads.off_road)


def lane_at(
    roads: Roads, scene: Int[Array, "*b"], points: Float[Array, "*b n 2"]
) -> tuple[Float[Array, "*b n"], Float[Array, "*b n"]]:
    """Distance (metres) from world points to the nearest lane centre, and its heading there (radians).

    ``LANE_REACH`` where no lane is nearer, or known at all; the heading is then that of the nearest one within reach of
    the grid's cell, or zero.
    """
    spots = roads.layout.locate(scene, points)
    distances = [spots.bilinear(roads.lane_distance, SECTORS, sector) for sector in range(SECTORS)]
    heading = roads.lane_heading.at[spots.nearest].get(mode="clip").astype(jnp.float32)
    return jnp.min(jnp.stack(distances), axis=0), heading


def own_lane_distance(
    roads: Roads, scene: Int[Array, "*b"], points: Float[Array, "*b n 2"], heading: Float[Array, "*b"]
) -> Float[Array, "*b n"]:
    """Distance from world points to the nearest lane centre that leads a car's way, metres, at most ``LANE_REACH``.

    A lane leads its way if their directions differ by less than about a right angle: headings are told apart by eighths
    of a turn. Zero where the log has no lanes.

    Args:
        roads: of all scenes.
        scene: of each car.
        points: world, metres.
        heading: of the car, radians.
    """
    sector = jnp.mod(jnp.round(heading * (SECTORS / (2 * jnp.pi))), SECTORS).astype(jnp.int32)[..., None]
    distance = roads.layout.locate(scene, points).bilinear(roads.lane_distance, SECTORS, sector)
    return jnp.where(roads.lanes_known[scene][..., None], distance, 0.0)


def stop_lines_at(roads: Roads, scene: Int[Array, "*b"], frame: Int[Array, "*b"]) -> StopLines:
    """The stop lines of each environment's scene with their lights at a log frame, (*b, line)."""
    lines = roads.lines
    return StopLines(
        point=lines.point[scene],
        direction=lines.direction[scene],
        half_width=lines.half_width[scene],
        stop=roads.stop[scene, jnp.minimum(frame, roads.stop.shape[1] - 1)],
        valid=lines.valid[scene],
    )


def _stack_lines(lines: Sequence[StopLines]) -> tuple[StopLines, Array]:
    """Stop lines with a scene axis, padded, and their lights (scene, frame, line)."""
    slots, frames = max(one.valid.shape[0] for one in lines), max(one.stop.shape[0] for one in lines)
    scenes = len(lines)
    point, direction = np.zeros((scenes, slots, 2)), np.tile([1.0, 0.0], (scenes, slots, 1))
    half_width, valid = np.ones((scenes, slots)), np.zeros((scenes, slots), bool)
    stop = np.zeros((scenes, frames, slots), bool)
    for number, one in enumerate(lines):
        count = one.valid.shape[0]
        point[number, :count], direction[number, :count] = one.point, one.direction
        half_width[number, :count], valid[number, :count] = one.half_width, one.valid
        stop[number, :, :count] = np.asarray(one.stop)[np.minimum(np.arange(frames), one.stop.shape[0] - 1)]
    stacked = StopLines(
        point=jnp.asarray(point, jnp.float32),
        direction=jnp.asarray(direction, jnp.float32),
        half_width=jnp.asarray(half_width, jnp.float32),
        stop=jnp.asarray(valid),
        valid=jnp.asarray(valid),
    )
    return stacked, jnp.asarray(stop)
