"""Closed-loop driving metrics: RAD's nine and the progress ratio, as pure functions of a batch of rollouts.

A clip is one column of a rollout: it runs from its first valid step to its last, and ends in at most one step, in
which one or more events may have happened.

Source: RAD (arXiv 2502.13144), section on metrics; the progress ratio stands beside them because none rewards motion.
"""

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray, Shaped

EVENTS = ("dynamic", "static", "position", "heading")
METRICS = ("CR", "DCR", "SCR", "DR", "PDR", "HDR", "ADD", "longitudinal_jerk", "lateral_jerk", "progress")


@flax.struct.dataclass
class Trace:
    """What metrics need of a driven step; every field has the batch dimensions of the rollout.

    Attributes:
        position: (*b, 2) rear axle, world, metres.
        heading: (*b,) radians.
        speed: (*b,) m/s.
        acceleration: (*b,) longitudinal, m/s2.
        lateral_acceleration: (*b,) speed times yaw rate, m/s2, left positive.
        path_distance: (*b,) from the rear axle to the nearest point of the expert's path, metres.
        path_heading_error: (*b,) heading minus the expert's at that point, radians, in [-pi, pi).
        progress: (*b,) metres along the expert's path since the start of the clip.
        expert_progress: (*b,) metres that the recorded driver covered in the same time.
        time: (*b,) seconds since the start of the clip.
    """

    position: Float[Array, "*b 2"]
    heading: Float[Array, " *b"]
    speed: Float[Array, " *b"]
    acceleration: Float[Array, " *b"]
    lateral_acceleration: Float[Array, " *b"]
    path_distance: Float[Array, " *b"]
    path_heading_error: Float[Array, " *b"]
    progress: Float[Array, " *b"]
    expert_progress: Float[Array, " *b"]
    time: Float[Array, " *b"]


@flax.struct.dataclass
class Measure:
    """A value per clip and whether it means anything.

    Attributes:
        value: (clip,) float32, zero where not valid.
        valid: (clip,) bool.
    """

    value: Float[Array, " clip"]
    valid: Bool[Array, " clip"]


@flax.struct.dataclass
class Interval:
    """A mean over clips and its 95% bootstrap interval; every field is a scalar."""

    mean: Float[Array, ""]
    low: Float[Array, ""]
    high: Float[Array, ""]


def per_clip(trace: Trace, events: Bool[Array, "step clip 4"], valid: Bool[Array, "step clip"]) -> dict[str, Measure]:
    """The ten metrics of every clip, ready for a bootstrap over clips.

    A clip is the leading run of valid steps of its column. Its first step with an event ends it; where several events
    share that step, the first in the order of ``EVENTS`` gets the clip, so that CR = DCR + SCR and DR = PDR + HDR.

    Args:
        trace: fields (step, clip, ...).
        events: in the order of ``EVENTS``.
        valid: steps that were driven.

    Returns:
        Under each name of ``METRICS``:
            DCR, SCR, PDR, HDR: 1 where that event ended the clip. CR, DR: their sums.
            ADD: mean distance to the expert's path over steps without an event, metres.
            longitudinal_jerk, lateral_jerk: mean absolute rate of change of the acceleration, m/s3.
            progress: route covered over what the expert covered in the same time, clipped to [0, 1]; valid where the
            expert moved more than a metre.
    """
    valid, ended = clip_steps(events, valid)
    driven = jnp.any(valid, axis=0)
    happened = events & valid[..., None]
    at_end = jnp.any(happened & ended[..., None], axis=0)
    first = jnp.argmax(at_end, axis=-1)
    cause = (jnp.arange(len(EVENTS)) == first[:, None]) & jnp.any(at_end, axis=-1)[:, None]
    ratios = {
        name: Measure(cause[:, i].astype(jnp.float32), driven) for i, name in enumerate(("DCR", "SCR", "PDR", "HDR"))
    }
    last = jnp.maximum(jnp.sum(valid, axis=0) - 1, 0)[None]
    progress = jnp.take_along_axis(trace.progress, last, axis=0)[0]
    expert = jnp.take_along_axis(trace.expert_progress, last, axis=0)[0]
    moved = driven & (expert > 1.0)
    ratio = jnp.where(moved, jnp.clip(progress / jnp.where(moved, expert, 1.0), 0.0, 1.0), 0.0)
    return {
        "CR": Measure(ratios["DCR"].value + ratios["SCR"].value, driven),
        "DCR": ratios["DCR"],
        "SCR": ratios["SCR"],
        "DR": Measure(ratios["PDR"].value + ratios["HDR"].value, driven),
        "PDR": ratios["PDR"],
        "HDR": ratios["HDR"],
        "ADD": mean_over_steps(trace.path_distance, valid & ~jnp.any(happened, axis=-1)),
        "longitudinal_jerk": _jerk(trace.acceleration, trace.time, valid),
        "lateral_jerk": _jerk(trace.lateral_acceleration, trace.time, valid),
        "progress": Measure(ratio, moved),
    }


def summarise(clips: dict[str, Measure]) -> dict[str, Float[Array, ""]]:
    """Mean of every metric over the clips where it is valid; NaN where there is none."""
    return {name: _average(measure.value, measure.valid) for name, measure in clips.items()}


def paired_difference(first: Measure, second: Measure, key: PRNGKeyArray, resamples: int = 4000) -> Interval:
    """Mean of ``first - second`` over clips with the same starts, with its 95% bootstrap interval over clips.

    Args:
        first: a metric of one policy.
        second: the same metric of another, clip by clip.
        key: of the bootstrap.
        resamples: bootstrap samples.

    Raises:
        ValueError: if the numbers of clips differ.
    """
    if first.value.shape != second.value.shape:
        raise ValueError(
            f"paired clips must be the same: the first has {first.value.shape[0]}, the second {second.value.shape[0]}"
        )
    valid = first.valid & second.valid
    difference = jnp.where(valid, first.value - second.value, 0.0)
    drawn = jax.random.randint(key, (resamples, valid.shape[0]), 0, valid.shape[0])
    means = jax.vmap(lambda clips: _average(difference[clips], valid[clips]))(drawn)
    low, high = jnp.nanpercentile(means, jnp.asarray([2.5, 97.5]))
    return Interval(mean=_average(difference, valid), low=low, high=high)


def clip_steps(
    events: Bool[Array, "step clip event"], valid: Bool[Array, "step clip"]
) -> tuple[Bool[Array, "step clip"], Bool[Array, "step clip"]]:
    """Steps of each column's clip, and those of them that end it by an event."""
    leading = jnp.cumprod(valid.astype(jnp.int32), axis=0).astype(bool)
    hit = jnp.any(events, axis=-1) & leading
    earlier = jnp.cumsum(hit.astype(jnp.int32), axis=0) - hit
    within = leading & (earlier == 0)
    return within, hit & within


def _jerk(acceleration: Array, time: Array, valid: Array) -> Measure:
    both = valid[1:] & valid[:-1]
    seconds = jnp.where(both, jnp.diff(time, axis=0), 1.0)
    return mean_over_steps(jnp.abs(jnp.diff(acceleration, axis=0)) / seconds, both)


def mean_over_steps(values: Shaped[Array, "step clip"], valid: Bool[Array, "step clip"]) -> Measure:
    """Mean over the valid steps of each clip."""
    count = jnp.sum(valid, axis=0)
    total = jnp.sum(jnp.where(valid, values, 0.0), axis=0)
    return Measure(value=total / jnp.maximum(count, 1), valid=count > 0)


def _average(values: Array, valid: Array) -> Array:
    count = jnp.sum(valid)
    total = jnp.sum(jnp.where(valid, values, 0.0))
    return jnp.where(count > 0, total / jnp.maximum(count, 1), jnp.nan)
