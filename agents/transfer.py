"""How well what a policy does in reconstructions tells what it does in reality: disagreement and rank correlation."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from jaxrecon.agents.bootstrap import RESAMPLES, Table, interval_of, resampled_means, tabulate
from jaxrecon.agents.outputs import Output, PolicyOutput
from jaxrecon.dynamics import LATERAL, LONGITUDINAL
from jaxrecon.metrics.closed_loop import Interval, Measure


@flax.struct.dataclass
class Disagreement:
    """How differently a policy would act on two images of the same moment; every field is (moment,).

    Attributes:
        differs: 1 where either head's most probable anchor differs.
        lateral: between the heads' expected anchors, metres.
        longitudinal: likewise.
        total_variation: distance of the two distributions over both heads' anchors, the mean of the heads', 0 to 1.
    """

    differs: Float[Array, " moment"]
    lateral: Float[Array, " moment"]
    longitudinal: Float[Array, " moment"]
    total_variation: Float[Array, " moment"]


@jax.jit
def action_disagreement(policy: Callable[[Any], Output], first: Any, second: Any) -> Disagreement:
    """Compare what a policy does on two batches of observations at identical poses, say recorded and rendered.

    Args:
        policy: a pytree that maps a batch of observations to ``PolicyOutput`` with anchor heads.
        first: observations.
        second: of the same moments; what differs is what they show.

    Raises:
        TypeError: if the policy has no anchors to compare.
    """
    one, two = policy(first), policy(second)
    if not (isinstance(one, PolicyOutput) and isinstance(two, PolicyOutput)):
        raise TypeError(f"the policy says {type(one).__name__}, expected a PolicyOutput: compare policies with anchors")
    modes = jnp.any(one.mode() != two.mode(), axis=-1)
    heads = [[jax.nn.softmax(logits, axis=-1) for logits in output.logits] for output in (one, two)]
    lateral, longitudinal = (
        jnp.abs((a - b) @ jnp.asarray(scale)) for a, b, scale in zip(*heads, (LATERAL, LONGITUDINAL), strict=True)
    )
    variations = [0.5 * jnp.sum(jnp.abs(a - b), axis=-1) for a, b in zip(*heads, strict=True)]
    return Disagreement(modes.astype(jnp.float32), lateral, longitudinal, jnp.mean(jnp.stack(variations), axis=0))


def spearman(first: Float[Array, "*b n"], second: Float[Array, "*b n"]) -> Float[Array, "*b"]:
    """Rank correlation along the last axis, ties at their mean rank; NaN where either does not vary.

    Source: Spearman 1904; the Pearson correlation of ranks.
    """
    x, y = (_ranks(values) for values in (first, second))
    x, y = (ranks - jnp.mean(ranks, axis=-1, keepdims=True) for ranks in (x, y))
    scale = jnp.sqrt(jnp.sum(x * x, axis=-1) * jnp.sum(y * y, axis=-1))
    known = jnp.isfinite(jnp.sum(first + second, axis=-1)) & (scale > 0)
    return jnp.where(known, jnp.sum(x * y, axis=-1) / jnp.where(scale > 0, scale, 1.0), jnp.nan)


def _ranks(values: Array) -> Array:
    below = values[..., None, :] < values[..., :, None]
    level = values[..., None, :] == values[..., :, None]
    return jnp.sum(below, axis=-1) + 0.5 * (jnp.sum(level, axis=-1) + 1.0)


def rank_correlation(
    first: Sequence[Measure],
    second: Sequence[Measure],
    scene: Int[np.ndarray, " clip"],
    key: PRNGKeyArray,
    resamples: int = RESAMPLES,
) -> Interval:
    """Spearman's correlation over policies of their means in two worlds, with its 95% interval over scenes and clips.

    Args:
        first: a metric of every policy in one world.
        second: the same metric of the same policies over the same clips in the other.
        scene: of each clip.
        key: of the bootstrap.
        resamples: bootstrap samples; each takes the same scenes and clips of all policies in both worlds.

    Raises:
        ValueError: if there are fewer than three policies, or not the same in both worlds.
    """
    if len(first) != len(second) or len(first) < 3:
        raise ValueError(
            f"got {len(first)} and {len(second)} policies; expected the same in both worlds, at least three to rank"
        )
    return _rank_interval(tabulate([*first, *second], scene), key, resamples)


@functools.partial(jax.jit, static_argnames=("resamples",))
def _rank_interval(table: Table, key: PRNGKeyArray, resamples: int) -> Interval:
    policies = table.values.shape[-1] // 2
    means, samples = table.means, resampled_means(table, key, resamples)
    correlation = spearman(means[:policies], means[policies:])
    return interval_of(correlation, spearman(samples[:, :policies], samples[:, policies:]))
