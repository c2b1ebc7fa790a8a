import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import spearmanr

from jaxrecon.logs.driving_log import CameraStream, DrivingLog
from jaxrecon.reconstruct import (
    ConfidenceScales,
    Support,
    collect_views,
    neutral,
    render_confidence,
    view_confidence,
    view_support,
)
from jaxrecon.render import Cameras, RasterConfig, RenderConfig, quantise, render
from jaxrecon.scene.gaussians import empty
from jaxrecon.scene.scene import Scene

RENDER = RenderConfig(raster=RasterConfig(pairs_per_camera=4096))
FORWARD = np.array([[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]])
SCALES = ConfidenceScales()
MIDDLE = (15, 15)
DRAW = jax.jit(render_confidence, static_argnames="config")


def _cameras(*places: tuple[float, float, float]) -> Cameras:
    """Cameras that look along x."""
    poses = np.tile(FORWARD, (len(places), 1, 1))
    poses[:, :3, 3] = places
    return Cameras(
        jnp.asarray(poses, jnp.float32), jnp.tile(jnp.array([40.0, 40.0, 16.0, 16.0]), (len(places), 1)), 32, 32
    )


def _wall(*distances: float, opacity: float = 0.9999) -> Scene:
    """One Gaussian, wide across and thin along x, at each distance straight ahead."""
    count = len(distances)
    gaussians = empty(count).replace(
        means=jnp.stack([jnp.array([distance, 0.0, 0.0]) for distance in distances]),
        log_scales=jnp.log(jnp.tile(jnp.array([0.01, 40.0, 40.0]), (count, 1))),
        opacity_logits=jnp.full((count,), math.log(opacity / (1 - opacity))),
        valid=jnp.ones(count, bool),
    )
    return Scene(gaussians, jnp.zeros(count, jnp.int32), jnp.zeros((8, 16, 3)), jnp.zeros((0, 3)))


def _support(scene: Scene, **changes) -> Support:
    """Of Gaussians that ten views saw from straight ahead at 20 m and redraw with a small error."""
    count = scene.gaussians.capacity
    fields = {
        "views": jnp.full(count, 10),
        "nearest": jnp.full(count, 20.0),
        "distance": jnp.full(count, 20.0),
        "resolution": jnp.full(count, 2.0),
        "direction": jnp.tile(jnp.array([-1.0, 0.0, 0.0]), (count, 1)),
        "error": jnp.full(count, 0.01),
        "sky_share": jnp.ones((8, 16)),
        "sky_error": jnp.zeros((8, 16)),
    }
    return Support(**fields | changes)


def _middle(scene: Scene, support: Support, camera: Cameras | None = None, scales: ConfidenceScales = SCALES) -> float:
    camera = _cameras((0.0, 0.0, 0.0)) if camera is None else camera
    return float(DRAW(scene, support, camera, scales=scales, config=RENDER).confidence[0][MIDDLE])


def test_what_is_seen_as_it_was_recorded_keeps_its_own_error():
    scene = _wall(20.0)
    own = (10 * 0.01 + SCALES.views * SCALES.unknown) / (10 + SCALES.views)
    # The middle pixel looks within a degree of straight ahead, at an opacity of 0.999.
    assert _middle(scene, _support(scene)) == pytest.approx(math.exp(-own / SCALES.tolerance), abs=5e-3)


@pytest.mark.parametrize(
    ("name", "better"),
    [
        ("views", [0, 1, 2, 10]),
        ("error", [0.3, 0.1, 0.03, 0.0]),
        ("resolution", [0.1, 0.5, 1.0, 2.0]),
    ],
)
def test_confidence_rises_with_better_support(name, better):
    scene = _wall(20.0)
    drawn = [_middle(scene, _support(scene, **{name: jnp.full(1, value)})) for value in better]
    assert all(low < high for low, high in itertools.pairwise(drawn)), drawn


def test_confidence_falls_with_the_angle_and_less_so_where_directions_were_many():
    scene = _wall(20.0)
    degrees = [0.0, 10.0, 30.0, 90.0]
    turned = [jnp.array([[-math.cos(a), math.sin(a), 0.0]]) for a in np.deg2rad(degrees)]
    narrow = [_middle(scene, _support(scene, direction=0.999 * direction)) for direction in turned]
    wide = [_middle(scene, _support(scene, direction=0.8 * direction)) for direction in turned]
    assert narrow == sorted(narrow, reverse=True) and len(set(narrow)) == 4
    assert wide == sorted(wide, reverse=True)
    assert all(more > less for more, less in zip(wide[1:], narrow[1:], strict=True))


def test_confidence_falls_towards_what_was_recorded_from_afar():
    scene = _wall(20.0)
    drawn = [_middle(scene, _support(scene), _cameras((x, 0.0, 0.0))) for x in (0.0, 10.0, 15.0, 18.0)]
    assert drawn == sorted(drawn, reverse=True) and len(set(drawn)) == 4
    # From farther away than ever nothing new shows.
    assert _middle(scene, _support(scene), _cameras((-20.0, 0.0, 0.0))) == pytest.approx(drawn[0], abs=5e-3)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_an_opaque_floater_that_no_view_saw_is_unknown(share):
    scene = _wall(5.0)
    support = _support(scene, views=jnp.zeros(1, int), sky_share=jnp.full((8, 16), share))
    assert _middle(scene, support) == pytest.approx(math.exp(-SCALES.unknown / SCALES.tolerance), abs=2e-3)


def test_a_pixel_that_blends_near_and_far_is_doubted():
    same, apart = _wall(10.0, 10.01, opacity=0.5), _wall(10.0, 40.0, opacity=0.5)
    support = _support(same, sky_share=jnp.ones((8, 16)))
    near, far = math.log1p(10.0), math.log1p(40.0)
    weights = np.array([0.5, 0.25]) / 0.75
    mean = weights @ [near, far]
    spread = math.sqrt(weights @ [near**2, far**2] - mean**2)
    clear = ConfidenceScales(nearness=0.0)
    one, two = (-SCALES.tolerance * math.log(_middle(scene, support, scales=clear)) for scene in (same, apart))
    assert two / one == pytest.approx(1 + 0.75 * spread / SCALES.spread, rel=0.02)


@pytest.mark.parametrize(
    ("share", "error", "doubt"), [(1.0, 0.0, 0.0), (1.0, 0.03, 0.03), (0.0, 0.0, 0.2), (0.25, 0.04, 0.04 + 0.75 * 0.2)]
)
def test_sky_counts_as_far_as_it_was_seen_there(share, error, doubt):
    scene = _wall(20.0).replace(gaussians=empty(1))
    support = _support(scene, sky_share=jnp.full((8, 16), share), sky_error=jnp.full((8, 16), error))
    drawn = DRAW(scene, support, _cameras((0.0, 0.0, 0.0)), config=RENDER).confidence
    np.testing.assert_allclose(drawn, math.exp(-doubt / SCALES.tolerance), rtol=1e-4)


def test_a_direction_that_nobody_looked_into_is_unknown():
    scene = _wall(20.0).replace(gaussians=empty(1))
    share = jnp.zeros((8, 16)).at[:, 7:9].set(1.0)  # azimuths around 0
    ahead, aside = _cameras((0.0, 0.0, 0.0)), _cameras((0.0, 0.0, 0.0))
    aside = aside.replace(world_from_camera=jnp.asarray([[[1.0, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1]]]))
    support = _support(scene, sky_share=share)
    assert _middle(scene, support, ahead) > 0.99
    assert _middle(scene, support, aside) == pytest.approx(math.exp(-SCALES.unknown / SCALES.tolerance), rel=1e-4)


@pytest.mark.parametrize("count", [1, 3])
def test_each_camera_of_a_batch_is_drawn_as_if_alone(count):
    scene = _wall(12.0, 20.0, opacity=0.6)
    places = [(0.0, 0.3 * number, 0.1) for number in range(count)]
    batch = DRAW(scene, _support(scene), _cameras(*places), config=RENDER)
    assert batch.confidence.shape == (count, 32, 32) and not batch.overflow.any()
    for number, place in enumerate(places):
        alone = render_confidence(scene, _support(scene), _cameras(place), config=RENDER)
        np.testing.assert_allclose(batch.confidence[number], alone.confidence[0], atol=1e-5)


def test_an_actor_carries_its_directions_with_it():
    scene = _wall(20.0)
    scene = scene.replace(
        gaussians=scene.gaussians.replace(means=jnp.zeros((1, 3))),
        group=jnp.ones(1, jnp.int32),
        actor_sizes=jnp.ones((1, 3)),
    )
    support, camera = _support(scene), _cameras((0.0, 0.0, 0.0))
    pose = jnp.eye(4).at[0, 3].set(20.0)
    half = jnp.diag(jnp.array([-1.0, -1.0, 1.0, 1.0])).at[0, 3].set(20.0)  # turned round: its back was never seen
    as_recorded, from_behind = (
        float(DRAW(scene, support, camera, place[None, None], None, config=RENDER).confidence[0][MIDDLE])
        for place in (pose, half)
    )
    assert as_recorded > from_behind + 0.3
    absent = DRAW(scene, support, camera, pose[None, None], jnp.zeros((1, 1), bool), config=RENDER)
    undrawn = DRAW(scene, support, camera, config=RENDER)
    np.testing.assert_array_equal(absent.confidence, undrawn.confidence)


@pytest.fixture(scope="module")
def spoilt():
    """Balls as they are, the same with a third of them moved and recoloured, and what a camera saw of the former."""
    keys = jax.random.split(jax.random.key(0), 4)
    low, high = jnp.array([4.0, -2.0, -1.0]), jnp.array([8.0, 2.0, 1.0])
    gaussians = empty(40).replace(
        means=jax.random.uniform(keys[0], (40, 3)) * (high - low) + low,
        log_scales=jnp.log(jax.random.uniform(keys[1], (40, 3), minval=0.1, maxval=0.35)),
        opacity_logits=jnp.full((40,), 2.0),
        sh=jax.random.uniform(keys[2], (40, 1, 3), minval=-1.7, maxval=1.7),
        valid=jnp.ones(40, bool),
    )
    truth = Scene(gaussians, jnp.zeros(40, jnp.int32), jnp.full((8, 16, 3), 0.5), jnp.zeros((0, 3)))
    noise = jnp.where(jnp.arange(40)[:, None] < 13, jax.random.normal(keys[3], (40, 3)), 0.0)
    wrong = truth.replace(
        gaussians=gaussians.replace(means=gaussians.means + 0.1 * noise, sh=gaussians.sh + noise[:, None])
    )
    world_from_ego = np.tile(np.eye(4), (8, 1, 1))
    world_from_ego[:, 1, 3] = np.linspace(-1.0, 1.0, 8)
    poses = jnp.asarray(world_from_ego @ FORWARD, jnp.float32)
    cameras = Cameras(poses, jnp.tile(jnp.array([40.0, 40.0, 24.0, 16.0]), (8, 1)), 48, 32)
    images = np.asarray(quantise(render(truth, cameras, config=RENDER).rgb))
    stream = CameraStream("front", np.array([40.0, 40.0, 24.0, 16.0]), FORWARD, images)
    return wrong, collect_views(DrivingLog("spoilt", np.arange(8) * 0.1, world_from_ego, (stream,)))


def test_confidence_tells_where_unseen_views_are_wrong(spoilt):
    scene, views = spoilt
    support = view_support(scene, views, np.flatnonzero(~views.heldout), neutral(8), RENDER)
    heldout = np.flatnonzero(views.heldout)
    confidence = view_confidence(scene, support, views, heldout, config=RENDER)
    cameras = Cameras(jnp.asarray(views.world_from_camera[heldout]), jnp.asarray(views.intrinsics[heldout]), 48, 32)
    drawn = np.clip(np.asarray(render(scene, cameras, config=RENDER).rgb), 0, 1)
    error = np.abs(drawn - views.images[heldout] / 255.0).mean(axis=-1)
    # A third of the Gaussians is wrong; chance gives 0, and 192 x 128 fits of streets gave 0.50 to 0.57.
    assert spearmanr(confidence.ravel(), -error.ravel()).statistic > 0.5
    wrong = error > 0.1
    assert confidence[wrong].mean() < confidence[~wrong].mean() - 0.2


def test_confidence_of_recorded_views_grows_its_room(spoilt):
    scene, views = spoilt
    support = view_support(scene, views, np.arange(8), neutral(8), RENDER)
    tight = RenderConfig(raster=RasterConfig(pairs_per_camera=64))
    np.testing.assert_array_equal(
        view_confidence(scene, support, views, np.arange(2), config=tight),
        view_confidence(scene, support, views, np.arange(2), config=RENDER),
    )


def test_a_scene_without_valid_slots_stays_finite(spoilt):
    scene, views = spoilt
    nothing = scene.replace(gaussians=empty(40))
    support = view_support(nothing, views, np.arange(8), neutral(8), RENDER)
    assert all(np.isfinite(np.asarray(leaf)).all() for leaf in jax.tree.leaves(support))
    confidence = view_confidence(nothing, support, views, np.arange(2), config=RENDER)
    assert np.isfinite(confidence).all()
