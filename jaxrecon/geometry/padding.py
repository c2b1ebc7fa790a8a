"""Room in arrays of different lengths, so that those of several scenes go into one."""

from typing import Literal

import jax
import numpy as np
from jaxtyping import Array, Shaped


def pad_axis(
    leaf: Shaped[Array, "..."], axis: int, to: int, mode: Literal["constant", "edge"] = "constant"
) -> Shaped[Array, "..."]:
    """An array with room for so many entries along an axis, filled up with zeros or with its last (mode ``edge``).

    On the host, by NumPy: JAX would compile a program for every shape that arrives. Not for use in compiled code.

    Args:
        leaf: of any shape and unit.
        axis: that grows, from 0.
        to: its new length.
        mode: what fills it up.

    Raises:
        ValueError: the axis is longer already.
    """
    room = to - leaf.shape[axis]
    if room < 0:
        raise ValueError(f"axis {axis} of an array of shape {leaf.shape} is longer than {to}; expected at most so many")
    return jax.device_put(np.pad(leaf, [(0, room if index == axis else 0) for index in range(leaf.ndim)], mode=mode))
