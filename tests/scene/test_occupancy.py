import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrecon.geometry.transforms import rigid, yaw_to_matrix
from jaxrecon.logs.driving_log import DrivingLog, Track
from jaxrecon.scene.occupancy import FAR, OccupancyConfig, distance_field, empty, from_lidar

FRAMES = 20


def column(x: float, y: float, low: float = -0.2, high: float = 3.0, lift: float = 0.0) -> np.ndarray:
    """World points of a thin upright pole."""
    z = np.linspace(low, high, 30) + lift
    return np.stack([np.full_like(z, x), np.full_like(z, y), z], axis=-1)


def make_log(clouds, grade: float = 0.0, tracks=()) -> DrivingLog:
    """A car that drives 1 m a frame along x, up a grade, and sees world points ``clouds[frame]``."""
    pitch = np.arctan(grade)
    tilt = np.array([[np.cos(pitch), 0, -np.sin(pitch)], [0, 1, 0], [np.sin(pitch), 0, np.cos(pitch)]])
    position = np.stack([np.arange(FRAMES), np.zeros(FRAMES), grade * np.arange(FRAMES)], axis=-1).astype(float)
    poses = rigid(np.broadcast_to(tilt, (FRAMES, 3, 3)).copy(), position)
    lidar = tuple(
        np.asarray((cloud - pose[:3, 3]) @ pose[:3, :3], np.float32) for cloud, pose in zip(clouds, poses, strict=True)
    )
    return DrivingLog("poles", 0.1 * np.arange(FRAMES), poses, lidar=lidar, tracks=tracks)


def at(field, *points) -> np.ndarray:
    return np.asarray(field(jnp.asarray(points, jnp.float32)))


def test_field_of_one_cell_is_the_distance_to_its_edge():
    occupied = np.zeros((41, 61), bool)
    occupied[20, 30] = True
    field = distance_field(occupied, np.array([-15.0, -10.0]), 0.5)
    # cell (20, 30) is centred at the origin; its edge is 0.25 m from there
    np.testing.assert_allclose(
        at(field, [3.0, 0.0], [0.0, -5.0], [3.0, 4.0], [0.0, 0.0]), [2.75, 4.75, 4.75, -0.25], atol=1e-5
    )
    np.testing.assert_allclose(at(field, [3.25, 0.0]), [3.0], atol=1e-5)
    np.testing.assert_allclose(at(field, [99.0, 0.0], [0.0, -10.1]), [FAR, FAR])


@pytest.mark.parametrize("batch", [(), (1,), (2, 3)])
def test_empty_and_batches(batch):
    assert jnp.all(empty()(jnp.zeros((*batch, 2))) == FAR)
    assert empty()(jnp.zeros((*batch, 2))).shape == batch
    assert jax.grad(lambda p: jnp.sum(empty()(p)))(jnp.zeros((*batch, 2))).shape == (*batch, 2)


def test_random_occupancy_against_brute_force():
    rng = np.random.default_rng(0)
    occupied = rng.random((24, 30)) < 0.03
    field = distance_field(occupied, np.zeros(2), 0.25)
    row, col = np.indices(occupied.shape)
    centres = 0.25 * np.stack([col, row], axis=-1).reshape(-1, 2)
    free = centres[~occupied.ravel()]
    brute = np.linalg.norm(free[:, None] - centres[occupied.ravel()], axis=-1).min(axis=1) - 0.125
    np.testing.assert_allclose(field(jnp.asarray(free, jnp.float32)), brute, atol=1e-5)


@pytest.mark.parametrize("grade", [0.0, 0.08])
def test_poles_are_found_on_level_and_sloping_roads(grade):
    pole = column(10.0, 5.0, lift=grade * 10.0)
    bridge = column(6.0, 0.0, 2.6, 4.0, lift=grade * 6.0)
    kerb = column(14.0, 4.0, -0.1, 0.3, lift=grade * 14.0)
    field = from_lidar(make_log([np.concatenate([pole, bridge, kerb])] * FRAMES, grade))
    distance = at(field, [10.0, 5.0], [10.0, 7.0], [6.0, 3.0], [14.0, 4.0])
    assert distance[0] < 0
    assert distance[1] == pytest.approx(2.0 - 0.125, abs=0.18)
    assert distance[2] > 3.0 and distance[3] > 3.0


def test_tracks_and_passing_cars_and_the_driven_lane_are_no_obstacles():
    size = np.array([4.0, 2.0, 1.6])
    parked = rigid(yaw_to_matrix(np.full(FRAMES, 0.3)), np.tile([8.0, 6.0, 0.8], (FRAMES, 1)))
    track = Track("parked", "vehicle", size, parked, np.ones(FRAMES, bool))
    ground = np.stack([*np.meshgrid(np.arange(0, 20, 0.2), np.arange(-6, -3, 0.2)), np.zeros((15, 100))], axis=-1)
    ground = ground.reshape(-1, 3)
    clouds = []
    for frame in range(FRAMES):
        passing = np.concatenate([column(frame * 2.0 + dx, -5.0, 0.5, 1.5) for dx in (0.0, 0.2, 0.4)])
        bare = ground[np.abs(ground[:, 0] - frame * 2.0 - 0.2) > 1.0]
        clouds.append(np.concatenate([column(8.5, 6.5, 0.4, 1.5), passing, bare, column(9.0, 0.5), column(5.0, -4.0)]))
    log = make_log(clouds, tracks=(track,))
    field = from_lidar(log)
    distance = at(field, [8.5, 6.5], [10.0, -5.0], [9.0, 0.5], [5.0, -4.0])
    assert np.all(distance[:3] > 0.3) and distance[3] < 0
    untracked = from_lidar(dataclasses.replace(log, tracks=()))
    assert at(untracked, [8.5, 6.5])[0] < 0


def test_one_hit_is_noise():
    field = from_lidar(make_log([np.array([[10.0, 5.0, 1.0]])] + [np.zeros((0, 3))] * (FRAMES - 1)))
    assert at(field, [10.0, 5.0])[0] == FAR


def test_no_lidar_is_named_with_a_remedy():
    log = make_log([np.zeros((0, 3))] * FRAMES)
    with pytest.raises(ValueError, match=r"log poles has no LiDAR.*occupancy.empty\(\)"):
        from_lidar(log)
    with pytest.raises(ValueError, match="log poles has no LiDAR"):
        from_lidar(dataclasses.replace(log, lidar=()))


@pytest.mark.parametrize("field", ["cell", "reach", "hits"])
def test_bad_configuration_is_named(field):
    with pytest.raises(ValueError, match=f"OccupancyConfig.{field} is 0; expected"):
        OccupancyConfig(**{field: 0})
    with pytest.raises(ValueError, match=r"OccupancyConfig\.highest is 0.1; expected more than lowest"):
        OccupancyConfig(highest=0.1)
