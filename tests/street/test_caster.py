"""Images and LiDAR against each other, against plain casting and against the boxes."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrecon.geometry import cameras, transforms
from jaxrecon.street import CLASS_NAMES, CameraConfig, DrawConfig, StreetConfig, cast, draw, ground_truth, record, trace
from jaxrecon.street.lidar import beam_directions, sweep
from jaxrecon.street.street import draw_jit, generate
from jaxrecon.street.world import kind_ranges, pose
from tests.street.conftest import HEIGHT, WIDTH

cast_jit = jax.jit(cast)
RAYS = WIDTH * HEIGHT


def _rig(street, frame):
    poses = np.stack([street.world_from_ego[frame] @ c.ego_from_camera() for c in street.config.cameras])
    return poses, np.stack([c.intrinsics() for c in street.config.cameras])


def _cast(street, frame, origins, directions, valid=None):
    """Distances, with rays padded to one size so that one compilation serves all."""
    poses, everyone = street.actor_poses(frame)
    count = len(directions)
    assert count <= RAYS
    pad = [(0, RAYS - count), (0, 0)]
    rays = [jnp.asarray(np.pad(a, pad, mode="edge"), jnp.float32) for a in (origins, directions)]
    mask = jnp.asarray(everyone if valid is None else valid)
    return np.asarray(cast_jit(street.world, *rays, jnp.asarray(poses), mask))[:count]


@pytest.fixture(scope="module")
def drawing(street, log):
    return jax.tree.map(np.asarray, ground_truth(street, 5, *_rig(street, 5), WIDTH, HEIGHT))


def test_depth_agrees_with_plain_casting(street, drawing):
    poses, intrinsics = _rig(street, 5)
    for camera in range(2):
        rays = cameras.pixel_rays(intrinsics[camera], WIDTH, HEIGHT).reshape(-1, 3)
        length = np.linalg.norm(rays, axis=1)
        directions = (rays / length[:, None]) @ poses[camera, :3, :3].T
        origins = np.broadcast_to(poses[camera, :3, 3], directions.shape)
        plain = _cast(street, 5, origins, directions) / length
        drawn = drawing.depth[camera].reshape(-1)
        # Rays that graze an edge may fall on either side in float32.
        assert (np.isfinite(plain) != np.isfinite(drawn)).mean() < 0.003
        seen = np.isfinite(plain) & np.isfinite(drawn)
        assert (np.abs(plain[seen] / drawn[seen] - 1) > 1e-3).mean() < 0.005
    assert not drawing.overflow.any()


def test_lists_leave_out_nothing_that_shows(street, drawing, monkeypatch):
    """Images are those of rays that meet every solid, on their way from the camera and on the way to the sun."""

    def all_of(valid, ranges):
        longest = max(stop - start for start, stop in ranges)
        return trace.shortlist(valid, ranges, longest)

    def image_lists(posed, world_from_camera, intrinsics, tiles, tile_px, ranges, longest):
        return all_of(jnp.broadcast_to(posed.valid, (tiles[0] * tiles[1], len(posed.valid))), ranges)

    def shadow_lists(shadows, camera, points, counts, cells, ranges, longest):
        return all_of(shadows.valid[camera], ranges)

    monkeypatch.setattr(trace, "image_lists", image_lists)
    monkeypatch.setattr(trace, "shadow_lists", shadow_lists)
    poses, valid = (jnp.asarray(np.stack([v] * 2)) for v in street.actor_poses(5))
    eyes, lenses = (jnp.asarray(v, jnp.float32) for v in _rig(street, 5))
    arguments = (eyes, lenses, WIDTH, HEIGHT, poses, valid, DrawConfig(supersampling=1))
    plain = jax.jit(draw, static_argnums=(3, 4, 7))(street.world, *arguments)
    np.testing.assert_allclose(drawing.rgb, plain.rgb, atol=1.01 / 255)
    assert np.mean(np.abs(drawing.rgb - plain.rgb)) < 1e-5
    np.testing.assert_allclose(drawing.depth, plain.depth, rtol=1e-5)


def test_blocks_of_unequal_lists_are_met_in_groups(street):
    """Many rays are divided into groups of blocks, which changes what each loop does and nothing that it finds."""
    poses, valid = street.actor_poses(5)
    posed = pose(street.world, jnp.asarray(poses), jnp.asarray(valid))
    key = jax.random.key(0)
    blocks, rays = 12, 32
    # Some blocks meet nothing, some everything.
    wanted = jax.random.uniform(key, (blocks, len(posed.valid))) < jnp.linspace(-0.2, 1.0, blocks)[:, None]
    lists, overflow = trace.shortlist(wanted & posed.valid, kind_ranges(street.world), 512)
    assert not overflow.any() and int(lists[0][1][0]) == 0 and int(lists[0][1].max()) > 50
    middle = jnp.asarray(street.world_from_ego[5][:3, 3] + [0.0, 0.0, 1.5], jnp.float32)
    direction = jax.random.normal(key, (3, blocks, rays)) * jnp.array([1.0, 1.0, 0.1])[:, None, None]
    furthest = jnp.full((blocks, rays), 200.0)
    meet = jax.jit(trace.nearest, static_argnames=("solids_at_once", "rays_together"))
    geometry = jnp.stack([posed.geometry, posed.geometry + 1.0])  # of a second camera, which no block uses
    camera = jnp.zeros(blocks, jnp.int32)
    given = geometry, camera, lists, tuple(middle), tuple(direction), furthest
    whole, slots = meet(*given, solids_at_once=1)
    assert 0.2 < (slots >= 0).mean() < 0.95
    for at_once, together in ((1, 5 * rays), (4, 5 * rays), (8, rays), (3, 10**6)):
        grouped, named = meet(*given, solids_at_once=at_once, rays_together=together)
        np.testing.assert_allclose(grouped, whole, rtol=1e-4)
        assert np.mean(np.asarray(named) != np.asarray(slots)) < 0.01  # coincident faces, by rounding


def test_lists_hold_what_is_wanted():
    wanted = np.random.default_rng(0).random((5, 40)) < 0.4
    wanted[2] = False
    ranges = ((0, 25), (25, 40))
    lists, overflow = trace.shortlist(jnp.asarray(wanted), ranges, 12)
    for (start, stop), (slots, count) in zip(ranges, lists, strict=True):
        for block in range(5):
            expected = start + np.flatnonzero(wanted[block, start:stop])[:12]
            np.testing.assert_array_equal(slots[block, : count[block]], expected)
    np.testing.assert_array_equal(overflow, (wanted[:, :25].sum(1) > 12) | (wanted[:, 25:].sum(1) > 12))
    assert overflow.any() and not overflow.all()


def test_road_depth_is_that_of_the_plane(street, drawing):
    poses, intrinsics = _rig(street, 5)
    rays = cameras.pixel_rays(intrinsics[0], WIDTH, HEIGHT) @ poses[0, :3, :3].T
    road = drawing.category[0] == CLASS_NAMES.index("road")
    assert road.mean() > 0.2
    # Kerb faces have the class of the road and lie up to 0.12 m higher.
    expected = -poses[0, 2, 3] / rays[..., 2]
    off = np.abs(drawing.depth[0] / expected - 1)[road]
    assert np.median(off) < 1e-5
    assert off.max() < 0.12 / 1.4 + 0.01


def test_every_kind_of_thing_is_seen(street, drawing):
    seen = {CLASS_NAMES[i] for i in np.unique(drawing.category)}
    assert {"sky", "road", "pavement", "building", "vegetation", "vehicle"} <= seen


def test_images_are_varied_and_in_range(log, drawing):
    assert drawing.rgb.min() >= 0
    assert drawing.rgb.max() <= 1
    image = log.cameras[0].images[5].astype(float)
    assert 60 < image.mean() < 200
    assert image.std() > 25
    np.testing.assert_array_equal(log.cameras[0].images[5], np.round(drawing.rgb[0] * 255))


def test_a_camera_does_not_depend_on_its_companions(street, drawing):
    poses, intrinsics = _rig(street, 5)
    for order in ([1, 0], [0, 0], [1, 1]):
        other = ground_truth(street, 5, poses[order], intrinsics[order], WIDTH, HEIGHT)
        np.testing.assert_allclose(np.asarray(other.rgb), drawing.rgb[order], atol=1e-5)
        np.testing.assert_array_equal(np.asarray(other.category), drawing.category[order])


@pytest.mark.slow
def test_a_batch_equals_single_cameras(street, drawing):
    poses, intrinsics = _rig(street, 5)
    single = ground_truth(street, 5, poses[:1], intrinsics[:1], WIDTH, HEIGHT)
    # Two compilations round differently; nobody sees less than one grey level. A pixel on the edge of a texture's cell
    # or of a shadow's sample may show a second one.
    difference = np.abs(np.asarray(single.rgb[0]) - drawing.rgb[0])
    assert np.mean(difference.max(axis=-1) > 1 / 255) < 0.001
    assert difference.max() < 2 / 255
    np.testing.assert_allclose(np.asarray(single.depth[0]), drawing.depth[0], rtol=1e-4)


def test_lidar_agrees_with_plain_casting(street, log):
    lidar = street.config.lidar
    pose = street.world_from_ego[5].copy()
    pose[:3, 3] += pose[:3, :3] @ np.array(lidar.position)
    rays = beam_directions(lidar)
    poses, valid = street.actor_poses(5)
    swept, overflow = sweep(street.world, jnp.asarray(pose, jnp.float32), rays, jnp.asarray(poses), jnp.asarray(valid))
    directions = rays.reshape(-1, 3) @ pose[:3, :3].T
    plain = _cast(street, 5, np.broadcast_to(pose[:3, 3], directions.shape), directions)
    swept = np.asarray(swept).reshape(-1)
    assert not overflow
    assert np.array_equal(np.isfinite(swept), np.isfinite(plain))
    seen = np.isfinite(plain)
    assert (np.abs(swept[seen] - plain[seen]) > 1e-2).mean() < 0.005


def test_lidar_points_have_the_depth_of_the_image(street, log, drawing):
    pose, camera = street.world_from_ego[5], log.cameras[0]
    points = transforms.transform_points(transforms.inverse(camera.ego_from_camera), log.lidar[5].astype(np.float64))
    pixels = np.floor(cameras.project(camera.intrinsics, points)).astype(int)
    inside = (points[:, 2] > 1) & (pixels >= 0).all(1) & (pixels < [WIDTH, HEIGHT]).all(1)
    drawn = drawing.depth[0][pixels[inside, 1], pixels[inside, 0]]
    ratio = drawn / points[inside, 2]
    assert pose.shape == (4, 4)
    assert inside.sum() > 60
    # A pixel is 1.8 degrees wide here, so depth varies in it, and edges and parallax hide some points.
    assert (np.abs(ratio - 1) < 0.15).mean() > 0.75
    assert np.median(np.abs(ratio - 1)) < 0.03


def test_rays_that_meet_an_actor_end_in_its_box(street):
    poses, valid = street.actor_poses(5)
    checked = 0
    for i, actor in enumerate(street.actors):
        if actor.identifier not in ("car-0", "parked-0", "walker-0"):
            continue
        generator = np.random.default_rng(i)
        target = generator.uniform(-0.5, 0.5, (400, 3)) * actor.size
        target = target @ poses[i, :3, :3].T + poses[i, :3, 3]
        origin = poses[i, :3, 3] + np.array([3.0, -4.0, 1.5])
        directions = target - origin
        directions = directions / np.linalg.norm(directions, axis=1, keepdims=True)
        origins = np.broadcast_to(origin, directions.shape)
        alone = _cast(street, 5, origins, directions, np.arange(len(valid)) == i)
        nobody = _cast(street, 5, origins, directions, np.zeros(len(valid), bool))
        hit = alone < nobody
        assert hit.sum() > 60
        local = transforms.transform_points(
            transforms.inverse(poses[i].astype(np.float64)), origins[hit] + alone[hit, None] * directions[hit]
        )
        assert (np.abs(local) <= np.array(actor.size) / 2 + 0.005).all(), actor.identifier
        checked += 1
    assert checked == 3


def test_shaded_road_is_darker_than_sunlit_road(street, drawing):
    poses, intrinsics = _rig(street, 5)
    shaded_tones, lit_tones = [], []
    for camera in range(2):
        rays = cameras.pixel_rays(intrinsics[camera], WIDTH, HEIGHT) @ poses[camera, :3, :3].T
        road = (drawing.category[camera] == CLASS_NAMES.index("road")) & (drawing.depth[camera] < 40)
        points = poses[camera, :3, 3] + drawing.depth[camera][road][:, None] * rays[road]
        points[:, 2] += 0.02
        sun = np.asarray(street.world.light.sun)
        blocked = np.isfinite(_cast(street, 5, points, np.broadcast_to(sun, points.shape)))
        tones = drawing.rgb[camera][road].mean(1)
        shaded_tones.extend(tones[blocked])
        lit_tones.extend(tones[~blocked])
    assert min(len(shaded_tones), len(lit_tones)) > 20
    assert np.median(lit_tones) > 1.25 * np.median(shaded_tones)


def test_same_seed_same_log(street, log):
    again = generate(street.config, street.seed)
    np.testing.assert_array_equal(again.world_from_ego, log.world_from_ego)
    for actor, track in zip(again.actors, log.tracks, strict=True):
        np.testing.assert_array_equal(actor.poses, track.world_from_box)
    image = ground_truth(again, 5, *_rig(again, 5), WIDTH, HEIGHT)
    np.testing.assert_array_equal(np.round(np.asarray(image.rgb[0]) * 255).astype(np.uint8), log.cameras[0].images[5])
    other = generate(street.config, street.seed + 1)
    assert not np.array_equal(other.world_from_ego, log.world_from_ego)


def test_log_is_whole(street, log):
    frames = street.config.frames
    assert log.frames == frames == len(log.lidar)
    assert [c.name for c in log.cameras] == ["front", "side"]
    assert all(c.images.shape == (frames, HEIGHT, WIDTH, 3) for c in log.cameras)
    assert {t.identifier for t in log.tracks} == {a.identifier for a in street.actors}
    assert {"vehicle", "pedestrian"} == {t.category for t in log.tracks}
    assert all(p.dtype == np.float32 and 400 < len(p) <= 960 for p in log.lidar)
    assert log.world_from_ego[:, 2, 3].max() == 0
    assert log.road_map is not None
    assert all(line.shape[1] == 3 for line in (*log.road_map.lane_centres, *log.road_map.lane_lines))


def test_camera_pose_matches_its_angles():
    camera = CameraConfig(yaw_deg=90, pitch_deg=30)
    forward = camera.ego_from_camera()[:3, 2]
    np.testing.assert_allclose(forward, [0, np.cos(np.pi / 6), -0.5], atol=1e-12)
    assert camera.intrinsics()[0] == pytest.approx(96 / np.tan(np.radians(37.5)))


def test_wrong_number_of_actors_is_named(street):
    fewer = dataclasses.replace(street, actors=street.actors[:-1])
    with pytest.raises(ValueError, match=r"world_from_actor: received \d+ actors, expected the world's \d+"):
        ground_truth(fewer, 0, *_rig(street, 0), WIDTH, HEIGHT)
    with pytest.raises(ValueError, match="frame: received 12, expected 0 to 11"):
        ground_truth(street, 12, *_rig(street, 0), WIDTH, HEIGHT)


@pytest.mark.slow
def test_an_empty_street_of_an_odd_size_is_recorded():
    config = StreetConfig(
        layout="merge",
        moving=0,
        parked=0,
        pedestrians=0,
        seconds=0.2,
        lidar=None,
        supersampling=1,
        cameras=(CameraConfig(width=50, height=30),),
    )
    log = record(config, 2, progress=False)
    assert log.cameras[0].images.shape == (2, 30, 50, 3)
    assert log.cameras[0].images.std() > 20
    assert log.tracks == log.lidar == ()


@pytest.mark.torture
def test_several_solids_a_step_of_the_loop_draw_the_same(street, drawing):
    poses, lenses = (jnp.asarray(part, jnp.float32) for part in _rig(street, 5))
    actors, valid = (jnp.broadcast_to(part, (2, *part.shape)) for part in street.actor_poses(5))
    config = DrawConfig(solids_at_once=3, tiles_at_once=5)
    other = draw_jit(street.world, poses, lenses, WIDTH, HEIGHT, actors, valid, config)
    assert (np.abs(other.rgb - drawing.rgb).max(-1) > 1e-2).mean() < 2e-3
    assert (np.asarray(other.category) != drawing.category).mean() < 2e-3


@pytest.mark.torture
def test_several_frames_a_call_record_the_same(street, log):
    """Five at once, of which the last call is not full."""
    other = record(street, progress=False, frames_at_once=5)
    assert other.frames == log.frames == 12
    for mine, theirs in zip(log.cameras, other.cameras, strict=True):
        apart = np.abs(mine.images.astype(int) - theirs.images.astype(int)).max(-1)
        assert (apart > 1).mean() < 2e-3
    for cloud, same in zip(log.lidar, other.lidar, strict=True):
        np.testing.assert_allclose(cloud, same, atol=1e-3)
