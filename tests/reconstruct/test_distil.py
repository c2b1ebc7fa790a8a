import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrecon.reconstruct.distil import DistilConfig, FormRates, _share, distil, scattered
from jaxrecon.reconstruct.loop import Clock
from jaxrecon.reconstruct.policy_views import Path, draw_path, supersampled
from jaxrecon.render import Cameras, RasterConfig, RenderConfig, levels_arena, render
from jaxrecon.render.drawn import clusters_drawn
from jaxrecon.scene import build_levels
from jaxrecon.scene.gaussians import empty
from jaxrecon.scene.scene import Scene

FORWARD = np.array([[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]])
LOOK = RenderConfig(antialiased=True, detail=3.5, raster=RasterConfig(pairs_per_camera=3000))
CONFIG = DistilConfig(steps=60, batch=2, steps_per_call=20, views=24, side=0.5, render=LOOK)


def _cloud(count=600) -> Scene:
    keys = jax.random.split(jax.random.key(0), 5)
    low, high = jnp.array([4.0, -5.0, -1.5]), jnp.array([30.0, 5.0, 2.0])
    gaussians = empty(count).replace(
        means=low + (high - low) * jax.random.uniform(keys[0], (count, 3)),
        log_scales=jnp.log(jax.random.uniform(keys[1], (count, 3), minval=0.03, maxval=0.25)),
        opacity_logits=jax.random.uniform(keys[2], (count,), minval=-1.0, maxval=3.0),
        sh=jax.random.uniform(keys[3], (count, 1, 3), minval=-1.7, maxval=1.7),
        valid=jnp.ones(count, bool),
    )
    group = (jnp.arange(count) % 5 == 0).astype(jnp.int32)
    return Scene(gaussians, group, jnp.full((4, 8, 3), 0.5), jnp.ones((1, 3)))


def _path(ahead) -> Path:
    poses = np.tile(FORWARD, (len(ahead), 1, 1))
    poses[:, 0, 3] = ahead
    cameras = Cameras(jnp.asarray(poses, jnp.float32), jnp.tile(jnp.array([24.0, 24, 16, 8]), (len(ahead), 1)), 32, 16)
    actors = jnp.tile(jnp.eye(4), (len(ahead), 1, 1, 1)).at[:, 0, 1, 3].set(0.3)
    return Path(cameras, actors, jnp.ones((len(ahead), 1), bool))


@pytest.fixture(scope="module")
def forms():
    """A scene, its form as it is built, and distilled about a path of 3 m."""
    scene = _cloud()
    levels = build_levels(scene)
    return scene, levels, distil(levels, scene, _path(np.linspace(0, 3, 7)), jax.random.key(1), CONFIG, progress=False)


@pytest.mark.torture
def test_a_form_comes_closer_to_the_supersampled_scene_where_it_was_not_fitted(forms):
    scene, levels, distilled = forms
    path = _path(np.array([0.35, 1.6, 2.2]))
    turned = path.moved(jnp.array([1.0, -1.0, 1.0]), jnp.zeros(3), jnp.array([0.05, 0.05, -0.05]))
    for unseen in (path, turned):
        truth = supersampled(scene, unseen, 4)
        built, fitted = (
            float(jnp.mean((draw_path(levels_arena(form), scene, unseen, LOOK) - truth) ** 2))
            for form in (levels, distilled)
        )
        assert fitted < 0.6 * built, "more than two decibels, on the path and a metre beside it"


def test_a_distilled_form_is_one_that_can_be_drawn(forms):
    _, levels, distilled = forms
    used = np.asarray(levels.opacities) > 0
    np.testing.assert_array_equal(np.asarray(distilled.opacities) > 0, used)
    for before, after in zip(jax.tree.leaves(levels), jax.tree.leaves(distilled), strict=True):
        assert before.shape == after.shape and np.all(np.isfinite(before) == np.isfinite(after))
    # Otherwise a cluster would be culled whose edge is in view.
    centre = np.repeat(np.asarray(distilled.cluster_centre), 128, axis=0)
    reach = np.linalg.norm(np.asarray(distilled.means) - centre, axis=1) + 3.33 * np.asarray(distilled.scales).max(1)
    assert np.all(reach[used] <= np.repeat(np.asarray(distilled.cluster_radius), 128)[used] * (1 + 1e-6))


def test_what_no_camera_draws_stays_as_it_was(forms):
    _, levels, distilled = forms
    at = scattered(_path(np.linspace(0, 3, 7)), jax.random.split(jax.random.key(1))[0], CONFIG)
    places = (at.cameras, at.world_from_actor, at.actor_valid)
    seen = np.asarray(clusters_drawn(levels_arena(levels), *places, LOOK.detail)).any(axis=0)
    assert 0 < seen.sum() < len(seen)
    for name in ("means", "sh", "scales", "opacities", "cluster_radius"):
        before, after = (np.asarray(getattr(form, name)).reshape(len(seen), -1) for form in (levels, distilled))
        np.testing.assert_array_equal(before[~seen], after[~seen])
        # Mere rounding of a logarithm and its exponential is less.
        assert np.abs(before[seen] - after[seen]).max() > 1e-4


def test_the_truth_is_the_mean_of_exact_pixels_at_every_moment():
    scene, path = _cloud(100), _path(np.linspace(0, 3, 6))
    roomy = RenderConfig(raster=RasterConfig(pairs_per_camera=60000))
    fine = dataclasses.replace(path.cameras, intrinsics=3 * path.cameras.intrinsics, width=96, height=48)
    exact = jax.jit(partial(render, config=roomy))(scene, fine, path.world_from_actor, path.actor_valid)
    expected = jnp.clip(exact.rgb, 0, 1).reshape(6, 16, 3, 32, 3, 3).mean(axis=(2, 4))
    short = RenderConfig(raster=RasterConfig(pairs_per_camera=64))  # too little at first: it grows
    # Cameras are drawn in other batches, whose sums may be ordered otherwise.
    np.testing.assert_allclose(supersampled(scene, path, 3, short), expected, atol=1e-5)


def test_cameras_move_over_the_ground_and_turn_about_the_vertical():
    moved = _path(np.zeros(2)).moved(jnp.array([1.0, 0.0]), jnp.array([0.0, 2.0]), jnp.array([0.0, np.pi / 2]))
    poses = np.asarray(moved.cameras.world_from_camera)
    np.testing.assert_allclose(poses[:, :3, 3], [[0, 1, 0], [2, 0, 0]], atol=1e-6)  # y is left, x ahead
    np.testing.assert_allclose(poses[1, :3, :3] @ [0, 0, 1], [0, 1, 0], atol=1e-6)
    np.testing.assert_allclose(poses[1, :3, :3] @ [0, 1, 0], [0, 0, -1], atol=1e-6)
    np.testing.assert_array_equal(poses[0, :3, :3], FORWARD[:3, :3])


def test_steps_and_seconds_are_a_budget_whichever_ends_first():
    clock = Clock()
    clock.go_on(5.0, 0.0)
    config = dataclasses.replace(CONFIG, steps=100, seconds=20.0)
    assert _share(75, clock, config) == 0.75
    assert 0.25 <= _share(10, clock, config) < 0.5
    assert _share(10, clock, dataclasses.replace(config, seconds=4.0)) > 1
    assert _share(10, clock, dataclasses.replace(config, seconds=None)) == 0.1


def test_bad_input_is_named():
    with pytest.raises(ValueError, match=r"DistilConfig.batch is 0; expected a positive integer"):
        DistilConfig(batch=0)
    with pytest.raises(ValueError, match=r"DistilConfig.seconds is 0; expected a positive number or None"):
        DistilConfig(seconds=0)
    with pytest.raises(ValueError, match=r"DistilConfig.yaw is -1; expected at least 0"):
        DistilConfig(yaw=-1)
    with pytest.raises(ValueError, match=r"FormRates.size is -0.1; expected a step size of at least 0"):
        FormRates(size=-0.1)
    scene = _cloud(10)
    with pytest.raises(ValueError, match="path of no moments"):
        distil(build_levels(scene), scene, _path(np.zeros(0)), jax.random.key(0), progress=False)
