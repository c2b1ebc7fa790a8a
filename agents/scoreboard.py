"""The scoreboard: drivers against worlds, each mean with an interval over scenes, paired comparisons, failures."""

import dataclasses
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Int, PRNGKeyArray

from jaxrecon.agents.bootstrap import (
    RESAMPLES,
    Table,
    difference_intervals,
    mean_intervals,
    named,
    ratio_intervals,
    tabulate,
)
from jaxrecon.agents.evaluate import ClosedLoopReport
from jaxrecon.metrics.closed_loop import EVENTS, METRICS, Interval, Measure

WAY = "EP"  # the way over the expert's in the whole clip: who collides early has not come far
SHOWN = (*METRICS, WAY, "at_fault_collision", "PDMS", "comfort", "time_to_collision_within_bound")
COMPARED = ("CR", "DR", "at_fault_collision", "progress", WAY, "PDMS")
FULL_CLIPS = 2048  # of a headline row


@dataclasses.dataclass(frozen=True)
class Scores:
    """What is kept of a driver's clips, on the host.

    Attributes:
        scene: (clip,) of the world.
        frame: (clip,) log frame at which each started.
        measures: each metric of every clip, by name.
        overflow_share: of driven steps whose observation lacked content.
        seed: (clip,) number of the training seed whose policy drove it; None: there is one.
    """

    scene: Int[np.ndarray, " clip"]
    frame: Int[np.ndarray, " clip"]
    measures: Mapping[str, Measure]
    overflow_share: float = 0.0
    seed: Int[np.ndarray, " clip"] | None = None

    @property
    def seeds(self) -> int:
        """How many training seeds drove."""
        return 1 if self.seed is None else len(np.unique(self.seed))


def scores_of(report: ClosedLoopReport) -> Scores:
    """What is kept of a report."""
    clips = report.clips
    return Scores(np.asarray(clips.scenes), np.asarray(clips.start_frames), report.per_clip, report.overflow_share)


def save_scores(scores: Scores, path: str | os.PathLike[str]) -> None:
    """Write scores as one npz."""
    arrays: dict[str, Any] = {f"value_{name}": np.asarray(one.value) for name, one in scores.measures.items()}
    arrays |= {f"valid_{name}": np.asarray(one.valid) for name, one in scores.measures.items()}
    arrays |= {} if scores.seed is None else {"seed": scores.seed}
    with open(path, "wb") as stream:
        np.savez_compressed(
            stream, scene=scores.scene, frame=scores.frame, overflow_share=scores.overflow_share, **arrays
        )


def load_scores(path: str | os.PathLike[str]) -> Scores:
    """Read what ``save_scores`` wrote."""
    with np.load(path, allow_pickle=False) as archive:
        names = [name.removeprefix("value_") for name in archive.files if name.startswith("value_")]
        measures = {name: Measure(archive[f"value_{name}"], archive[f"valid_{name}"]) for name in names}
        seed = archive["seed"] if "seed" in archive.files else None
        return Scores(archive["scene"], archive["frame"], measures, float(archive["overflow_share"]), seed)


def pool(runs: Sequence[Scores]) -> Scores:
    """Scores of the same clips by policies that differ in their training seed alone, as one driver's.

    Raises:
        ValueError: if there are none, or their clips started differently.
    """
    if not runs:
        raise ValueError("pool got no scores; expected those of at least one seed")
    for run in runs[1:]:
        _require_same_starts(runs[0], run)
    if len(runs) == 1:
        return runs[0]
    measures = {name: _joined([run.measures[name] for run in runs]) for name in runs[0].measures}
    return Scores(
        scene=np.concatenate([run.scene for run in runs]),
        frame=np.concatenate([run.frame for run in runs]),
        measures=measures,
        overflow_share=float(np.mean([run.overflow_share for run in runs])),
        seed=np.repeat(np.arange(len(runs)), len(runs[0].scene)),
    )


def _joined(measures: Sequence[Measure]) -> Measure:
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *measures)


@dataclasses.dataclass(frozen=True)
class Row:
    """How one driver did in one world.

    Attributes:
        driver: its name.
        world: name of the group of scenes and of how they are drawn.
        kind: of the evaluation set.
        clips: how many there are; every seed drove all of them.
        scenes: how many of them.
        seeds: training seeds, 1 where nothing was trained.
        in_scene: whether policies may have been trained in these very scenes.
        metrics: mean and 95% interval (over seeds and scenes, then clips) under each name of ``SHOWN``; None where no
            clip says.
        failures: clips that each of ``EVENTS`` ended, of all seeds.
        overflow_share: of driven steps whose observation lacked content.
        behaviours: collision rate with its interval over the clips in which an adversary does each of these; empty
            where none does anything.
    """

    driver: str
    world: str
    kind: str
    clips: int
    scenes: int
    seeds: int
    in_scene: bool
    metrics: Mapping[str, tuple[float, float, float] | None]
    failures: Mapping[str, int]
    overflow_share: float
    behaviours: Mapping[str, tuple[float, float, float] | None] = dataclasses.field(default_factory=dict)

    @property
    def headline(self) -> bool:
        """Whether it rests on as many clips as a headline must."""
        return self.clips >= FULL_CLIPS


@dataclasses.dataclass(frozen=True)
class Label:
    """What a report is of.

    Attributes:
        driver: its name.
        world: name of the group of scenes and of how they are drawn.
        kind: of the evaluation set.
        in_scene: whether policies may have been trained in these very scenes.
    """

    driver: str
    world: str
    kind: str = "log_replay"
    in_scene: bool = False


def make_row(
    label: Label, scores: Scores, key: PRNGKeyArray, resamples: int = RESAMPLES, behaviours: Sequence[str] = ()
) -> Row:
    """Means with intervals.

    Args:
        label: what the scores are of.
        scores: of one driver, of all its seeds.
        key: of the bootstrap.
        resamples: bootstrap samples.
        behaviours: what befalls each clip of a seed, by name; empty where nothing does.
    """
    table = _table(scores, SHOWN)
    intervals = named(mean_intervals(table, key, resamples), SHOWN)
    return Row(
        driver=label.driver,
        world=label.world,
        kind=label.kind,
        clips=len(scores.scene) // scores.seeds,
        scenes=table.scenes,
        seeds=scores.seeds,
        in_scene=label.in_scene,
        metrics={name: as_numbers(intervals[name]) for name in SHOWN},
        failures={name: len(clips) for name, clips in failures(scores).items()},
        overflow_share=scores.overflow_share,
        behaviours=_by_behaviour(scores, behaviours, key, resamples) if behaviours else {},
    )


def _by_behaviour(
    scores: Scores, behaviours: Sequence[str], key: PRNGKeyArray, resamples: int
) -> dict[str, tuple[float, float, float] | None]:
    """Collision rate of the clips of each behaviour.

    Raises:
        ValueError: a clip has none.
    """
    if len(behaviours) * scores.seeds != len(scores.scene):
        raise ValueError(
            f"{len(behaviours)} behaviours were given for {len(scores.scene)} clips of {scores.seeds} seeds; expected "
            "one for each clip of a seed"
        )
    names = sorted(set(behaviours))
    played, collided = np.tile(np.asarray(behaviours), scores.seeds), scores.measures["CR"]
    measures = [Measure(collided.value, np.asarray(collided.valid) & (played == name)) for name in names]
    table = tabulate(measures, scores.scene, scores.seed)
    intervals = named(mean_intervals(table, key, resamples), names)
    return {name: as_numbers(intervals[name]) for name in names}


def failures(scores: Scores) -> dict[str, list[int]]:
    """Numbers of the clips that each of ``EVENTS`` ended; the first in that order where several did at once."""
    shares = ("DCR", "SCR", "PDR", "HDR")
    return {
        event: np.flatnonzero(np.asarray(scores.measures[share].value) > 0).tolist()
        for event, share in zip(EVENTS, shares, strict=True)
    }


def compare_scores(
    first: Scores, second: Scores, key: PRNGKeyArray, resamples: int = RESAMPLES
) -> dict[str, dict[str, tuple[float, float, float] | None]]:
    """Paired comparison of two drivers over the same clips, in each of ``COMPARED``.

    Args:
        first, second: over the same clips; of several seeds the first of one is paired with the first of the other.
        key: of the bootstrap.
        resamples: bootstrap samples.

    Returns:
        Under each name: ``difference``, of ``first - second``, and ``ratio``, of ``first`` to ``second``, with 95%
        intervals over seeds and scenes, then clips; infinite ratios as such, None where nothing can be said.

    Raises:
        ValueError: when the clips started differently, or both have several seeds and not as many.
    """
    first, second = _as_many_seeds(first, second), _as_many_seeds(second, first)
    _require_same_starts(first, second)
    one, two = _table(first, COMPARED), _table(second, COMPARED)
    difference = named(difference_intervals(one, two, key, resamples), COMPARED)
    ratio = named(ratio_intervals(one, two, key, resamples), COMPARED)
    return {name: {"difference": as_numbers(difference[name]), "ratio": as_numbers(ratio[name])} for name in COMPARED}


def _table(scores: Scores, names: Sequence[str]) -> Table:
    return tabulate([scores.measures[name] for name in names], scores.scene, scores.seed)


def _as_many_seeds(scores: Scores, other: Scores) -> Scores:
    """Scores of one seed repeated for each of another driver's."""
    if scores.seeds == 1 and other.seeds > 1:
        return pool([scores] * other.seeds)
    return scores


def _require_same_starts(first: Scores, second: Scores) -> None:
    starts = [np.stack([one.scene, one.frame], axis=-1) for one in (first, second)]
    if starts[0].shape != starts[1].shape or (starts[0] != starts[1]).any():
        raise ValueError(
            f"the scores are of {len(starts[0])} and {len(starts[1])} clips that did not start alike: evaluate both "
            "drivers over the same evaluation set, with one seed or as many as the other"
        )


def as_numbers(interval: Interval) -> tuple[float, float, float] | None:
    """Mean, low and high; None where there is no mean."""
    mean, low, high = (float(value) for value in jax.device_get((interval.mean, interval.low, interval.high)))
    return None if math.isnan(mean) else (mean, low, high)


def as_json(value: Any) -> Any:
    """Rows and comparisons as JSON holds them: infinities as text, what is not a number as null."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return as_json(dataclasses.asdict(value))
    if isinstance(value, Mapping):
        return {str(name): as_json(entry) for name, entry in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [as_json(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else f"{'-' if value < 0 else ''}infinity"
    return value
