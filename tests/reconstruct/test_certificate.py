import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrecon.logs.driving_log import CameraStream, DrivingLog
from jaxrecon.reconstruct import (
    CertificateConfig,
    ConfidenceCalibration,
    ReconstructionError,
    certify,
    collect_views,
    neutral,
    score,
    view_confidence,
    view_support,
)
from jaxrecon.reconstruct.survey import novel_cameras
from jaxrecon.render import Cameras, RasterConfig, RenderConfig, quantise, render
from jaxrecon.scene.gaussians import empty
from jaxrecon.scene.scene import Scene

RENDER = RenderConfig(raster=RasterConfig(pairs_per_camera=8192))
FORWARD = np.array([[0.0, 0, 1, 0.5], [-1, 0, 0, 0], [0, -1, 0, 1.5], [0, 0, 0, 1]])
CONFIG = CertificateConfig(offsets=(-8.0, -2.0, 0.0, 2.0, 8.0), yaws_deg=(-40.0, 0.0, 40.0), samples=3, width=24)


@pytest.fixture(scope="module")
def recorded():
    """A corridor of balls that a car drives along, seen with a little noise in the scene's colours."""
    keys = jax.random.split(jax.random.key(0), 4)
    low, high = jnp.array([3.0, -4.0, 0.0]), jnp.array([20.0, 4.0, 4.0])
    gaussians = empty(150).replace(
        means=jax.random.uniform(keys[0], (150, 3)) * (high - low) + low,
        log_scales=jnp.log(jax.random.uniform(keys[1], (150, 3), minval=0.2, maxval=0.6)),
        opacity_logits=jnp.full((150,), 2.0),
        sh=jax.random.uniform(keys[2], (150, 1, 3), minval=-1.7, maxval=1.7),
        valid=jnp.ones(150, bool),
    )
    truth = Scene(gaussians, jnp.zeros(150, jnp.int32), jnp.full((8, 16, 3), 0.5), jnp.zeros((0, 3)))
    noise = 0.3 * jax.random.normal(keys[3], (150, 1, 3)) * (jnp.arange(150)[:, None, None] % 2)
    world_from_ego = np.tile(np.eye(4), (8, 1, 1))
    world_from_ego[:, 0, 3] = np.linspace(-6.0, 1.0, 8)
    intrinsics = np.array([30.0, 30.0, 24.0, 16.0])
    poses = jnp.asarray(world_from_ego @ FORWARD, jnp.float32)
    cameras = Cameras(poses, jnp.tile(jnp.asarray(intrinsics, jnp.float32), (8, 1)), 48, 32)
    images = np.asarray(quantise(render(truth, cameras, config=RENDER).rgb))
    log = DrivingLog("corridor", np.arange(8) * 0.1, world_from_ego, (CameraStream("f", intrinsics, FORWARD, images),))
    return truth.replace(gaussians=gaussians.replace(sh=gaussians.sh + noise)), log


@pytest.fixture(scope="module")
def evidence(recorded):
    scene, log = recorded
    views = collect_views(log)
    support = view_support(scene, views, np.flatnonzero(~views.heldout), neutral(8), RENDER)
    return views, support, score(scene, log, views, np.flatnonzero(views.heldout), neutral(8), RENDER)


@pytest.fixture(scope="module")
def certificate(recorded, evidence):
    scene, log = recorded
    views, support, heldout = evidence
    return certify(scene, log, views, heldout, support, config=CONFIG, render=RENDER)


def test_the_recorded_path_is_trusted_and_what_lies_far_off_is_not(certificate):
    error, unsupported = np.array(certificate.predicted_error), np.array(certificate.unsupported)
    assert error.shape == unsupported.shape == (5, 3)
    assert certificate.trusted[2][1]
    assert np.all(error[[0, 4], 1] > 1.5 * error[2, 1])  # 8 m aside the corridor is seen from outside
    assert np.all(unsupported[[0, 4], 1] > unsupported[2, 1])
    assert np.all(unsupported[2, [0, 2]] > unsupported[2, 1] + 0.1)  # turned by 40 degrees, half the view is new
    assert not certificate.trusted[0][1] and not certificate.trusted[4][1]
    assert certificate.trusted_yaw_deg == (0.0, 0.0)


def test_the_predicted_error_on_the_path_is_the_measured_one(certificate, evidence):
    _, _, heldout = evidence
    measured = np.abs(heldout.rendered.astype(float) - heldout.recorded).mean() / 255
    # Drawn at half the size and in other frames.
    assert certificate.predicted_error[2][1] == pytest.approx(measured, rel=0.35)
    assert certificate.error_limit == pytest.approx(CONFIG.most_growth * certificate.predicted_error[2][1])
    assert certificate.unsupported_limit == pytest.approx(CONFIG.most_unsupported + certificate.unsupported[2][1])


def test_the_trusted_region_follows_from_the_figures(certificate):
    error, unsupported = np.array(certificate.predicted_error), np.array(certificate.unsupported)
    expected = (error <= certificate.error_limit) & (unsupported <= certificate.unsupported_limit)
    np.testing.assert_array_equal(certificate.trusted, expected)
    low, high = certificate.trusted_offset
    between = [row for row, offset in enumerate(CONFIG.offsets) if low <= offset <= high]
    assert expected[between, 1].all()
    assert between[0] == 0 or not expected[between[0] - 1, 1]
    assert between[-1] == 4 or not expected[between[-1] + 1, 1]
    np.testing.assert_allclose(np.mean(certificate.along_path, axis=1), unsupported[:, 1])


def test_figures_of_heldout_views_are_those_of_the_score(certificate, evidence):
    _, _, heldout = evidence
    assert certificate.heldout.frame == (2, 6)
    assert certificate.heldout.psnr == pytest.approx(tuple(heldout.psnr))
    assert certificate.heldout.psnr_actors == (None, None)  # there are no boxes
    assert certificate.heldout.summary["ssim"] == pytest.approx(heldout.ssim.mean())
    assert sum(certificate.bins.pixels) == heldout.rendered.shape[0] * 32 * 48


def test_a_certificate_is_json(certificate):
    told = json.loads(json.dumps(dataclasses.asdict(certificate), allow_nan=False))
    assert told["offsets"] == list(CONFIG.offsets)
    assert told["sample_frames"] == [0, 4, 7]


def test_a_view_of_the_survey_is_what_its_confidence_says(recorded, evidence, certificate):
    """On the recorded path at the recorded size the survey averages the confidence of the recorded views."""
    scene, log = recorded
    views, support, heldout = evidence
    alone = CertificateConfig(offsets=(0.0,), yaws_deg=(0.0,), samples=3, width=48)
    on_path = certify(scene, log, views, heldout, support, config=alone, render=RENDER)
    confidence = view_confidence(scene, support, views, np.array([0, 4, 7]), config=RENDER)
    error = np.interp(confidence, certificate.calibration.confidence, certificate.calibration.error).mean()
    assert on_path.predicted_error[0][0] == pytest.approx(error, rel=1e-3)
    assert on_path.unsupported[0][0] == pytest.approx((confidence < alone.unsupported_below).mean(), abs=1e-3)


@pytest.mark.torture
def test_room_for_pairs_grows_and_changes_nothing(recorded, evidence, certificate):
    scene, log = recorded
    views, support, heldout = evidence
    tight = RenderConfig(raster=RasterConfig(pairs_per_camera=128))
    again = certify(scene, log, views, heldout, support, config=CONFIG, render=tight)
    np.testing.assert_allclose(again.predicted_error, certificate.predicted_error, rtol=1e-4)


def test_without_heldout_views_a_calibration_must_be_given(recorded, evidence):
    scene, log = recorded
    views, support, _ = evidence
    with pytest.raises(ReconstructionError, match="log corridor has no held-out view to calibrate confidence on"):
        certify(scene, log, views, None, support, config=CONFIG)
    given = ConfidenceCalibration(confidence=(0.0, 1.0), error=(0.2, 0.2), lowest=0.5)
    certificate = certify(scene, log, views, None, support, given, CONFIG, render=RENDER)
    assert certificate.heldout is None and certificate.bins is None
    np.testing.assert_allclose(certificate.predicted_error, 0.2, rtol=1e-5)


def test_novel_cameras_move_with_the_car(recorded):
    _, log = recorded
    turned = np.tile(np.eye(4), (8, 1, 1))
    turned[:, :2, :2] = [[0.0, -1.0], [1.0, 0.0]]  # the car faces y; its left is -x
    log = dataclasses.replace(log, world_from_ego=log.world_from_ego @ turned)
    views, chosen = collect_views(log), np.array([0, 3])
    np.testing.assert_allclose(novel_cameras(log, views, chosen, 0.0, 0.0), views.world_from_camera[chosen], atol=1e-6)
    left = novel_cameras(log, views, chosen, 2.0, 0.0) - views.world_from_camera[chosen]
    np.testing.assert_allclose(left[:, :3, 3], np.tile([-2.0, 0.0, 0.0], (2, 1)), atol=1e-6)
    back = novel_cameras(log, views, chosen, 0.0, 90.0)
    np.testing.assert_allclose(back[:, :3, 2], np.tile([-1.0, 0.0, 0.0], (2, 1)), atol=1e-6)  # looks along -x
    # The camera sits 0.5 m ahead of the car's origin and swings round with it.
    np.testing.assert_allclose(
        back[:, :3, 3] - log.world_from_ego[chosen, :3, 3], np.tile([-0.5, 0, 1.5], (2, 1)), atol=1e-6
    )


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"offsets": (1.0, 2.0)}, r"offsets is \(1.0, 2.0\); expected increasing numbers, 0 among them"),
        ({"yaws_deg": (10.0, 0.0)}, r"yaws_deg is \(10.0, 0.0\)"),
        ({"samples": 0}, "samples is 0; expected at least 1"),
        ({"width": 8}, "width is 8; expected at least 16"),
        ({"most_growth": 0.5}, "most_growth is 0.5; expected at least 1"),
        ({"most_unsupported": -0.1}, "most_unsupported is -0.1; expected at least 0"),
    ],
)
def test_bad_configurations_are_named(fields, message):
    with pytest.raises(ValueError, match=message):
        CertificateConfig(**fields)
