"""The KITTI reader against KITTI's own equations, on a made-up drive and on recorded ones."""

import numpy as np
import pytest

from jaxrecon.geometry import cameras, transforms
from jaxrecon.logs import CYCLIST, PEDESTRIAN, VEHICLE, LogError, read_kitti, read_log

DATE = "2011_09_26"
DRIVE = f"{DATE}/{DATE}_drive_0042_sync"
RECORDED = ("kitti-raw-drive_0013", "kitti-raw-drive_0005-400px")


def _calibration(files, name):
    lines = files[f"{DATE}/{name}.txt"].decode().splitlines()
    return {key: np.array(values.split()[:12]) for key, _, values in (line.partition(":") for line in lines)}


def _matrix(rows, name, *shape):
    return rows[name].astype(float).reshape(shape)


def _projection_of_kitti(files, camera):
    """P R_rect_00 Tr_velo_to_cam, as KITTI's development kit multiplies them."""
    rows, velo = _calibration(files, "calib_cam_to_cam"), _calibration(files, "calib_velo_to_cam")
    rectification, camera_from_velo = np.eye(4), np.eye(4)
    rectification[:3, :3] = _matrix(rows, "R_rect_00", 3, 3)
    camera_from_velo[:3] = np.column_stack([_matrix(velo, "R", 3, 3), velo["T"].astype(float)])
    return _matrix(rows, f"P_rect_{camera[-2:]}", 3, 4) @ rectification, camera_from_velo


def _pixels(projection, points):
    pixel = np.column_stack([points, np.ones(len(points))]) @ projection.T
    return pixel[:, :2] / pixel[:, 2:]


@pytest.mark.parametrize(("layout", "camera"), [("refined", "image_02"), ("plain", "image_02"), ("plain", "image_03")])
def test_a_lidar_point_lands_on_the_pixel_of_kittis_equation(tmp_path, drives, put_files, layout, camera):
    log = read_log(put_files(tmp_path, drives[layout]))
    stream = log.camera(camera)
    rectified, camera_from_velo = _projection_of_kitti(drives[layout], camera)
    raw = np.frombuffer(drives[layout][f"{DRIVE}/velodyne_points/data/0000000001.bin"], "<f4").reshape(-1, 4)[:, :3]
    ours = cameras.project(
        stream.intrinsics,
        transforms.transform_points(transforms.inverse(stream.ego_from_camera), log.lidar[1].astype(np.float64)),
    )
    # KITTI counts pixel centres in whole numbers. The cloud is float32: 2e-6 m of 30 m, times 20 pixels at 1 m.
    expected = _pixels(rectified @ camera_from_velo, raw) + 0.5
    ahead = raw[:, 0] > 2
    assert ahead.sum() > 5
    np.testing.assert_allclose(ours[ahead], expected[ahead], atol=2e-3)


def test_boxes_are_those_of_kittis_equation(tmp_path, drives, put_files):
    log = read_log(put_files(tmp_path, drives["refined"]))
    rectified, _ = _projection_of_kitti(drives["refined"], "image_02")
    stream = log.camera("image_02")
    # Track 0 in frame 1, as in the development kit: corners about the bottom centre, y down, turned by rotation_y.
    height, width, length, x, y, z, turn = 1.5, 1.7, 4.0, -3.1, 1.6, 13.0, 0.31
    corners = [[a * length / 2, b, c * width / 2] for a in (-1, 1) for b in (0, -height) for c in (-1, 1)]
    turned = (
        np.array(corners) @ np.array([[np.cos(turn), 0, np.sin(turn)], [0, 1, 0], [-np.sin(turn), 0, np.cos(turn)]]).T
    )
    expected = _pixels(rectified @ np.linalg.inv(_rectification(drives)), turned + np.array([x, y, z])) + 0.5
    track = log.tracks[0]
    unit = np.array([[a, b, c] for a in (-1, 1) for b in (-1, 1) for c in (-1, 1)]) / 2
    world = transforms.transform_points(track.world_from_box[1], unit * track.size)
    in_camera = transforms.transform_points(transforms.inverse(log.world_from_camera(stream)[1]), world)
    ours = cameras.project(stream.intrinsics, in_camera)
    order = lambda pixels: pixels[np.lexsort(pixels.round(4).T)]  # noqa: E731
    np.testing.assert_allclose(order(ours), order(expected), atol=1e-6)  # printed calibrations: 1e-8 of 20 pixels
    np.testing.assert_allclose(track.size, [length, width, height])


def _rectification(drives):
    matrix = np.eye(4)
    matrix[:3, :3] = _matrix(_calibration(drives["refined"], "calib_cam_to_cam"), "R_rect_00", 3, 3)
    return matrix


def test_a_box_is_upright_and_faces_its_heading(tmp_path, drives, put_files):
    log = read_log(put_files(tmp_path, drives["table"]))
    stream = log.camera("image_03")
    camera_from_box = transforms.inverse(log.world_from_camera(stream)[1]) @ log.tracks[0].world_from_box[1]
    # rotation_y -0.5: from the camera's x axis towards its z axis; the box's up is the camera's -y.
    np.testing.assert_allclose(camera_from_box[:3, 0], [np.cos(0.5), 0, np.sin(0.5)], atol=1e-12)
    np.testing.assert_allclose(camera_from_box[:3, 2], [0, -1, 0], atol=1e-12)


def test_tracks_are_the_labels(tmp_path, drives, put_files):
    log = read_log(put_files(tmp_path, drives["refined"]))
    assert [(track.identifier, track.category, track.valid.tolist()) for track in log.tracks] == [
        ("0", VEHICLE, [True, True, False]),
        ("2", PEDESTRIAN, [False, True, True]),
        ("7", CYCLIST, [False, False, True]),
    ]


def test_refined_poses_are_the_file_moved_to_the_rear_axle(tmp_path, drives, put_files):
    log = read_log(put_files(tmp_path, drives["refined"]))
    rows = np.loadtxt(drives["refined"]["derived/T_world_velo_icp_0042.txt"].decode().splitlines()).reshape(-1, 3, 4)
    axle = rows @ np.array([-0.76, 0, -1.73, 1])
    np.testing.assert_allclose(log.world_from_ego[:, :3, 3], axle - axle[0], atol=1e-7)  # printed to 1e-8
    np.testing.assert_allclose(log.world_from_ego[:, :3, :3], rows[:, :, :3], atol=1e-7)
    # The drive's clock ticks every 103.5 ms; double precision keeps 2e-7 s of seconds since 1970.
    np.testing.assert_allclose(log.timestamps, 0.1035 * np.arange(3), atol=1e-6)


def test_oxts_poses_follow_a_car_that_drives_north_and_turns_left(tmp_path, drives, put_files):
    log = read_log(put_files(tmp_path, drives["plain"]))
    step = log.world_from_ego[2, :3, 3] - log.world_from_ego[0, :3, 3]
    metres_per_degree = np.pi * 6378137 / 180
    imu_step = [4e-6 * metres_per_degree * np.cos(np.radians(49.0131)), 2e-5 * metres_per_degree, 0.02]
    # The axle is 0.3 m from the inertial unit, and the car turns by 0.04 rad.
    np.testing.assert_allclose(step, imu_step, atol=0.02)
    turn = np.diff(np.unwrap(transforms.yaw_of(log.world_from_ego[:, :3, :3])))
    np.testing.assert_allclose(turn, 0.02, atol=1e-3)  # roll and pitch of 0.02 rad couple in at second order
    np.testing.assert_allclose(log.timestamps, [0, 0.1, 0.2], atol=1e-6)


@pytest.mark.parametrize("inside", ["", DATE, DRIVE])
def test_any_folder_of_the_layout_will_do(tmp_path, drives, put_files, log_differences, inside):
    put_files(tmp_path, drives["refined"])
    assert log_differences(read_log(tmp_path / inside), read_log(tmp_path)) == []


def test_options_choose_frames_cameras_poses_and_lidar(tmp_path, drives, put_files):
    extras = {name: content for name, content in drives["refined"].items() if name.startswith(("derived", "tracking"))}
    put_files(tmp_path, {**drives["plain"], **extras})
    whole = read_log(tmp_path)
    part = read_log(tmp_path, frames=slice(1, None), cameras=["image_03"], lidar=False)
    assert [camera.name for camera in whole.cameras] == ["image_02", "image_03"]
    assert (part.frames, [camera.name for camera in part.cameras], part.lidar) == (2, ["image_03"], ())
    np.testing.assert_array_equal(part.cameras[0].images, whole.camera("image_03").images[1:])
    origin = whole.world_from_ego[1, :3, 3]
    np.testing.assert_allclose(part.world_from_ego[:, :3, 3], whole.world_from_ego[1:, :3, 3] - origin, atol=1e-12)
    assert [track.identifier for track in read_log(tmp_path, frames=slice(2, 3)).tracks] == ["2", "7"]
    refined, oxts = read_log(tmp_path, poses="icp"), read_log(tmp_path, poses="oxts")
    np.testing.assert_array_equal(refined.world_from_ego, whole.world_from_ego)
    assert np.abs(oxts.world_from_ego - whole.world_from_ego).max() > 0.1
    with pytest.raises(ValueError, match="poses: received 'gps', expected 'auto', 'icp' or 'oxts'"):
        read_kitti(tmp_path, poses="gps")


def test_a_folder_of_several_drives_needs_a_number(tmp_path, drives, put_files, log_differences):
    put_files(tmp_path, drives["plain"])
    second = {name.replace("0042_sync", "0043_sync"): content for name, content in drives["plain"].items()}
    put_files(tmp_path, second)
    with pytest.raises(LogError, match=r"drive_0042_sync', '2011_09_26_drive_0043_sync'\], expected one.*drive='0013'"):
        read_log(tmp_path)
    assert read_log(tmp_path, drive="0043").name == f"{DATE}_drive_0043_sync"


def test_frames_around_a_gap_can_be_read(tmp_path, drives, put_files):
    put_files(tmp_path, drives["plain"])
    (tmp_path / DRIVE / "velodyne_points/data/0000000001.bin").unlink()
    with pytest.raises(LogError, match=r"velodyne_points.*frame 1: frames: is missing.*slice\(0, 1\) or .*slice\(2"):
        read_log(tmp_path)
    assert read_log(tmp_path, frames=slice(2, None)).frames == 1


@pytest.mark.parametrize("drive", RECORDED)
def test_oxts_poses_of_a_recording_are_those_made_with_the_development_kit(data_folder, drive):
    folder = data_folder / drive
    log = read_log(folder, poses="oxts", cameras=(), lidar=False)
    (given,) = (folder / "derived").glob("T_world_velo_oxts_*.txt")
    rows = np.loadtxt(given).reshape(-1, 3, 4)
    axle = rows @ np.array([-0.76, 0, -1.73, 1])
    # The file is printed to 1e-8; the calibration is a rotation only to 1e-6, which acts on 2 m.
    np.testing.assert_allclose(log.world_from_ego[:, :3, 3], axle - axle[0], atol=5e-6)
    np.testing.assert_allclose(log.world_from_ego[:, :3, :3], rows[:, :, :3], atol=5e-6)


@pytest.mark.parametrize("drive", RECORDED)
def test_recorded_ground_lies_at_the_height_of_the_ego(data_folder, drive):
    log = read_log(data_folder / drive, frames=slice(0, None, 24), cameras=())
    heights = []
    for points in log.lidar:
        near = points[(points[:, 0] > 5) & (points[:, 0] < 12) & (np.abs(points[:, 1]) < 1.2)]
        heights.append(np.median(near[:, 2]))
    # 1.73 m is the drawing's height; the ground's slope of 0.4 degrees adds 6 cm at 9 m, and springs move.
    assert abs(np.median(heights)) < 0.12


@pytest.mark.parametrize(("drive", "boxes"), [(RECORDED[0], 388), (RECORDED[1], 711)])
def test_recorded_boxes_hold_lidar_and_keep_their_place(data_folder, drive, boxes):
    log = read_log(data_folder / drive, cameras=())
    assert sum(int(track.valid.sum()) for track in log.tracks) == boxes
    filled, near = 0, 0
    for track in log.tracks:
        for frame in np.flatnonzero(track.valid):
            ego_from_box = transforms.inverse(log.world_from_ego[frame]) @ track.world_from_box[frame]
            if not 6 < ego_from_box[0, 3] < 25 or abs(ego_from_box[1, 3]) > 0.6 * ego_from_box[0, 3]:
                continue
            local = transforms.transform_points(transforms.inverse(ego_from_box), log.lidar[frame].astype(np.float64))
            near += 1
            filled += int((np.abs(local) < track.size / 2 + 0.1).all(axis=1).sum() > 10)
    assert near > 50
    assert filled > 0.95 * near
    still = [track for track in log.tracks if track.valid.sum() > 5 and np.ptp(_places(track), axis=0).max() < 2]
    assert len(still) >= 3  # parked cars: the ego drives by, their boxes stay


def _places(track):
    return track.world_from_box[track.valid][:, :2, 3]


def test_recorded_stereo_pair_is_half_a_metre_apart(data_folder):
    log = read_log(data_folder / RECORDED[1], frames=slice(3, 5), lidar=False)
    left, right = (transforms.inverse(log.camera(name).ego_from_camera) for name in ("image_02", "image_03"))
    np.testing.assert_allclose((left @ transforms.inverse(right))[:3, 3], [0.5327, -0.0027, 0], atol=1e-3)
    assert log.camera("image_02").images.shape == (2, 120, 400, 3)
    # The conversion resized 1242x375 pixels with their edges aligned.
    expected = [721.5377 * 400 / 1242, 721.5377 * 120 / 375, 610.0593 * 400 / 1242, 173.354 * 120 / 375]
    np.testing.assert_allclose(log.camera("image_03").intrinsics, expected)
