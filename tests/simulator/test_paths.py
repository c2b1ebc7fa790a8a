"""The constant-time look-ups on paths against those that look at every segment."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrecon.geometry import polylines
from jaxrecon.simulator.paths import AHEAD, BEHIND, as_paths, join_paths


def lines() -> list[polylines.Polyline]:
    rng = np.random.default_rng(3)
    made = []
    for count in (9, 60, 25):
        steps, turns = rng.uniform(0.5, 3.0, count), np.cumsum(rng.normal(0, 0.2, count))
        points = np.cumsum(steps[:, None] * np.stack([np.cos(turns), np.sin(turns)], axis=-1), axis=0)
        made.append(polylines.polyline(jnp.asarray(points, jnp.float32)))
    return made


@pytest.fixture(scope="module")
def queries():
    """Paths of three scenes, and points near them with an arc length from a little before or after."""
    made = lines()
    paths = join_paths([as_paths(line) for line in made])
    rng = np.random.default_rng(4)
    scene = rng.integers(0, 3, 400)
    arc = jnp.asarray(rng.uniform(0, 1, 400) * np.array([float(line.length) for line in made])[scene], jnp.float32)
    place = np.zeros((400, 2), np.float32)
    for number, line in enumerate(made):
        mine = scene == number
        place[mine] = polylines.sample(line, arc[mine])[0]
    point = jnp.asarray(place + rng.normal(0, 0.7, place.shape), jnp.float32)
    near = jnp.asarray(arc + rng.uniform(-2.0, 1.0, 400), jnp.float32)
    return made, paths, jnp.asarray(scene), point, near


def test_nearest_agrees_with_a_search_of_all_segments(queries):
    made, paths, scene, point, near = queries
    found = jax.jit(type(paths).nearest)(paths, scene, point, near)
    for number, line in enumerate(made):
        mine = np.asarray(scene) == number
        expected = jax.vmap(lambda p, n, line=line: search(line, p, n))(point[mine], near[mine])
        np.testing.assert_allclose(found.distance[mine], expected.distance, atol=1e-5)
        np.testing.assert_allclose(found.arc[mine], expected.arc, atol=1e-4)
        np.testing.assert_allclose(found.lateral[mine], expected.lateral, atol=1e-5)
        np.testing.assert_allclose(
            found.segment[mine] + found.fraction[mine], expected.segment + expected.fraction, atol=1e-4
        )


def search(line, point, near):
    """All segments that reach from ``BEHIND`` before to ``AHEAD`` after."""
    middle, half = near + (AHEAD - BEHIND) / 2, (AHEAD + BEHIND) / 2
    return polylines.project(line, point, near=middle, window=half)


def test_locate_agrees_with_a_binary_search(queries):
    made, paths, scene, _, near = queries
    segment, fraction = jax.jit(type(paths).locate)(paths, scene, near)
    for number, line in enumerate(made):
        mine = np.asarray(scene) == number
        expected = polylines.locate(line, near[mine])
        np.testing.assert_allclose(segment[mine] + fraction[mine], expected[0] + expected[1], atol=1e-4)


def test_gradients_are_finite_on_the_path_itself(queries):
    _, paths, scene, _, _ = queries
    on_path = paths.points[scene, 3]

    def cost(point):
        return jnp.sum(paths.nearest(scene, point, paths.arc[scene, 3]).distance)

    assert jnp.isfinite(jax.grad(cost)(on_path)).all()


def test_vertices_too_close_are_named():
    with pytest.raises(ValueError, match=r"vertices 0.100 m apart; expected at least 0.5 m"):
        as_paths(polylines.polyline(jnp.asarray([[0.0, 0.0], [0.1, 0.0], [5.0, 0.0]])))
