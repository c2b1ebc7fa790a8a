"""Assembled worlds: what stands where, what a camera sees of it, and that it is always the same."""

import dataclasses
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import spatial

from jaxrecon.geometry.transforms import rigid, transform_points, yaw_to_matrix
from jaxrecon.logs import DrivingLog, RoadMap, Track, TrafficLight, read_log
from jaxrecon.render import Cameras, RasterConfig, RenderConfig, render
from jaxrecon.scene import Asset, load_scene, save_scene
from jaxrecon.scene.assembled import AssembleConfig, assemble
from jaxrecon.scene.assembled.actors import closest
from jaxrecon.scene.assembled.layout import build_layout
from jaxrecon.scene.assembled.strips import guess_kind
from jaxrecon.scene.files import validate_scene
from jaxrecon.scene.gaussians import SH_C0, empty

FRAMES, HALF_ROAD, SLOPE = 21, 7.0, 0.03
SMALL = AssembleConfig(capacity=60_000, spacing=0.5, body_spacing=0.25, reach=40.0, ahead=20.0)


def _line(y, first=-60.0, last=100.0, spacing=0.5):
    """A straight line along x on ground that rises with x."""
    x = np.arange(first, last, spacing)
    return np.stack([x, np.full_like(x, y), SLOPE * x], axis=-1)


def _track(name, category, size, xy, yaw=0.0, speed=0.0):
    x = xy[0] + speed * 0.1 * np.arange(FRAMES)
    place = np.stack([x, np.full(FRAMES, xy[1]), SLOPE * x + size[2] / 2], axis=-1)
    rotation = np.tile(yaw_to_matrix(np.array(yaw)), (FRAMES, 1, 1))
    return Track(name, category, np.array(size), rigid(rotation, place), np.ones(FRAMES, bool))


def make_log(edges=True):
    """A straight road of four lanes along x that rises, with a crosswalk, a light and one road user of each kind."""
    x = np.arange(FRAMES) * 1.0
    ego = rigid(np.tile(np.eye(3), (FRAMES, 1, 1)), np.stack([x, np.full(FRAMES, -1.75), SLOPE * x], axis=-1))
    tracks = (
        _track("car", "vehicle", (4.6, 1.9, 1.5), (18.0, 1.75), np.pi, -8.0),
        _track("truck", "vehicle", (8.5, 2.5, 3.2), (40.0, -5.25)),
        _track("guest", "vehicle", (4.4, 1.8, 1.6), (14.0, 14.0), 1.0),
        _track("walker", "pedestrian", (0.7, 0.6, 1.75), (20.0, 9.0), 0.0, 1.0),
        _track("bike", "cyclist", (1.8, 0.7, 1.8), (25.0, -6.0), 0.0, 3.0),
        _track("post", "other", (0.3, 0.3, 1.0), (30.0, 8.0)),
    )
    square = np.array([[-1.5, -HALF_ROAD], [1.5, -HALF_ROAD], [1.5, HALF_ROAD], [-1.5, HALF_ROAD]]) + np.array([45, 0])
    whole = np.array([[-60, -HALF_ROAD], [100, -HALF_ROAD], [100, HALF_ROAD], [-60, HALF_ROAD]])
    road_map = RoadMap(
        lane_centres=tuple(_line(y) for y in (-5.25, -1.75)) + tuple(_line(y)[::-1].copy() for y in (1.75, 5.25)),
        lane_lines=(_line(-3.5), _line(0.0), _line(3.5)),
        # Road edges have the road on their left.
        road_edges=(_line(-HALF_ROAD), _line(HALF_ROAD)[::-1].copy()) if edges else (),
        drivable=() if edges else (whole.astype(float),),
        crosswalks=(square,),
        line_kinds=("dashed_white", "double_yellow", "solid_white"),
    )
    light = TrafficLight(1, np.array([42.0, -1.75, SLOPE * 42]), np.ones(FRAMES, np.int64))
    return DrivingLog("made up", 0.1 * np.arange(FRAMES), ego, tracks=tracks, road_map=road_map, lights=(light,))


LOG = make_log()


@pytest.fixture(scope="module")
def world():
    return assemble(LOG, SMALL)


@pytest.fixture(scope="module")
def static(world):
    """Means, colours and largest scales of the static world's splats."""
    gaussians, group = world.scene.gaussians, np.asarray(world.scene.group)
    own = np.asarray(gaussians.valid) & (group == 0)
    colours = 0.5 + SH_C0 * np.asarray(gaussians.sh)[own, 0]
    return np.asarray(gaussians.means)[own], colours, np.asarray(gaussians.scales)[own].max(axis=1)


def test_the_scene_is_sound_and_of_the_capacity(world):
    validate_scene(world.scene)
    assert world.scene.gaussians.capacity == SMALL.capacity
    assert world.scene.actors == len(LOG.tracks)
    np.testing.assert_allclose(world.scene.actor_sizes, [track.size for track in LOG.tracks], rtol=1e-6)


def test_the_same_key_makes_the_same_world_and_another_a_different_one(world):
    again, other = assemble(LOG, SMALL, jax.random.key(0)), assemble(LOG, SMALL, jax.random.key(1))
    for one, two in zip(jax.tree.leaves(world.scene), jax.tree.leaves(again.scene), strict=True):
        np.testing.assert_array_equal(one, two)
    assert not np.array_equal(world.obstacles.distance, other.obstacles.distance)


def test_nothing_stands_on_the_road_nor_where_anything_was_recorded(world, static):
    means, _, scales = static
    above = means[:, 2] - SLOPE * means[:, 0]
    on_road = np.abs(means[:, 1]) < HALF_ROAD - 0.3
    # Paint lies level with the road. A crown may lean over its edge, as trees do; a car must fit below it.
    assert not (on_road & (above > 0.2) & (above < 2.5)).any()
    for track in LOG.tracks:
        for frame in (0, 10, 20):
            pose = track.world_from_box[frame]
            local = (means - pose[:3, 3]) @ pose[:3, :3]
            inside = (np.abs(local[:, :2]) < track.size[:2] / 2).all(axis=1)
            assert not (inside & (above > 0.3) & (above < track.size[2])).any(), track.identifier
    assert scales.max() < 10 * SMALL.spacing  # no splat hangs across the view


def test_the_ground_has_the_height_of_the_map_and_no_holes(world, static):
    x = np.linspace(0, 40, 50)
    points = np.stack([x, np.linspace(-6, 6, 50)], axis=-1)
    # Heights are smoothed over 2 m cells, which leaves a plane as it is but near the border of the map.
    np.testing.assert_allclose(world.ground(jnp.asarray(points, jnp.float32)), SLOPE * x, atol=0.02)
    means, _, _ = static
    ground = means[np.abs(means[:, 2] - SLOPE * means[:, 0]) < 0.2, :2]
    sites = np.stack([axis.ravel() for axis in np.meshgrid(np.arange(0, 40, 0.5), np.arange(-12, 12, 0.5))], axis=-1)
    taken = _in_obstacle(world, sites)
    distance = spatial.cKDTree(ground).query(sites[~taken])[0]
    assert distance.max() < 1.5 * SMALL.spacing


def _in_obstacle(world, points):
    return np.asarray(world.obstacles(jnp.asarray(points, jnp.float32))) < 0.5


def test_obstacles_are_beside_the_road_and_drawn(world, static):
    path = np.stack([np.linspace(-20, 60, 200), np.full(200, -1.75)], axis=-1)
    assert np.asarray(world.obstacles(jnp.asarray(path, jnp.float32))).min() > HALF_ROAD - 1.75
    field = jax.device_get(world.obstacles)
    row, column = np.nonzero(field.distance < 0)
    cells = field.origin + field.cell * np.stack([column, row], axis=-1)
    assert len(cells) > 100 and np.abs(cells[:, 1]).min() > HALF_ROAD
    means, _, _ = static
    tall = means[means[:, 2] - SLOPE * means[:, 0] > 0.3, :2]
    nearest = spatial.cKDTree(tall).query(cells)[0]
    # Walls are drawn, the middle of a building is not: from any cell of it some wall is within half a block's width.
    assert nearest.max() < 10.0


def _view(scene, place, yaw=0.0, pitch=0.0, poses=None, size=(96, 64), field=70.0):
    """A picture from a place in the world."""
    cos, sin = np.cos(pitch), np.sin(pitch)
    down = np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]])
    axes = yaw_to_matrix(np.array(yaw)) @ down @ np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])
    focal = size[0] / 2 / np.tan(np.radians(field) / 2)
    cameras = Cameras(
        jnp.asarray(rigid(axes, np.asarray(place, float))[None], jnp.float32),
        jnp.asarray([[focal, focal, size[0] / 2, size[1] / 2]], jnp.float32),
        width=size[0],
        height=size[1],
    )
    config = RenderConfig(raster=RasterConfig(pairs_per_camera=600_000))
    actors = None if poses is None else jnp.asarray(poses[None], jnp.float32)
    drawn = jax.jit(render, static_argnames="config")(scene, cameras, actors, config=config)
    assert not bool(drawn.overflow.any())
    return jax.tree.map(lambda leaf: np.asarray(leaf)[0], drawn)


def test_paint_is_where_the_map_has_it(world):
    """Seen straight from above: yellow, white and asphalt by their world coordinates."""
    height, x = 10.0, 10.0
    drawn = _view(world.scene, (x, 0.0, SLOPE * x + height), pitch=np.pi / 2, size=(128, 128), field=70.0)
    focal = 64 / np.tan(np.radians(35))

    def colour(left, ahead):
        """Mean colour along 6 m of a line ``left`` metres beside the middle."""
        steps = ahead + np.linspace(-3, 3, 13)
        columns = np.round(64 - left / height * focal - 0.5).astype(int) + np.zeros(13, int)
        rows = np.round(64 - steps / height * focal - 0.5).astype(int)
        return drawn.rgb[rows, columns].mean(axis=0)

    asphalt, white = colour(-1.75, 0), colour(3.5, 0)
    yellow = np.max([colour(left, 0) - asphalt for left in (-0.12, 0.12)], axis=0)
    assert np.ptp(asphalt) < 0.05 and 0.25 < asphalt.mean() < 0.5
    assert (white - asphalt).min() > 0.12  # a line of 13 cm in pixels of 11 cm, blurred
    assert yellow[0] > yellow[2] + 0.08
    assert drawn.alpha[16:112, 16:112].min() > 0.9  # no holes
    np.testing.assert_allclose(drawn.depth[48:80, 48:80], height, atol=0.6)  # the road rises by 0.3 m across them


def test_dashes_have_gaps_and_the_crosswalk_has_bars(static):
    means, colours, _ = static
    white = colours.min(axis=1) > 0.7
    dashed = white & (np.abs(means[:, 1] + 3.5) < 0.05) & (means[:, 0] > 0) & (means[:, 0] < 40)
    solid = white & (np.abs(means[:, 1] - 3.5) < 0.05) & (means[:, 0] > 0) & (means[:, 0] < 40)
    assert 0.15 < dashed.sum() / solid.sum() < 0.35  # 3 m of 12 m
    in_crosswalk = (np.abs(means[:, 0] - 45) < 1.4) & (np.abs(means[:, 1]) < 6.8)
    bars = np.unique(np.round(means[in_crosswalk & white, 1] / 1.0))
    assert len(bars) == 14  # a bar a metre over 14 m of road, but for the half ones at its ends
    assert 0.4 < white[in_crosswalk].mean() < 0.6
    stop = white & (np.abs(means[:, 0] - 41.8) < 0.25) & (np.abs(means[:, 1] + 1.75) < 1.6)
    assert stop.sum() >= 6


@pytest.mark.parametrize(("y", "kind"), [(-3.5, "dashed_white"), (0.0, "double_yellow"), (6.9, "solid_white")])
def test_the_kind_of_a_line_is_told_by_the_lanes_beside_it(y, kind):
    assert guess_kind(_line(y), LOG.road_map) == kind


def test_actors_fill_their_boxes(world):
    gaussians, group = world.scene.gaussians, np.asarray(world.scene.group)
    for number, track in enumerate(LOG.tracks):
        own = np.asarray(gaussians.valid) & (group == number + 1)
        means, scales = np.asarray(gaussians.means)[own], np.asarray(gaussians.scales)[own]
        assert own.sum() >= 25, track.identifier
        # The shadow reaches 12 cm beyond the box, and half a splat's size is no matter.
        assert (np.abs(means) <= track.size / 2 + 0.16).all(), track.identifier
        solid = np.asarray(gaussians.opacities)[own] > 0.8
        reach = np.max(np.abs(means[solid]) + scales[solid].max(axis=1, keepdims=True), axis=0)
        assert (reach > 0.75 * track.size / 2).all(), track.identifier


def test_a_car_is_seen_where_its_box_is(world):
    poses = np.stack([track.world_from_box[0] for track in LOG.tracks])
    poses[1:, 2, 3] -= 1000.0  # the others are out of sight
    place = (10.0, 1.75, SLOPE * 10 + 1.4)
    bare = _view(world.scene, place, pitch=-SLOPE)
    drawn = _view(world.scene, place, pitch=-SLOPE, poses=poses)
    # Just below the horizon there is nothing else for 18 m, so a depth below 13 m says that the car covers half.
    band = (slice(33, 36), slice(24, 72))
    assert bare.depth[band].min() > 18
    columns = np.nonzero(drawn.depth[band] < 13)[1]
    # Its front is 1.9 m wide, 5.7 m ahead: 48 / tan(35 deg) * 1.9 / 5.7 = 22.9 pixels, and a splat of 20 cm blurs it.
    assert abs(np.ptp(columns) + 1 - 22.9) < 3 and abs(columns.mean() + 24 - 47.5) < 1.0
    assert 5.4 < np.median(drawn.depth[33:36, 44:52]) < 7.0


def test_a_bank_is_used_for_tracks_of_its_size(world):
    body = empty(40)
    asset = Asset(
        body.replace(means=jnp.ones((40, 3)) * 0.5, valid=jnp.arange(40) < 30),
        jnp.array([4.5, 1.9, 1.5]),
        jnp.ones(4),
        "box",
    )
    scene = assemble(LOG, SMALL, bank=[asset]).scene
    counts = np.bincount(np.asarray(scene.group)[np.asarray(scene.gaussians.valid)], minlength=7)[1:]
    assert (counts[0], counts[2]) == (30, 30) and (counts[[1, 3, 4, 5]] != 30).all()
    car = np.asarray(scene.gaussians.means)[np.asarray(scene.group) == 1]
    np.testing.assert_allclose(car, np.tile([0.5 * 4.6 / 4.5, 0.5, 0.5], (30, 1)), rtol=1e-6)


def test_capacity_is_kept_by_making_everything_coarser():
    config = dataclasses.replace(SMALL, capacity=20_000)
    scene = assemble(LOG, config).scene
    assert scene.gaussians.capacity == 20_000 and int(scene.gaussians.valid.sum()) > 8_000
    with pytest.raises(ValueError, match=r"log made up needs \d+ splats when made coarse, capacity is 1000; pass"):
        assemble(LOG, dataclasses.replace(SMALL, capacity=1000, reach=20.0, ahead=0.0))


def test_drivable_areas_make_the_same_road_as_road_edges():
    with_edges, with_areas = (build_layout(make_log(edges), SMALL) for edges in (True, False))
    sites = np.stack(
        [axis.ravel() for axis in np.meshgrid(np.arange(-10, 50, 3.0), np.arange(-11, 11.5, 1.0))], axis=-1
    )
    # Cells are half a metre wide, and the edge's side is told at their centres.
    np.testing.assert_allclose(with_edges.off_road(sites), with_areas.off_road(sites), atol=0.5)
    np.testing.assert_allclose(with_edges.off_road(sites), np.abs(sites[:, 1]) - HALF_ROAD, atol=0.5)


def test_a_log_without_a_map_is_named():
    for road_map in (None, RoadMap(crosswalks=LOG.road_map.crosswalks)):
        with pytest.raises(ValueError, match="log made up has no map with lanes or drivable areas"):
            assemble(dataclasses.replace(LOG, road_map=road_map), SMALL)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"spacing": 0.0}, r"AssembleConfig\.spacing is 0\.0; expected a positive"),
        ({"capacity": 10}, r"AssembleConfig\.capacity is 10; expected 1000"),
        ({"buildings": 1.5}, r"AssembleConfig\.buildings is 1\.5; expected a share"),
        ({"ahead": -1.0}, r"AssembleConfig\.ahead is -1\.0 and obstacle_reach"),
        ({"sh_degree": 4}, r"AssembleConfig\.sh_degree is 4"),
    ],
)
def test_a_bad_config_is_named(change, message):
    with pytest.raises(ValueError, match=message):
        AssembleConfig(**change)


def test_without_tracks_or_scenery_there_is_still_a_world(tmp_path):
    log = dataclasses.replace(LOG, tracks=(), lights=())
    bare = dataclasses.replace(SMALL, buildings=0.0, trees=1e6, lamps=1e6, sh_degree=1)
    world = assemble(log, bare)
    save_scene(world.scene, tmp_path / "scene", levels=None)
    loaded, _ = load_scene(tmp_path / "scene")
    np.testing.assert_array_equal(loaded.gaussians.means, world.scene.gaussians.means)
    assert loaded.actors == 0 and loaded.gaussians.sh.shape[1] == 4


def test_how_near_a_track_comes_is_told_for_about_the_same_time():
    assert closest(LOG.tracks[0], LOG) == pytest.approx(3.5, abs=0.1)  # it passes in the next lane
    far = dataclasses.replace(LOG.tracks[1], valid=np.arange(FRAMES) == 0)
    early = dataclasses.replace(LOG, timestamps=3.5 * np.arange(FRAMES))
    # Seen at the start alone, when the ego was 40 m away: that it comes nearer much later does not count.
    assert closest(far, early) == pytest.approx(np.hypot(40.0, 3.5), abs=0.1)


def test_recorded_logs_become_worlds(data_folder):
    files = {
        "womd-scenarios/v1/tfrecord-00012-of-00150_204.json.gz": 17,
        "argoverse2-logs/logs/7fab2350-7eaf-3b7e-a39d-6937a4c1bede": 80,
    }
    present = {data_folder / name: count for name, count in files.items() if (data_folder / name).exists()}
    if not present:
        pytest.skip(f"none of {[str(pathlib.Path(name)) for name in files]} in {data_folder}")
    config = AssembleConfig(capacity=120_000, spacing=0.6, body_spacing=0.4, reach=35.0, ahead=10.0)
    for path in present:
        log = read_log(path)
        world = assemble(log, config)
        validate_scene(world.scene)
        ego = np.eye(4)
        ego[0, 3] = log.ego.centre_ahead
        boxes = [(log.world_from_ego @ ego, np.array([log.ego.length, log.ego.width, 0]))]
        boxes += [(track.world_from_box[track.valid], track.size) for track in log.tracks]
        footprints = []
        for poses, size in boxes:
            corners = np.array([[1, 1, 0], [1, -1, 0], [-1, -1, 0], [-1, 1, 0], [0, 0, 0]]) * size / 2
            points = transform_points(poses, np.broadcast_to(corners, (len(poses), 5, 3)))
            footprints.append(points[..., :2].reshape(-1, 2))
        assert np.asarray(world.obstacles(jnp.asarray(np.concatenate(footprints), jnp.float32))).min() > 0
