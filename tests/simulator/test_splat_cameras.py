"""Splats of several scenes drawn from one arena, in either form; and what a world knows of its field of view."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrecon.geometry.transforms import rigid
from jaxrecon.reconstruct.confidence import SCALES
from jaxrecon.reconstruct.support import Support
from jaxrecon.render import Cameras, RasterConfig, RenderConfig, join_arenas, quantise, render, scene_arena
from jaxrecon.scene import build_levels, gaussians, occupancy
from jaxrecon.scene.scene import Scene
from jaxrecon.simulator import (
    POLICY_RENDER,
    Simulator,
    build_world,
    default_params,
    exact_cameras,
    join_cameras,
    join_worlds,
    policy_cameras,
    policy_rig,
    with_field_of_view,
)
from jaxrecon.simulator.field_of_view import splat_confidence

SIZE = (16, 12)
RASTER = RasterConfig(pairs_per_camera=4096)
EXACT = RenderConfig(raster=RASTER)
FORWARD = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])


def make_scene(seed: int, count: int, actors: int, sky_rows: int = 4) -> Scene:
    """A wall of blobs 20 m ahead of the origin, and one blob an actor; of any number of harmonics."""
    rng = np.random.default_rng(seed)
    means = np.stack([rng.uniform(15, 25, count), rng.uniform(-12, 12, count), rng.uniform(-1, 6, count)], axis=-1)
    means[:actors] = 0.0
    group = np.zeros(count, int)
    group[:actors] = 1 + np.arange(actors)
    blobs = dataclasses.replace(
        gaussians.empty(count, sh_degree=seed % 2),
        means=jnp.asarray(means, jnp.float32),
        log_scales=jnp.asarray(rng.uniform(-0.7, 0.5, (count, 3)), jnp.float32),
        opacity_logits=jnp.full(count, 2.0),
        sh=jnp.asarray(rng.normal(0, 0.5, (count, (1 + seed % 2) ** 2, 3)), jnp.float32),
        valid=jnp.ones(count, bool),
    )
    sky = jnp.asarray(rng.uniform(0, 1, (sky_rows, 2 * sky_rows, 3)), jnp.float32)
    sizes = jnp.ones((actors, 3))
    return Scene(gaussians=blobs, group=jnp.asarray(group, jnp.int32), sky=sky, actor_sizes=sizes)


def cameras_at(places) -> Cameras:
    poses = rigid(np.tile(FORWARD, (len(places), 1, 1)), np.array(places, float))
    intrinsics = jnp.tile(jnp.asarray([12.0, 12.0, 8.0, 6.0]), (len(places), 1))
    return Cameras(jnp.asarray(poses, jnp.float32), intrinsics, *SIZE)


@pytest.fixture(scope="module")
def scenes():
    return make_scene(0, 150, 2), make_scene(1, 70, 1)


@pytest.fixture(scope="module")
def views():
    cameras = cameras_at([(0.0, 0.0, 1.0), (1.0, -0.5, 1.0), (2.0, 1.0, 1.5)])
    poses = jnp.tile(jnp.eye(4), (3, 2, 1, 1)).at[:, :, 0, 3].set(jnp.asarray([8.0, 12.0]))
    poses = poses.at[:, :, 1, 3].set(jnp.asarray([[-2.0, 2.0], [1.0, 3.0], [0.0, 1.0]]))
    return cameras, jnp.asarray([1, 0, 1]), poses, jnp.asarray([[True, False], [True, True], [False, False]])


def test_scenes_of_one_arena_look_as_they_do_alone(scenes, views):
    cameras, scene, poses, valid = views
    joined = join_cameras([exact_cameras(one, EXACT) for one in scenes])
    drawn = jax.jit(type(joined).draw)(joined, *views)
    assert not drawn.overflow.any()
    for number in range(3):
        which = scenes[int(scene[number])]
        alone = jax.tree.map(lambda leaf, at=number: leaf[at : at + 1], (cameras, poses, valid))
        own = slice(which.actors)
        expected = quantise(render(which, alone[0], alone[1][:, own], alone[2][:, own], EXACT).rgb)
        # Another grouping of the sums may round a value to its neighbour.
        assert np.abs(drawn.frames[number].astype(int) - expected[0].astype(int)).max() <= 1


def test_policy_forms_share_an_arena_too(scenes, views):
    config = dataclasses.replace(POLICY_RENDER, raster=RASTER)
    sources = [policy_cameras(build_levels(one), one, config) for one in scenes]
    joined = join_cameras(sources)
    assert joined.arena.clusters is not None and joined.arena.scene_start.shape == (3,)
    draw = jax.jit(type(joined).draw)
    drawn = draw(joined, *views)
    cameras, scene, poses, valid = views
    for number, source in enumerate(sources):
        mine = np.flatnonzero(np.asarray(scene) == number)
        some = jax.tree.map(lambda leaf, rows=mine: leaf[rows], (cameras, scene * 0, poses, valid))
        expected = draw(source, *some).frames
        assert np.abs(drawn.frames[mine].astype(int) - expected.astype(int)).max() <= 1
    assert len(np.unique(np.asarray(drawn.frames))) > 50, "an empty image would agree with anything"


def test_skies_of_other_sizes_are_resampled(views):
    small, large = make_scene(0, 40, 0, sky_rows=4), make_scene(2, 40, 0, sky_rows=16)
    joined = join_cameras([exact_cameras(small, EXACT), exact_cameras(large, EXACT)])
    assert joined.skies.shape == (2, 16, 32, 3)
    np.testing.assert_array_equal(joined.skies[1], large.sky)
    # Rows 5 and 10 of 16 lie at the elevations of rows 1 and 2 of 4; interpolation keeps the mean around the horizon.
    for fine, coarse in ((5, 1), (10, 2)):
        np.testing.assert_allclose(joined.skies[0, fine].mean(axis=0), small.sky[coarse].mean(axis=0), atol=1e-4)


def test_a_world_of_splats_resets_into_its_own_scenes(log, scenes):
    still = dataclasses.replace(log, tracks=log.tracks[:1])
    logs = (log, still)
    worlds = [
        build_world(one, exact_cameras(scene, EXACT), policy_rig(one, *SIZE), occupancy.empty())
        for one, scene in zip(logs, scenes, strict=True)
    ]
    params, frames = default_params(), jnp.asarray([0, 0])
    start = jax.jit(Simulator.reset_at, static_argnames="draw")
    _, together = start(Simulator(join_worlds(worlds)), jax.random.key(0), frames, None, params, scenes=jnp.arange(2))
    for number, world in enumerate(worlds):
        _, alone = start(Simulator(world), jax.random.key(0), frames[:1], None, params)
        difference = together.frames[number].astype(int) - alone.frames[0].astype(int)
        assert np.abs(difference).max() <= 1
    assert np.abs(together.frames[0].astype(int) - together.frames[1].astype(int)).max() > 20


@pytest.fixture(scope="module")
def half_seen(scenes):
    """Support of a scene whose left half every view saw well, and whose right half and sky none did."""
    scene = scenes[0]
    seen = scene.gaussians.means[:, 1] > 0
    zero = jnp.zeros(scene.gaussians.capacity)
    maps = jnp.zeros(scene.sky.shape[:2])
    return seen, Support(
        views=jnp.where(seen, 20, 0),
        nearest=zero,
        distance=zero,
        resolution=zero,
        direction=jnp.zeros((zero.shape[0], 3)),
        error=zero + 0.02,
        sky_share=maps,
        sky_error=maps,
    )


def test_confidence_of_a_splat_is_that_of_its_views(half_seen):
    seen, support = half_seen
    found = np.asarray(splat_confidence(support))
    known = (20 * 0.02 + SCALES.views * SCALES.unknown) / (20 + SCALES.views)
    np.testing.assert_allclose(found[seen], np.exp(-known / SCALES.tolerance), rtol=1e-5)
    np.testing.assert_allclose(found[~seen], np.exp(-SCALES.unknown / SCALES.tolerance), rtol=1e-5)


def test_the_policy_form_knows_its_field_of_view_as_the_exact_one_does(scenes, half_seen, views):
    config = dataclasses.replace(POLICY_RENDER, raster=RASTER)
    cameras, scene, *actors = views
    drawn = [
        jax.jit(type(source).draw)(with_field_of_view(source, scenes[0], half_seen[1]), cameras, 0 * scene, *actors)
        for source in (exact_cameras(scenes[0], EXACT), policy_cameras(build_levels(scenes[0]), scenes[0], config))
    ]
    exact, policy = (np.asarray(one.confidence) for one in drawn)
    assert exact.shape == (3, 3, 4) and np.ptp(exact) > 0.3
    # What 150 blobs merge into is coarse in pixels of a quarter of 16x12.
    assert np.abs(exact - policy).mean() < 0.08


def test_what_was_never_recorded_is_known_and_may_end_a_clip(log, scenes, half_seen):
    source = with_field_of_view(exact_cameras(scenes[0], EXACT), scenes[0], half_seen[1])
    source = dataclasses.replace(source, depth=True)
    simulator = Simulator(build_world(log, source, policy_rig(log, *SIZE), occupancy.empty()))
    run = jax.jit(Simulator.step, static_argnames=("draw", "auto_reset"))
    state, observation = jax.jit(Simulator.reset_at)(
        simulator, jax.random.key(0), jnp.asarray([0, 30]), None, default_params()
    )
    confidence = np.asarray(observation.confidence[0, 0])
    assert confidence.shape == (3, 4) and observation.depth.shape == (2, 1, 12, 16)
    # y is to the left: the left of the wall was seen, the right was not.
    assert confidence[1, 0] > 0.6 and confidence[1, 3] < 0.4
    # Beyond the wall there is only sky, of which nothing was recorded.
    share = np.asarray(observation.unsupported[:, 0])
    assert 0 < share[0] < 1 and share[1] == 1.0
    action = jnp.tile(jnp.asarray([30, 20]), (2, 1))
    for threshold, expected in ((2.0, [False, False]), (0.95, [False, True])):
        _, result = run(simulator, state, action, default_params(unsupported_threshold=threshold))
        assert result.truncated.tolist() == expected and not result.terminated.any()
    assert not run(simulator, state, action, default_params(unsupported_threshold=0.95), draw=False)[1].truncated.any()


def test_sources_that_do_not_go_together_are_named(scenes, half_seen):
    exact, levels = exact_cameras(scenes[0], EXACT), build_levels(scenes[1])
    policy = policy_cameras(levels, scenes[1])
    with pytest.raises(ValueError, match="join_cameras got no sources"):
        join_cameras([])
    with pytest.raises(ValueError, match="the sources draw in 2 ways"):
        join_cameras([exact, policy])
    with pytest.raises(ValueError, match="1 of 2 arenas have level of detail"):
        join_cameras([exact, policy], EXACT)
    with pytest.raises(ValueError, match="1 of 2 sources know the recorded field of view"):
        join_cameras([exact, with_field_of_view(exact, scenes[0], half_seen[1])])
    with pytest.raises(ValueError, match="has 70 Gaussians but its support is of 150"):
        with_field_of_view(policy, scenes[1], half_seen[1])
    with pytest.raises(ValueError, match="got no arenas"):
        join_arenas([])
    joined = join_arenas([scene_arena(one) for one in scenes])
    with pytest.raises(ValueError, match="an arena of several scenes"):
        join_arenas([joined])
