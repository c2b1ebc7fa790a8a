"""Hierarchical bootstrap: intervals of means over clips that share scenes, driven by policies that share seeds.

Clips of one scene are alike, so resampling clips alone makes intervals too narrow. Here scenes are drawn with
replacement, then as many of each drawn scene's clips as it has; where several training seeds were scored, seeds are
drawn too. Every seed drives the same clips, so scenes and clips are drawn independently of the seeds, once for all.

Source: Davison and Hinkley 1997, Bootstrap Methods and their Application, section 3.8 (hierarchical data).
"""

import functools
from collections.abc import Mapping, Sequence

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from jaxrecon.metrics.closed_loop import Interval, Measure

RESAMPLES = 4000
TOGETHER = 64  # resamples computed side by side, which bounds the memory


@flax.struct.dataclass
class Table:
    """Metrics of clips by the seed that drove and the scene it drove in; clips beyond a scene's own are not valid.

    Attributes:
        values: (seed, scene, clip, metric), zero where not valid.
        valid: likewise, bool.
        count: (seed, scene) int32, clips that there are.
    """

    values: Float[Array, "seed scene clip metric"]
    valid: Bool[Array, "seed scene clip metric"]
    count: Int[Array, "seed scene"]

    @property
    def scenes(self) -> int:
        """How many scenes there are."""
        return self.values.shape[1]

    @property
    def means(self) -> Float[Array, " metric"]:
        """Over all clips where each metric is valid; NaN where there is none."""
        return _mean(self.values, self.valid)


def tabulate(
    measures: Sequence[Measure], scene: Int[np.ndarray, " clip"], seed: Int[np.ndarray, " clip"] | None = None
) -> Table:
    """Measures of the same clips as a table, on the host.

    Args:
        measures: one a metric.
        scene: of each clip.
        seed: of the policy that drove it; all the same by default.

    Raises:
        ValueError: if there are no measures or clips, their numbers differ, or a seed did not drive in every scene.
    """
    scene = np.asarray(scene)
    seed = np.zeros(len(scene), int) if seed is None else np.asarray(seed)
    lengths = [len(seed), *(np.shape(measure.value)[0] for measure in measures)]
    if not measures or not len(scene) or set(lengths) != {len(scene)}:
        raise ValueError(
            f"tabulate got {len(measures)} measures, of {lengths[1:]} clips, with {len(scene)} scenes and "
            f"{len(seed)} seeds; expected at least one measure and one clip, and as many of each"
        )
    places = [np.unique(ids, return_inverse=True) for ids in (seed, scene)]
    shape = tuple(len(names) for names, _ in places)
    cell = np.ravel_multi_index(tuple(index for _, index in places), shape)
    count = np.bincount(cell, minlength=int(np.prod(shape)))
    if not count.all():
        empty = np.unravel_index(int(np.argmin(count)), shape)
        raise ValueError(
            f"seed {places[0][0][empty[0]]} has no clip in scene {places[1][0][empty[1]]}; "
            "let every seed drive the same clips"
        )
    order = np.argsort(cell, kind="stable")
    slot = np.arange(len(cell)) - (np.cumsum(count) - count)[cell[order]]
    values = np.zeros((len(count), count.max(), len(measures)), np.float32)
    valid = np.zeros(values.shape, bool)
    for number, measure in enumerate(measures):
        known = np.asarray(measure.valid)[order]
        values[cell[order], slot, number] = np.where(known, np.asarray(measure.value)[order], 0.0)
        valid[cell[order], slot, number] = known
    return Table(
        values=jnp.asarray(values.reshape(*shape, *values.shape[1:])),
        valid=jnp.asarray(valid.reshape(*shape, *values.shape[1:])),
        count=jnp.asarray(count.reshape(shape), jnp.int32),
    )


@functools.partial(jax.jit, static_argnames=("resamples",))
def resampled_means(table: Table, key: PRNGKeyArray, resamples: int = RESAMPLES) -> Float[Array, "resample metric"]:
    """Means of bootstrap samples; NaN where a sample has no valid clip.

    Tables of the same clips get the same samples from the same key, so what is computed from both is paired.
    """
    seeds, scenes, clips, _ = table.values.shape
    number = jnp.arange(clips)

    def one(key: PRNGKeyArray) -> Array:
        key_seed, key_scene, key_clip = jax.random.split(key, 3)
        seed = jax.random.randint(key_seed, (seeds,), 0, seeds)[:, None]
        scene = jax.random.randint(key_scene, (scenes,), 0, scenes)[None]
        count = table.count[seed, scene][..., None]
        slot = jnp.floor(jax.random.uniform(key_clip, (scenes, clips)) * count).astype(jnp.int32)
        place = (seed[..., None], scene[..., None], jnp.minimum(slot, count - 1))
        return _mean(table.values[place], table.valid[place] & (number < count)[..., None])

    return jax.lax.map(one, jax.random.split(key, resamples), batch_size=min(TOGETHER, resamples))


def interval_of(mean: Float[Array, "*b"], samples: Float[Array, " resample *b"]) -> Interval:
    """The central 95% of bootstrap samples, those that are not a number aside.

    Bounds are samples themselves, so that infinite ratios do no harm.
    """
    low, high = jnp.nanquantile(samples, jnp.asarray([0.025, 0.975]), axis=0, method="nearest")
    return Interval(mean=mean, low=low, high=high)


def mean_intervals(table: Table, key: PRNGKeyArray, resamples: int = RESAMPLES) -> Interval:
    """Mean of every metric with its 95% interval; fields are (metric,)."""
    return interval_of(table.means, resampled_means(table, key, resamples))


def difference_intervals(first: Table, second: Table, key: PRNGKeyArray, resamples: int = RESAMPLES) -> Interval:
    """Mean of ``first - second``, clip by clip, over those where both are valid, with its 95% interval.

    Raises:
        ValueError: if the tables are not of the same clips.
    """
    _check_paired(first, second)
    valid = first.valid & second.valid
    paired = Table(jnp.where(valid, first.values - second.values, 0.0), valid, first.count)
    return mean_intervals(paired, key, resamples)


def ratio_intervals(first: Table, second: Table, key: PRNGKeyArray, resamples: int = RESAMPLES) -> Interval:
    """Mean of ``first`` over that of ``second``, with its 95% interval over samples that both take together.

    Infinite where only the second mean is zero; samples in which both are zero say nothing and are left out.

    Raises:
        ValueError: if the tables are not of the same clips.
    """
    _check_paired(first, second)
    samples = resampled_means(first, key, resamples) / resampled_means(second, key, resamples)
    return interval_of(first.means / second.means, samples)


def named(intervals: Interval, names: Sequence[str]) -> Mapping[str, Interval]:
    """Intervals of several metrics by their names, on the host."""
    mean, low, high = jax.device_get((intervals.mean, intervals.low, intervals.high))
    return {name: Interval(mean[i], low[i], high[i]) for i, name in enumerate(names)}


def _mean(values: Array, valid: Array) -> Array:
    axes = tuple(range(values.ndim - 1))
    count = jnp.sum(valid, axis=axes)
    total = jnp.sum(jnp.where(valid, values, 0.0), axis=axes)
    return jnp.where(count > 0, total / jnp.maximum(count, 1), jnp.nan)


def _check_paired(first: Table, second: Table) -> None:
    alike = first.values.shape == second.values.shape and bool(jnp.all(first.count == second.count))
    if not alike:
        raise ValueError(
            f"the tables hold other clips, {first.values.shape} and {second.values.shape} by (seed, scene, clip, "
            "metric); compare drivers over the same clips"
        )
