import jax
import jax.numpy as jnp
import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxrecon.geometry.polylines import locate, polyline, project, sample

SQUARE = jnp.asarray([[0.0, 0.0], [4.0, 0.0], [4.0, 3.0], [4.0, 3.0], [9.0, 9.0]])
vertices = st.lists(st.tuples(st.integers(-9, 9), st.integers(-9, 9)), min_size=3, max_size=7, unique=True)


@jax.jit
def nearest_points(points, count, queries):
    line = polyline(points, count)
    found = project(line, queries)
    return found, sample(line, found.arc)[0]


@settings(max_examples=60, deadline=None)
@given(vertices, st.lists(st.tuples(st.floats(-12, 12), st.floats(-12, 12)), min_size=5, max_size=5))
def test_projection_agrees_with_shapely(chain, queries):
    padded = chain + [(77, 77)] * (7 - len(chain))
    found, nearest = nearest_points(jnp.asarray(padded, jnp.float32), len(chain), jnp.asarray(queries, jnp.float32))
    found, nearest, other = jax.device_get(found), np.asarray(nearest), shapely.LineString(chain)
    for number, query in enumerate(queries):
        assert found.distance[number] == pytest.approx(other.distance(shapely.Point(query)), abs=1e-4)
        # The nearest point may not be unique, but it lies on the line and at that distance.
        assert other.distance(shapely.Point(*nearest[number])) < 1e-4
        assert np.linalg.norm(nearest[number] - query) == pytest.approx(found.distance[number], abs=1e-4)


def test_known_projections_with_unused_slots():
    line = polyline(SQUARE, 4)
    found = project(line, jnp.asarray([[1.0, 2.0], [6.0, 2.0], [-3.0, 4.0], [5.0, 9.0]]))
    np.testing.assert_allclose(found.arc, [1.0, 6.0, 0.0, 7.0], atol=1e-6)
    np.testing.assert_allclose(found.lateral[:2], [2.0, -2.0], atol=1e-6)
    np.testing.assert_allclose(found.heading, [0.0, np.pi / 2, 0.0, np.pi / 2], atol=1e-6)
    np.testing.assert_allclose(found.distance, [2.0, 2.0, 5.0, np.sqrt(37.0)], rtol=1e-6)
    assert line.length == 7.0 and not np.isnan(np.asarray(line.arc)).any()


def test_window_follows_a_line_that_comes_back():
    there_and_back = polyline(jnp.asarray([[0.0, 0.0], [20.0, 0.0], [20.0, 1.0], [0.0, 1.0]]))
    query = jnp.asarray([[5.0, 0.6], [5.0, 0.6]])
    assert project(there_and_back, query).arc[0] == pytest.approx(36.0)
    near = project(there_and_back, query, near=jnp.asarray([4.0, 35.0]), window=5.0)
    np.testing.assert_allclose(near.arc, [5.0, 36.0], atol=1e-5)


@pytest.mark.parametrize("batch", [(), (1,), (2, 3)])
def test_sample_inverts_projection(batch):
    line = polyline(SQUARE, 4)
    arc = jnp.broadcast_to(5.5, batch)
    point, heading = sample(line, arc)
    assert point.shape == (*batch, 2) and heading.shape == batch
    np.testing.assert_allclose(project(line, point).arc, arc, atol=1e-6)
    clamped, _ = sample(line, jnp.asarray([-1.0, 99.0]))
    np.testing.assert_allclose(clamped, [[0.0, 0.0], [4.0, 3.0]], atol=1e-6)
    segment, fraction = locate(line, jnp.asarray(7.0))
    assert int(segment) in (1, 2) and 0 <= float(fraction) <= 1


def test_one_point_is_refused():
    with pytest.raises(ValueError, match="at least 2 points, got 1"):
        polyline(jnp.zeros((1, 2)))
