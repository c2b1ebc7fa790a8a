import numpy as np

from jaxrecon.reconstruct.sky import initial_sky, sky_like, sky_pixels
from jaxrecon.reconstruct.views import collect_views

BLUE = np.array([0.5, 0.7, 0.95])


def _blue(views) -> np.ndarray:
    return np.all(np.abs(views.images - BLUE * 255) < 2, axis=-1)


def test_the_sky_is_found_in_training_views_alone(small_log):
    views = collect_views(small_log)
    found = sky_pixels(views)
    assert not found[views.heldout].any()
    blue = _blue(views)[~views.heldout]
    assert not (found[~views.heldout] & ~blue).any()
    assert found[~views.heldout][blue].mean() > 0.7  # its rim is not smooth


def test_what_is_rough_or_dark_is_no_sky():
    above = np.ones((20, 30), bool)
    above[15:] = False
    sky = np.full((20, 30, 3), np.round(BLUE * 255), np.uint8)
    np.testing.assert_array_equal(sky_like(sky, above), above)
    assert not sky_like(sky // 4, above).any()
    rough = np.random.default_rng(0).integers(120, 255, sky.shape).astype(np.uint8)
    assert sky_like(rough, above).mean() < 0.01
    overcast = np.full_like(sky, 230)
    np.testing.assert_array_equal(sky_like(overcast, above), above)


def test_the_sky_takes_the_colour_of_the_sky(small_log):
    views = collect_views(small_log)
    blue = _blue(views)
    sky = initial_sky(views, blue, 16, 32)
    np.testing.assert_allclose(sky[:8], np.tile(BLUE, (8, 32, 1)), atol=0.01)
    without = initial_sky(views, np.zeros_like(blue), 16, 32)
    assert np.all(np.isfinite(without))
    assert without[0, 16, 2] > without[0, 16, 0]  # the topmost pixels, mostly sky
