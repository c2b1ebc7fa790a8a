import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrecon.logs.driving_log import DrivingLog, Track
from jaxrecon.scene import ground


def _rolling(x, y):
    """Height of a road that rolls and is crowned, metres."""
    return 0.3 * np.sin(x / 15) - 0.002 * y * y


def _recorded(frames=12, tracks=()) -> DrivingLog:
    """A drive along x over the rolling road, with walls, noise below a bush, and LiDAR in the ego frame."""
    random = np.random.default_rng(0)
    poses = np.tile(np.eye(4), (frames, 1, 1))
    poses[:, 0, 3] = 3.0 * np.arange(frames)
    poses[:, 2, 3] = _rolling(poses[:, 0, 3], 0.0)
    clouds = []
    for pose in poses:
        xy = random.uniform([-12, -10], [12, 10], (6000, 2)) + pose[:2, 3]
        road = np.column_stack([xy, _rolling(*xy.T)])
        wall = np.column_stack([xy[:500, 0], np.full(500, 8.0), random.uniform(0.0, 3.0, 500)])
        bush = road[(np.abs(xy[:, 1] + 6) < 1)] + [0, 0, 0.12]
        points = np.concatenate([road, wall, bush])
        clouds.append((points - pose[:3, 3]).astype(np.float32))
    return DrivingLog("rolling", np.arange(frames) * 0.1, poses, (), lidar=tuple(clouds), tracks=tracks)


def test_the_ground_is_found_under_walls_and_bushes():
    field = ground.from_lidar(_recorded())
    x, y = np.meshgrid(np.linspace(0, 33, 40), np.linspace(-7, 7, 30))
    found = np.asarray(field(jnp.asarray(np.stack([x, y], -1), jnp.float32)))
    # Within a cell of half a metre the road itself rises by a centimetre or two.
    assert np.abs(found - _rolling(x, y)).max() < 0.04


def test_where_no_ground_was_seen_there_is_no_height():
    field = ground.from_lidar(_recorded())
    assert float(field(jnp.array([200.0, 0.0]))) == ground.UNKNOWN
    assert float(field(jnp.array([10.0, 25.0]))) == ground.UNKNOWN


def test_other_frames_and_tracks_are_not_looked_at():
    log = _recorded()
    only = np.arange(12) % 4 != 2
    raised = tuple(
        cloud + np.float32([0, 0, 0.2]) if frame % 4 == 2 else cloud for frame, cloud in enumerate(log.lidar)
    )
    first = ground.from_lidar(log, only)
    again = ground.from_lidar(dataclasses.replace(log, lidar=raised), only)
    np.testing.assert_array_equal(first.height, again.height)
    box = np.tile(np.eye(4), (12, 1, 1))
    box[:, :3, 3] = [15.0, 3.0, 0.3]
    car = Track("low", "vehicle", np.array([4.0, 2.0, 1.0]), box, np.ones(12, bool))
    beneath = ground.from_lidar(dataclasses.replace(log, tracks=(car,)))
    assert np.abs(float(beneath(jnp.array([15.0, 3.0]))) - _rolling(15.0, 3.0)) < 0.1  # closed from around the car


def test_heights_are_differentiable_and_batched():
    field = ground.from_lidar(_recorded())
    slope = jax.grad(lambda x: field(jnp.array([x, 0.0])))(10.0)
    assert float(slope) == pytest.approx(0.02 * np.cos(10 / 15), abs=0.015)
    assert ground.flat(1.5)(jnp.zeros((2, 3, 2))).shape == (2, 3)
    assert float(ground.flat(1.5)(jnp.array([50.0, -70.0]))) == pytest.approx(1.5)


def test_without_lidar_the_remedy_is_named():
    log = dataclasses.replace(_recorded(), lidar=())
    with pytest.raises(ValueError, match=r"rolling has no LiDAR to find the ground in; pass ground.flat"):
        ground.from_lidar(log)
    with pytest.raises(ValueError, match=r"GroundConfig.cell is 0; expected a positive number"):
        ground.GroundConfig(cell=0)
