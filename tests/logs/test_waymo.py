"""The reader of Waymo scenarios: on made-up files of all three versions, broken ones, and recorded ones."""

import copy
import csv
import gzip
import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jaxrecon.geometry import transforms
from jaxrecon.logs import CYCLIST, LogError, read_log, read_split, read_waymo, validate

STEPS, ORIGIN = 6, np.array([8000.0, -3000.0, 50.0])
LENGTH, WIDTH, HEIGHT = 5.286, 2.332, 2.33


def _points(rows, flat):
    return [dict(zip("xy" if flat else "xyz", map(float, row), strict=False)) for row in rows]


def _object(kind, centres, heading, velocity, size, valid, flat):
    """One object whose invalid steps hold what the converters leave there."""
    rows = [centre if ok else (-10000.0,) * 3 for centre, ok in zip(centres, valid, strict=True)]
    note = {
        "position": _points(rows, flat),
        "heading": [float(heading) if ok else -10000.0 for ok in valid],
        "velocity": [{"x": velocity[0], "y": velocity[1]} if ok else {"x": 1e-4, "y": 1e-4} for ok in valid],
        "valid": [bool(ok) for ok in valid],
        "type": kind,
        "length": size[0],
        "width": size[1],
        "goalPosition": {"x": 0.0, "y": 0.0},
    }
    return note if flat else note | {"height": size[2]}


def scenario(version="v2", unit="rad"):
    """An ego that drives north-east, a crossing car, a cyclist that is seen late, and one of everything in the map."""
    flat, turn = version == "v1", 1.0 if unit == "rad" else 180 / np.pi
    time = 0.1 * np.arange(STEPS)[:, None]
    every, late = [True] * STEPS, [False] * 3 + [True] * 3
    ego = ORIGIN + np.array([0, 0, HEIGHT / 2]) + time * np.array([6.0, 8.0, 0.0])
    car = ORIGIN + np.array([20.0, 10, 0.8]) + time * np.array([-5.0, 0, 0])
    bike = ORIGIN + np.array([3.0, -4, 0.9]) + time * np.array([0, 4.0, 0])
    line = ORIGIN + np.array([[0.0, 0, 0], [3, 4, 0], [6, 8, 0]])
    square = ORIGIN + np.array([[0.0, 0, 0], [4, 0, 0], [4, 3, 0], [0, 3, 0]])
    roads = [
        ("lane", 2, line), ("lane", 3, line), ("lane", 1, line + 4), ("road_line", 6, line), ("road_line", 12, line),
        ("road_edge", 15, line - 5), ("crosswalk", 18, square), ("stop_sign", 17, line[:1]), ("driveway", 20, square),
        ("speed_bump", 19, square), ("road_line", 7, line[:1]),
    ]  # fmt: skip
    named = [
        {"geometry": _points(points, flat), "type": kind}
        | ({} if flat else {"map_element_id": element, "id": 100 + number})
        for number, (kind, element, points) in enumerate(roads)
    ]
    stop = ORIGIN + np.array([6.0, 8, 0.2])
    light = {"state": ["arrow_stop", "go", "caution"], "time_index": [0, 2, 5]}
    light |= {axis: [float(stop[i])] * 3 for i, axis in enumerate("xyz")}
    return {
        "name": "made-up.json",
        "objects": [
            _object("vehicle", car, np.pi * turn, (-5.0, 0.0), (4.5, 1.9, 1.6), every, flat),
            _object("cyclist", bike, np.pi / 2 * turn, (0.0, 4.0), (1.8, 0.7, 1.8), late, flat),
            _object("pedestrian", bike, 0.0, (0.0, 0.0), (0.7, 0.7, 1.7), [False] * STEPS, flat),
            _object("vehicle", ego, np.arctan2(8, 6) * turn, (6.0, 8.0), (LENGTH, WIDTH, HEIGHT), every, flat),
        ],
        "roads": named,
        "tl_states": {} if flat else {"102": light, "7": light},
    }


def put(folder, content, name="made-up.json.gz"):
    """Writes a scenario."""
    text = json.dumps(content).encode()
    (folder / name).write_bytes(gzip.compress(text) if name.endswith("gz") else text)
    return folder / name


@pytest.mark.parametrize("unit", ["rad", "deg"])
@pytest.mark.parametrize("version", ["v1", "v2"])
def test_positions_and_headings_are_those_of_the_file(tmp_path, version, unit):
    log = read_log(put(tmp_path, scenario(version, unit)))
    heading = np.arctan2(8, 6)
    assert (log.name, log.frames, log.cameras, log.mounts) == ("made-up", STEPS, (), ())
    assert (log.ego.length, log.ego.width, log.ego.height) == (LENGTH, WIDTH, HEIGHT if version == "v2" else 1.65)
    np.testing.assert_allclose(log.timestamps, 0.1 * np.arange(STEPS))
    np.testing.assert_allclose(transforms.yaw_of(log.world_from_ego[:, :3, :3]), heading, atol=1e-12)
    # The rear axle's ground is the origin; coordinates of 8000 m in float64 keep 1e-12 m.
    np.testing.assert_allclose(log.world_from_ego[0, :3, 3], 0, atol=1e-9)
    np.testing.assert_allclose(log.world_from_ego[5, :3, 3], [3, 4, 0], atol=1e-9)
    car, bike = log.tracks
    behind = log.ego.centre_ahead * np.array([np.cos(heading), np.sin(heading)])
    np.testing.assert_allclose(car.world_from_box[2, :2, 3], np.array([19.0, 10]) + behind, atol=1e-9)
    np.testing.assert_allclose(car.world_from_box[2, :3, 0], [-1, 0, 0], atol=1e-12)
    assert (bike.category, bike.valid.tolist()) == (CYCLIST, [False] * 3 + [True] * 3)
    np.testing.assert_array_equal(bike.world_from_box[0], np.eye(4))
    height = 1.6 if version == "v2" else 1.65  # the usual one of a car, where the file has none
    np.testing.assert_allclose(car.size, [4.5, 1.9, height])
    np.testing.assert_allclose(car.world_from_box[2, 2, 3], 0.8 if version == "v2" else height / 2, atol=1e-9)


def test_the_map_and_the_lights_are_those_of_the_file(tmp_path):
    log = read_waymo(put(tmp_path, scenario()))
    road = log.road_map
    shift = log.ego.centre_ahead * np.array([0.6, 0.8, 0])  # the file's origin, seen from the rear axle
    assert [len(part) for part in (road.lane_centres, road.lane_lines, road.road_edges, road.crosswalks)] == [
        2,
        2,
        1,
        1,
    ]
    assert road.line_kinds == ("dashed_white", "double_yellow")
    np.testing.assert_allclose(road.lane_centres[0], np.array([[0, 0, 0], [3, 4, 0], [6, 8, 0]]) + shift, atol=1e-9)
    np.testing.assert_allclose(road.crosswalks[0][2], np.array([4, 3]) + shift[:2], atol=1e-9)
    ruled, stray = log.lights
    assert (ruled.lane, stray.lane) == (1, -1)  # road 102 is the second lane that is no bike lane
    np.testing.assert_allclose(ruled.stop_point, np.array([6, 8, 0.2]) + shift, atol=1e-9)
    assert ruled.state.tolist() == [1, 0, 3, 0, 0, 2]
    plain = read_waymo(put(tmp_path, scenario("v1"), "plain.json"))
    assert (plain.lights, plain.road_map.line_kinds) == ((), ("unknown", "unknown"))
    assert len(plain.road_map.lane_centres) == 3  # files of the first version do not tell bike lanes


def test_some_frames_can_be_read(tmp_path):
    file = put(tmp_path, scenario())
    whole, part = read_waymo(file), read_waymo(file, frames=slice(1, 5, 2))
    assert [track.identifier for track in part.tracks] == [track.identifier for track in whole.tracks]
    np.testing.assert_allclose(part.timestamps, [0, 0.2])
    assert part.lights[0].state.tolist() == [0, 0]
    step = whole.world_from_ego[3] - whole.world_from_ego[1]
    np.testing.assert_allclose(part.world_from_ego[1] - part.world_from_ego[0], step, atol=1e-9)


def _at(content, path, value):
    """A copy of the scenario with another value, or with a member taken out, at a path of keys."""
    content = copy.deepcopy(content)
    holder = content
    for key in path[:-1]:
        holder = holder[key]
    if value is KeyError:
        del holder[path[-1]]
    else:
        holder[path[-1]] = value
    return content


CAR, EGO = ("objects", 0), ("objects", 3)
FAULTS = [
    (("objects",), [], "objects: holds no object, not even the ego"),
    (("objects",), KeyError, r"made-up\.json\.gz: lacks 'objects', it holds \['name', 'roads', 'tl_states'\]"),
    ((*CAR, "type"), "ufo", r"objects\[0\]\.type: is 'ufo', known are vehicle"),
    ((*CAR, "valid", 2), 1, r"objects\[0\]\.valid: holds something but true and false"),
    ((*CAR, "heading"), [0.0], r"objects\[0\]\.heading: has 1 steps, expected 6 as in valid"),
    ((*CAR, "heading", 1), "north", r"objects\[0\]\.heading: is .*, expected a list of numbers"),
    ((*CAR, "position", 4, "x"), float("nan"), r"frame 4: objects\[0\]\.position: is no measurement: \[ *nan"),
    ((*CAR, "position", 4, "z"), KeyError, r"objects\[0\]\.position: holds a point without one of x, y, z"),
    ((*CAR, "length"), -1.0, r"objects\[0\]\.size: \(length, width, height\) is \[-1"),
    ((*CAR, "height"), KeyError, r"objects\[0\]: lacks 'height'"),
    ((*EGO, "valid", 3), False, r"frame 3: objects\[3\]\.valid: the ego, .*Pass frames=slice"),
    (("roads", 0, "type"), "rail", r"roads\[0\]\.type: is 'rail', known are lane"),
    (("roads", 3, "geometry"), {}, r"roads\[3\]\.geometry: is \{\}, expected list"),
    (("roads", 3, "geometry", 1, "y"), 1e9, r"roads\[3\]\.geometry: point 1 is none"),
    (("tl_states", "102", "state", 0), "blue", r"tl_states\[102\]\.state: is 'blue', expected one of"),
    (("tl_states", "102", "time_index", 0), 99, r"tl_states\[102\]: has .* at steps 0 to 5"),
    (("tl_states", "102", "x"), [1.0], r"tl_states\[102\]: has \{'state': 3, 'time_index': 3, 'x': 1"),
]


@pytest.mark.parametrize(("path", "value", "message"), FAULTS, ids=[str(fault[0]) for fault in FAULTS])
def test_a_fault_is_named(tmp_path, path, value, message):
    with pytest.raises(LogError, match=message) as caught:
        read_log(put(tmp_path, _at(scenario(), path, value)))
    assert caught.value.file is not None and caught.value.remedy is not None


def test_what_cannot_be_read_is_named(tmp_path):
    whole = put(tmp_path, scenario()).read_bytes()
    for name, content in (("a.json.gz", whole[:200]), ("b.json.gz", b"{}"), ("c.json", b"{"), ("d.json", b"\xff{}")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(LogError, match=rf"{name}: content: cannot be read as JSON .*Copy the file again"):
            read_log(tmp_path / name)
    with pytest.raises(LogError, match=r"has 6 steps, of which slice.* takes none"):
        read_log(put(tmp_path, scenario()), frames=slice(9, 12))
    still = scenario()
    for note in still["objects"]:
        note["velocity"], note["heading"] = [{"x": 0.0, "y": 0.0}] * STEPS, [0.5] * STEPS
    with pytest.raises(LogError, match=r'heading: may be degrees or radians.*Pass heading_unit="deg"'):
        read_log(put(tmp_path, still))
    turned = read_log(put(tmp_path, still), heading_unit="deg")
    np.testing.assert_allclose(transforms.yaw_of(turned.world_from_ego[0, :3, :3]), np.radians(0.5))


def _paths(content, prefix=()):
    """Every path of keys in a JSON value."""
    inner = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    return [prefix] * bool(prefix) + [path for key, value in inner for path in _paths(value, (*prefix, key))]


WHOLE = scenario()
STRANGE = [KeyError, None, "word", "", float("nan"), float("inf"), -1, 0, 1e30, 10**400, True, [], {}, [None], [[1]]]


@settings(max_examples=300, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(_paths(WHOLE)), st.sampled_from(STRANGE))
def test_every_random_fault_is_named_or_harmless(tmp_path_factory, path, value):
    content = _at(WHOLE, path, value)
    file = put(tmp_path_factory.mktemp("fault"), content, "fault.json")
    try:
        log = read_waymo(file)
    except LogError as error:
        assert error.remedy is not None
    else:
        validate(log)


@pytest.fixture
def scenarios(data_folder):
    folder = data_folder / "womd-scenarios"
    if not folder.is_dir():
        pytest.skip(f"no Waymo scenarios at {folder}")
    return folder


def test_recorded_headings_are_in_the_unit_of_the_index(scenarios):
    """The index was made by hand; the reader tells by the motion. One file of each kind that may go wrong."""
    with open(scenarios / "INDEX.tsv", newline="") as stream:
        rows = [row for row in csv.DictReader(stream, delimiter="\t") if row["format"] != "v1"][:16:3]
    for row in rows:
        file = scenarios / row["format"] / f"{row['name']}.json.gz"
        told, found = (
            read_waymo(file, frames=slice(0, 1), heading_unit=unit) for unit in (row["heading_unit"], "auto")
        )
        np.testing.assert_array_equal(told.world_from_ego, found.world_from_ego)


def test_recorded_cars_stand_on_the_recorded_road(scenarios):
    log = read_log(scenarios / "v1z/tfrecord-00005-of-00150_a87cb50c40761580.json.gz")
    vertices = np.concatenate(log.road_map.lane_centres)
    feet = log.world_from_ego[:, :3, 3]
    nearest = np.argmin(np.linalg.norm(vertices[None, :, :2] - feet[:, None, :2], axis=-1), axis=1)
    # The road rises by 9 m; a car that were placed by its centre would be 1.2 m too high.
    np.testing.assert_allclose(feet[:, 2], vertices[nearest, 2], atol=0.15)
    assert len(log.lights) == 7 and all(light.lane >= 0 for light in log.lights)
    speed = np.linalg.norm(np.diff(log.world_from_ego[:, :2, 3], axis=0), axis=1).sum()
    assert abs(speed - 30.4) < 1.5  # metres of SPLIT.tsv, there of the box's centre, which swings out in turns


def test_the_recorded_split_is_whole(scenarios):
    split = read_split(scenarios)
    assert [len(files) for files in (split.train, split.test, split.parked)] == [31, 14, 25]
    assert len({*split.train, *split.test, *split.parked}) == 70


HEADER = "format\tname\tego_metres\tmoving_vehicles\tsplit\n"


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (None, r"SPLIT\.tsv: split: cannot be read"),
        (HEADER, r"SPLIT\.tsv: split: has no rows"),
        (HEADER + "v1\ta\t1.0\t2\tvalidation\n", r"line 2: has the split 'validation', expected one of"),
        (HEADER + "v1\ta\t1.0\t2\n", "line 2: lacks one of the columns format, name, split"),
        (HEADER + "v1\tb\t1.0\t2\ttest\n", r"line 2: names .*b\.json\.gz, which is missing"),
        (HEADER + "v1\ta\t1.0\t2\ttest\n" * 2, "line 3: names .*, which an earlier line names too"),
    ],
)
def test_a_broken_split_is_named(tmp_path, table, message):
    (tmp_path / "v1").mkdir()
    put(tmp_path / "v1", {}, "a.json.gz")
    if table is not None:
        (tmp_path / "SPLIT.tsv").write_text(table)
    with pytest.raises(LogError, match=message):
        read_split(tmp_path)
