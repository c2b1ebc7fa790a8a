import numpy as np
import pytest

from jaxrecon.reconstruct import binned_error, calibrate_confidence, predicted_error
from jaxrecon.reconstruct.confidence_error import colour_error, isotonic, unrelated_error


@pytest.mark.parametrize("seed", range(20))
def test_isotonic_regression_is_the_minimum_of_maxima(seed):
    """Second implementation: the closed form of Robertson, Wright and Dykstra 1988, theorem 1.4.4."""
    random = np.random.default_rng(seed)
    values, weights = random.normal(size=12), random.integers(1, 5, 12).astype(float)

    def mean(first: int, last: int) -> float:
        return np.average(values[first : last + 1], weights=weights[first : last + 1])

    expected = [
        max(min(mean(first, last) for last in range(place, 12)) for first in range(place + 1)) for place in range(12)
    ]
    np.testing.assert_allclose(isotonic(values, weights), expected, atol=1e-12)


def test_calibration_recovers_a_falling_map():
    random = np.random.default_rng(0)
    confidence = random.uniform(0.2, 1.0, (4, 100, 100))
    error = random.exponential(0.2 * (1 - confidence) ** 2 + 0.01)
    calibration = calibrate_confidence(confidence, error, guess=0.3)
    at = np.linspace(0.25, 0.95, 15)
    # 625 pixels a knot with errors that scatter as much as their mean: 4% a knot, less where the map is pooled.
    np.testing.assert_allclose(predicted_error(calibration, at), 0.2 * (1 - at) ** 2 + 0.01, rtol=0.15)
    assert list(calibration.error) == sorted(calibration.error, reverse=True)
    assert list(calibration.confidence) == sorted(set(calibration.confidence))


def test_calibration_runs_straight_to_a_guess_below_what_was_observed():
    confidence = np.linspace(0.4, 1.0, 6400).reshape(1, 80, 80)
    calibration = calibrate_confidence(confidence, 1 - confidence, guess=2.0)
    assert calibration.lowest == pytest.approx(0.4, abs=0.01)
    lowest = float(predicted_error(calibration, np.array(calibration.lowest)))
    assert lowest == pytest.approx(0.6, abs=0.01)
    assert float(predicted_error(calibration, np.array(0.0))) == pytest.approx(2.0)
    halfway = float(predicted_error(calibration, np.array(calibration.lowest / 2)))
    assert halfway == pytest.approx((2.0 + lowest) / 2, abs=1e-4)


def test_a_guess_is_never_better_than_what_was_measured():
    confidence = np.linspace(0.4, 1.0, 6400).reshape(1, 80, 80)
    assert calibrate_confidence(confidence, 1 - confidence, guess=0.0).error[0] == pytest.approx(0.6, abs=0.01)


def test_equal_confidences_make_one_knot():
    error = np.random.default_rng(1).uniform(0, 0.2, (2, 20, 20))
    calibration = calibrate_confidence(np.full((2, 20, 20), 0.5), error, guess=0.3)
    assert calibration.confidence == (0.0, 0.5)
    assert calibration.error[1] == pytest.approx(error.mean())


def test_bad_calibration_data_are_named():
    with pytest.raises(ValueError, match="needs at least 64 pixels; received 4"):
        calibrate_confidence(np.ones((1, 2, 2)), np.ones((1, 2, 2)), 0.1)
    with pytest.raises(ValueError, match="not finite"):
        calibrate_confidence(np.ones((1, 10, 10)), np.full((1, 10, 10), np.nan), 0.1)


def test_bins_hold_means_counts_and_intervals_over_views():
    # Three views whose pixels all err alike: the interval is that of three numbers, however many pixels they have.
    confidence = np.full((3, 4, 5), 0.35)
    error = np.array([0.1, 0.2, 0.3])[:, None, None] * np.ones((3, 4, 5))
    error[0, 0, 0], confidence[0, 0, 0] = 0.7, 1.0
    bins = binned_error(confidence, error, bins=10)
    assert bins.pixels == (0, 0, 0, 59, 0, 0, 0, 0, 0, 1)
    assert bins.low[3] == pytest.approx(0.3) and bins.high[3] == pytest.approx(0.4)
    assert bins.error[3] == pytest.approx((19 * 0.1 + 20 * 0.2 + 20 * 0.3) / 59)
    assert bins.error[0] is None and bins.error_low[0] is None
    assert bins.error[9] == pytest.approx(0.7)
    assert bins.error_low[9] is None and bins.error_high[9] is None  # one view alone has no scatter
    half = (bins.error_high[3] - bins.error_low[3]) / 2
    assert half == pytest.approx(1.96 * 0.1 / np.sqrt(3), rel=0.03)  # one pixel in sixty is elsewhere


def test_intervals_hold_the_truth_as_often_as_they_say():
    random = np.random.default_rng(0)
    held = 0
    for _ in range(400):
        per_view = random.normal(0.2, 0.05, (20, 1, 1))  # what a view's pixels share
        bins = binned_error(np.full((20, 6, 6), 0.5), per_view + random.normal(0, 0.02, (20, 6, 6)), bins=1)
        held += bins.error_low[0] <= 0.2 <= bins.error_high[0]
    assert 0.89 < held / 400 < 0.98  # 0.935 for a normal interval on 20 views, give or take three standard errors


def test_errors_are_means_over_channels():
    dark, light = np.zeros((1, 2, 2, 3), np.uint8), np.zeros((1, 2, 2, 3), np.uint8)
    light[..., 0] = 255
    np.testing.assert_allclose(colour_error(dark, light), 1 / 3)


def test_unrelated_pixels_differ_as_independent_ones_do():
    images = np.random.default_rng(0).integers(0, 256, (4, 20, 30, 3), np.uint8)
    assert unrelated_error(images) == pytest.approx(1 / 3, abs=0.01)  # of two uniform numbers
    assert unrelated_error(np.full((2, 4, 6, 3), 77, np.uint8)) == 0.0
