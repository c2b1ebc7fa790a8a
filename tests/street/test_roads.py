"""Frenet coordinates: round trips, and the device's loop against the host's."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxrecon.street.config import LAYOUTS, StreetConfig
from jaxrecon.street.layout import make_layout
from jaxrecon.street.roads import chain, locate, locate_all, padded, pose_at, stacked

ROAD = chain(3.0, -2.0, 0.4, [(30.0, 0.0), (40.0, 0.012), (25.0, -0.02), (50.0, 0.0)], left=4.0, right=5.0)


def test_pose_then_locate_is_the_identity():
    station, lateral = (a.ravel() for a in np.meshgrid(np.linspace(-20, 200, 89), np.linspace(-9, 9, 7)))
    points, _ = pose_at(ROAD, station, lateral)
    place = locate(ROAD, points[:, 0], points[:, 1])
    np.testing.assert_allclose(place.station, station, atol=1e-9)
    np.testing.assert_allclose(place.lateral, lateral, atol=1e-9)
    np.testing.assert_allclose(place.outside, np.maximum(lateral - 4.0, -lateral - 5.0), atol=1e-9)


def test_arc_closed_form():
    circle = chain(0.0, 0.0, 0.0, [(0.01, 0.0), (np.pi * 25.0, 0.02), (1.0, 0.0)], left=1.0, right=1.0)
    point, heading = pose_at(circle, np.array(0.01 + np.pi * 25.0))
    np.testing.assert_allclose(point, [50.01, 50.0], atol=1e-9)
    assert heading == pytest.approx(np.pi / 2)


def test_device_agrees_with_host():
    roads = tuple(
        padded(r, 6) for r in (ROAD, chain(40.0, -80.0, 1.5, [(200.0, 0.0)], left=3.0, right=3.0, ends=120.0))
    )
    points = np.random.default_rng(0).uniform(-40, 130, (2, 400, 2))
    device = locate_all(stacked(roads), *(jnp.asarray(points[..., i], jnp.float32) for i in range(2)))
    for i, road in enumerate(roads):
        host = locate(road, points[..., 0], points[..., 1])
        near = np.abs(host.lateral) < 40  # the centre of the bends is 50 m away
        np.testing.assert_allclose(np.asarray(device.lateral[i])[near], host.lateral[near], atol=2e-3)
        np.testing.assert_allclose(np.asarray(device.station[i])[near], host.station[near], atol=2e-3)
        np.testing.assert_allclose(np.asarray(device.outside[i])[near], host.outside[near], atol=2e-3)


@pytest.mark.parametrize("kind", LAYOUTS)
def test_roads_are_smooth(kind):
    layout = make_layout(StreetConfig(layout=kind), np.random.default_rng(4))
    station = np.linspace(-40, 300, 3401)
    points, heading = pose_at(layout.main, station)
    np.testing.assert_allclose(np.linalg.norm(np.diff(points, axis=0), axis=1), 0.1, rtol=1e-4)
    assert np.abs(np.diff(np.unwrap(heading))).max() < 0.1 / 60


def test_too_many_pieces_are_refused():
    with pytest.raises(ValueError, match="road has 4 pieces, expected at most 2"):
        padded(ROAD, 2)
