import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrecon.logs.driving_log import CameraStream, DrivingLog
from jaxrecon.reconstruct import (
    FitConfig,
    InitialiseConfig,
    LearningRates,
    LossWeights,
    ReconstructionError,
    collect_views,
    fit,
    loop,
    neutral,
)
from jaxrecon.reconstruct import score as score_views
from jaxrecon.reconstruct.checkpoint import CheckpointError
from jaxrecon.render import Cameras, RasterConfig, RenderConfig, quantise, render
from jaxrecon.scene.gaussians import empty
from jaxrecon.scene.scene import Scene

RENDER = RenderConfig(raster=RasterConfig(pairs_per_camera=4096))
TIGHT = RenderConfig(raster=RasterConfig(pairs_per_camera=1500))  # less than the first scene needs: every fit grows it
CONFIG = FitConfig(
    steps=60,
    initial=InitialiseConfig(capacity=700),
    density="relocate",
    relocate_every=20,
    steps_per_call=20,
    exposure=True,
    poses=True,
    actors=True,
    coarse=0.3,
    curve=(0.0,),
    render=TIGHT,
)


def _known_scene() -> Scene:
    """Forty coloured balls in front of a grey sky."""
    keys = jax.random.split(jax.random.key(0), 3)
    low, high = jnp.array([4.0, -2.0, -1.0]), jnp.array([8.0, 2.0, 1.0])
    gaussians = empty(40).replace(
        means=jax.random.uniform(keys[0], (40, 3)) * (high - low) + low,
        log_scales=jnp.log(jax.random.uniform(keys[1], (40, 3), minval=0.1, maxval=0.35)),
        opacity_logits=jnp.full((40,), 2.0),
        sh=jax.random.uniform(keys[2], (40, 1, 3), minval=-1.7, maxval=1.7),
        valid=jnp.ones(40, bool),
    )
    return Scene(gaussians, jnp.zeros(40, jnp.int32), jnp.full((4, 8, 3), 0.5), jnp.zeros((0, 3)))


def _log_of(scene: Scene) -> DrivingLog:
    """Eight frames of a camera that passes to the left in front of the scene, drawn by the renderer itself."""
    forward = np.array([[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]])
    world_from_ego = np.tile(np.eye(4), (8, 1, 1))
    world_from_ego[:, 1, 3] = np.linspace(-1.0, 1.0, 8)
    intrinsics = np.array([40.0, 40.0, 24.0, 16.0])
    poses = jnp.asarray(world_from_ego @ forward, jnp.float32)
    cameras = Cameras(poses, jnp.tile(jnp.asarray(intrinsics, jnp.float32), (8, 1)), 48, 32)
    rgb = render(scene, cameras, config=RENDER).rgb
    stream = CameraStream("front", intrinsics, forward, np.asarray(quantise(rgb)))
    return DrivingLog("known", np.arange(8) * 0.1, world_from_ego, (stream,))


def test_a_perturbed_scene_is_fitted_back():
    truth = _known_scene()
    log = _log_of(truth)
    noise = jax.random.normal(jax.random.key(1), (40, 3))
    perturbed = truth.replace(
        gaussians=truth.gaussians.replace(
            means=truth.gaussians.means + 0.08 * noise, sh=truth.gaussians.sh + 0.4 * noise[:, None]
        ),
        sky=truth.sky + 0.1,
    )
    views = collect_views(log)
    heldout = np.flatnonzero(views.heldout)
    before = score_views(perturbed, log, views, heldout, neutral(8), RENDER).summary()["psnr"]
    weights = LossWeights(opacity=0.0, size=0.0)
    rates = LearningRates(means=1e-2, means_final=1e-3, sh=2e-2, sky=1e-2)
    config = FitConfig(steps=200, steps_per_call=50, weights=weights, rates=rates, render=RENDER)
    result = fit(log, config, jax.random.key(2), initial=perturbed, progress=False)
    # An error of 2% of the range, seen in frames that were not learned from; 8-bit images allow 59 dB.
    assert before < 25.0
    assert result.report.heldout_psnr > 34.0
    assert result.report.heldout_psnr_static == pytest.approx(result.report.heldout_psnr)  # there are no boxes


@pytest.fixture(scope="module")
def fitted(small_log):
    return fit(small_log, CONFIG, jax.random.key(0), progress=False)


def test_a_log_is_reconstructed_with_its_actor(small_log, fitted):
    report = fitted.report
    # The first scene scores 17 dB; what is left after so few steps are the edges of checks and stripes.
    assert report.heldout_psnr > 22.0
    assert report.steps == 60
    assert not report.interrupted
    assert report.gaussians == int(fitted.scene.gaussians.valid.sum())
    assert fitted.heldout.view.tolist() == [2, 6]
    assert fitted.heldout.rendered.shape == (2, 40, 64, 3)
    for leaf in jax.tree.leaves((fitted.scene, fitted.exposure)):
        assert np.all(np.isfinite(leaf))
    red = fitted.heldout.recorded[0, ..., 0] > 2 * fitted.heldout.recorded[0, ..., 1].astype(int)
    drawn = fitted.heldout.rendered[0][red].astype(int)
    assert np.mean(drawn[:, 0] > 1.5 * drawn[:, 1]) > 0.8


def test_heldout_images_change_nothing(small_log, fitted):
    images = small_log.cameras[0].images.copy()
    images[[2, 6]] = 0
    dark = dataclasses.replace(small_log, cameras=(dataclasses.replace(small_log.cameras[0], images=images),))
    again = fit(dark, CONFIG, jax.random.key(0), progress=False)
    np.testing.assert_array_equal(again.scene.gaussians.means, fitted.scene.gaussians.means)
    np.testing.assert_array_equal(again.exposure.bias, fitted.exposure.bias)


def test_too_little_room_for_pairs_grew_until_it_fitted(small_log, fitted):
    views = fitted.views
    cameras = Cameras(jnp.asarray(views.world_from_camera), jnp.asarray(views.intrinsics), *views.size)
    poses, valid = jnp.asarray(views.world_from_actor), jnp.asarray(views.actor_valid)
    drawn = jax.jit(render, static_argnames="config")(fitted.scene, cameras, poses, valid, config=RENDER)
    assert int(drawn.pairs.max()) > TIGHT.raster.pairs_per_camera
    assert not drawn.overflow.any()
    # The score is that of a rendering with room enough.
    exposed = drawn.rgb[2] * jnp.exp(fitted.exposure.log_gain[2]) + fitted.exposure.bias[2]
    difference = np.abs(np.asarray(quantise(exposed)).astype(int) - fitted.heldout.rendered[0])
    assert difference.max() <= 1  # a rounding of 8 bits may tip


def test_an_interrupt_returns_what_was_reached(small_log, monkeypatch):
    calls = []

    class Bar:
        def __init__(self, *_, **__):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *_):
            return None

        def update(self, steps):
            calls.append(steps)

        def set_postfix(self, **_):
            if len(calls) == 2:
                raise KeyboardInterrupt

    monkeypatch.setattr("tqdm.tqdm", Bar)
    result = fit(small_log, CONFIG, jax.random.key(0))
    assert result.report.interrupted
    assert result.report.steps == 40
    assert np.isfinite(result.report.heldout_psnr)


class _Stop(Exception):
    pass


def test_a_fit_that_was_cut_off_ends_as_if_it_had_not_been(small_log, fitted, tmp_path, monkeypatch):
    kept = tmp_path / "descent"
    monkeypatch.setattr(loop, "_KEEP_EVERY", 0.0)
    takes, original = [], loop.Descent._call

    def cut(self, state, step):
        if step == 40 and not takes:
            takes.append(step)
            raise _Stop
        return original(self, state, step)

    monkeypatch.setattr(loop.Descent, "_call", cut)
    with pytest.raises(_Stop):
        fit(small_log, CONFIG, jax.random.key(0), checkpoint=kept, progress=False)
    result = fit(small_log, CONFIG, jax.random.key(0), checkpoint=kept, progress=False)
    assert result.report.steps == 60
    for ours, theirs in zip(
        jax.tree.leaves((result.scene, result.exposure, result.corrections)),
        jax.tree.leaves((fitted.scene, fitted.exposure, fitted.corrections)),
        strict=True,
    ):
        np.testing.assert_array_equal(ours, theirs)
    assert len(result.curve) == 1
    # Finished, it is only scored; another fit is refused.
    again = fit(small_log, CONFIG, jax.random.key(0), checkpoint=kept, progress=False)
    assert again.report.steps == 60
    with pytest.raises(CheckpointError, match="keeps another fit"):
        fit(small_log, CONFIG, jax.random.key(1), checkpoint=kept, progress=False)


def test_wrong_poses_are_corrected_but_not_by_heldout_frames():
    truth = _known_scene()
    log = _log_of(truth)
    wrong = log.world_from_ego.copy()
    wrong[:, 2, 3] += np.where(np.arange(8) >= 4, 0.05, 0.0)  # half the path is 5 cm too high
    moved = dataclasses.replace(log, world_from_ego=wrong)
    weights = LossWeights(opacity=0.0, size=0.0)
    zero = LearningRates(
        means=1e-9, means_final=1e-9, quaternions=0.0, log_scales=0.0, opacity_logits=0.0, sh=0.0, sh_rest=0.0, sky=0.0,
        rig_rotation=0.0, rig_shift=2e-3,
    )  # fmt: skip
    config = FitConfig(steps=150, steps_per_call=50, weights=weights, rates=zero, poses=True, render=RENDER)
    result = fit(moved, config, jax.random.key(2), initial=truth, progress=False)
    shift = np.asarray(result.corrections.rig_shift[:, 2])
    # Frames 2 and 6 are held out: 2 lies between two right ones, 6 between two that were 5 cm too high.
    np.testing.assert_allclose(shift, np.where(np.arange(8) >= 4, -0.05, 0.0), atol=0.012)


def test_a_clock_leaves_out_its_pauses_and_stands_still_in_them(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(loop.time, "perf_counter", lambda: now[0])
    clock = loop.Clock()
    now[0] += 3
    with clock.paused():
        now[0] += 10
        with clock.paused(compiling=True):
            now[0] += 5
        assert clock.seconds == 3
    now[0] += 2
    assert (clock.seconds, clock.compiling) == (5, 5)
    clock.go_on(40.0, 7.0)
    now[0] += 1
    assert (clock.seconds, clock.compiling) == (41, 12)


def test_half_the_size_is_the_mean_of_four_pixels(small_log):
    views = collect_views(small_log)
    half = loop.halved(views)
    width, height = views.size
    assert half.size == (width // 2, height // 2)
    mean = views.images[1, 4:6, 8:10].astype(float).mean(axis=(0, 1))
    np.testing.assert_allclose(half.images[1, 2, 4], mean, atol=0.51)
    np.testing.assert_allclose(half.intrinsics, views.intrinsics / 2)
    seen = np.flatnonzero(views.lidar_valid[1])[:20]
    row, column = views.lidar_pixel[1, seen] // width, views.lidar_pixel[1, seen] % width
    np.testing.assert_array_equal(half.lidar_pixel[1, seen], (row // 2) * (width // 2) + column // 2)


def test_a_budget_of_seconds_ends_the_fit(small_log):
    hurried = dataclasses.replace(CONFIG, seconds=1e-3)
    report = fit(small_log, hurried, jax.random.key(0), progress=False).report
    assert report.steps == 0
    assert not report.interrupted


def test_a_scene_without_valid_slots_stays_finite(small_log):
    nothing = Scene(empty(700), jnp.zeros(700, jnp.int32), jnp.full((32, 64, 3), 0.4), jnp.ones((1, 3)))
    result = fit(small_log, dataclasses.replace(CONFIG, steps=20), jax.random.key(0), initial=nothing, progress=False)
    assert result.report.gaussians == 0
    for leaf in jax.tree.leaves((result.scene, result.exposure)):
        assert np.all(np.isfinite(leaf))
    assert float(jnp.abs(result.scene.sky - 0.4).max()) > 0.01  # the sky alone can learn


def test_a_log_with_one_heldout_frame_alone_cannot_be_fitted(small_log):
    views = collect_views(small_log)
    with pytest.raises(ValueError, match="needs at least one view"):
        score_views(_known_scene(), small_log, views, np.array([], int), neutral(8))
    with pytest.raises(ReconstructionError, match="has no camera images"):
        fit(dataclasses.replace(small_log, cameras=()), CONFIG, jax.random.key(0), progress=False)


def test_too_few_frames_are_refused_with_the_reason(small_log):
    track = small_log.tracks[0]
    two = dataclasses.replace(
        small_log,
        timestamps=small_log.timestamps[:2],
        world_from_ego=small_log.world_from_ego[:2],
        cameras=(dataclasses.replace(small_log.cameras[0], images=small_log.cameras[0].images[:2]),),
        lidar=small_log.lidar[:2],
        tracks=(dataclasses.replace(track, world_from_box=track.world_from_box[:2], valid=track.valid[:2]),),
    )
    with pytest.raises(ReconstructionError, match=r"2 of them to learn from.*read more frames"):
        fit(two, CONFIG, jax.random.key(0), progress=False)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"steps": 0}, "FitConfig.steps is 0; expected a positive integer"),
        ({"density": "split"}, r"density is 'split'; expected one of \('none', 'relocate'\)"),
        ({"seconds": -1.0}, "seconds is -1.0"),
        ({"width": 4}, "width is 4; expected at least 16 pixels or None"),
        ({"growth": -0.1}, "growth is -0.1"),
        ({"coarse": 1.0}, r"coarse is 1.0; expected a share in \[0, 1\)"),
    ],
)
def test_bad_configurations_are_named(fields, message):
    with pytest.raises(ValueError, match=message):
        FitConfig(**fields)
