"""Closed-loop evaluation over clips whose starts are fixed beforehand, so that drivers compare in pairs."""

import dataclasses
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray, UInt8
from tqdm import tqdm

from jaxrecon.agents.challengers import NonReacting
from jaxrecon.agents.drivers import as_driver
from jaxrecon.agents.driving import Clips, Driven, Driver, drive
from jaxrecon.agents.outputs import Output
from jaxrecon.metrics.closed_loop import METRICS, Interval, Measure, paired_difference, per_clip, summarise
from jaxrecon.metrics.neighbour_metrics import neighbours
from jaxrecon.simulator import Perturbation, Rollout, Simulator, SimulatorParams, recorded_rollout
from jaxrecon.simulator.starts import check_starts
from jaxrecon.traffic.replay import Actors

SAFETY = "CR+DR"  # fraction of clips that any event ended


@dataclasses.dataclass(frozen=True)
class Film:
    """What the policy saw in one clip, and who was where.

    Attributes:
        clip: its number.
        frames: uint8 sRGB, before the first step and after every step; the clip's last frame repeats after its end.
        actors: at the same moments, adversaries included; fields (moment, actor, ...).
    """

    clip: int
    frames: UInt8[np.ndarray, "moment camera height width 3"]
    actors: Actors

    @classmethod
    def of(cls, clip: int, driven: Driven, row: int) -> "Film":
        """One of those that were filmed."""
        assert driven.frames is not None
        frames, actors = jax.tree.map(lambda leaf: np.asarray(leaf)[:, row], (driven.frames, driven.actors))
        return cls(clip, frames, actors)


@dataclasses.dataclass(frozen=True)
class ClosedLoopReport:
    """How a driver did, on the host.

    Attributes:
        clips: where the clips started.
        rollout: what happened, (step, clip, ...).
        per_clip: each metric of every clip, under the names of ``METRICS`` and of ``metrics.neighbours``.
        summary: mean of each of ``METRICS`` over the clips where it means something.
        intervals: 95% bootstrap interval of that mean over clips, whatever their scenes; see ``bootstrap`` for those
            of several scenes.
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


@jax.jit
def _score(rollout: Rollout, key: PRNGKeyArray) -> tuple[dict[str, Measure], dict[str, Array], dict[str, Interval]]:
    measures = clip_measures(rollout)
    ours = {name: measures[name] for name in METRICS}
    nothing = {name: Measure(value=jnp.zeros_like(m.value), valid=m.valid) for name, m in ours.items()}
    intervals = {name: paired_difference(ours[name], nothing[name], key) for name in METRICS}
    return measures, summarise(ours), intervals


def clip_measures(rollout: Rollout) -> dict[str, Measure]:
    """All metrics of every clip: RAD's, the progress ratio, and the neighbours'."""
    theirs = neighbours(rollout.trace, rollout.surroundings, rollout.events, rollout.valid)
    return {**per_clip(rollout.trace, rollout.events, rollout.valid), **theirs}


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
    policy: Driver | Callable[[Any], Output],
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
    """Drive every clip to its end and score it.

    Args:
        simulator: world and rules.
        policy: a driver, or a pytree that maps a batch of observations to an ``Output``.
        clips: where to start, from ``draw_clips`` or a frozen set; the same for all drivers that are to be compared.
        params: thresholds.
        key: for sampled actions and the bootstrap.
        deterministic: of a policy, take each head's most probable action; otherwise sample.
        batch: clips driven side by side, which bounds the memory.
        film: number of a clip whose frames to keep.
        progress: show a bar with the collision ratio so far.
        name: of the bar.

    Returns:
        The report. With a deterministic driver the clips do not depend on the key, nor on ``batch`` but for rounding.

    Raises:
        ValueError: when there is no clip, or no clip of the number ``film``; when a clip starts outside the world or in
            a collision, or plays a case that the simulator has not, or not from that start.
    """
    _check(simulator, clips, batch, () if film is None else (film,))
    driver, batch = as_driver(policy, deterministic), min(batch, clips.count)
    if not driver.draws and film is None:
        # Worlds that differ in what would draw them alone then share what is compiled.
        simulator = dataclasses.replace(simulator, world=dataclasses.replace(simulator.world, source=None))
    key_drive, key_bootstrap = jax.random.split(key)
    pieces, overflows, hits = [], [], 0
    kept: Film | None = None
    with tqdm(total=clips.count, desc=name, unit="clip", disable=not progress) as bar:
        for first in range(0, clips.count, batch):
            # The last chunk repeats the last clip, so that all have one shape and compile once.
            chosen = np.minimum(np.arange(first, first + batch), clips.count - 1)
            used = min(batch, clips.count - first)
            filmed = np.zeros(0 if film is None else 1, np.int32) + np.clip((film or 0) - first, 0, batch - 1)
            part_key = jax.random.fold_in(key_drive, first)
            driven = drive(simulator, driver, clips.take(chosen), part_key, params, jnp.asarray(filmed, jnp.int32))
            pieces.append(jax.tree.map(lambda x, n=used: np.asarray(x)[:, :n], driven.rollout))
            overflows.append(np.asarray(driven.overflow)[:, :used])
            if film is not None and first <= film < first + used:
                kept = Film.of(film, driven, 0)
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


def film_clips(
    simulator: Simulator,
    policy: Driver | Callable[[Any], Output],
    clips: Clips,
    chosen: Sequence[int],
    params: SimulatorParams,
    key: PRNGKeyArray,
) -> tuple[Rollout, tuple[Film, ...]]:
    """Drive some clips again and keep what the cameras saw, also of drivers that do not look.

    Deterministic drivers drive as they did, but for rounding.

    Args:
        simulator: world and rules.
        policy: as in ``evaluate``.
        clips: where they start.
        chosen: numbers of the clips.
        params: thresholds.
        key: for sampled actions.

    Returns:
        What happened, (step, chosen, ...), on the host, and a film of each.

    Raises:
        ValueError: when none is chosen, or one that there is not.
    """
    _check(simulator, clips, len(chosen), chosen)
    some = clips.take(np.asarray(chosen))
    filmed = jnp.arange(len(chosen), dtype=jnp.int32)
    driven = jax.device_get(drive(simulator, as_driver(policy), some, key, params, filmed))
    return driven.rollout, tuple(Film.of(clip, driven, row) for row, clip in enumerate(chosen))


def _check(simulator: Simulator, clips: Clips, batch: int, filmed: Sequence[int]) -> None:
    if clips.count < 1 or batch < 1:
        raise ValueError(f"got {clips.count} clips and batch {batch}, expected at least one of each")
    for film in filmed:
        if not 0 <= film < clips.count:
            raise ValueError(f"film is {film}, expected a clip's number in [0, {clips.count})")
    if clips.cases is not None and simulator.challenges is None:
        raise ValueError("the clips are corner cases, but the simulator has none; see challengers.challenges_of")
    if clips.cases is not None:
        _check_cases(simulator, clips)
    check_starts(simulator.world, np.asarray(clips.scenes), np.asarray(clips.start_frames))


def _check_cases(simulator: Simulator, clips: Clips) -> None:
    """Refuse clips of another bank than the simulator's; those of negative cases play none."""
    assert simulator.challenges is not None
    bank, cases = simulator.challenges, np.asarray(clips.cases)
    if cases.max() >= bank.count:
        raise ValueError(f"a clip plays case {cases.max()} of a bank of {bank.count}; give the bank of these clips")
    some = np.flatnonzero(cases >= 0)
    for name, ours, theirs in (
        ("scene", bank.start.scene, clips.scenes),
        ("frame", bank.start.frame, clips.start_frames),
    ):
        wrong = some[np.asarray(ours)[cases[some]] != np.asarray(theirs)[some]]
        if wrong.size:
            clip = int(wrong[0])
            raise ValueError(
                f"clip {clip} starts in {name} {np.asarray(theirs)[clip]}, its case {cases[clip]} in {name} "
                f"{np.asarray(ours)[cases[clip]]}; give the bank of these clips"
            )


def evaluate_recorded(
    simulator: Simulator, clips: Clips, params: SimulatorParams, key: PRNGKeyArray
) -> ClosedLoopReport:
    """Score the recorded driver over the same start frames, by the same rules; unperturbed, and nothing is drawn.

    In corner cases it drives as was recorded, whatever happens.
    """
    if clips.cases is not None:
        return evaluate(simulator, NonReacting(), _unperturbed(clips), params, key, name="recorded driver")
    rollout = jax.jit(recorded_rollout)(simulator, jnp.asarray(clips.start_frames), params, jnp.asarray(clips.scenes))
    return _report(clips, rollout, key)


def _unperturbed(clips: Clips) -> Clips:
    zero = jnp.zeros(clips.count)
    return dataclasses.replace(clips, perturbation=Perturbation(zero, zero, zero + 1.0))


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
