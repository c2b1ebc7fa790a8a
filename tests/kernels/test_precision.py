"""Accelerators round the factors of a product of matrices unless told otherwise; poses and gradients bear no rounding.

What a CPU computes does not show it, so the programs are inspected instead.
"""

import jax
import jax.numpy as jnp
import pytest
from dot_precision import rounded_products
from jax import lax

from jaxrecon.kernels import CLUSTER, Clusters, RasterConfig, rasterize


def test_the_inspection_finds_a_product_wherever_it_is():
    def product(x):
        return x @ x

    def loop(x):
        return lax.while_loop(lambda y: jnp.sum(y) < 0, product, x)

    def branch(x):
        return lax.cond(jnp.sum(x) > 0, jax.checkpoint(product), lambda y: y, x)

    def body(x):
        return lax.map(jax.jit(loop), x[None])[0] + lax.scan(lambda y, _: (branch(y), None), x, length=2)[0]

    assert len(rounded_products(body, jnp.eye(3))) == 2
    with jax.default_matmul_precision("highest"):
        assert rounded_products(body, jnp.eye(3)) == []


def with_levels(arena):
    """The same Gaussians as clusters of one level."""
    count = arena.count // CLUSTER
    cube, far = jnp.zeros((count, 4)), jnp.full(count, jnp.inf)
    clusters = Clusters(jnp.zeros((count, 3)), far, jnp.zeros(count, jnp.int32), cube, cube, jnp.zeros(count), far)
    return arena.replace(clusters=clusters)


@pytest.mark.parametrize("levels", [False, True])
@pytest.mark.parametrize("backend", ["reference", "xla", "gpu", "tpu"])
def test_nothing_is_rounded_in_a_drawing_or_its_gradient(views, cloud, backend, levels):
    arena, view = cloud(jax.random.key(0), CLUSTER, sh_degree=1), views(cameras=2, groups=2)
    arena = with_levels(arena) if levels else arena
    config = RasterConfig(pairs_per_camera=1000, cameras_per_pass=1)

    def loss(parameters, pose):
        drawn = rasterize(
            arena.replace(**parameters), view.replace(camera_from_group=pose), backend=backend, config=config
        )
        return jnp.sum(drawn.rgb) + jnp.sum(drawn.depth)

    parameters = {name: getattr(arena, name) for name in ("means", "quaternions", "scales", "opacities", "sh")}
    for program in (loss, jax.grad(loss, argnums=(0, 1))):
        assert rounded_products(program, parameters, view.camera_from_group) == []
