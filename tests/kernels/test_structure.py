"""Structure that does not fit together is named while tracing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrecon.kernels import RasterConfig, Views, calibrate, rasterize, validate_arena


def test_wrong_structure_is_named(views, cloud):
    arena = cloud(jax.random.key(0), 4)
    with pytest.raises(ValueError, match="backend 'metal' is unknown"):
        rasterize(arena, views(), backend="metal")
    with pytest.raises(ValueError, match="2 coefficients; expected 1, 4, 9 or 16"):
        rasterize(arena.replace(sh=jnp.zeros((4, 2, 3))), views())
    with pytest.raises(ValueError, match=r"arena.scales has shape \(3, 3\); expected \(4, 3\)"):
        rasterize(arena.replace(scales=arena.scales[:3]), views())
    with pytest.raises(ValueError, match="go together"):
        rasterize(arena, views().replace(scene=jnp.zeros(1, jnp.int32)))
    with pytest.raises(ValueError, match="0x0 pixels"):
        rasterize(arena, Views(jnp.eye(4)[None, None], jnp.ones((1, 1), bool), jnp.ones((1, 4))))
    with pytest.raises(ValueError, match=r"splats_per_step is 0; expected an integer >= 1"):
        RasterConfig(splats_per_step=0)
    with pytest.raises(ValueError, match="scene_start is"):
        validate_arena(arena.replace(scene_start=jnp.array([0, 9])))


@pytest.mark.parametrize("backend", ["reference", "xla", "gpu", "tpu"])
def test_an_arena_without_gaussians_is_named(views, cloud, backend):
    nothing = jax.tree.map(lambda leaf: leaf[:0], cloud(jax.random.key(0), 4))
    with pytest.raises(ValueError, match=r"0 Gaussians; expected at least 1.*opacity 0.*scene\.empty\(capacity\)"):
        jax.jit(lambda arena: rasterize(arena, views(), backend=backend))(nothing)


@pytest.mark.parametrize("backend", ["reference", "xla", "gpu", "tpu"])
def test_slots_of_opacity_zero_draw_nothing(views, cloud, backend):
    unused = cloud(jax.random.key(0), 4).replace(opacities=jnp.zeros(4))
    assert np.all(np.asarray(rasterize(unused, views(), backend=backend).alpha) == 0)


@pytest.mark.parametrize("backend", ["reference", "xla", "gpu", "tpu"])
def test_views_without_cameras_are_named(views, cloud, backend):
    arena, none = cloud(jax.random.key(0), 4), views(cameras=0)
    for draw in (rasterize, calibrate):
        with pytest.raises(ValueError, match="0 cameras; expected at least 1"):
            draw(arena, none, backend=backend)
