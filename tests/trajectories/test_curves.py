"""Curves through recorded positions, beyond them, and off them along the lanes of the map."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrecon.trajectories.curves import SPACING, bent, smooth_curve, stack_curves
from jaxrecon.trajectories.lanes import branches, prolonged
from tests.trajectories.conftest import LANE, SPEED


def circle(radius: float, noise: float = 0.0, points: int = 200) -> np.ndarray:
    angle = np.linspace(0.0, 2.0, points)
    place = radius * np.stack([np.sin(angle), 1 - np.cos(angle)], axis=-1)
    return place + np.random.default_rng(0).normal(0, noise, place.shape)


@pytest.mark.parametrize(("noise", "tolerance"), [(0.0, 0.02), (0.03, 0.06)])
def test_a_circle_keeps_its_curvature_and_its_length(noise, tolerance):
    curve = smooth_curve(circle(15.0, noise), 0.0)
    inside = slice(10, int(float(curve.length) / SPACING) - 10)  # a natural spline is straight at its ends
    assert np.abs(np.asarray(curve.curvature)[inside] - 1 / 15).max() < tolerance
    assert float(curve.length) == pytest.approx(30.0, rel=0.02)


def test_points_lie_on_the_curve_between_its_vertices():
    curve = smooth_curve(circle(15.0), 0.0)
    point, heading, _ = curve.at(jnp.linspace(5.0, 25.0, 77))
    away = np.linalg.norm(np.asarray(point) - np.array([0.0, 15.0]), axis=-1)
    np.testing.assert_allclose(away, 15.0, atol=0.02)
    beside = np.asarray(curve.beside(jnp.linspace(5.0, 25.0, 77), jnp.full(77, 2.0)))
    np.testing.assert_allclose(np.linalg.norm(beside - np.array([0.0, 15.0]), axis=-1), 13.0, atol=0.03)
    np.testing.assert_allclose(heading, np.linspace(5.0, 25.0, 77) / 15, atol=0.01)


def test_a_car_that_stands_has_a_curve_ahead_of_it():
    curve = smooth_curve(np.zeros((90, 2)) + np.array([3.0, 4.0]), np.pi / 2)
    point, heading, _ = curve.at(jnp.asarray([0.0, 10.0]))
    np.testing.assert_allclose(point, [[3.0, 4.0], [3.0, 14.0]], atol=1e-4)
    np.testing.assert_allclose(heading, np.pi / 2, atol=1e-5)


def test_curves_of_several_lengths_are_stacked_straight_on():
    short, long = smooth_curve(circle(15.0), 0.0), smooth_curve(np.stack([np.arange(150.0), np.zeros(150)], -1), 0.0)
    both = stack_curves([short, long])
    assert both.heading.shape[0] == 2 and both.heading.shape[1] == long.heading.shape[0]
    end = int(float(short.length) / SPACING)
    assert float(jnp.ptp(both.heading[0, end + 1 :])) == 0.0
    with pytest.raises(ValueError, match="needs 298 vertices, room is for 128; raise capacity"):
        smooth_curve(np.stack([np.linspace(0.0, 148.8, 150), np.zeros(150)], -1), 0.0, capacity=128)


@pytest.mark.parametrize(("angle", "radius"), [(1.2, 12.0), (-0.7, 20.0)])
def test_a_bend_turns_by_its_angle_with_its_radius(angle, radius):
    straight = smooth_curve(np.stack([np.arange(120.0), np.zeros(120)], axis=-1), 0.0)
    curve = jax.jit(bent)(straight, jnp.float32(30.0), jnp.float32(angle), jnp.float32(radius))
    np.testing.assert_array_equal(curve.points[:60], straight.points[:60])
    assert float(curve.heading[-1] - curve.heading[0]) == pytest.approx(angle, abs=0.02)
    assert float(jnp.abs(curve.curvature).max()) == pytest.approx(1 / radius, rel=0.01)
    steps = np.linalg.norm(np.diff(curve.points, axis=0), axis=-1)
    np.testing.assert_allclose(steps[:200], SPACING, rtol=1e-2)


def test_a_drive_goes_on_along_its_lane_to_the_centre(log):
    beside = np.stack([np.arange(0.0, 40.0), np.full(40, LANE + 0.8)], axis=-1)
    rest = prolonged(log.road_map, beside, 0.0, 60.0)
    assert len(rest) == 60 and np.linalg.norm(rest[0] - beside[-1]) < 1.5
    np.testing.assert_allclose(rest[30:, 1], LANE, atol=0.02)
    assert (np.abs(np.diff(rest[:, 1])) < 0.1).all()


@pytest.mark.parametrize("last", [256.0, 257.9, 259.5])
def test_at_the_end_of_the_map_it_goes_straight_on(log, last):
    points = np.stack([np.arange(last - 30, last + 0.1), np.full(31, 0.5)], axis=-1)
    rest = prolonged(log.road_map, points, 0.0, 30.0)
    assert len(rest) == 30 and (np.diff(rest[:, 0], prepend=points[-1, 0]) > 0.9).all()
    assert (np.abs(rest[:, 1]) < 0.51).all()


def test_without_a_map_it_goes_straight_on_and_nothing_branches_off():
    points = np.stack([np.arange(0.0, 40.0), np.arange(0.0, 40.0)], axis=-1)
    rest = prolonged(None, points, np.pi / 4, 30.0)
    np.testing.assert_allclose(rest[-1], points[-1] + 30 * np.sqrt(0.5), rtol=1e-6)
    assert branches(None, points, 50.0, 4) == []


def test_the_lane_that_turns_off_is_the_only_branch(log):
    points = np.stack([np.arange(0.0, 150.0), np.zeros(150)], axis=-1)
    (branch,) = branches(log.road_map, points, 50.0, 4)
    assert branch.departure == pytest.approx(58.0, abs=1.1)
    assert branch.points[-1, 1] < -20 and branch.points[-1, 0] == pytest.approx(68.0, abs=0.2)
    # It is reached without a jump.
    assert np.linalg.norm(np.diff(branch.points, axis=0), axis=-1).max() < 2.2


def test_the_recorded_drive_lies_on_its_curve(drive, log):
    place = np.asarray(drive.own.at(drive.arc)[0])
    np.testing.assert_allclose(place, log.world_from_ego[:, :2, 3], atol=0.02)
    np.testing.assert_allclose(np.diff(drive.arc), SPEED * 0.1, atol=0.02)
    assert float(drive.own.length) > float(drive.arc[-1]) + 100
