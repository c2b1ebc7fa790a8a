import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrecon.logs.driving_log import CameraStream, DrivingLog
from jaxrecon.reconstruct import (
    ReconstructionError,
    collect_views,
    load_support,
    neutral,
    save_support,
    view_support,
)
from jaxrecon.reconstruct.support import blended_weights, towards_camera
from jaxrecon.render import Cameras, RasterConfig, RenderConfig, quantise, render
from jaxrecon.scene.gaussians import SH_C0, empty
from jaxrecon.scene.scene import Scene
from jaxrecon.storage import StorageError

RENDER = RenderConfig(raster=RasterConfig(pairs_per_camera=4096))
FORWARD = np.array([[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]])
COUNT = 12


def _scene() -> Scene:
    """Twelve balls in front of a sky; the last two belong to an actor, the very last is behind all cameras."""
    keys = jax.random.split(jax.random.key(3), 3)
    low, high = jnp.array([4.0, -2.0, -1.0]), jnp.array([8.0, 2.0, 1.0])
    means = jax.random.uniform(keys[0], (COUNT, 3)) * (high - low) + low
    means = means.at[-2].set(jnp.array([0.0, 0.5, 0.0])).at[-1].set(jnp.array([-40.0, 0.0, 0.0]))
    gaussians = empty(COUNT).replace(
        means=means,
        log_scales=jnp.log(jax.random.uniform(keys[1], (COUNT, 3), minval=0.1, maxval=0.4)),
        opacity_logits=jnp.full((COUNT,), 1.0),
        sh=jax.random.uniform(keys[2], (COUNT, 4, 3), minval=-1.7, maxval=1.7).at[:, 1:].multiply(0.1),
        valid=jnp.ones(COUNT, bool),
    )
    group = jnp.zeros(COUNT, jnp.int32).at[-2:].set(1)
    return Scene(gaussians, group, jax.random.uniform(keys[2], (8, 16, 3)), jnp.ones((1, 3)))


def _views(scene: Scene):
    """Eight frames of a camera that moves to the left, with an actor that moves along ahead of it."""
    world_from_ego = np.tile(np.eye(4), (8, 1, 1))
    world_from_ego[:, 1, 3] = np.linspace(-1.0, 1.0, 8)
    intrinsics = np.array([40.0, 40.0, 24.0, 16.0])
    stream = CameraStream("front", intrinsics, FORWARD, np.zeros((8, 32, 48, 3), np.uint8))
    views = collect_views(DrivingLog("known", np.arange(8) * 0.1, world_from_ego, (stream,)))
    actors = world_from_ego.copy()[:, None]
    actors[..., 0, 3] = 5.0
    views = dataclasses.replace(
        views, world_from_actor=actors.astype(np.float32), actor_valid=np.arange(8)[:, None] < 6
    )
    cameras = Cameras(jnp.asarray(views.world_from_camera), jnp.asarray(views.intrinsics), *views.size)
    drawn = render(scene, cameras, jnp.asarray(views.world_from_actor), jnp.asarray(views.actor_valid), RENDER)
    return dataclasses.replace(views, images=np.asarray(quantise(drawn.rgb)))


@pytest.fixture(scope="module")
def scene() -> Scene:
    return _scene()


@pytest.fixture(scope="module")
def views(scene):
    return _views(scene)


@pytest.fixture(scope="module")
def weights(scene, views) -> np.ndarray:
    """Weight of each Gaussian in each view, by the definition: one Gaussian white, the others black."""

    @jax.jit
    def alone(slot, view):
        colour = jnp.zeros((COUNT, 1, 3)).at[slot].set(1.0)
        white = scene.replace(
            gaussians=scene.gaussians.replace(sh=(colour - 0.5) / SH_C0), sky=jnp.zeros_like(scene.sky)
        )
        camera = Cameras(views.world_from_camera[view][None], views.intrinsics[view][None], *views.size)
        poses, valid = jnp.asarray(views.world_from_actor)[view], jnp.asarray(views.actor_valid)[view]
        return jnp.sum(render(white, camera, poses[None], valid[None], RENDER).rgb[..., 0])

    views = jax.tree.map(jnp.asarray, views)
    return np.array([[alone(slot, view) for slot in range(COUNT)] for view in range(8)])


def test_blended_weights_are_what_each_gaussian_adds_to_the_image(scene, views, weights):
    on_device = jax.tree.map(jnp.asarray, views)
    ones = jnp.ones((32, 48, 3))
    for view in (0, 7):
        splats, sky = jax.jit(blended_weights, static_argnames="config")(
            scene, on_device, jnp.asarray(view), ones, config=RENDER
        )
        np.testing.assert_allclose(splats[:, 0], weights[view], atol=2e-3)  # float32 sums over 1536 pixels
        # Weights of Gaussians and sky share out every pixel.
        assert float(jnp.sum(splats[:, 0]) + jnp.sum(sky[..., 0])) == pytest.approx(32 * 48, rel=1e-5)


def test_support_is_what_a_loop_over_the_views_finds(scene, views, weights):
    training = np.flatnonzero(~views.heldout)
    support = view_support(scene, views, training, neutral(8), RENDER, least_px=2.0)
    seen = weights[training] >= 2.0
    assert seen.any(axis=0).sum() >= 8  # enough of them are seen for the rest to mean something
    np.testing.assert_array_equal(support.views, seen.sum(axis=0))
    group = np.asarray(scene.group)
    offsets = []
    for view in training:
        world_from_group = np.stack([np.eye(4), views.world_from_actor[views.frame[view], 0]])
        places = [np.linalg.inv(pose) @ views.world_from_camera[view][:, 3] for pose in world_from_group]
        offsets.append(np.stack(places)[group, :3] - np.asarray(scene.gaussians.means))
    distance = np.linalg.norm(offsets, axis=-1)
    for slot in range(COUNT):
        near = distance[seen[:, slot], slot]
        unit = np.stack(offsets)[seen[:, slot], slot] / near[:, None]
        expected = (near.min(), near.mean(), 40.0 / near.min()) if len(near) else (0.0, 0.0, 0.0)
        np.testing.assert_allclose(
            (support.nearest[slot], support.distance[slot], support.resolution[slot]), expected, rtol=1e-5
        )
        np.testing.assert_allclose(support.direction[slot], unit.mean(axis=0) if len(near) else 0.0, atol=1e-5)
    assert int(support.views[-1]) == 0
    # The actor drives along with the camera: seen in its own frame from one direction alone.
    assert float(jnp.linalg.norm(support.direction[-2])) == pytest.approx(1.0, abs=1e-5)


def test_error_is_that_of_the_pixels_a_gaussian_shows_in(scene, views):
    chosen = np.arange(8)
    right = view_support(scene, views, chosen, neutral(8), RENDER)
    assert float(right.error.max()) < 0.5 / 255 + 1e-4  # images of 8 bits are off by half a step at most
    darker = dataclasses.replace(views, images=np.where(views.images > 60, views.images - 20, views.images + 20))
    off = view_support(scene, darker, chosen, neutral(8), RENDER)
    looked_at = np.asarray(off.views) > 0
    np.testing.assert_allclose(off.error[looked_at], 20 / 255, atol=0.5 / 255)
    np.testing.assert_allclose(np.asarray(off.sky_error)[np.asarray(off.sky_share) > 0.1], 20 / 255, atol=0.5 / 255)
    # An exposure that explains the difference takes it away.
    uniform = dataclasses.replace(views, images=np.maximum(views.images, 20) - 20)
    exposure = neutral(8).replace(bias=jnp.full((8, 3), -20 / 255))
    explained = view_support(scene, uniform, chosen, exposure, RENDER)
    assert float(explained.error.max()) < 1 / 255


def test_sky_is_shared_by_direction(scene, views):
    support = view_support(scene, views, np.arange(8), neutral(8), RENDER)
    share = np.asarray(support.sky_share)
    ahead = share[3:5, 7:9]  # of 8 rows and 16 columns; the cameras look along azimuth 0
    assert ahead.max() > 0.5  # there is sky between the balls
    assert share.max() <= 1.0
    assert not share[:, :4].any() and not share[:2].any()  # nobody looked behind or straight up
    nothing = scene.replace(gaussians=scene.gaussians.replace(valid=jnp.zeros(COUNT, bool)))
    empty_sky = view_support(nothing, views, np.arange(8), neutral(8), RENDER)
    np.testing.assert_allclose(np.asarray(empty_sky.sky_share)[3:5, 7:9], 1.0, atol=1e-5)
    assert not np.asarray(empty_sky.views).any()


@pytest.mark.torture
def test_room_for_pairs_grows_and_changes_nothing(scene, views):
    tight = RenderConfig(raster=RasterConfig(pairs_per_camera=64))
    grown, roomy = (view_support(scene, views, np.arange(3), neutral(8), config) for config in (tight, RENDER))
    # Another program sums in another order.
    jax.tree.map(lambda one, other: np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6), grown, roomy)


def test_no_view_is_refused(scene, views):
    with pytest.raises(ReconstructionError, match="needs at least one training view; none was chosen"):
        view_support(scene, views, np.array([], int), neutral(8))


def test_support_is_saved_and_loaded(scene, views, tmp_path):
    support = view_support(scene, views, np.arange(2), neutral(8), RENDER)
    save_support(support, tmp_path / "support", {"scene": "abc"})
    loaded, metadata = load_support(tmp_path / "support")
    jax.tree.map(np.testing.assert_array_equal, loaded, support)
    assert metadata == {"scene": "abc"}
    with pytest.raises(StorageError, match="nothing there yet"):
        save_support(support, tmp_path / "support")
    with (tmp_path / "support" / "support.npz").open("ab") as stream:
        stream.write(b"x")
    with pytest.raises(StorageError):
        load_support(tmp_path / "support")


def test_direction_and_distance_follow_the_group(scene):
    camera = jnp.eye(4).at[:3, 3].set(jnp.array([1.0, 2.0, 3.0]))
    turned = jnp.array([[0.0, -1, 0, 1], [1, 0, 0, 2], [0, 0, 1, 0], [0, 0, 0, 1]])  # a quarter turn at (1, 2, 0)
    unit, distance = towards_camera(scene, camera, turned[None])
    np.testing.assert_allclose(unit * distance[:, None], np.where(
        np.asarray(scene.group)[:, None] == 1, np.array([0.0, 0, 3]), np.array([1.0, 2, 3])
    ) - scene.gaussians.means, atol=1e-5)  # fmt: skip
