import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrecon.geometry.cameras import project
from jaxrecon.geometry.transforms import inverse, transform_points
from jaxrecon.render import RenderConfig
from jaxrecon.scene import gaussians, occupancy
from jaxrecon.scene.scene import Scene
from jaxrecon.simulator import Simulator, build_world, default_params, exact_cameras, policy_rig

SIZE = (64, 24)


@pytest.fixture(scope="module")
def scene() -> Scene:
    """A black world with one white blob at the centre of each of two actors."""
    blobs = gaussians.empty(2)
    blobs = dataclasses.replace(
        blobs,
        log_scales=jnp.full((2, 3), jnp.log(0.5)),
        opacity_logits=jnp.full(2, 8.0),
        sh=jnp.full((2, 1, 3), 0.5 / gaussians.SH_C0),
        valid=jnp.ones(2, bool),
    )
    sizes = jnp.asarray([[4.5, 1.8, 1.5]] * 2)
    return Scene(gaussians=blobs, group=jnp.asarray([1, 2]), sky=jnp.zeros((2, 4, 3)), actor_sizes=sizes)


def test_actors_are_drawn_where_the_log_has_them(log, scene):
    source = exact_cameras(scene, RenderConfig(backend="reference"))
    world = build_world(log, source, policy_rig(log, *SIZE), occupancy.empty(), actor_capacity=3)
    frames = [2, 12, 100]
    start = jax.jit(Simulator.reset_at)
    _, observation = start(Simulator(world), jax.random.key(0), jnp.asarray(frames), None, default_params())
    camera = log.cameras[0]
    for environment, frame in enumerate(frames):
        image = np.asarray(observation.frames[environment, 0])
        lead = log.tracks[0]
        if not lead.valid[frame]:
            assert image.max() == 0
            continue
        centre = lead.world_from_box[frame, :3, 3][None]
        seen = transform_points(inverse(log.world_from_camera(camera)[frame]), centre)
        column, row = np.floor(project(camera.intrinsics, seen)[0]).astype(int)
        assert image[row, column].min() > 200 and image[0, 0].max() == 0


def test_a_scene_of_another_log_is_named(log, scene):
    alone = dataclasses.replace(log, tracks=log.tracks[:1])
    world = build_world(alone, scene, policy_rig(log, *SIZE), occupancy.empty())
    with pytest.raises(ValueError, match="the scene has 2 actors but the world has only 1 slots"):
        Simulator(world).reset(jax.random.key(0), 1, default_params())
