"""The TPU compositor: interpreted against the definition, and compiled ahead of time for real TPUs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.pallas import tpu as pltpu
from tpu_compilation import compiled_for_tpu

from jaxrecon.kernels.binning import bin_splats
from jaxrecon.kernels.projection import Splats
from jaxrecon.kernels.raster import MAXIMUM_EXTENT, MINIMUM_ALPHA, RasterConfig
from jaxrecon.kernels.reference import composite_reference
from jaxrecon.kernels.tpu import CHUNK, TILE, composite_tpu

DIFFERENTIABLE = ("mean", "conic", "depth", "opacity", "colour")
# Projection, sort, gather, kernel and the way back, for a device that is described, not opened.
COMPILE = """
import sys

import jax
import jax.numpy as jnp
from jax.experimental import topologies

from jaxrecon.kernels import Arena, RasterConfig, Views, rasterize

jax.default_backend = lambda: "tpu"  # what the code would see on the device
device = topologies.get_topology_desc(platform="tpu", topology_name=sys.argv[1]).devices[0]
here = jax.sharding.SingleDeviceSharding(device)

def array(*shape, dtype=jnp.float32):
    return jax.ShapeDtypeStruct(shape, dtype, sharding=here)

group = array(500, dtype=jnp.int32)
arena = Arena(array(500, 3), array(500, 4), array(500, 3), array(500), array(500, 4, 3), group)
views = Views(array(2, 2, 4, 4), array(2, 2, dtype=bool), array(2, 4), width=100, height=70)
config = RasterConfig(pairs_per_camera=1024, splats_per_step=8)

def loss(arena, views):
    raster = rasterize(arena, views, backend="tpu", config=config)
    return jnp.sum(raster.rgb**2) + jnp.sum(raster.depth) + jnp.sum(raster.alpha), raster

both = jax.jit(jax.value_and_grad(loss, has_aux=True, allow_int=True))
lowered = both.trace(arena, views).lower(lowering_platforms=("tpu",))
memory = lowered.compile().memory_analysis()
print(f"{device.device_kind}; calls the kernel: {'tpu_custom_call' in lowered.as_text()}; {memory}")
"""


def random_splats(seed, cameras, count, width, height, margin=10, largest=20.0):
    """Splats strewn over the images and around them, some invisible, with boxes as the projection makes them."""
    rng = np.random.default_rng(seed)
    mean = rng.uniform([-margin, -margin], [width + margin, height + margin], size=(cameras, count, 2))
    angle = rng.uniform(0, np.pi, size=(cameras, count))
    axes = np.exp(rng.uniform(np.log(0.6), np.log(largest), size=(cameras, count, 2)))
    cos, sin = np.cos(angle), np.sin(angle)
    xx = (cos * axes[..., 0]) ** 2 + (sin * axes[..., 1]) ** 2
    yy = (sin * axes[..., 0]) ** 2 + (cos * axes[..., 1]) ** 2
    xy = cos * sin * (axes[..., 0] ** 2 - axes[..., 1] ** 2)
    determinant = xx * yy - xy * xy
    opacities = rng.uniform(0.02, 0.99, size=(cameras, count))
    deviations = np.minimum(np.sqrt(2 * np.log(255 * np.maximum(opacities, MINIMUM_ALPHA))), MAXIMUM_EXTENT)
    arrays = {
        "mean": mean,
        "conic": np.stack([yy, -xy, xx], axis=-1) / determinant[..., None],
        "depth": rng.uniform(1, 50, size=(cameras, count)),
        "opacity": opacities,
        "colour": rng.uniform(0, 1, size=(cameras, count, 3)),
        "extent": np.ceil(deviations[..., None] * np.sqrt(np.stack([xx, yy], axis=-1))),
    }
    floats = {name: jnp.asarray(array, jnp.float32) for name, array in arrays.items()}
    return Splats(**floats, visible=jnp.asarray(rng.uniform(size=(cameras, count)) < 0.9))


def interpreted(splats, width, height, pairs=4096):
    config = RasterConfig(pairs_per_camera=pairs)
    return jax.jit(lambda splats: composite_tpu(splats, width, height, config, interpret=True))(splats)


def defined(splats, width, height):
    return jax.jit(lambda splats: composite_reference(splats, width, height))(splats)


def assert_same_images(actual, expected):
    """Float32 rounding is all that may differ: the kernel does the arithmetic of the definition."""
    for name, mine, other, tolerance in zip(
        ("rgb", "depth", "alpha"), actual, expected, (2e-5, 1e-3, 2e-5), strict=True
    ):
        np.testing.assert_allclose(mine, other, atol=tolerance, err_msg=name)


@pytest.mark.parametrize(
    ("cameras", "count", "width", "height"),
    [(1, 1, 32, 32), (2, 300, 150, 40), (3, 40, 20, 97), (1, 700, 64, 33)],
)
def test_kernel_draws_the_definition(cameras, count, width, height):
    splats = random_splats(count, cameras, count, width, height)
    *images, overflow, pairs = interpreted(splats, width, height, pairs=8192)
    assert not np.any(overflow)
    assert_same_images(images, defined(splats, width, height))
    lists = bin_splats(splats, width, height, TILE, 8192 * cameras)
    assert int(np.sum(pairs)) == int(np.sum(lists.length))
    if count == 700:
        assert int(np.max(lists.length)) > 2 * CHUNK  # so that a tile takes its records in several transfers


def test_gradients_are_those_of_the_definition():
    width, height, cameras = 45, 38, 2
    splats = random_splats(5, cameras, 120, width, height)
    rng = np.random.default_rng(1)
    shapes = [(cameras, height, width, 3), (cameras, height, width), (cameras, height, width)]
    weights = [
        rng.normal(size=shape).astype(np.float32) * scale for shape, scale in zip(shapes, (1, 0.1, 1), strict=True)
    ]

    def slopes(draw):
        def loss(parameters):
            sums = draw(splats.replace(**parameters), width, height)[:3]
            return sum(jnp.sum(one * weight) for one, weight in zip(sums, weights, strict=True))

        return jax.jit(jax.grad(loss))({name: getattr(splats, name) for name in DIFFERENTIABLE})

    actual, expected = slopes(interpreted), slopes(defined)
    for name in DIFFERENTIABLE:
        mine, other = (np.asarray(slope[name], np.float64).ravel() for slope in (actual, expected))
        assert np.linalg.norm(other) > 1e-3, name
        assert np.linalg.norm(mine - other) <= 1e-3 * np.linalg.norm(other), name
        assert mine @ other / np.linalg.norm(mine) / np.linalg.norm(other) >= 0.9999, name


def test_no_product_of_matrices_is_left_to_a_precision_that_a_tpu_rounds():
    splats = random_splats(1, 1, 10, 32, 32)
    config = RasterConfig(pairs_per_camera=64)

    def loss(mean):
        return jnp.sum(composite_tpu(splats.replace(mean=mean), 32, 32, config, interpret=True)[0])

    program = jax.jit(jax.grad(loss)).lower(splats.mean).as_text()
    products = [line for line in program.splitlines() if "dot_general" in line]
    assert len(products) >= 3
    assert all("precision = [HIGHEST, HIGHEST]" in line for line in products)


def test_nothing_visible_is_an_empty_image_with_zero_gradients():
    splats = random_splats(2, 2, 30, 40, 35)
    splats = splats.replace(visible=jnp.zeros_like(splats.visible))
    *images, overflow, pairs = interpreted(splats, 40, 35)
    assert not np.any(overflow) and np.all(np.asarray(pairs) == 0)
    assert all(np.all(np.asarray(image) == 0) for image in images)
    gradient = jax.grad(lambda mean: jnp.sum(interpreted(splats.replace(mean=mean), 40, 35)[0]))(splats.mean)
    assert np.all(np.asarray(gradient) == 0)


def walled_splats(behind, beside):
    """An opaque wall before a first tile, so many splats behind it, and so many in the tile to its right."""
    count = 8
    wall = Splats(
        mean=jnp.full((1, count, 2), TILE / 2),
        conic=jnp.tile(jnp.array([1 / 1600, 0.0, 1 / 1600]), (1, count, 1)),
        depth=jnp.linspace(0.5, 0.9, count)[None],
        opacity=jnp.ones((1, count)),
        colour=jnp.full((1, count, 3), 0.5),
        extent=jnp.full((1, count, 2), 134.0),
        visible=jnp.ones((1, count), bool),
    )
    hidden = random_splats(3, 1, behind, TILE, TILE, margin=-12, largest=2.5)
    seen = random_splats(4, 1, beside, TILE, TILE, margin=-12, largest=2.5)
    seen = seen.replace(mean=seen.mean + jnp.array([TILE, 0.0]))
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves, axis=1), wall, hidden, seen)


def test_saturated_pixels_stop_where_the_definition_stops():
    """Lists many transfers long, most of which lies behind saturated pixels."""
    splats = walled_splats(3 * CHUNK, 2 * CHUNK)
    *images, overflow, _ = interpreted(splats, 2 * TILE, TILE)
    assert not np.any(overflow)
    assert_same_images(images, defined(splats, 2 * TILE, TILE))
    behind_the_wall = np.asarray(images[0] - 0.5 * images[2][..., None])[:, :, :TILE]
    np.testing.assert_allclose(behind_the_wall, 0.0, atol=1e-6)


@pytest.mark.parametrize("moment", ["eager", "on_wait"])
def test_every_transfer_is_waited_for_exactly_once(moment, capsys):
    """A simulation of a TPU's memories: what has not arrived is not a number, and what is left under way is named."""
    splats = walled_splats(CHUNK + 40, 8)
    config = RasterConfig(pairs_per_camera=512)
    simulation = pltpu.InterpretParams(dma_execution_mode=moment)
    images = jax.jit(lambda splats: composite_tpu(splats, 2 * TILE, TILE, config, simulation))(splats)[:3]
    assert_same_images(images, defined(splats, 2 * TILE, TILE))
    # The first tile, saturated after one transfer, has asked for another.
    assert int(bin_splats(splats, 2 * TILE, TILE, TILE, 512).length[0]) > CHUNK
    assert "non-zero count" not in capsys.readouterr().out


def test_an_opaque_wall_hides_what_lies_behind_it_exactly():
    """Behind two splats of alpha 0.999 nothing is seen: the second would pass the threshold and is not blended."""
    splats = random_splats(0, 1, 6, 32, 32)
    splats = splats.replace(
        mean=jnp.full((1, 6, 2), 16.0),
        conic=jnp.tile(jnp.array([1e-9, 0.0, 1e-9]), (1, 6, 1)),
        depth=jnp.array([[7.0, 2.0, 3.0, 4.0, 5.0, 6.0]]),
        opacity=jnp.ones((1, 6)),
        extent=jnp.full((1, 6, 2), 1e4),
        visible=jnp.ones((1, 6), bool),
    )
    rgb, depth_sum, alpha, _, _ = interpreted(splats, 32, 32)
    np.testing.assert_allclose(alpha, 0.999, atol=1e-6)
    np.testing.assert_allclose(depth_sum, 0.999 * 2.0, rtol=1e-6)
    np.testing.assert_allclose(rgb, np.broadcast_to(0.999 * splats.colour[0, 1], rgb.shape), rtol=1e-6)


def test_too_small_a_capacity_is_flagged_with_the_size_that_would_do():
    splats = random_splats(4, 2, 100, 60, 50)
    *images, overflow, pairs = interpreted(splats, 60, 50, pairs=30)
    assert np.all(overflow)
    assert all(np.all(np.isfinite(image)) for image in images)
    assert not np.any(interpreted(splats, 60, 50, pairs=int(np.max(pairs)))[3])


@pytest.mark.parametrize(
    ("topology", "kind"),
    [("v5e:2x2", "TPU v5 lite"), pytest.param("v6e:2x2", "TPU v6 lite", marks=pytest.mark.torture)],
)
def test_image_and_gradients_compile_for_a_tpu_that_is_not_here(topology, kind):
    assert f"{kind}; calls the kernel: True" in compiled_for_tpu(COMPILE, topology)
