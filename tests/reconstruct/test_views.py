import dataclasses

import numpy as np
import pytest

from jaxrecon.geometry.cameras import pixel_rays, project
from jaxrecon.geometry.transforms import inverse, transform_points
from jaxrecon.logs.driving_log import DrivingLog
from jaxrecon.reconstruct.views import (
    ReconstructionError,
    box_mask,
    box_rectangle,
    collect_views,
    heldout_frames,
    in_threads,
    nearest_by_key,
    rays_at,
    resize_images,
    training_by_camera,
)


def test_every_fourth_frame_is_held_out():
    assert np.flatnonzero(heldout_frames(11)).tolist() == [2, 6, 10]


def test_views_keep_images_poses_and_lidar_of_training_frames(small_log):
    views = collect_views(small_log)
    assert views.size == (64, 40)
    np.testing.assert_array_equal(views.images, small_log.cameras[0].images)
    poses = small_log.world_from_camera(small_log.cameras[0])
    np.testing.assert_allclose(views.world_from_camera, poses, atol=1e-6)
    counts = views.lidar_valid.sum(axis=1)
    assert (counts[views.heldout] == 0).all()
    assert (counts[~views.heldout] > 300).all()
    # Every depth is that of the nearest point in its pixel.
    cloud = transform_points(inverse(poses[3]) @ small_log.world_from_ego[3], small_log.lidar[3].astype(np.float64))
    cloud = cloud[cloud[:, 2] > 0.3]
    pixels = np.floor(project(small_log.cameras[0].intrinsics, cloud)).astype(int)
    for pixel, depth in zip(views.lidar_pixel[3, :50], views.lidar_depth[3, :50], strict=True):
        here = (pixels[:, 0] == pixel % 64) & (pixels[:, 1] == pixel // 64)
        np.testing.assert_allclose(depth, cloud[here, 2].min(), rtol=1e-6)


def test_a_smaller_width_rescales_images_and_intrinsics(small_log):
    views = collect_views(small_log, width=32)
    assert views.size == (32, 20)
    np.testing.assert_allclose(views.intrinsics[0], small_log.cameras[0].intrinsics / 2)
    blocks = small_log.cameras[0].images[0].reshape(20, 2, 32, 2, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(views.images[0], blocks, atol=1.01)  # rounded to 8 bits after each axis
    assert collect_views(small_log, width=1000).size == (64, 40)


def test_resizing_a_flat_image_keeps_its_colour():
    images = np.full((2, 9, 14, 3), 77, np.uint8)
    np.testing.assert_array_equal(resize_images(images, (5, 4)), np.full((2, 4, 5, 3), 77))


def test_one_view_alone_is_its_own_frame(small_log):
    views = collect_views(small_log)
    alone = views.only(5)
    np.testing.assert_array_equal(alone.images[0], views.images[5])
    np.testing.assert_array_equal(alone.world_from_actor[alone.frame[0]], views.world_from_actor[views.frame[5]])


def test_several_cameras_are_stacked_and_one_can_be_named(small_log):
    left = dataclasses.replace(small_log.cameras[0], name="left")
    both = dataclasses.replace(small_log, cameras=(small_log.cameras[0], left))
    views = collect_views(both)
    assert views.images.shape[0] == 16
    assert views.frame.tolist() == [*range(8), *range(8)]
    assert collect_views(both, camera="left").images.shape[0] == 8
    with pytest.raises(KeyError, match="no camera 'rear'; it has"):
        collect_views(both, camera="rear")
    names, training = zip(*training_by_camera(both, views), strict=True)
    assert names == ("front", "front")  # two cameras in one place: the first of equal ones gives the name
    assert [part.tolist() for part in training] == [[0, 1, 3, 4, 5, 7], [8, 9, 11, 12, 13, 15]]
    narrow = dataclasses.replace(left, images=left.images[:, :, :60])
    with pytest.raises(ReconstructionError, match=r"different working sizes .*60, 40.*name one camera"):
        collect_views(dataclasses.replace(small_log, cameras=(small_log.cameras[0], narrow)))


def test_a_log_without_images_is_refused():
    log = DrivingLog("bare", np.arange(3.0), np.tile(np.eye(4), (3, 1, 1)))
    with pytest.raises(ReconstructionError, match="log bare has no camera images"):
        collect_views(log)


def test_the_rectangle_of_a_box_ahead_is_its_near_face():
    pose = np.eye(4)
    pose[2, 3] = 10.0  # box axes along the camera's
    left, top, right, bottom = box_rectangle(pose, np.array([2.0, 1.0, 4.0]), np.array([40.0, 40.0, 32.0, 20.0]))
    np.testing.assert_allclose([left, top, right, bottom], [32 - 5, 20 - 2.5, 32 + 5, 20 + 2.5])
    pose[2, 3] = -10.0
    assert box_rectangle(pose, np.array([2.0, 1.0, 4.0]), np.array([40.0, 40.0, 32.0, 20.0])) is None


def test_the_mask_covers_the_red_box_and_little_else(small_log):
    views = collect_views(small_log)
    mask = box_mask(
        small_log, 0, views.world_from_camera[0].astype(float), views.intrinsics[0].astype(float), views.size
    )
    red = views.images[0, ..., 0] > 2 * views.images[0, ..., 1].astype(int)
    assert red.sum() > 20
    assert mask[red].all()
    assert mask.sum() < 2.0 * red.sum()


def test_rays_of_single_pixels_are_those_of_the_whole_image(small_log):
    views = collect_views(small_log)
    rows, columns = np.array([0, 7, 39]), np.array([63, 20, 0])
    whole = pixel_rays(views.intrinsics[3].astype(np.float64), *views.size) @ views.world_from_camera[3, :3, :3].T
    np.testing.assert_allclose(rays_at(views, 3, rows, columns), whole[rows, columns], rtol=1e-6)


def test_the_nearest_of_each_key_is_kept_and_the_first_of_equals():
    random = np.random.default_rng(0)
    keys, distances = random.integers(-20, 20, 500), random.integers(0, 9, 500).astype(float)
    expected = [min(np.flatnonzero(keys == key), key=lambda i: (distances[i], i)) for key in np.unique(keys)]
    assert nearest_by_key(keys, distances).tolist() == expected
    assert nearest_by_key(keys[:0], distances[:0]).tolist() == []


def test_threads_keep_the_order_and_pass_errors_on():
    assert in_threads(lambda x: x * x, range(100)) == [x * x for x in range(100)]
    with pytest.raises(ZeroDivisionError):
        in_threads(lambda x: 1 / x, [1, 0])
