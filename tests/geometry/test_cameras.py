"""Cameras by closed form and round trip, in NumPy (float64) and JAX (float32)."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxrecon.geometry import cameras

BATCHES = [(), (1,), (2, 3)]
# Pixels of size 100: a few roundings of 1e-14 in double and 1e-5 in single precision.
TOLERANCE = {np: 1e-11, jnp: 2e-4}


@pytest.fixture(params=[np, jnp], ids=["numpy", "jax"])
def xp(request):
    """The array library."""
    return request.param


@pytest.fixture(params=BATCHES, ids=str)
def batch(request):
    """Leading shape."""
    return request.param


def _array(xp, values):
    return xp.asarray(values, dtype=np.float64 if xp is np else np.float32)


def _call(xp, function, *arguments, **static):
    """The function's answer, compiled where the library compiles: that is quicker than one operation at a time."""
    bound = functools.partial(function, **static)
    return (jax.jit(bound) if xp is jnp else bound)(*arguments)


def _intrinsics(xp, batch):
    random = np.random.default_rng(1)
    return _array(xp, random.uniform([50, 60, 40, 20], [90, 80, 60, 30], (*batch, 4)))


def test_a_point_on_the_axis_lands_on_the_principal_point(xp):
    intrinsics = _array(xp, [70, 80, 40.5, 20.25])
    pixels = _call(xp, cameras.project, intrinsics, _array(xp, [[0, 0, 3], [1, 0, 2], [0, -1, 2]]))
    np.testing.assert_allclose(pixels, [[40.5, 20.25], [75.5, 20.25], [40.5, -19.75]])


def test_projection_divides_the_calibration_matrixs_product(xp, batch):
    random = np.random.default_rng(2)
    intrinsics, points = _intrinsics(xp, batch), random.uniform([-2, -2, 1], [2, 2, 9], (*batch, 5, 3))
    fx, fy, cx, cy = np.moveaxis(np.asarray(intrinsics, np.float64), -1, 0)
    zero, one = np.zeros_like(fx), np.ones_like(fx)
    matrix = np.stack([fx, zero, cx, zero, fy, cy, zero, zero, one], axis=-1).reshape(*batch, 3, 3)
    homogeneous = np.einsum("...ij,...nj->...ni", matrix, points)
    expected = homogeneous[..., :2] / homogeneous[..., 2:]
    ours = _call(xp, cameras.project, intrinsics, _array(xp, points))
    assert ours.dtype == intrinsics.dtype
    np.testing.assert_allclose(ours, expected, atol=TOLERANCE[xp])


def test_rays_project_onto_their_pixel_centres(xp, batch):
    width, height = 7, 4
    intrinsics = _intrinsics(xp, batch)
    rays = _call(xp, cameras.pixel_rays, intrinsics, width=width, height=height)
    assert rays.shape == (*batch, height, width, 3)
    np.testing.assert_array_equal(rays[..., 2], np.ones((*batch, height, width)))
    points = xp.reshape(rays, (*batch, height * width, 3)) * 5.0
    pixels = np.asarray(_call(xp, cameras.project, intrinsics, points)).reshape(*batch, height, width, 2)
    u, v = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    np.testing.assert_allclose(pixels, np.broadcast_to(np.stack([u, v], axis=-1), pixels.shape), atol=TOLERANCE[xp])


def test_points_in_the_camera_plane_stay_finite(xp):
    pixels = _call(xp, cameras.project, _array(xp, [70, 80, 40, 20]), _array(xp, [[1, 1, 0], [1, 1, -3], [0, 0, 0]]))
    assert np.isfinite(np.asarray(pixels)).all()


def test_rescaling_keeps_where_a_point_lies_in_the_image(xp, batch):
    intrinsics, points = _intrinsics(xp, batch), _array(xp, np.full((*batch, 1, 3), [0.3, -0.2, 2.0]))
    small = cameras.rescale_intrinsics(intrinsics, (120, 60), (40, 30))
    assert small.shape == (*batch, 4)
    before, after = _call(xp, cameras.project, intrinsics, points), _call(xp, cameras.project, small, points)
    np.testing.assert_allclose(after, before * _array(xp, [1 / 3, 1 / 2]), rtol=1e-5 if xp is jnp else 1e-12)
    back = cameras.rescale_intrinsics(small, (40, 30), (120, 60))
    np.testing.assert_allclose(back, intrinsics, rtol=1e-6 if xp is jnp else 1e-14)


def test_a_crop_of_the_same_aspect_is_a_resampling(xp):
    intrinsics = _intrinsics(xp, ())
    ours = cameras.crop_intrinsics(intrinsics, (120, 60), (60, 30))
    np.testing.assert_allclose(ours, cameras.rescale_intrinsics(intrinsics, (120, 60), (60, 30)), rtol=1e-6)


SIZE = st.tuples(st.integers(1, 2000), st.integers(1, 2000))


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(SIZE, SIZE)
def test_a_crop_is_the_largest_centred_view_inside_the_recorded_one(from_size, to_size):
    intrinsics = np.array([70.0, 70.0, from_size[0] * 0.4, from_size[1] * 0.6])
    cropped = cameras.crop_intrinsics(intrinsics, from_size, to_size)
    np.testing.assert_allclose(cropped[0], cropped[1])  # square scaling keeps square pixels square
    corners = np.array([[0.0, 0.0], [to_size[0], to_size[1]]])
    rays = np.concatenate([(corners - cropped[2:]) / cropped[:2], np.ones((2, 1))], axis=1)
    recorded = cameras.project(intrinsics, rays)
    slack = 1e-9 * max(*from_size, *to_size)
    assert (recorded > -slack).all() and (recorded < np.array(from_size) + slack).all()
    np.testing.assert_allclose(recorded.sum(axis=0), from_size, atol=slack)  # centred
    filled = (recorded[1] - recorded[0]) / from_size
    np.testing.assert_allclose(filled.max(), 1.0)  # largest: it spans the whole width or height
