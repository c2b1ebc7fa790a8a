import dataclasses
import math

import numpy as np
import pytest
import scipy.spatial

from jaxrecon.logs import read_log
from jaxrecon.logs.driving_log import DrivingLog
from jaxrecon.reconstruct.checks import Finding, check_log, heed
from jaxrecon.reconstruct.views import ReconstructionError, collect_views

DRIVES = {
    "kitti-raw-drive_0013": ("image_02",),
    "kitti-raw-drive_0005-400px": ("image_02", "image_03"),
}


def find(log: DrivingLog, **changes) -> list[Finding]:
    log = dataclasses.replace(log, **changes)
    return check_log(log, collect_views(log))


def first_frames(log: DrivingLog, count: int) -> DrivingLog:
    return dataclasses.replace(
        log,
        timestamps=log.timestamps[:count],
        world_from_ego=log.world_from_ego[:count],
        cameras=tuple(dataclasses.replace(camera, images=camera.images[:count]) for camera in log.cameras),
        lidar=log.lidar[:count],
        tracks=(),
    )


def turned(log: DrivingLog, camera: str, yaw_deg: float, pitch_deg: float) -> DrivingLog:
    """The log with a camera believed to look farther right (about its y axis) and down (about its x axis)."""
    mistake = np.eye(4)
    axes = np.radians([-pitch_deg, yaw_deg, 0.0])
    mistake[:3, :3] = scipy.spatial.transform.Rotation.from_rotvec(axes).as_matrix()
    stream = log.camera(camera)
    stream = dataclasses.replace(stream, ego_from_camera=stream.ego_from_camera @ mistake)
    return dataclasses.replace(log, cameras=(stream,))


def test_a_sound_log_gives_no_finding(street_log, small_log):
    assert find(street_log) == []
    assert find(small_log) == []
    heed([])


@pytest.mark.parametrize(("frames", "training"), [(1, 1), (2, 2), (3, 2)])
def test_too_few_frames_are_refused(small_log, frames, training):
    findings = find(first_frames(small_log, frames))
    assert [(f.name, f.severity, f.value) for f in findings] == [("few_frames", "refusal", training)]
    message = rf"log small has {frames} frame\(s\), {training} of them to learn from; .*read more frames"
    with pytest.raises(ReconstructionError, match=message):
        heed(findings)


def test_a_clock_that_does_not_rise_is_refused(small_log):
    timestamps = small_log.timestamps.copy()
    timestamps[5] = timestamps[3]
    (finding,) = find(small_log, timestamps=timestamps)
    assert (finding.name, finding.severity) == ("clock", "refusal")
    assert finding.value == pytest.approx(-0.1)
    with pytest.raises(ReconstructionError, match=r"log small: timestamps do not rise: frame 5 comes -0\.1 s after"):
        heed([finding])


def test_a_car_that_stands_is_warned_of(street_log):
    poses = np.tile(street_log.world_from_ego[:1], (street_log.frames, 1, 1))
    poses[:, 0, 3] += np.linspace(0, 0.4, street_log.frames)
    findings = find(street_log, world_from_ego=poses)
    assert [(f.name, f.severity) for f in findings if f.name != "exposure"] == [("static_ego", "warning")]
    assert findings[0].value == pytest.approx(0.4)
    with pytest.warns(UserWarning, match=r"the car moves 0\.40 m in all, so nothing is seen from two sides"):
        heed(findings[:1])


def test_missing_boxes_and_lidar_are_warned_of(street_log):
    assert [f.name for f in find(street_log, tracks=())] == ["no_boxes"]
    (finding,) = find(street_log, lidar=())
    assert finding.name == "no_lidar"
    assert "log street-curve-0 has no LiDAR" in finding.message
    assert [f.name for f in find(street_log, lidar=tuple(np.zeros((0, 3), np.float32) for _ in street_log.lidar))] == [
        "no_lidar"
    ]


def test_a_jump_of_the_path_is_warned_of(street_log):
    poses = street_log.world_from_ego.copy()
    poses[11:, 1, 3] += 0.5
    (finding,) = find(street_log, world_from_ego=poses)
    assert finding.name == "path_jump"
    assert finding.value == pytest.approx(0.5, abs=0.05)  # the rest is how the car drives
    assert "between frames 10 and 11 the pose jumps by 0.5" in finding.message


def test_a_jump_of_the_attitude_is_warned_of(street_log):
    poses = street_log.world_from_ego.copy()
    turn = scipy.spatial.transform.Rotation.from_rotvec([0.0, 0.0, np.radians(5.0)]).as_matrix()
    poses[11:, :3, :3] = poses[11:, :3, :3] @ turn
    findings = [finding for finding in find(street_log, world_from_ego=poses) if finding.name == "attitude_jump"]
    assert findings[0].value == pytest.approx(5.0, abs=0.5)
    assert "between frames 10 and 11 the pose jumps by" in findings[0].message


def test_hard_braking_is_no_jump(street_log):
    poses = street_log.world_from_ego.copy()
    time = street_log.timestamps
    poses[:, :3, :3] = np.eye(3)
    stop = np.clip(time - 1.0, 0, 1.25)
    poses[:, :3, 3] = np.stack([10 * np.minimum(time, 1.0) + 10 * stop - 4 * stop**2, 0 * time, 0 * time], axis=-1)
    assert "path_jump" not in [finding.name for finding in find(street_log, world_from_ego=poses)]


@pytest.mark.parametrize("lidar", [True, False])
def test_a_jump_of_exposure_is_warned_of_unless_it_is_fitted(street_log, lidar):
    images = street_log.cameras[0].images.copy()
    images[9:] = (images[9:] * 0.8).astype(np.uint8)
    camera = dataclasses.replace(street_log.cameras[0], images=images)
    log = dataclasses.replace(street_log, cameras=(camera,), lidar=street_log.lidar if lidar else ())
    views = collect_views(log)
    (finding,) = [finding for finding in check_log(log, views) if finding.name != "no_lidar"]
    assert finding.name == "exposure"
    assert finding.value == pytest.approx(math.log(1.25), abs=0.04)  # 8-bit values, and what else changes
    assert "from frame 8 to 9" in finding.message
    assert "FitConfig.exposure=True" in finding.message
    assert "exposure" not in [finding.name for finding in check_log(log, views, exposure_fitted=True)]


def test_heldout_frames_are_not_looked_at(street_log):
    images = street_log.cameras[0].images.copy()
    images[2::4] = 255
    camera = dataclasses.replace(street_log.cameras[0], images=images)
    lidar = [cloud if frame % 4 != 2 else cloud + np.float32(5.0) for frame, cloud in enumerate(street_log.lidar)]
    assert find(street_log, cameras=(camera,), lidar=tuple(lidar)) == []


@pytest.mark.parametrize(("yaw", "pitch"), [(1.0, 0.0), (-1.0, 0.0), (0.0, 1.0), (0.0, -1.0), (2.0, -1.0)])
def test_a_wrong_calibration_is_warned_of(street_log, yaw, pitch):
    log = turned(street_log, "front", yaw, pitch)
    (finding,) = check_log(log, collect_views(log))
    assert finding.name == "calibration"
    assert "camera front does not fit the LiDAR: depth jumps meet edges of the image better" in finding.message
    # The change that mends it is the mistake backwards; yaw and pitch are searched in steps of half a degree.
    words = finding.message.split("when it looks ")[1].split()
    assert float(words[0]) == pytest.approx(-yaw, abs=0.5)
    assert float(words[3]) == pytest.approx(-pitch, abs=0.5)


@pytest.fixture(scope="module")
def drive(request, data_folder) -> DrivingLog:
    return read_log(data_folder / request.param)


@pytest.mark.parametrize("drive", DRIVES, indirect=True)
def test_real_drives_are_well_calibrated_and_change_their_exposure(drive):
    assert [finding.name for finding in check_log(drive, collect_views(drive))] == ["exposure"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("yaw", "pitch"),
    [
        (1.0, 0.0), (0.0, -1.0),
        pytest.param(-1.0, 0.0, marks=pytest.mark.torture), pytest.param(0.0, 1.0, marks=pytest.mark.torture),
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    ("drive", "camera"), [(name, camera) for name, names in DRIVES.items() for camera in names], indirect=["drive"]
)
def test_a_degree_shows_on_real_drives(drive, camera, yaw, pitch):
    log = turned(drive, camera, yaw, pitch)
    assert [finding.name for finding in check_log(log, collect_views(log), exposure_fitted=True)] == ["calibration"]


def test_a_calibration_far_off_is_warned_of(data_folder):
    log = turned(read_log(data_folder / "kitti-raw-drive_0005-400px"), "image_02", 0.0, 10.0)
    (finding,) = check_log(log, collect_views(log), exposure_fitted=True)
    assert "may be wrong by more than 3 degrees" in finding.message
