"""The sky looked up at some pixels only."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrecon.render import Cameras, RenderConfig, render
from jaxrecon.render.render import sparser
from jaxrecon.render.sky import between
from jaxrecon.scene.gaussians import empty
from jaxrecon.scene.scene import Scene


@pytest.mark.parametrize("size", [(9, 13), (8, 12), (2, 3), (1, 1)])
@pytest.mark.parametrize("stride", [1, 2, 4])
def test_a_plane_is_given_back_whatever_the_stride(size, stride):
    height, width = size
    cameras = sparser(Cameras(jnp.eye(4)[None], jnp.array([[5.0, 6.0, 3.0, 2.0]]), width, height), stride)
    row, column = np.mgrid[: cameras.height, : cameras.width] * stride
    plane = np.stack([0.1 * row + 0.2, 0.3 * column, row - column], axis=-1)
    image = between(jnp.asarray(plane[None], jnp.float32), stride, height, width)
    row, column = np.mgrid[:height, :width]
    # Sums of a few float32 numbers below 20.
    np.testing.assert_allclose(image[0], np.stack([0.1 * row + 0.2, 0.3 * column, row - column], axis=-1), atol=1e-5)


def test_a_smooth_sky_hardly_changes_and_every_stride_th_pixel_not_at_all():
    rows, columns = np.mgrid[:32, :64]
    sky = jnp.asarray(
        np.stack([rows / 32, 0.5 + 0.4 * np.sin(columns / 64 * 2 * np.pi), rows * 0 + 0.3], -1), jnp.float32
    )
    scene = Scene(empty(1), jnp.zeros(1, jnp.int32), sky, jnp.zeros((0, 3)))
    looking = jnp.array([[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]])
    cameras = Cameras(looking[None], jnp.array([[60.0, 60.0, 30.0, 20.0]]), 61, 41)

    def draw(sky: jax.Array, stride: int) -> jax.Array:
        return render(dataclasses.replace(scene, sky=sky), cameras, config=RenderConfig(sky_stride=stride)).rgb

    exact, sparse = draw(sky, 1), draw(sky, 4)
    # Rounding of the intrinsics of the sparser image.
    np.testing.assert_allclose(sparse[:, ::4, ::4], exact[:, ::4, ::4], atol=1e-5)
    # Half a texel's change of slope, over four pixels of a texel of about six.
    assert float(jnp.abs(sparse - exact).max()) < 5e-3
    weights = jax.random.normal(jax.random.key(0), exact.shape)
    one, other = (jax.grad(lambda sky, stride=stride: jnp.sum(weights * draw(sky, stride)))(sky) for stride in (1, 4))
    assert float(jnp.abs(other).sum()) > 0
    np.testing.assert_allclose(jnp.sum(one), jnp.sum(other), rtol=1e-4)


def test_a_stride_of_no_pixels_is_refused():
    with pytest.raises(ValueError, match="sky_stride is 0; expected a positive integer"):
        RenderConfig(sky_stride=0)
