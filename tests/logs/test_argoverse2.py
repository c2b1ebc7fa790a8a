"""The reader of Argoverse 2: on a made-up log and scenario, broken ones, and recorded ones."""

import copy
import json
import pathlib
import sys

import numpy as np
import pyarrow
import pyarrow.feather
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from jaxrecon.geometry import transforms
from jaxrecon.logs import CYCLIST, OTHER, LogError, read_argoverse2, read_log, validate
from jaxrecon.logs.argoverse2 import AXLE_HEIGHT

ORIGIN = np.array([1200.0, -340.0, 15.0])
NAMES = ("qw", "qx", "qy", "qz", "tx_m", "ty_m", "tz_m")
STAMPS = [10**17 + step * 10**8 for step in range(4)]
RANDOM = np.random.default_rng(3)


def _rows(poses):
    """Columns of a table of poses."""
    quaternions = Rotation.from_matrix(poses[:, :3, :3]).as_quat(scalar_first=True)
    return dict(zip(NAMES, np.concatenate([quaternions, poses[:, :3, 3]], axis=1).T.tolist(), strict=True))


def _poses(count, spread):
    tilt = RANDOM.uniform(-0.1, 0.1, (count, 3)) + np.array([0, 0, 0.7])
    return transforms.rigid(Rotation.from_rotvec(tilt).as_matrix(), RANDOM.normal(size=(count, 3)) * spread)


EGO = _poses(6, 2.0)
EGO[:, :3, 3] += ORIGIN
BOX = _poses(4, 10.0)
MOUNT = transforms.rigid(np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]]), np.array([1.6, 0.1, 1.4]))
LANE = [[1200.0, -340, 15], [1210, -340, 15.1], [1220, -338, 15.2]]
OTHER_SIDE = [[1200.0, -336, 15], [1220, -334, 15.2]]


def _xyz(line):
    return [dict(zip("xyz", map(float, point), strict=True)) for point in line]


def _lane(kind, left, right, marks):
    note = {"lane_type": kind, "left_lane_boundary": _xyz(left), "right_lane_boundary": _xyz(right)}
    return note | {"left_lane_mark_type": marks[0], "right_lane_mark_type": marks[1]}


MAP = {
    "lane_segments": {
        "1": _lane("VEHICLE", OTHER_SIDE, LANE, ("DOUBLE_SOLID_YELLOW", "DASHED_WHITE")),
        "2": _lane("BIKE", LANE, [[1200.0, -342, 15], [1220, -341, 15]], ("DASHED_WHITE", "NONE")),
        "3": _lane("BUS", LANE[::-1], OTHER_SIDE[::-1], ("SOLID_WHITE", "UNKNOWN")),
    },
    "drivable_areas": {"9": {"area_boundary": _xyz([[1190, -350, 15], [1230, -350, 15], [1230, -330, 15]])}},
    "pedestrian_crossings": {
        "5": {"edge1": _xyz([[1205, -342, 15], [1205, -334, 15]]), "edge2": _xyz([[1208, -342, 15], [1208, -334, 15]])}
    },
}


def sensor_log():
    """Tables and the map of a log of four annotated moments, between which poses of other moments lie."""
    stamps = [STAMPS[0], STAMPS[0] + 5, STAMPS[1], STAMPS[2], STAMPS[2] + 9, STAMPS[3]]
    boxes = {
        "timestamp_ns": [STAMPS[0], STAMPS[1], STAMPS[3], STAMPS[2]],
        "track_uuid": ["car", "car", "car", "bike"],
        "category": ["REGULAR_VEHICLE"] * 3 + ["BICYCLE"],
        "length_m": [4.5] * 3 + [1.8],
        "width_m": [1.9] * 3 + [0.6],
        "height_m": [1.6] * 3 + [1.7],
        **_rows(BOX),
        "num_interior_pts": [5] * 4,
    }
    cameras = ["ring_front_center", "stereo_front_left"]
    pinholes = {
        "sensor_name": [*cameras],
        "fx_px": [1700.0, 1.0],
        "fy_px": [1710.0, 1.0],
        "cx_px": [770.0, 1.0],
        "cy_px": [1010.0, 1.0],
    }
    pinholes |= {"k1": [-0.2, 0.0], "height_px": [2048, 4], "width_px": [1550, 4]}
    return {
        "city_SE3_egovehicle.feather": {"timestamp_ns": stamps, **_rows(EGO)},
        "annotations.feather": boxes,
        "calibration/intrinsics.feather": pinholes,
        "calibration/egovehicle_SE3_sensor.feather": {"sensor_name": [*cameras]} | _rows(np.stack([MOUNT, MOUNT])),
        "map/log_map_archive_x.json": MAP,
    }


def scenario():
    """A forecasting scenario of three steps."""
    rows = [
        ("AV", "vehicle", 0, 1200.0, -338.0, 0.1), ("AV", "vehicle", 1, 1201.0, -338.0, 0.1),
        ("AV", "vehicle", 2, 1202.0, -338.0, 0.1), ("7", "pedestrian", 1, 1210.0, -337.0, -1.0),
        ("8", "static", 0, 1215.0, -340.0, 0.0),
    ]  # fmt: skip
    names = ("track_id", "object_type", "timestep", "position_x", "position_y", "heading")
    table = {name: list(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)}
    return {"scenario_x.parquet": table | {"num_timestamps": [3] * len(rows)}, "log_map_archive_x.json": MAP}


def put(folder, files):
    """Writes tables and maps into a folder."""
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        if name.endswith(".json"):
            path.write_text(json.dumps(content))
        elif name.endswith(".feather"):
            pyarrow.feather.write_feather(pyarrow.table(content), path)
        else:
            pyarrow.parquet.write_table(pyarrow.table(content), path)
    return folder


def test_boxes_stand_where_the_ego_saw_them(tmp_path):
    log = read_log(put(tmp_path / "log", sensor_log()))
    assert (log.name, log.frames, log.cameras) == ("log", 4, ())
    np.testing.assert_allclose(log.timestamps, [0, 0.1, 0.2, 0.3])
    ego = EGO[[0, 2, 3, 5]]
    ground = ego[:, :3, 3] - AXLE_HEIGHT * ego[:, :3, 2]
    # City coordinates of 1200 m in float64 keep 1e-12 m.
    np.testing.assert_allclose(log.world_from_ego[:, :3, 3], ground - ground[0], atol=1e-9)
    np.testing.assert_allclose(log.world_from_ego[:, :3, :3], ego[:, :3, :3], atol=1e-9)
    car, bike = log.tracks
    assert (car.valid.tolist(), bike.valid.tolist()) == ([True, True, False, True], [False, False, True, False])
    assert (bike.category, bike.size.tolist()) == (CYCLIST, [1.8, 0.6, 1.7])
    expected = ego[1] @ BOX[1]
    expected[:3, 3] -= ground[0]
    np.testing.assert_allclose(car.world_from_box[1], expected, atol=1e-9)
    np.testing.assert_array_equal(car.world_from_box[2], np.eye(4))


def test_the_rig_is_the_calibrated_one(tmp_path):
    folder = put(tmp_path / "log", sensor_log())
    (front,) = read_argoverse2(folder).mounts
    assert (front.name, front.size) == ("ring_front_center", (1550, 2048))
    np.testing.assert_allclose(front.intrinsics, [1700, 1710, 770.5, 1010.5])  # pixel centres at +0.5
    np.testing.assert_allclose(front.ego_from_camera[:3, 3], [1.6, 0.1, 1.4 + AXLE_HEIGHT], atol=1e-12)
    assert len(read_argoverse2(folder, cameras="").mounts) == 2
    bare = {name: table for name, table in sensor_log().items() if not name.startswith("calibration")}
    assert read_argoverse2(put(tmp_path / "bare", bare)).mounts == ()


def test_the_map_is_the_citys(tmp_path):
    log = read_argoverse2(put(tmp_path / "log", sensor_log()))
    road, origin = log.road_map, EGO[0, :3, 3] - AXLE_HEIGHT * EGO[0, :3, 2]
    assert (len(road.lane_centres), len(road.drivable), len(road.crosswalks), road.road_edges) == (2, 1, 1, ())
    # The boundary that the vehicle and bike lanes share, and the bus lane runs along backwards, is painted once.
    assert road.line_kinds == ("double_yellow", "dashed_white")
    np.testing.assert_allclose(road.lane_lines[1], np.array(LANE) - origin, atol=1e-9)
    ends = (np.array(LANE)[[0, -1]] + np.array(OTHER_SIDE)) / 2 - origin
    np.testing.assert_allclose(road.lane_centres[0][[0, -1]], ends, atol=1e-9)
    corners = np.array([[1205, -342], [1205, -334], [1208, -334], [1208, -342]]) - origin[:2]
    np.testing.assert_allclose(road.crosswalks[0], corners, atol=1e-9)


def test_some_frames_can_be_read(tmp_path):
    part = read_argoverse2(put(tmp_path / "log", sensor_log()), frames=slice(2, 3))
    assert ([track.identifier for track in part.tracks], part.timestamps.tolist()) == (["bike"], [0.0])
    steps = read_argoverse2(put(tmp_path / "scenario", scenario()), frames=slice(0, 3, 2))
    assert ([track.identifier for track in steps.tracks], steps.timestamps.tolist()) == (["8"], [0.0, 0.2])


def test_a_scenarios_tracks_stand_on_the_ground_of_the_map(tmp_path):
    log = read_log(put(tmp_path / "scenario", scenario()))
    walker, thing = log.tracks
    assert (log.name, log.frames, thing.category) == ("x", 3, OTHER)
    assert (walker.valid.tolist(), thing.valid.tolist()) == ([False, True, False], [True, False, False])
    np.testing.assert_allclose(log.world_from_ego[2, :2, 3], [2, 0], atol=1e-9)
    np.testing.assert_allclose(transforms.yaw_of(walker.world_from_box[1, :3, :3]), -1.0)
    # The lane rises by 0.2 m from 1200 to 1220: a box stands half its height above the vertices around it.
    bottom = walker.world_from_box[1, 2, 3] - walker.size[2] / 2
    assert abs(bottom - 0.1) < 0.05


def _edit(files, name, column, row, value):
    files = copy.deepcopy(files)
    if value is KeyError:
        del files[name][column]
    else:
        files[name][column][row] = value
    return files


POSES, BOXES = "city_SE3_egovehicle.feather", "annotations.feather"
PINHOLES, PLACES = "calibration/intrinsics.feather", "calibration/egovehicle_SE3_sensor.feather"
FAULTS = [
    (POSES, "qw", 0, KeyError, r"egovehicle\.feather: columns: lacks the columns \['qw'\], it has"),
    (POSES, "qw", 2, 2.0, r"qw, qx, qy, qz: row 2 has the norm 2\.\d+, expected 1"),
    (POSES, "tx_m", 1, float("nan"), "tx_m: row 1 holds nan"),
    (POSES, "tx_m", 1, 1e9, "tx_m, ty_m, tz_m: point 1 is none"),
    (POSES, "tz_m", 3, None, "tz_m: row 3 holds None, expected a number"),
    (POSES, "timestamp_ns", 2, 7, "frame 1: timestamp_ns: has no pose at the annotated moment"),
    (BOXES, "category", 3, "UFO", r"annotations\.feather: track bike: has the categories \['UFO'\], expected one of"),
    (BOXES, "category", 1, "BUS", r"track car: has the categories \['BUS', 'REGULAR_VEHICLE'\]"),
    (BOXES, "timestamp_ns", 1, STAMPS[0], "frame 0: track car: is annotated twice"),
    (BOXES, "length_m", 3, 0.0, r"track bike size: \(length, width, height\) is"),
    (PINHOLES, "fx_px", 0, -1.0, "mount ring_front_center intrinsics: .* positive focal"),
    (PLACES, "sensor_name", 0, "ring_rear", "egovehicle_SE3_sensor: has no pose of ring_front_center"),
]


@pytest.mark.parametrize(("name", "column", "row", "value", "message"), FAULTS, ids=[fault[4][:40] for fault in FAULTS])
def test_a_fault_is_named(tmp_path, name, column, row, value, message):
    with pytest.raises(LogError, match=message) as caught:
        read_log(put(tmp_path / "log", _edit(sensor_log(), name, column, row, value)))
    assert caught.value.file is not None and caught.value.remedy is not None


@pytest.mark.parametrize(
    ("column", "row", "value", "message"),
    [
        ("timestep", 4, 3, "timestep: runs from 0 to 3, expected 0 to 2"),
        ("timestep", 1, 0, "track AV: has two rows at one timestep"),
        ("object_type", 3, "ufo", r"track 7: has the types \['ufo'\], expected one of vehicle"),
        ("track_id", 0, "6", "track_id: has no track AV, or not in every frame"),
    ],
)
def test_a_fault_of_a_scenario_is_named(tmp_path, column, row, value, message):
    with pytest.raises(LogError, match=message):
        read_log(put(tmp_path / "log", _edit(scenario(), "scenario_x.parquet", column, row, value)))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (BOXES, "annotations: has none of annotations.feather, annotations_with_ego.feather"),
        ("map/log_map_archive_x.json", r"map: has 0 maps log_map_archive_\*\.json, expected one"),
        (PLACES, r"egovehicle_SE3_sensor\.feather: content: cannot be read, it is missing"),
    ],
)
def test_a_missing_part_is_named(tmp_path, name, message):
    with pytest.raises(LogError, match=message):
        read_log(put(tmp_path / "log", {key: table for key, table in sensor_log().items() if key != name}))


def test_truncated_files_are_named(tmp_path):
    for number, name in enumerate((POSES, BOXES)):
        folder = put(tmp_path / f"log-{number}", sensor_log())
        (folder / name).write_bytes((folder / name).read_bytes()[:300])
        with pytest.raises(LogError, match=rf"{name}: content: cannot be read, it is missing, truncated or damaged"):
            read_log(folder)
    (tmp_path / "no").mkdir()
    with pytest.raises(LogError, match=r"expected one of either\. Pass the folder of one log"):
        read_argoverse2(tmp_path / "no")


def test_without_pyarrow_it_is_said(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(LogError, match=r"needs the package pyarrow.*install jaxrecon\[argoverse\]"):
        read_log(put(tmp_path / "log", sensor_log()))


STRANGE = [KeyError, None, "word", float("nan"), float("inf"), -1.0, 0.0, 1e30, -1, 0, 2**62]


@settings(max_examples=80, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_every_random_fault_is_named_or_harmless(tmp_path_factory, data):
    whole = data.draw(st.sampled_from([sensor_log(), scenario()]))
    name = data.draw(st.sampled_from(sorted(name for name in whole if not name.endswith("json"))))
    column = data.draw(st.sampled_from(sorted(whole[name])))
    row = data.draw(st.integers(0, len(whole[name][column]) - 1))
    files = _edit(whole, name, column, row, data.draw(st.sampled_from(STRANGE)))
    try:
        folder = put(tmp_path_factory.mktemp("fault") / "log", files)
    except (pyarrow.ArrowException, OverflowError):
        return  # no Arrow table can hold such a column
    try:
        log = read_argoverse2(folder)
    except LogError as error:
        assert error.remedy is not None
    else:
        validate(log)


@pytest.mark.parametrize("key", ["lane_segments", "drivable_areas", "pedestrian_crossings"])
@pytest.mark.parametrize("value", [None, {"1": {}}, {"1": []}, []])
def test_a_broken_map_is_named(tmp_path, key, value):
    with pytest.raises(LogError, match=rf"log_map_archive_x\.json: .*{key if not value else '(lacks|expected)'}"):
        read_log(put(tmp_path / "log", sensor_log() | {"map/log_map_archive_x.json": MAP | {key: value}}))


@pytest.fixture
def recorded(data_folder):
    folder = data_folder / "argoverse2-logs"
    if not folder.is_dir():
        pytest.skip(f"no Argoverse 2 logs at {folder}")
    return folder


def test_recorded_cars_stand_on_the_recorded_road(recorded):
    """The ego's ground and boxes that people drew, against the heights of a map that was made without either."""
    log = read_log(recorded / "logs/7fab2350-7eaf-3b7e-a39d-6937a4c1bede")
    vertices = np.concatenate(log.road_map.lane_centres)
    nearest = np.argmin(np.linalg.norm(vertices[None, :, :2] - log.world_from_ego[:, None, :2, 3], axis=-1), axis=1)
    above = log.world_from_ego[:, 2, 3] - vertices[nearest, 2]
    assert np.abs(np.median(above)) < 0.05 and np.abs(above).max() < 0.15
    assert log.mounts[0].name == "ring_front_center" and len(log.mounts) == 7
    yaws = [np.degrees(np.arctan2(mount.ego_from_camera[1, 2], mount.ego_from_camera[0, 2])) for mount in log.mounts]
    # Seven cameras around the car, no two of which look the same way.
    assert np.min(np.diff(np.sort(yaws))) > 30


def test_every_recorded_log_is_read(recorded):
    folders = sorted(pathlib.Path(recorded).glob("*/*"))
    logs = [read_log(folder, frames=slice(0, None, 10)) for folder in folders]
    assert [log.frames for log in logs] == [11, 16, 16, 16, 16]
    assert all(len(log.tracks) > 30 and log.road_map.crosswalks for log in logs)
