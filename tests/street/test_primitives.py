"""Solids against closed forms and against a second, marching implementation in NumPy."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxrecon.street import primitives
from jaxrecon.street.primitives import BOX, CROWN, CYLINDER, ELLIPSOID, INFINITY, PLAIN_BOX, QUADRIC, Part, cone, entry


def _entry(kind, origin, direction, shape):
    columns = [tuple(jnp.asarray(a, jnp.float32).T) for a in (origin, direction)]
    return np.asarray(entry(kind, columns[0], columns[1], tuple(jnp.float32(s) for s in shape)))


def _rays(seed, count):
    generator = np.random.default_rng(seed)
    origin = generator.normal(size=(count, 3))
    origin = 3.5 * origin / np.linalg.norm(origin, axis=1, keepdims=True)
    target = generator.uniform(-0.9, 0.9, (count, 3))
    direction = target - origin
    return origin, direction / np.linalg.norm(direction, axis=1, keepdims=True)


def _inside_box(p, shape):
    x, y, z = p[..., 0], p[..., 1], p[..., 2]
    along, across = 1 - shape[0] * z, 1 - shape[2] * z
    return (z >= 0) & (z <= 1) & (abs(x - shape[1] * z) <= along) & (abs(y - shape[3] * z) <= across)


def _inside_quadric(p, shape):
    x, y, z = p[..., 0], p[..., 1], p[..., 2]
    return (abs(z) <= 1) & (x * x + y * y + shape[0] * z * z + 2 * shape[1] * z <= shape[2])


def _march(inside, origin, direction, shape):
    """First point inside, by dense steps."""
    t = np.linspace(0.0, 7.0, 14001)
    hit = inside(origin[:, None] + t[:, None] * direction[:, None], shape)
    return np.where(hit.any(1), t[hit.argmax(1)], np.inf), hit.sum(1) * (t[1] - t[0])


@pytest.mark.parametrize(
    ("kind", "inside", "shape"),
    [
        (BOX, _inside_box, PLAIN_BOX),
        (BOX, _inside_box, (0.4, 0.15, 0.3, -0.2)),
        (BOX, _inside_box, (0.0, 0.0, 0.99, 0.0)),
        (QUADRIC, _inside_quadric, ELLIPSOID),
        (QUADRIC, _inside_quadric, CYLINDER),
        (QUADRIC, _inside_quadric, cone(0.3)),
    ],
)
def test_entry_agrees_with_marching(kind, inside, shape):
    origin, direction = _rays(0, 200)
    marched, chord = _march(inside, origin, direction, shape)
    found = _entry(kind, origin, direction, shape)
    # Chords shorter than a few steps may slip between the marching samples.
    assert (found[chord > 0.01] < INFINITY).all()
    assert (found[chord == 0] < INFINITY).mean() < 0.03
    both = np.isfinite(marched) & (chord > 0.01)
    assert both.sum() > 60
    np.testing.assert_allclose(found[both], marched[both], atol=1e-3)  # one marching step is 5e-4


def test_ball_and_slab_closed_forms():
    origin = np.array([[-4.0, 0.0, 0.0], [-4.0, 0.6, 0.0], [-4.0, 1.01, 0.0], [0.0, 0.0, 5.0]])
    direction = np.array([[1.0, 0.0, 0.0]] * 3 + [[0.0, 0.0, -1.0]])
    np.testing.assert_allclose(_entry(QUADRIC, origin, direction, ELLIPSOID), [3.0, 3.2, INFINITY, 4.0], rtol=1e-6)
    np.testing.assert_allclose(
        _entry(BOX, origin + np.array([0, 0, 0.5]), direction, PLAIN_BOX), [3.0, 3.0, INFINITY, 4.5], rtol=1e-6
    )


def test_a_ray_that_starts_inside_or_leaves_meets_nothing():
    origin = np.array([[0.0, 0.0, 0.5], [3.0, 0.0, 0.5]])
    direction = np.array([[1.0, 0.0, 0.0]] * 2)
    for kind, shape in ((BOX, PLAIN_BOX), (QUADRIC, ELLIPSOID)):
        assert (_entry(kind, origin, direction, shape) == INFINITY).all()


def test_crown_lies_between_its_core_and_its_shell():
    origin, direction = _rays(1, 300)
    core = 0.78
    found = _entry(CROWN, origin, direction, (3.0, 5.0, 0.74, core))
    nearest = np.linalg.norm(np.cross(origin, direction), axis=1)
    assert (found[nearest < core] < INFINITY).all()
    assert (found[nearest > 1] == INFINITY).all()
    hit = found < INFINITY
    radius = np.linalg.norm(origin[hit] + found[hit, None] * direction[hit], axis=1)
    assert radius.min() > core - 1e-3
    assert radius.max() < 1 + 1e-3
    # The shell is pierced: some rays stop at it and some inside.
    assert 0.1 < (radius > 0.99).mean() < 0.95


def test_a_top_beyond_its_bottom_is_refused():
    with pytest.raises(ValueError, match=r"Part\.shape: received .* expected a top inside its bottom"):
        Part(BOX, (0, 0, 0), (1, 1, 1), primitives.PLAIN, primitives.OBJECT, (0, 0, 0), shape=(0.1, 0.3, 0.0, 0.0))
