import jax
import jax.numpy as jnp
import numpy as np
import pytest
import shapely
import shapely.affinity
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxrecon.geometry.boxes import Boxes, corners, overlap, point_distance, separation

coordinate = st.floats(-6, 6, width=32)
size = st.floats(0.5, 6, width=32)
angle = st.floats(-7, 7, width=32)
box = st.tuples(coordinate, coordinate, angle, size, size)


def boxes(values) -> Boxes:
    values = jnp.asarray(values, jnp.float32)
    return Boxes(values[..., :2], values[..., 2], values[..., 3], values[..., 4])


def polygon(values) -> shapely.Polygon:
    x, y, heading, length, width = values
    flat = shapely.box(-length / 2, -width / 2, length / 2, width / 2)
    return shapely.affinity.translate(shapely.affinity.rotate(flat, heading, (0, 0), use_radians=True), x, y)


@jax.jit
def compare(first, second):
    return separation(boxes(first), boxes(second)), overlap(boxes(first), boxes(second))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(box, box), min_size=8, max_size=8))
def test_separation_and_overlap_agree_with_shapely(pairs):
    first, second = np.array([p[0] for p in pairs]), np.array([p[1] for p in pairs])
    signed, touching = (np.asarray(values) for values in compare(first, second))
    for number, (one, two) in enumerate(pairs):
        a, b = polygon(one), polygon(two)
        distance = a.distance(b)
        # float32 positions of a few metres, rotated: a few 1e-6
        assert max(signed[number], 0.0) == pytest.approx(distance, abs=2e-5)
        if abs(signed[number]) > 2e-5:
            assert bool(touching[number]) == (a.intersection(b).area > 0)


@settings(max_examples=40, deadline=None)
@given(box, box)
def test_penetration_is_the_shortest_translation_that_separates(one, two):
    signed = float(compare(np.array(one), np.array(two))[0])
    if signed > -1e-3:
        return
    a, b = polygon(one), polygon(two)
    directions = np.linspace(0, 2 * np.pi, 73)
    for theta in directions:
        short = shapely.affinity.translate(b, (-signed - 1e-3) * np.cos(theta), (-signed - 1e-3) * np.sin(theta))
        assert a.intersection(short).area > 0
    normals = [heading + quarter * np.pi / 2 for heading in (one[2], two[2]) for quarter in range(4)]
    freed = [
        shapely.affinity.translate(b, (-signed + 1e-3) * np.cos(n), (-signed + 1e-3) * np.sin(n)).distance(a) > 0
        for n in normals
    ]
    assert any(freed)


def test_boxes_that_only_touch_do_not_overlap():
    one = boxes([[0.0, 0.0, 0.0, 4.0, 2.0]])
    assert not overlap(one, boxes([[4.0, 0.0, 0.0, 4.0, 2.0]]))[0]
    assert overlap(one, boxes([[3.9, 0.0, 0.0, 4.0, 2.0]]))[0]


@pytest.mark.parametrize("batch", [(), (1,), (2, 3)])
def test_batches_and_corners(batch):
    values = np.broadcast_to([1.0, 2.0, np.pi / 2, 4.0, 2.0], (*batch, 5))
    found = np.asarray(corners(boxes(values)))
    assert found.shape == (*batch, 4, 2)
    expected = [[0.0, 4.0], [0.0, 0.0], [2.0, 0.0], [2.0, 4.0]]
    np.testing.assert_allclose(found, np.broadcast_to(expected, found.shape), atol=1e-6)
    assert overlap(boxes(values), boxes(values)).shape == batch


def test_point_distance_is_zero_inside_and_euclidean_at_a_corner():
    one = boxes([0.0, 0.0, 0.0, 4.0, 2.0])
    points = jnp.asarray([[1.0, 0.5], [5.0, 5.0], [0.0, 2.0]])
    np.testing.assert_allclose(point_distance(one, points), [0.0, 5.0, 1.0], atol=1e-6)
