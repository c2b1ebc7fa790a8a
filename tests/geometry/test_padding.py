"""Arrays get room at the end of an axis, and never lose any."""

import jax
import numpy as np
import pytest

from jaxrecon.geometry.padding import pad_axis


def test_an_axis_is_filled_up_with_zeros_or_its_last():
    leaf = jax.device_put(np.arange(1, 7, dtype=np.int32).reshape(2, 3))
    np.testing.assert_array_equal(pad_axis(leaf, 1, 5), [[1, 2, 3, 0, 0], [4, 5, 6, 0, 0]])
    np.testing.assert_array_equal(pad_axis(leaf, 0, 4, "edge"), [[1, 2, 3], [4, 5, 6], [4, 5, 6], [4, 5, 6]])
    np.testing.assert_array_equal(pad_axis(leaf, 0, 2), leaf)
    assert pad_axis(leaf, 1, 5).dtype == leaf.dtype and isinstance(pad_axis(leaf, 1, 5), jax.Array)


def test_an_axis_that_is_longer_is_named():
    with pytest.raises(ValueError, match=r"axis 1 of an array of shape \(2, 3\) is longer than 2"):
        pad_axis(jax.device_put(np.zeros((2, 3), np.float32)), 1, 2)
