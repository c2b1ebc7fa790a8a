"""Transforms against scipy, closed forms and their own inverses, in NumPy (float64) and JAX (float32)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from jaxrecon.geometry import transforms

BATCHES = [(), (1,), (2, 3)]
# A few roundings of numbers of size 1: eps is 2e-16 in double and 1e-7 in single precision.
TOLERANCE = {np: 1e-14, jnp: 2e-6}


@pytest.fixture(params=[np, jnp], ids=["numpy", "jax"])
def xp(request):
    """The array library."""
    return request.param


@pytest.fixture(params=BATCHES, ids=str)
def batch(request):
    """Leading shape."""
    return request.param


@pytest.fixture
def random():
    """Seeded numbers."""
    return np.random.default_rng(0)


def _array(xp, values):
    return xp.asarray(values, dtype=np.float64 if xp is np else np.float32)


def _call(xp, function, *arguments):
    """The function's answer, compiled where the library compiles: that is quicker than one operation at a time."""
    return (jax.jit(function) if xp is jnp else function)(*arguments)


def _rotations(random, batch):
    return Rotation.random(int(np.prod(batch)), random).as_matrix().reshape(*batch, 3, 3)


def _close(xp, ours, expected, scale=1.0):
    assert isinstance(ours, (np.ndarray, np.generic) if xp is np else jax.Array)
    assert ours.dtype == (np.float64 if xp is np else np.float32)
    np.testing.assert_allclose(ours, expected, atol=TOLERANCE[xp] * scale, rtol=0)


def test_quaternion_to_matrix_is_scipys(xp, batch, random):
    quaternion = random.normal(size=(*batch, 4)) * 3
    expected = Rotation.from_quat(quaternion.reshape(-1, 4), scalar_first=True).as_matrix().reshape(*batch, 3, 3)
    _close(xp, _call(xp, transforms.quaternion_to_matrix, _array(xp, quaternion)), expected)


def test_matrix_to_quaternion_is_scipys(xp, batch, random):
    matrix = _rotations(random, batch)
    expected = Rotation.from_matrix(matrix.reshape(-1, 3, 3)).as_quat(canonical=True, scalar_first=True)
    _close(xp, _call(xp, transforms.matrix_to_quaternion, _array(xp, matrix)), expected.reshape(*batch, 4))


@pytest.mark.parametrize("angle", [0.0, 1e-9, 1e-4, 1.0, np.pi - 1e-4, np.pi - 1e-9, np.pi])
def test_quaternions_are_accurate_at_every_angle(xp, random, angle):
    axes = np.concatenate([np.eye(3), -np.eye(3), random.normal(size=(20, 3))])
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    matrix = _array(xp, Rotation.from_rotvec(angle * axes).as_matrix())
    quaternion = _call(xp, transforms.matrix_to_quaternion, matrix)
    assert (quaternion[:, 0] >= 0).all()
    _close(xp, xp.sum(quaternion**2, axis=-1), 1.0)
    _close(xp, _call(xp, transforms.quaternion_to_matrix, quaternion), np.asarray(matrix, np.float64))


def test_quaternion_gradients_are_finite_where_forms_tie():
    matrices = jnp.stack([jnp.eye(3), jnp.diag(jnp.array([1.0, -1, -1])), jnp.diag(jnp.array([-1.0, -1, 1]))])
    gradient = jax.jit(jax.grad(lambda m: transforms.matrix_to_quaternion(m)[..., 1:].sum()))(matrices)
    assert np.isfinite(gradient).all()


def test_yaw_to_matrix_turns_counter_clockwise_and_yaw_of_undoes_it(xp, batch, random):
    yaw = random.uniform(-np.pi, np.pi, batch)
    matrix = _call(xp, transforms.yaw_to_matrix, _array(xp, yaw))
    expected = Rotation.from_euler("z", yaw.reshape(-1, 1)).as_matrix().reshape(*batch, 3, 3)
    _close(xp, matrix, expected)
    _close(xp, _call(xp, transforms.yaw_of, matrix), yaw)
    _close(xp, matrix[..., 0], np.stack([np.cos(yaw), np.sin(yaw), 0 * yaw], axis=-1))


def test_yaw_of_is_the_first_of_zyx_angles(xp, random):
    angles = random.uniform([-3, -1.2, -3], [3, 1.2, 3], (30, 3))
    matrix = Rotation.from_euler("ZYX", angles).as_matrix()
    _close(
        xp, _call(xp, transforms.yaw_of, _array(xp, matrix)), angles[:, 0], scale=3
    )  # pitch 1.2 rad shortens x by 0.36


def test_wrap_angle_keeps_the_direction(xp, batch, random):
    angle = _array(xp, random.uniform(-20, 20, batch))
    wrapped = _call(xp, transforms.wrap_angle, angle)
    assert (wrapped >= -np.pi - 1e-6).all() and (wrapped < np.pi + 1e-6).all()
    _close(xp, xp.cos(wrapped), np.cos(np.asarray(angle, np.float64)), scale=10)  # angles of 20 round by 10 eps
    _close(xp, xp.sin(wrapped), np.sin(np.asarray(angle, np.float64)), scale=10)


def test_wrap_angle_at_the_seam():
    seam = np.array([np.pi, -np.pi, 3 * np.pi, 0.0, 2 * np.pi])
    np.testing.assert_allclose(transforms.wrap_angle(seam), [-np.pi, -np.pi, -np.pi, 0, 0], atol=1e-15)


def test_rigid_is_its_parts(xp, batch, random):
    rotation, translation = _rotations(random, batch), random.normal(size=(*batch, 3))
    matrix = _call(xp, transforms.rigid, _array(xp, rotation), _array(xp, translation))
    assert matrix.shape == (*batch, 4, 4)
    _close(xp, matrix[..., :3, :3], rotation)
    _close(xp, matrix[..., :3, 3], translation)
    np.testing.assert_array_equal(matrix[..., 3, :], np.broadcast_to([0, 0, 0, 1], (*batch, 4)))


def test_inverse_is_the_matrix_inverse(xp, batch, random):
    matrix = transforms.rigid(_rotations(random, batch), random.normal(size=(*batch, 3)))
    inverse = _call(xp, transforms.inverse, _array(xp, matrix))
    _close(xp, inverse, np.linalg.inv(matrix), scale=4)
    _close(xp, inverse @ _array(xp, matrix), np.broadcast_to(np.eye(4), matrix.shape), scale=4)


@pytest.mark.parametrize("count", [0, 1, 7])
def test_transform_points_is_rotation_and_shift(xp, batch, random, count):
    rotation, translation = _rotations(random, batch), random.normal(size=(*batch, 3))
    points = random.normal(size=(*batch, count, 3))
    matrix = _call(xp, transforms.rigid, _array(xp, rotation), _array(xp, translation))
    moved = _call(xp, transforms.transform_points, matrix, _array(xp, points))
    expected = np.einsum("...ij,...nj->...ni", rotation, points) + translation[..., None, :]
    _close(xp, moved, expected, scale=6)
    _close(xp, transforms.transform_points(_call(xp, transforms.inverse, matrix), moved), points, scale=12)


def test_compose_is_the_matrix_product_and_broadcasts(xp, batch, random):
    shapes = [(*batch, 1), (*batch, 3)]
    first, second = (transforms.rigid(_rotations(random, s), random.normal(size=(*s, 3))) for s in shapes)
    _close(xp, _call(xp, transforms.compose, _array(xp, first), _array(xp, second)), first @ second, scale=4)


def test_transforms_compose(random):
    a, b = (transforms.rigid(_rotations(random, (5,)), random.normal(size=(5, 3))) for _ in range(2))
    points = random.normal(size=(5, 4, 3))
    once = transforms.transform_points(a @ b, points)
    np.testing.assert_allclose(once, transforms.transform_points(a, transforms.transform_points(b, points)), atol=1e-13)
