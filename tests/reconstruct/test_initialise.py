import dataclasses

import jax
import numpy as np
import pytest

from jaxrecon.reconstruct import FitConfig, fit
from jaxrecon.reconstruct.initialise import InitialiseConfig, initialise
from jaxrecon.reconstruct.points import Points, accumulate, ground_depths, mirror, thin, thin_to
from jaxrecon.reconstruct.views import ReconstructionError, collect_views
from jaxrecon.scene.files import validate_scene
from jaxrecon.scene.gaussians import SH_C0

SIZE = np.array([4.0, 1.8, 1.6])


def _colours(scene, chosen):
    return 0.5 + SH_C0 * np.asarray(scene.gaussians.sh)[chosen, 0]


@pytest.fixture(scope="module")
def scene(small_log):
    return initialise(small_log, collect_views(small_log), InitialiseConfig(capacity=1500, sh_degree=1), seed=1)


def test_the_scene_is_sound_and_within_capacity(scene):
    validate_scene(scene)
    gaussians = scene.gaussians
    assert gaussians.capacity == 1500
    assert gaussians.sh.shape == (1500, 4, 3)
    unused = ~np.asarray(gaussians.valid)
    np.testing.assert_array_equal(np.asarray(gaussians.quaternions)[unused], np.tile([1, 0, 0, 0], (unused.sum(), 1)))
    assert 1000 < gaussians.valid.sum() <= 1500


def test_the_actor_is_red_and_within_its_box(scene):
    own = np.asarray(scene.gaussians.valid & (scene.group == 1))
    assert own.sum() >= 100
    assert (np.abs(np.asarray(scene.gaussians.means)[own]) <= SIZE / 2 + 0.1).all()
    colours = _colours(scene, own)
    assert np.mean((colours[:, 0] > 0.7) & (colours[:, 1] < 0.3)) > 0.8  # pixels at its rim show what is behind
    np.testing.assert_allclose(scene.actor_sizes[0], SIZE, rtol=1e-6)


def test_measured_points_lie_on_road_and_walls_in_their_colours(small_log):
    world, moving = accumulate(small_log, collect_views(small_log))
    on_road = np.abs(world.positions[:, 2]) < 0.01
    on_wall = np.abs(np.abs(world.positions[:, 1]) - 8.0) < 0.01
    assert (on_road | on_wall).all()  # nothing of the moving box is left behind in the static world
    grey = np.ptp(world.colours, axis=1) < 0.02
    assert grey[on_road].mean() > 0.9
    assert not grey[on_wall & ~on_road].any() or grey[on_wall & ~on_road].mean() < 0.1
    surface = np.abs(np.abs(moving[0].positions) - SIZE / 2).min(axis=1)
    assert surface.max() < 0.01


def test_heldout_frames_are_not_looked_at(small_log):
    images, lidar = small_log.cameras[0].images.copy(), list(small_log.lidar)
    for frame in (2, 6):
        images[frame] = 255
        lidar[frame] = np.full((10, 3), 5.0, np.float32)
    spoilt = dataclasses.replace(
        small_log, cameras=(dataclasses.replace(small_log.cameras[0], images=images),), lidar=tuple(lidar)
    )
    config = InitialiseConfig(capacity=600)
    before = initialise(small_log, collect_views(small_log), config)
    after = initialise(spoilt, collect_views(spoilt), config)
    for x, y in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True):
        np.testing.assert_array_equal(x, y)


def test_threads_do_not_show(small_log, scene):
    again = initialise(small_log, collect_views(small_log), InitialiseConfig(capacity=1500, sh_degree=1), seed=1)
    for x, y in zip(jax.tree.leaves(scene), jax.tree.leaves(again), strict=True):
        np.testing.assert_array_equal(x, y)


def test_an_actor_that_no_lidar_hit_is_filled_from_the_images(small_log):
    far = dataclasses.replace(small_log, lidar=tuple(cloud[cloud[:, 0] < 9.0] for cloud in small_log.lidar))
    scene = initialise(far, collect_views(far), InitialiseConfig(capacity=1500))
    own = np.asarray(scene.gaussians.valid & (scene.group == 1))
    assert own.sum() == 150
    colours = _colours(scene, own)
    assert np.mean((colours[:, 0] > 0.6) & (colours[:, 1] < 0.35)) > 0.8


def test_a_log_without_tracks_has_a_static_scene(small_log):
    bare = dataclasses.replace(small_log, tracks=())
    scene = initialise(bare, collect_views(bare), InitialiseConfig(capacity=600))
    assert scene.actors == 0
    assert not scene.group.any()


def test_lidar_that_no_image_sees_is_refused(small_log):
    behind = dataclasses.replace(small_log, lidar=tuple(cloud - np.float32([200, 0, 0]) for cloud in small_log.lidar))
    with pytest.raises(ReconstructionError, match="no LiDAR point projects into a training image"):
        initialise(behind, collect_views(behind))


def test_without_lidar_the_first_scene_comes_from_the_images(small_log):
    blind = dataclasses.replace(small_log, lidar=())
    with pytest.warns(UserWarning, match="log small has no LiDAR: the first scene takes its depths from pairs"):
        scene = initialise(blind, collect_views(blind), InitialiseConfig(capacity=1500))
    validate_scene(scene)
    static = np.asarray(scene.gaussians.valid & (scene.group == 0))
    means = np.asarray(scene.gaussians.means)[static]
    surface = np.minimum(np.abs(means[:, 2]), np.abs(np.abs(means[:, 1]) - 8.0))
    assert static.sum() > 1000
    assert np.mean(surface < 0.5) > 0.6  # the rest are guesses beyond what was measured
    actor = _colours(scene, np.asarray(scene.gaussians.valid & (scene.group == 1)))
    assert np.mean((actor[:, 0] > 0.6) & (actor[:, 1] < 0.35)) > 0.8


def test_without_lidar_and_without_motion_there_is_still_a_scene(small_log):
    still = dataclasses.replace(
        small_log, lidar=(), world_from_ego=np.tile(small_log.world_from_ego[:1], (small_log.frames, 1, 1))
    )
    with pytest.warns(UserWarning, match="has no LiDAR"):
        scene = initialise(still, collect_views(still), InitialiseConfig(capacity=1500))
    validate_scene(scene)
    assert scene.gaussians.valid.sum() > 1000


@pytest.mark.torture
def test_a_fit_without_lidar_comes_close_to_one_with_it(street_log):
    config = FitConfig(steps=150, initial=InitialiseConfig(capacity=1500))
    with_lidar = fit(street_log, config, jax.random.key(0), progress=False).report
    with pytest.warns(UserWarning, match="has no LiDAR"):
        without = fit(dataclasses.replace(street_log, lidar=()), config, jax.random.key(0), progress=False).report
    # Depths at random beyond the ground alone lose 2 dB and more.
    assert with_lidar.heldout_psnr > 20.0
    assert without.heldout_psnr > with_lidar.heldout_psnr - 1.5


def _cloud(count: int) -> Points:
    random = np.random.default_rng(0)
    return Points(random.uniform(-5, 5, (count, 3)), random.uniform(size=(count, 3)), random.uniform(1, 9, count))


def test_thinning_keeps_the_nearest_seen_of_each_cube():
    points = _cloud(3000)
    thinned = thin(points, np.full(3000, 1.0))
    cells = np.floor(points.positions).astype(int)
    expected = {}
    for cell, distance in zip(map(tuple, cells), points.distances, strict=True):
        expected[cell] = min(distance, expected.get(cell, np.inf))
    assert sorted(thinned.distances) == sorted(expected.values())


@pytest.mark.parametrize("target", [1, 50, 700, 5000])
def test_thinning_to_a_number_stays_below_it(target):
    points = _cloud(3000)
    count = len(thin_to(points, target, np.ones(3000)))
    assert count <= target
    assert count > 0.3 * min(target, 3000) or target == 1


def test_thinning_to_a_number_comes_near_it():
    # The number falls in steps where whole cubes vanish, so a hundredth more than the search's 3% is allowed.
    assert 0.96 * 700 <= len(thin_to(_cloud(3000), 700, np.ones(3000))) <= 700


def test_the_ground_follows_the_path(small_log):
    down = np.array([[1.0, 0.0, -0.2], [1.0, 0.5, -0.1], [1.0, 0.0, 0.1]])
    flat = ground_depths(small_log, np.array([0.0, 0.0, 2.0]), down)
    np.testing.assert_allclose(flat, [10.0, 20.0, np.inf])
    # A road that rises by one in ten is met where 2 - 0.2 t = 0.1 t.
    poses = small_log.world_from_ego.copy()
    poses[:, :3, :3] = np.array([[1.0, 0, -0.1], [0, np.sqrt(1.01), 0], [0.1, 0, 1.0]]) / np.sqrt(1.01)
    poses[:, 2, 3] = 0.1 * poses[:, 0, 3]
    ramp = ground_depths(dataclasses.replace(small_log, world_from_ego=poses), np.array([0.0, 0.0, 2.0]), down[:1])
    np.testing.assert_allclose(ramp, 2.0 / 0.3)


def test_vehicles_are_mirrored_where_nothing_was_seen():
    seen = Points(np.array([[1.0, 0.9, 0.2], [0.0, 0.1, 0.8]]), np.eye(3)[:2], np.ones(2))
    whole = mirror(seen, "vehicle")
    np.testing.assert_allclose(whole.positions[2:], [[1.0, -0.9, 0.2]])  # the roof point's mirror lies beside itself
    assert len(mirror(seen, "pedestrian")) == 2


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"capacity": 3}, "capacity is 3; expected an integer >= 16"),
        ({"opacity": 1.0}, "opacity is 1.0"),
        ({"actor_share": 0.6, "beyond_share": 0.5}, "must leave room for LiDAR"),
        ({"sh_degree": 4}, "sh_degree is 4; expected 0, 1, 2 or 3"),
    ],
)
def test_bad_configurations_are_named(fields, message):
    with pytest.raises(ValueError, match=message):
        InitialiseConfig(**fields)
