"""Evaluation sets drawn from a seed, without asking any policy."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np
from jaxtyping import Float, Int

from jaxrecon.agents.evaluation_sets import KINDS, Challenge, EvaluationSet, EvaluationSetError
from jaxrecon.simulator import Simulator, SimulatorParams
from jaxrecon.simulator.starts import start_table

PERTURBATION = ("lateral", "heading", "speed")


@runtime_checkable
class Challenger(Protocol):
    """What makes corner cases of clips: the hook by which an adversary fills evaluation sets."""

    def __call__(
        self,
        random: np.random.Generator,
        scene: Int[np.ndarray, " clip"],
        frame: Int[np.ndarray, " clip"],
        departure: Float[np.ndarray, "clip 3"],
    ) -> Sequence[Challenge | None]:
        """One challenge for each clip that starts at a frame of a scene, so far from its recorded pose.

        None where there is no sound one.
        """
        ...


def draw_log_replay(
    simulator: Simulator, scenes: Sequence[tuple[str, str]], seed: int, clips: int, params: SimulatorParams
) -> EvaluationSet:
    """Clips among the recorded traffic, as many in every scene (to within one), started as training starts them.

    Args:
        simulator: world and rules; no policy is asked, and what draws the frames does not matter.
        scenes: name and hash of every scene of the world, in its order.
        seed: of the draw.
        clips: how many.
        params: the distribution of starts.

    Raises:
        EvaluationSetError: if there are fewer clips than scenes, or not as many scenes as the world has.
    """
    scene = _spread(simulator, scenes, clips)
    frame, departure = _starts(simulator, scene, np.random.default_rng(seed), params)
    return _drawn("log_replay", simulator, scenes, seed, (scene, frame, departure), params)


def draw_challenged(
    kind: str,
    simulator: Simulator,
    scenes: Sequence[tuple[str, str]],
    seed: int,
    clips: int,
    params: SimulatorParams,
    challenger: Challenger,
    rounds: int = 50,
) -> EvaluationSet:
    """Clips in each of which something befalls the driver, spread and started like those of ``draw_log_replay``.

    Where the challenger finds nothing sound, another start in the same scene is drawn.

    Args:
        kind: "corner_cases" or "unseen_behaviours".
        simulator: world and rules; no policy is asked.
        scenes: name and hash of every scene of the world, in its order.
        seed: of the draw, the challenger's part of it included.
        clips: how many.
        params: the distribution of starts.
        challenger: makes the challenges, from the generator that it is given alone.
        rounds: how often a start is drawn again at most.

    Returns:
        The set; ``drawn_with`` tells the behaviours, and for which share of the starts asked about there was a sound
        challenge.

    Raises:
        EvaluationSetError: as in ``draw_log_replay``; for another kind; when a scene has no sound challenge; when the
            challenger answers for more or fewer clips than it was asked about.
    """
    if kind not in KINDS[1:]:
        raise EvaluationSetError(f"a challenged set of kind {kind!r} was asked for; expected one of {KINDS[1:]}")
    random, scene = np.random.default_rng(seed), _spread(simulator, scenes, clips)
    frame, departure = np.zeros(clips, int), np.zeros((clips, 3))
    found: dict[int, Challenge] = {}
    asked = 0
    for _ in range(rounds):
        open_ones = np.array([clip for clip in range(clips) if clip not in found])
        if not len(open_ones):
            break
        frame[open_ones], departure[open_ones] = _starts(simulator, scene[open_ones], random, params)
        answers = challenger(random, scene[open_ones], frame[open_ones], departure[open_ones])
        if len(answers) != len(open_ones):
            raise EvaluationSetError(f"the challenger answers for {len(answers)} clips of {len(open_ones)} asked about")
        asked += len(answers)
        found |= {int(c): answer for c, answer in zip(open_ones, answers, strict=True) if answer is not None}
    if len(found) < clips:
        bare = int(scene[next(clip for clip in range(clips) if clip not in found)])
        raise EvaluationSetError(
            f"no sound challenge was found for {clips - len(found)} of {clips} clips in {rounds} rounds, the first in "
            f"scene {scenes[bare][0]}; widen the challenger's ranges, or leave that scene out"
        )
    challenges = tuple(found[clip] for clip in range(clips))
    behaviours = sorted({challenge.behaviour for challenge in challenges})
    note = {"sound_share": round(clips / asked, 6), "behaviours": behaviours}
    return _drawn(kind, simulator, scenes, seed, (scene, frame, departure), params, challenges, note)


def _spread(simulator: Simulator, scenes: Sequence[tuple[str, str]], clips: int) -> Int[np.ndarray, " clip"]:
    """The scene of every clip."""
    world = simulator.world
    if clips < world.scenes or len(scenes) != world.scenes:
        raise EvaluationSetError(
            f"asked for {clips} clips in {len(scenes)} named scenes of a world of {world.scenes}; expected at least "
            "one clip a scene and a name for each"
        )
    return np.arange(clips) % world.scenes


def _starts(
    simulator: Simulator, scene: Int[np.ndarray, " clip"], random: np.random.Generator, params: SimulatorParams
) -> tuple[Int[np.ndarray, " clip"], Float[np.ndarray, "clip 3"]]:
    """Frames at which clips of these scenes start, and their departures from the recorded poses."""
    table = jax.device_get(start_table(simulator.world, simulator.clip_steps))
    place = (random.uniform(size=len(scene)) * table.count[scene]).astype(int)
    # Speeds are factors about one, and none is negative.
    departure = random.normal(size=(len(scene), 3)) * _deviations(params) + np.array([0.0, 0.0, 1.0])
    departure[:, 2] = np.maximum(departure[:, 2], 0.0)
    return table.frame[scene, place].astype(int), np.round(departure, 6)


def _deviations(params: SimulatorParams) -> list[float]:
    return [float(getattr(params, f"start_{name}")) for name in PERTURBATION]


def _drawn(
    kind: str, simulator: Simulator, scenes: Sequence[tuple[str, str]], seed: int, starts: tuple[Any, Any, Any],
    params: SimulatorParams, challenges: tuple[Challenge, ...] = (), note: Mapping[str, Any] | None = None,
) -> EvaluationSet:  # fmt: skip
    scene, frame, departure = starts
    deviations = dict(zip(PERTURBATION, np.round(_deviations(params), 6).tolist(), strict=True))
    return EvaluationSet(
        kind=kind,
        seed=seed,
        scenes=tuple((str(name), str(found)) for name, found in scenes),
        scene=scene,
        frame=frame,
        perturbation=departure,
        challenges=challenges,
        drawn_with={"start": deviations, "clip_seconds": simulator.config.clip_seconds, **(note or {})},
    )
