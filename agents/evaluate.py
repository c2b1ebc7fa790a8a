"""Closed-loop evaluation over clips whose starts are fixed beforehand, so that drivers compare in pairs."""

import dataclasses
import functools
import warnings
from collections.abc import Callable
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, PRNGKeyArray, UInt8
from tqdm import tqdm

from jaxrecon.agents.networks import PolicyOutput
from jaxrecon.metrics.closed_loop import METRICS, Interval, Measure, paired_difference, per_clip, summarise
from jaxrecon.simulator import Perturbation, Rollout, Simulator, SimulatorParams, recorded_rollout
from jaxrecon.simulator.starts import check_starts

SAFETY = "CR+DR"  # fraction of clips that any event ended


@flax.struct.dataclass
class Clips:
    """Where evaluation clips start.

    Attributes:
        start_frames: (clip,) int32 log frames.
        perturbation: departure of each from the recorded pose.
        scenes: (clip,) int32, of the world.
    """

    start_frames: Any
    perturbation: Perturbation
    scenes: Any

    @property
    def count(self) -> int:
        """How many clips there are."""
        return self.start_frames.shape[0]


@dataclasses.dataclass(frozen=True)
class Film:
    """What the policy saw in one clip.

    Attributes:
        clip: its number.
        frames: uint8 sRGB, before the first step and after every step; the clip's last frame repeats after its end.
    """

    clip: int
    frames: UInt8[np.ndarray, "moment camera height width 3"]


@dataclasses.dataclass(frozen=True)
class ClosedLoopReport:
    """How a driver did, on the host.

    Attributes:
        clips: where the clips started.
        rollout: what happened, (step, clip, ...).
        per_clip: each metric of every clip, under the names of ``METRICS``.
        summary: mean of each metric over the clips where it means something.
        intervals: 95% bootstrap interval of that mean over clips.
        overflow_share: fraction of driven steps whose observation lacked content.
        film: of one clip, where asked for.
    """

    clips: Clips
    rollout: Rollout
    per_clip: dict[str, Measure]
    summary: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    overflow_share: float = 0.0
    film: Film | None = None


def draw_clips(simulator: Simulator, key: PRNGKeyArray, count: int, params: SimulatorParams) -> Clips:
    """Starts from the distribution that training draws from; use a key that training never sees."""
    if count < 1:
        raise ValueError(f"count is {count}, expected at least one clip")
    start = simulator.draw_starts(jax.random.split(key, count), params)
    return Clips(start_frames=start.frame, perturbation=start.perturbation, scenes=start.scene)


@functools.partial(jax.jit, static_argnames=("deterministic", "filming"))
def _drive(
    simulator: Simulator,
    policy: Callable[[Any], PolicyOutput],
    clips: Clips,
    key: PRNGKeyArray,
    filmed: Int[Array, ""],
    params: SimulatorParams,
    deterministic: bool,
    filming: bool,
) -> tuple[Rollout, Bool[Array, "step clip"], UInt8[Array, "moment camera height width 3"] | None]:
    key_reset, key_act = jax.random.split(key)
    state, observation = simulator.reset_at(
        key_reset, clips.start_frames, clips.perturbation, params, scenes=clips.scenes
    )
    first = observation.frames[filmed] if filming else None

    def step(carry, key):
        state, observation = carry
        output = policy(observation)
        action = output.mode() if deterministic else output.sample(key)
        state, result = simulator.step(state, action, params, auto_reset=False)
        seen = result.observation.frames[filmed] if filming else None
        return (state, result.observation), (result.outcome, result.overflow & result.valid, seen)

    keys = jax.random.split(key_act, simulator.clip_steps)
    _, (rollout, overflow, seen) = jax.lax.scan(step, (state, observation), keys)
    return rollout, overflow, None if first is None else jnp.concatenate([first[None], seen])


@jax.jit
def _score(rollout: Rollout, key: PRNGKeyArray) -> tuple[dict[str, Measure], dict[str, Array], dict[str, Interval]]:
    measures = per_clip(rollout.trace, rollout.events, rollout.valid)
    measures = {name: measures[name] for name in METRICS}
    nothing = {name: Measure(value=jnp.zeros_like(m.value), valid=m.valid) for name, m in measures.items()}
    intervals = {name: paired_difference(measures[name], nothing[name], key) for name in METRICS}
    return measures, summarise(measures), intervals


def _report(clips: Clips, rollout: Rollout, key: PRNGKeyArray, **extra: Any) -> ClosedLoopReport:
    measures, means, intervals = jax.device_get(_score(rollout, key))
    return ClosedLoopReport(
        clips=jax.device_get(clips),
        rollout=jax.device_get(rollout),
        per_clip=measures,
        summary={name: float(means[name]) for name in METRICS},
        intervals={name: (float(intervals[name].low), float(intervals[name].high)) for name in METRICS},
        **extra,
    )


def evaluate(
    simulator: Simulator,
    policy: Callable[[Any], PolicyOutput],
    clips: Clips,
    params: SimulatorParams,
    key: PRNGKeyArray,
    *,
    deterministic: bool = True,
    batch: int = 64,
    film: int | None = None,
    progress: bool = True,
    name: str = "evaluation",
) -> ClosedLoopReport:
    """Drive every clip to its end with a policy and score it.

    Args:
        simulator: world and rules.
        policy: a pytree that maps a batch of observations to ``PolicyOutput``.
        clips: where to start, from ``draw_clips``; the same for all drivers that are to be compared.
        params: thresholds.
        key: for sampled actions and the bootstrap.
        deterministic: take each head's most probable anchor; otherwise sample.
        batch: clips driven side by side, which bounds the memory.
        film: number of a clip whose frames to keep.
        progress: show a bar with the collision ratio so far.
        name: of the bar.

    Returns:
        The report. With a deterministic policy the clips do not depend on the key, nor on ``batch`` but for rounding.

    Raises:
        ValueError: when there is no clip, or no clip of the number ``film``; when a clip starts outside the world or in
            a collision.
    """
    if clips.count < 1 or batch < 1:
        raise ValueError(f"got {clips.count} clips and batch {batch}, expected at least one of each")
    if film is not None and not 0 <= film < clips.count:
        raise ValueError(f"film is {film}, expected a clip's number in [0, {clips.count})")
    check_starts(simulator.world, np.asarray(clips.scenes), np.asarray(clips.start_frames))
    batch = min(batch, clips.count)
    key_drive, key_bootstrap = jax.random.split(key)
    pieces, overflows, hits = [], [], 0
    kept: Film | None = None
    with tqdm(total=clips.count, desc=name, unit="clip", disable=not progress) as bar:
        for first in range(0, clips.count, batch):
            # The last chunk repeats the last clip, so that all have one shape and compile once.
            chosen = np.minimum(np.arange(first, first + batch), clips.count - 1)
            used = min(batch, clips.count - first)
            rollout, overflow, seen = _drive(
                simulator,
                policy,
                jax.tree.map(lambda x, rows=chosen: x[rows], clips),
                jax.random.fold_in(key_drive, first),
                jnp.clip(jnp.asarray(-1 if film is None else film) - first, 0, batch - 1),
                params,
                deterministic,
                film is not None,
            )
            pieces.append(jax.tree.map(lambda x, n=used: np.asarray(x)[:, :n], rollout))
            overflows.append(np.asarray(overflow)[:, :used])
            if film is not None and first <= film < first + used:
                kept = Film(clip=film, frames=np.asarray(seen))
            hits += int(pieces[-1].events[..., :2].any(axis=(0, 2)).sum())
            bar.set_postfix(CR=f"{hits / (first + used):.3f}")
            bar.update(used)
    rollout = jax.tree.map(lambda *parts: np.concatenate(parts, axis=1), *pieces)
    overflow_share = float(np.concatenate(overflows, axis=1).sum() / max(rollout.valid.sum(), 1))
    if overflow_share:
        warnings.warn(
            f"{overflow_share:.1%} of the observations lacked content: raise the renderer's capacity", stacklevel=2
        )
    return _report(clips, rollout, key_bootstrap, overflow_share=overflow_share, film=kept)


def evaluate_recorded(
    simulator: Simulator, clips: Clips, params: SimulatorParams, key: PRNGKeyArray
) -> ClosedLoopReport:
    """Score the recorded driver over the same start frames, by the same rules; unperturbed, and nothing is drawn."""
    rollout = jax.jit(recorded_rollout)(simulator, jnp.asarray(clips.start_frames), params, jnp.asarray(clips.scenes))
    return _report(clips, rollout, key)


def compare(first: ClosedLoopReport, second: ClosedLoopReport, key: PRNGKeyArray) -> dict[str, dict[str, float]]:
    """Mean of ``first - second`` over the same clips, with its 95% bootstrap interval.

    Args:
        first, second: reports over the same clips.
        key: of the bootstrap.

    Returns:
        Under each name of ``METRICS`` and "CR+DR": mean, low and high.

    Raises:
        ValueError: when the clips started differently.
    """
    starts = [np.stack([report.clips.scenes, report.clips.start_frames], axis=-1) for report in (first, second)]
    if starts[0].shape != starts[1].shape or (starts[0] != starts[1]).any():
        raise ValueError(
            f"the reports are over {len(starts[0])} and {len(starts[1])} clips that did not start alike: evaluate both "
            "drivers over the same Clips"
        )
    pairs = {name: (first.per_clip[name], second.per_clip[name]) for name in METRICS}
    pairs[SAFETY] = (_ended(first), _ended(second))
    intervals: dict[str, Interval] = {n: jax.jit(paired_difference)(a, b, key) for n, (a, b) in pairs.items()}
    return {n: {"mean": float(i.mean), "low": float(i.low), "high": float(i.high)} for n, i in intervals.items()}


def _ended(report: ClosedLoopReport) -> Measure:
    collision, deviation = report.per_clip["CR"], report.per_clip["DR"]
    return Measure(value=collision.value + deviation.value, valid=collision.valid & deviation.valid)
