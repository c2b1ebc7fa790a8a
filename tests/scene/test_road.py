import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import shapely

from jaxrecon.geometry.transforms import rigid, yaw_to_matrix
from jaxrecon.logs.driving_log import LIGHT_STATES, DrivingLog, RoadMap, TrafficLight
from jaxrecon.logs.waymo import read_waymo
from jaxrecon.scene import road
from jaxrecon.scene.occupancy import FAR
from jaxrecon.scene.road import RoadConfig, build_road, stack_roads, stop_lines_at, unknown_road
from jaxrecon.scene.roads import LANE_REACH
from jaxrecon.street import StreetConfig, generate
from jaxrecon.street.road_map import make_map
from jaxrecon.street.roads import distance_to_road

lane_at, off_road_distance, own_lane_distance = map(
    jax.jit, (road.lane_at, road.off_road_distance, road.own_lane_distance)
)
FRAMES = 21
UNKNOWN, STOP, CAUTION, GO = range(len(LIGHT_STATES))


def line(*points: tuple[float, float]) -> np.ndarray:
    return np.array([(x, y, 0.0) for x, y in points])


def log_with(road_map: RoadMap | None, lights=(), start=(-20.0, 0.0), end=(20.0, 0.0)) -> DrivingLog:
    share = np.linspace(0, 1, FRAMES)[:, None]
    position = np.concatenate([(1 - share) * np.array(start) + share * np.array(end), 0 * share], axis=-1)
    yaw = np.full(FRAMES, np.arctan2(end[1] - start[1], end[0] - start[0]))
    return DrivingLog("road", 0.1 * np.arange(FRAMES), rigid(yaw_to_matrix(yaw), position), road_map=road_map,
                      lights=tuple(lights))  # fmt: skip


def off_road(field, points) -> np.ndarray:
    return np.asarray(off_road_distance(stack_roads([field]), jnp.int32(0), jnp.asarray(points, jnp.float32)))


def centres(field, count: int = 600) -> np.ndarray:
    """Some of the cells' centres, where nothing is interpolated."""
    rows, columns = field.off_road.shape
    chosen = np.random.default_rng(0).choice(rows * columns, count, replace=False)
    return field.origin + field.cell * np.stack([chosen % columns, chosen // columns], axis=-1)


OWN, ONCOMING = line((-60, -1.75), (60, -1.75)), line((60, 1.75), (-60, 1.75))


def test_lanes_alone_make_a_road_of_their_width():
    field = build_road(log_with(RoadMap(lane_centres=(OWN, ONCOMING))))
    # between parallel lines a bilinear grid is exact but in the two cells around each lane's centre
    points = [[0.3, 3.3], [1.1, 3.5], [2.0, 9.0], [0.0, -4.25], [0.7, 0.25]]
    np.testing.assert_allclose(off_road(field, points), [-0.2, 0.0, 5.5, 0.75, -0.25], atol=1e-4)
    assert field.surface_known and field.lanes_known


def test_two_overlapping_areas_have_one_edge():
    first, second = np.array([[-50, -4], [5, -4], [5, 4], [-50, 4.0]]), np.array([[0, -4], [50, -4], [50, 4], [0, 4.0]])
    field = build_road(log_with(RoadMap(drivable=(first, second), lane_centres=(OWN,))))
    # the edges at x = 0 and x = 5 lie inside the other area
    points = [[2.5, 0.0], [0.0, 0.0], [2.5, 3.5], [2.5, 5.0], [-10.0, -6.5]]
    np.testing.assert_allclose(off_road(field, points), [-4.0, -4.0, -0.5, 1.0, 2.5], atol=1e-4)


def test_random_areas_against_shapely():
    rng = np.random.default_rng(4)
    polygons = []
    for _ in range(12):
        angle = np.sort(rng.uniform(0, 2 * np.pi, 9))
        radius = rng.uniform(5, 18, 9)
        polygons.append(rng.uniform(-30, 30, 2) + radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], -1))
    config = RoadConfig(spacing=0.1)
    field = build_road(log_with(RoadMap(drivable=tuple(polygons))), config)
    points = centres(field)
    union = shapely.unary_union([shapely.Polygon(p).buffer(0) for p in polygons])
    where = shapely.points(points)
    expected = shapely.distance(union.boundary, where) * np.where(shapely.contains(union, where), -1, 1)
    # a piece of an outline that enters another area is kept or dropped whole: half its length
    np.testing.assert_allclose(off_road(field, points), expected, atol=config.spacing / 2 + 1e-3)


@pytest.mark.parametrize("turned", [(), (0,), (1,), (0, 1)])
def test_a_ring_between_two_edges_whichever_way_they_run(turned):
    angle = np.linspace(0, 2 * np.pi, 721)
    ring = np.stack([np.cos(angle), np.sin(angle), 0 * angle], axis=-1)
    edges = [20 * ring, 28 * ring]
    edges = tuple(edge[::-1] if number in turned else edge for number, edge in enumerate(edges))
    field = build_road(log_with(RoadMap(lane_centres=(24 * ring,), road_edges=edges), start=(24, -5), end=(24, 5)))
    points = centres(field)
    radius = np.linalg.norm(points, axis=-1)
    # chords of half a degree lie at most 0.3 mm inside their circle
    np.testing.assert_allclose(off_road(field, points), np.abs(radius - 24) - 4, atol=1e-3)


def test_an_edge_that_no_lane_tells_about_runs_the_usual_way():
    # road to the left of edges: two kerbs, and an island's outline too far from any lane to be voted on
    edges = (line((-60, -5), (60, -5)), line((60, 5), (-60, 5)), line((-5, 25), (-5, 35), (5, 35), (5, 25), (-5, 25)))
    log = log_with(RoadMap(lane_centres=(OWN,), road_edges=edges))
    points = [[0, 30], [0, 20], [0, 7]]
    np.testing.assert_allclose(off_road(build_road(log), points), [5.0, -5.0, 2.0], atol=1e-3)
    turned = dataclasses.replace(log.road_map, road_edges=tuple(edge[::-1] for edge in edges))
    np.testing.assert_allclose(
        off_road(build_road(dataclasses.replace(log, road_map=turned)), points), [5.0, -5.0, 2.0], atol=1e-3
    )


def test_sides_at_a_sharp_corner_follow_both_edges():
    # the road lies outside a wedge with its tip at the origin; beyond the tip one edge's line alone would mislead
    wedge = line((40, 4), (0, 0), (40, -4))
    log = log_with(RoadMap(lane_centres=(line((-60, -3), (-5, -3)),), road_edges=(wedge,)), end=(-2.0, -3.0))
    field = build_road(log)
    np.testing.assert_allclose(off_road(field, [[-3, 4], [-3, -4], [-2, 0]]), [-5.0, -5.0, -2.0], atol=1e-3)
    assert off_road(field, [[20.0, 0.5]])[0] > 0


@pytest.mark.parametrize("layout", ["curve", "junction"])
def test_the_streets_map_gives_the_surface_that_is_drawn(layout):
    street = generate(StreetConfig(layout=layout, seconds=2.0), 5)
    road_map = make_map(street.layout, street.config.length)
    log = DrivingLog("street", np.arange(len(street.world_from_ego)) * 0.1, street.world_from_ego, road_map=road_map)
    field = build_road(log)
    points = centres(field, 3000)
    drawn = distance_to_road(street.layout.roads, points)
    read = off_road(field, points)
    # the map's outlines are traced on a grid of half a metre
    clear = np.abs(drawn) > 0.25
    assert np.array_equal(read[clear] > 0, drawn[clear] > 0)
    assert np.mean(drawn < 0) > 0.1 and np.mean(drawn > 0) > 0.1
    distance, heading = lane_at(
        stack_roads([field]), jnp.int32(0), jnp.asarray(street.world_from_ego[:, :2, 3], jnp.float32)
    )
    # the recording car keeps to a lane, and to its direction
    forward = street.world_from_ego[:, :2, 0]
    assert np.all(np.asarray(distance) < 1.5)
    assert np.all(np.cos(heading) * forward[:, 0] + np.sin(heading) * forward[:, 1] > 0.9)


def test_beyond_the_grid_is_as_at_its_border_and_without_a_map_nothing_is_off_the_road():
    roads = stack_roads([build_road(log_with(RoadMap(lane_centres=(OWN, ONCOMING)))), unknown_road()])
    points = jnp.asarray([[0.0, 300.0], [300.0, 1.75]])
    beyond = np.asarray(off_road_distance(roads, jnp.int32(0), points))
    np.testing.assert_allclose(beyond, [40.0 - 1.75 - 1.75, -1.75], atol=0.51)
    assert off_road_distance(roads, jnp.int32(1), points).tolist() == [-FAR, -FAR]
    assert roads.surface_known.tolist() == [True, False] and roads.lanes_known.tolist() == [True, False]
    for empty in (None, RoadMap(), RoadMap(lane_lines=(OWN,))):
        assert not build_road(log_with(empty)).surface_known


def test_own_lane_is_the_one_that_leads_the_cars_way():
    crossing = line((0, -60), (0, 60))
    roads = stack_roads([build_road(log_with(RoadMap(lane_centres=(OWN, ONCOMING, crossing))))])
    point, zero = jnp.asarray([[20.0, 0.75]]), jnp.int32(0)
    read = {h: float(own_lane_distance(roads, zero, point, jnp.float32(np.deg2rad(h)))[0]) for h in (0, 30, 180, -150)}
    # half-precision grids are good to 4 mm at 4 m, float16's spacing below 4
    assert read[0] == pytest.approx(2.5, abs=4e-3) and read[30] == pytest.approx(2.5, abs=4e-3)
    assert read[180] == pytest.approx(1.0, abs=4e-3) and read[-150] == pytest.approx(1.0, abs=4e-3)
    up = float(own_lane_distance(roads, zero, jnp.asarray([[3.25, 20.0]]), jnp.float32(np.pi / 2))[0])
    assert up == pytest.approx(3.25, abs=4e-3)
    assert float(own_lane_distance(roads, zero, jnp.asarray([[20.0, 20.0]]), jnp.float32(0.0))[0]) == LANE_REACH
    nowhere = stack_roads([unknown_road()])
    assert float(own_lane_distance(nowhere, zero, point, jnp.float32(0.0))[0]) == 0.0


def test_the_nearest_lane_and_its_heading():
    roads = stack_roads([build_road(log_with(RoadMap(lane_centres=(OWN, ONCOMING))))])
    distance, heading = lane_at(roads, jnp.int32(0), jnp.asarray([[3.1, -3.5], [3.1, 2.5], [0.0, 30.0]]))
    np.testing.assert_allclose(distance, [1.75, 0.75, LANE_REACH], atol=4e-3)
    np.testing.assert_allclose(np.cos(heading), [1.0, -1.0, 1.0], atol=1e-3)


def states(*runs: tuple[int, int]) -> np.ndarray:
    return np.concatenate([np.full(count, state) for state, count in runs])


STRAIGHT, LEFT = line((0, 0), (40, 0)), line((0, 0), (6, 1), (10, 6), (11, 30))
RED_THEN_GREEN, GREEN_THEN_RED = states((STOP, 10), (GO, 11)), states((GO, 10), (CAUTION, 5), (STOP, 6))


def lights(*lanes_and_states) -> list[TrafficLight]:
    return [TrafficLight(lane, np.array([0.0, 0.0, 0.0]), state) for lane, state in lanes_and_states]


def test_a_shared_stop_line_shows_the_light_of_the_lane_that_was_driven():
    log = log_with(RoadMap(lane_centres=(STRAIGHT, LEFT)), lights((1, RED_THEN_GREEN), (0, GREEN_THEN_RED)))
    lines = build_road(log).stop_lines
    assert lines.valid.shape == (1,) and lines.half_width.tolist() == [1.75]
    np.testing.assert_array_equal(lines.stop[:, 0], GREEN_THEN_RED == STOP)
    np.testing.assert_allclose(lines.direction[0] @ [1.0, 0.0], 1.0, atol=0.02)


def test_where_no_lane_was_driven_all_lights_must_say_stop():
    log = log_with(RoadMap(lane_centres=(STRAIGHT, LEFT)), lights((0, RED_THEN_GREEN), (1, GREEN_THEN_RED)),
                   start=(-30.0, 0.0), end=(-10.0, 0.0))  # fmt: skip
    assert not np.any(build_road(log).stop_lines.stop)
    both = log_with(log.road_map, lights((0, RED_THEN_GREEN), (1, RED_THEN_GREEN)), start=(-30.0, 0.0), end=(-10.0, 0))
    np.testing.assert_array_equal(build_road(both).stop_lines.stop[:, 0], RED_THEN_GREEN == STOP)


def test_lights_of_crossing_lanes_have_lines_of_their_own():
    crossing = line((0, -20), (0, 20))
    log = log_with(RoadMap(lane_centres=(STRAIGHT, crossing)), lights((0, RED_THEN_GREEN), (1, GREEN_THEN_RED)))
    lines = build_road(log).stop_lines
    assert lines.valid.shape == (2,)
    np.testing.assert_allclose(lines.direction, [[1, 0], [0, 1]], atol=1e-6)
    nobody = log_with(RoadMap(road_edges=(OWN,)), lights((-1, RED_THEN_GREEN)))
    np.testing.assert_allclose(build_road(nobody).stop_lines.direction, [[1, 0]], atol=1e-6)


def test_lines_and_lights_of_scenes_are_read_by_scene_and_frame():
    lit = build_road(log_with(RoadMap(lane_centres=(STRAIGHT,)), lights((0, RED_THEN_GREEN))))
    roads = stack_roads([unknown_road(), lit])
    lines = stop_lines_at(roads, jnp.asarray([0, 1, 1, 1]), jnp.asarray([3, 9, 10, 500]))
    assert lines.valid[:, 0].tolist() == [False, True, True, True]
    assert (lines.stop & lines.valid)[:, 0].tolist() == [False, True, False, False]
    assert roads.lights_known.tolist() == [False, True]


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="no grids to stack"):
        stack_roads([])
    with pytest.raises(ValueError, match=r"RoadConfig.cell is 0; expected a positive number"):
        RoadConfig(cell=0)
    log = log_with(RoadMap(lane_centres=(STRAIGHT,)), lights((4, RED_THEN_GREEN)))
    with pytest.raises(ValueError, match="log road has a light for lane 4 but its map has 1 lanes"):
        build_road(log)


@pytest.mark.parametrize("name", ["v1/tfrecord-00073-of-01000_71", "v2/tfrecord-00000-of-00150_2a173b334be3d32c"])
def test_a_recorded_car_is_on_its_road_and_goes_its_way(data_folder, name):
    log = read_waymo(data_folder / "womd-scenarios" / f"{name}.json.gz")
    roads, scene = stack_roads([build_road(log)]), jnp.int32(0)
    ahead = np.array([[ahead, left] for ahead in (-1.0, 3.77) for left in (-0.9, 0.9)])
    corners = np.einsum("fij,pj->fpi", log.world_from_ego[:, :2, :2], ahead) + log.world_from_ego[:, None, :2, 3]
    distance = off_road_distance(roads, scene, jnp.asarray(corners.reshape(-1, 2), jnp.float32))
    assert np.max(distance) < 0
    yaw = jnp.asarray(np.arctan2(log.world_from_ego[:, 1, 0], log.world_from_ego[:, 0, 0]), jnp.float32)
    position = jnp.asarray(log.world_from_ego[:, None, :2, 3], jnp.float32)
    own = own_lane_distance(roads, jnp.zeros(log.frames, jnp.int32), position, yaw)
    assert np.max(own) < 3.5
