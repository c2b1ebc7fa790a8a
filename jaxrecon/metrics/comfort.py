"""Comfort of a ride by nuPlan's bounds on accelerations, turn rates and jerks."""

import flax.struct
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxrecon.geometry.transforms import wrap_angle
from jaxrecon.metrics.closed_loop import Trace

COMFORT = (
    "longitudinal_acceleration",
    "lateral_acceleration",
    "yaw_rate",
    "yaw_acceleration",
    "longitudinal_jerk",
    "jerk",
)
LOWEST = (-4.05, -4.89, -0.95, -1.93, -4.13, -8.37)
HIGHEST = (2.40, 4.89, 0.95, 1.93, 4.13, 8.37)


@flax.struct.dataclass
class Motion:
    """How a car moves, as its passengers feel it; every field has the same batch dimensions.

    Attributes:
        longitudinal_acceleration: m/s2.
        lateral_acceleration: m/s2, left positive.
        yaw_rate: rad/s, left positive.
        yaw_acceleration: rad/s2.
        longitudinal_jerk: rate of change of the longitudinal acceleration, m/s3.
        jerk: rate of change of the acceleration's magnitude, m/s3, which is what nuPlan bounds.
    """

    longitudinal_acceleration: Float[Array, " *b"]
    lateral_acceleration: Float[Array, " *b"]
    yaw_rate: Float[Array, " *b"]
    yaw_acceleration: Float[Array, " *b"]
    longitudinal_jerk: Float[Array, " *b"]
    jerk: Float[Array, " *b"]


def discomfort(motion: Motion) -> Bool[Array, "*b 6"]:
    """Which bounds are broken, in the order of ``COMFORT``.

    Source: nuPlan's comfort metric (arXiv 2106.11810, nuplan-devkit), whose bounds NAVSIM shares.
    """
    values = jnp.stack([getattr(motion, name) for name in COMFORT], axis=-1)
    return (values <= jnp.asarray(LOWEST)) | (values >= jnp.asarray(HIGHEST))


def motion_of(trace: Trace, valid: Bool[Array, "step clip"]) -> tuple[Motion, Bool[Array, "step clip 6"]]:
    """The motion at every step, and which of its values in the order of ``COMFORT`` have the steps they need.

    Rates are differences to the step before, without the smoothing that nuPlan gives to recorded poses, for a simulated
    ride has no noise. So a rate of change is known from a clip's second step, the yaw acceleration from its third.

    Args:
        trace: fields (step, clip, ...).
        valid: steps of the clips.
    """
    second = valid & _earlier(valid, 1)
    third = second & _earlier(valid, 2)
    seconds = jnp.where(second, _change(trace.time), 1.0)
    yaw_rate = jnp.where(second, wrap_angle(_change(trace.heading)) / seconds, 0.0)
    magnitude = jnp.hypot(trace.acceleration, trace.lateral_acceleration)
    motion = Motion(
        longitudinal_acceleration=trace.acceleration,
        lateral_acceleration=trace.lateral_acceleration,
        yaw_rate=yaw_rate,
        yaw_acceleration=jnp.where(third, _change(yaw_rate) / seconds, 0.0),
        longitudinal_jerk=jnp.where(second, _change(trace.acceleration) / seconds, 0.0),
        jerk=jnp.where(second, _change(magnitude) / seconds, 0.0),
    )
    return motion, jnp.stack([valid, valid, second, third, second, second], axis=-1)


def _earlier(values: Array, steps: int) -> Array:
    """Values some steps earlier; zeros (false) where there are none."""
    steps = min(steps, values.shape[0])
    return jnp.concatenate([jnp.zeros_like(values[:steps]), values[: values.shape[0] - steps]])


def _change(values: Array) -> Array:
    return values - _earlier(values, 1)
