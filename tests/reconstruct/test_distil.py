import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrecon.reconstruct.distil import DistilConfig, Path, distil
from jaxrecon.render import Cameras, RasterConfig, RenderConfig, levels_arena, render, render_arena
from jaxrecon.scene import build_levels
from jaxrecon.scene.gaussians import empty
from jaxrecon.scene.scene import Scene

FORWARD = np.array([[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]])
RASTER = RasterConfig(pairs_per_camera=6000)  # too little at first: it grows
CONFIG = DistilConfig(
    steps=60, batch=2, steps_per_call=20, render=RenderConfig(antialiased=True, detail=3.5, raster=RASTER)
)


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


def test_a_form_comes_closer_to_the_supersampled_scene_where_it_was_not_fitted():
    scene, roomy = _cloud(), RasterConfig(pairs_per_camera=60000)
    levels = jax.tree.map(jnp.asarray, build_levels(scene))
    distilled = distil(levels, scene, _path(np.linspace(0, 3, 7)), jax.random.key(1), CONFIG, progress=False)
    unseen = _path(np.array([0.35, 1.6, 2.2]))
    fine = dataclasses.replace(unseen.cameras, intrinsics=4 * unseen.cameras.intrinsics, width=128, height=64)
    exact = render(scene, fine, unseen.world_from_actor, unseen.actor_valid, RenderConfig(raster=roomy))
    truth = exact.rgb.reshape(3, 16, 4, 32, 4, 3).mean(axis=(2, 4))
    look = RenderConfig(antialiased=True, detail=3.5, raster=roomy)

    def error(form) -> float:
        drawn = render_arena(
            levels_arena(form), scene, unseen.cameras, unseen.world_from_actor, unseen.actor_valid, look
        )
        return float(jnp.mean((drawn.rgb - truth) ** 2))

    assert error(distilled) < 0.75 * error(levels)  # more than a decibel
    empty_slots = np.asarray(levels.opacities) == 0
    assert np.all(np.asarray(distilled.opacities)[empty_slots] == 0)
    for name in ("sh", "opacities", "scales"):
        assert np.all(np.isfinite(getattr(distilled, name)))
    np.testing.assert_array_equal(distilled.means, levels.means)


def test_bad_configurations_are_named():
    with pytest.raises(ValueError, match=r"DistilConfig.batch is 0; expected a positive integer"):
        DistilConfig(batch=0)
