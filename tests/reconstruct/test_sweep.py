import dataclasses

import numpy as np
import pytest

from jaxrecon.geometry.transforms import transform_points
from jaxrecon.reconstruct.sky import sky_pixels
from jaxrecon.reconstruct.sweep import prepare, sweep, sweep_depths
from jaxrecon.reconstruct.views import collect_views


@pytest.fixture(scope="module")
def views(small_log):
    return collect_views(dataclasses.replace(small_log, lidar=()))


def test_swept_points_lie_on_road_and_walls(small_log, views):
    clouds = sweep_depths(small_log, views, sky_pixels(views))
    assert [len(cloud) > 0 for cloud in clouds] == [True, True, False, True, True, True, False, True]
    points = np.concatenate(
        [
            transform_points(pose, cloud.astype(float))
            for pose, cloud in zip(small_log.world_from_ego, clouds, strict=True)
        ]
    )
    road = np.abs(points[:, 2]) < 0.02
    raised = points[~road & (points[:, 2] > 0.3)]
    assert road.mean() > 0.3
    # Stripes 3 m wide in 64 pixels are a coarse texture; the box, which moves, is left out.
    assert len(raised) > 200
    aside = np.abs(raised[:, 1]) / 8.0
    assert abs(np.median(aside) - 1) < 0.06
    assert np.mean(np.abs(aside - 1) < 0.2) > 0.85


def test_a_wall_ahead_is_measured_to_a_fraction_of_a_plane(views):
    """A random texture on a plane 10 m ahead, seen from three places beside each other."""
    texture = np.random.default_rng(0).integers(0, 255, (64, 256, 3)).astype(np.uint8)
    focal, shifts = 40.0, np.array([-1.0, 0.0, 1.0])  # a metre aside moves the plane by 4 pixels
    images = np.stack([texture[:40, 96 + int(4 * shift) :][:, :64] for shift in shifts])
    poses = np.tile(np.eye(4, dtype=np.float32), (3, 1, 1))
    poses[:, 0, 3] = shifts
    three = views.replace(
        images=images,
        world_from_camera=poses,
        intrinsics=np.tile(np.array([focal, focal, 32.0, 20.0], np.float32), (3, 1)),
        frame=np.arange(3, dtype=np.int32),
        heldout=np.zeros(3, bool),
    )
    pictures = prepare(three, np.arange(3))
    inverse_depth, sure = sweep(pictures, 1, [0, 2])
    inner = sure[8:-8, 12:-12]
    assert inner.mean() > 0.9
    np.testing.assert_allclose(np.median(1 / inverse_depth[8:-8, 12:-12][inner]), 10.0, rtol=0.03)


def test_without_motion_there_is_only_the_ground(small_log):
    poses = np.tile(small_log.world_from_ego[:1], (small_log.frames, 1, 1))
    still = dataclasses.replace(small_log, lidar=(), world_from_ego=poses)
    views = collect_views(still)
    points = np.concatenate(sweep_depths(still, views, sky_pixels(views)))
    assert len(points)
    np.testing.assert_allclose(points[:, 2], 0.0, atol=1e-5)
