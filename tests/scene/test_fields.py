import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrecon.scene import occupancy
from jaxrecon.scene.fields import DistanceFields, stack_fields, stack_layouts
from jaxrecon.scene.occupancy import FAR, DistanceField


def field(seed: int, shape: tuple[int, int], cell: float) -> DistanceField:
    values = np.random.default_rng(seed).uniform(-3, 30, shape)
    origin = np.random.default_rng(seed + 100).uniform(-5, 5, 2)
    return DistanceField(jnp.asarray(values, jnp.float32), jnp.asarray(origin, jnp.float32), jnp.float32(cell))


FIELDS = [field(0, (9, 14), 0.25), field(1, (2, 2), 1.0), field(2, (30, 5), 0.5), occupancy.empty()]
lookup, alone = jax.jit(DistanceFields.__call__), jax.jit(DistanceField.__call__)


@pytest.mark.parametrize("batch", [(), (1,), (2, 3)])
def test_every_scene_reads_as_its_own_field(batch):
    fields = stack_fields(FIELDS)
    points = jax.random.uniform(jax.random.key(1), (*batch, 200, 2), minval=-8.0, maxval=18.0)
    for number, one in enumerate(FIELDS):
        read = lookup(fields, jnp.full(batch, number), points)
        # the same sums of products, which the compiler may contract differently
        np.testing.assert_allclose(read, alone(one, points), rtol=1e-5, atol=1e-5)
        assert read.shape == (*batch, 200) and read.dtype == jnp.float32


def test_environments_in_different_scenes_read_side_by_side():
    scene = jnp.asarray([2, 0, 3, 1, 0])
    points = jax.random.uniform(jax.random.key(7), (5, 64, 2), minval=-5.0, maxval=9.0)
    read = lookup(stack_fields(FIELDS), scene, points)
    for env, number in enumerate(scene.tolist()):
        np.testing.assert_allclose(read[env], alone(FIELDS[number], points[env]), rtol=1e-5, atol=1e-5)


def test_outside_and_nowhere_are_far():
    fields, zero = stack_fields(FIELDS), jnp.int32(0)
    edge = np.asarray(FIELDS[0].origin) + 0.25 * np.array([13, 8])
    points = jnp.asarray([edge + 0.01, edge + np.array([0.01, 0.0]), [np.nan, 0.0], [np.inf, 1.0]], jnp.float32)
    assert lookup(fields, zero, points).tolist() == [FAR] * 4
    corner = lookup(fields, zero, jnp.asarray(FIELDS[0].origin)[None])
    np.testing.assert_allclose(corner, FIELDS[0].distance[0, 0], rtol=1e-6)


def test_gradients_are_those_of_the_single_field():
    points = jax.random.uniform(jax.random.key(3), (20, 2), minval=-4.0, maxval=4.0)
    fields = stack_fields(FIELDS)
    several = jax.jit(jax.grad(lambda p: jnp.sum(fields(jnp.int32(2), p))))(points)
    # differences of values over a cell of half a metre
    single = jax.jit(jax.grad(lambda p: jnp.sum(FIELDS[2](p))))(points)
    np.testing.assert_allclose(several, single, rtol=1e-4, atol=1e-4)


def test_bad_fields_are_named():
    with pytest.raises(ValueError, match="no grids to stack"):
        stack_fields([])
    with pytest.raises(ValueError, match=r"grid 1 has shape \(1, 4\)"):
        stack_layouts([(np.zeros(2), 1.0, (2, 2)), (np.zeros(2), 1.0, (1, 4))])
    with pytest.raises(ValueError, match="2 grids have 2000000000 cells of 8 values, expected at most 2147483647"):
        stack_layouts([(np.zeros(2), 1.0, (10**5, 10**4))] * 2, channels=8)
