"""Every promise of a DrivingLog, broken one at a time."""

import dataclasses

import numpy as np
import pytest

from jaxrecon.logs import LogError, validate


def _set(array, where, value):
    array = array.copy()
    array[where] = value
    return array


def _camera(log, **changes):
    return dataclasses.replace(log, cameras=(dataclasses.replace(log.cameras[0], **changes), *log.cameras[1:]))


def _track(log, **changes):
    return dataclasses.replace(log, tracks=(dataclasses.replace(log.tracks[0], **changes), *log.tracks[1:]))


def _cloud(log, cloud):
    return dataclasses.replace(log, lidar=(log.lidar[0], cloud, log.lidar[2]))


def _pose(log, where, value):
    return dataclasses.replace(log, world_from_ego=_set(log.world_from_ego, where, value))


def _clock(log, *seconds):
    return dataclasses.replace(log, timestamps=np.array(seconds))


def _lines(log, **lines):
    return dataclasses.replace(log, road_map=dataclasses.replace(log.road_map, **lines))


def _light(log, **changes):
    return dataclasses.replace(log, lights=(dataclasses.replace(log.lights[0], **changes), *log.lights[1:]))


def _mount(log, **changes):
    return dataclasses.replace(log, mounts=(dataclasses.replace(log.mounts[0], **changes), *log.mounts[1:]))


MIRROR = np.diag([1.0, 1.0, -1.0, 1.0])
BROKEN = [
    (lambda log: _light(log, lane=2), r"lights\[0\] lane: is 2, expected -1 or the index of one of 2 lane centres"),
    (lambda log: _light(log, state=np.array([0, 4, 1])), r"frame 1: lights\[0\] state: is 4, expected an index into"),
    (lambda log: _light(log, state=np.array([0, 1])), r"lights\[0\] state: is int64 \(2,\), expected int64 of 3"),
    (lambda log: _light(log, stop_point=np.array([0, np.nan, 0])), r"lights\[0\] stop_point: is not finite"),
    (lambda log: _mount(log, size=(10, 0)), r"mount ring/front size: is \(10, 0\), expected \(width, height\)"),
    (lambda log: _mount(log, intrinsics=np.zeros(4)), "mount ring/front intrinsics: .* positive focal lengths"),
    (lambda log: _mount(log, ego_from_camera=MIRROR), "mount ring/front ego_from_camera: .*determinant -1"),
    (lambda log: _mount(log, name="ring/rear"), r"mounts: the names \['ring/rear'\] are used more than once"),
    (lambda log: _lines(log, line_kinds=("unknown",)), "line_kinds: has 1 kinds, expected none or 2"),
    (lambda log: _lines(log, line_kinds=("unknown", "pink")), r"line_kinds: holds \['pink'\], expected some of"),
    (lambda log: _lines(log, crosswalks=(np.zeros((2, 2)),)), r"crosswalks\[0\]: has 2 points, expected at least 3"),
    (lambda log: _clock(log), "timestamps: the log has no frames. Record at least one frame"),
    (lambda log: _clock(log, 0, 0.1, np.nan), "frame 2: timestamps: is not finite"),
    (lambda log: _clock(log, 5.0, 5.1, 5.2), "frame 0: timestamps: is 5.0 s, expected 0"),
    (lambda log: _clock(log, 0.0, 0.1, 0.05), "frame 2: timestamps: comes -0.05 s after the frame before it"),
    (
        lambda log: _clock(log, 0.0, 0.1, 0.3),
        "frame 2: timestamps: comes 0.2 s .* usual step is 0.1 s. Read the frames",
    ),
    (lambda log: _pose(log, (1, 0, 3), np.inf), "frame 1: world_from_ego: pose holds a value that is not finite"),
    (lambda log: _pose(log, (2, 0, 0), 0.5), r"frame 2: world_from_ego: pose is not a rotation: R R\^T differs"),
    (lambda log: _pose(log, 0, MIRROR), "frame 0: world_from_ego: .*determinant -1 "),
    (lambda log: _pose(log, (0, 3, 0), 1.0), "frame 0: world_from_ego: pose ends with the row"),
    (
        lambda log: dataclasses.replace(log, world_from_ego=log.world_from_ego.astype(np.float32)),
        r"world_from_ego: is float32 \(3, 4, 4\), expected float64 of 3x4x4",
    ),
    (
        lambda log: dataclasses.replace(log, cameras=log.cameras[:1] * 2),
        r"cameras: the names \['front'\] are used more",
    ),
    (
        lambda log: _camera(log, images=log.cameras[0].images[:2]),
        "camera front images: .* expected uint8 of 3xanyxanyx3",
    ),
    (lambda log: _camera(log, images=log.cameras[0].images[:, :0]), r"has the size \(10, 0\), expected pixels"),
    (lambda log: _camera(log, intrinsics=np.array([20.0, -20, 5, 4])), "camera front intrinsics: .*positive focal"),
    (lambda log: _camera(log, intrinsics=np.array([20.0, 20, np.nan, 4])), "camera front intrinsics"),
    (lambda log: _camera(log, ego_from_camera=MIRROR), "camera front ego_from_camera: pose is not a rotation"),
    (lambda log: dataclasses.replace(log, lidar=log.lidar[:2]), "lidar: has 2 clouds, expected none or 3"),
    (lambda log: _cloud(log, np.zeros((4, 3))), "frame 1: lidar: is .*float64.*expected float32"),
    (lambda log: _cloud(log, np.zeros((4, 4), np.float32)), r"frame 1: lidar: is .*\(4, 4\)"),
    (lambda log: _cloud(log, np.full((4, 3), np.nan, np.float32)), "frame 1: lidar: holds a point that is not finite"),
    (lambda log: dataclasses.replace(log, tracks=log.tracks[:1] * 2), r"tracks: the names \['car'\] are used more"),
    (lambda log: _track(log, category="ufo"), "track car category: is a 'ufo', expected one of .*vehicle"),
    (lambda log: _track(log, size=np.array([4.0, 0.0, 1.5])), "track car size: .*expected finite positive metres"),
    (
        lambda log: _track(log, valid=np.zeros(3, bool), world_from_box=np.tile(np.eye(4), (3, 1, 1))),
        "track car: has no box in any frame. Leave the track out",
    ),
    (lambda log: _track(log, valid=np.ones(2, bool)), r"track car valid: is bool \(2,\), expected bool of 3"),
    (
        lambda log: _track(log, world_from_box=log.tracks[1].world_from_box),
        "frame 1: track car world_from_box: is invalid there, expected the identity",
    ),
    (
        lambda log: _track(log, world_from_box=_set(log.tracks[0].world_from_box, (2, 1, 1), np.nan)),
        "frame 2: track car world_from_box: pose holds a value that is not finite",
    ),
    (
        lambda log: dataclasses.replace(log, ego=dataclasses.replace(log.ego, width=0.0)),
        "ego.width: is 0.0, expected pos",
    ),
    (
        lambda log: _lines(log, lane_lines=(np.zeros((1, 3)),)),
        r"road_map.lane_lines\[0\]: has 1 points, expected at least",
    ),
    (
        lambda log: _lines(log, road_edges=(np.zeros((4, 2)),)),
        r"road_map.road_edges\[0\]: is float64 \(4, 2\), expected",
    ),
    (
        lambda log: _lines(log, drivable=(np.full((3, 2), np.inf),)),
        r"road_map.drivable\[0\]: holds a point that is not",
    ),
]


def test_a_valid_log_passes(small_log):
    assert validate(small_log) is small_log


@pytest.mark.parametrize(("change", "message"), BROKEN, ids=[message[:40] for _, message in BROKEN])
def test_a_broken_promise_is_named(small_log, change, message):
    with pytest.raises(LogError, match=message) as caught:
        validate(change(small_log), "some/log")
    assert str(caught.value).startswith("some/log: ")
    assert caught.value.remedy and caught.value.field
