"""Frozen evaluation sets: where clips start and what befalls them; ``evaluation_draws`` draws them.

A set is one small JSON file. It names its scenes by what was recorded in them (poses and boxes, not images) and holds a
hash of its own content, so that nobody can score on other clips, or in other scenes, without noticing.
"""

import dataclasses
import hashlib
import json
import math
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from jaxrecon.agents.driving import Clips
from jaxrecon.logs import DrivingLog
from jaxrecon.scene.exporting import write_file
from jaxrecon.simulator import Perturbation

KIND, VERSION = "jaxrecon evaluation set", 1
KINDS = ("log_replay", "corner_cases", "unseen_behaviours")
DIGITS = 4  # decimals of metres (and of elements of rotations) that make a scene the same on any machine


class EvaluationSetError(ValueError):
    """An evaluation set that is damaged, or does not belong to the scenes at hand; the message says which and why."""


@dataclasses.dataclass(frozen=True)
class Challenge:
    """What a corner case does to a clip.

    Attributes:
        behaviour: its name, say ``cut_in``.
        actor: slot of the actor that does it.
        frame: of the log at which it begins.
        parameters: its numbers by name, SI.
    """

    behaviour: str
    actor: int
    frame: int
    parameters: Mapping[str, float]


@dataclasses.dataclass(frozen=True)
class EvaluationSet:
    """Clips that never change.

    Attributes:
        kind: one of ``KINDS``.
        seed: that everything was drawn from.
        scenes: name and hash of each scene, see ``scene_hash``, in the order of the world.
        scene: (clip,) index into ``scenes``.
        frame: (clip,) log frame at which each starts.
        perturbation: (clip, 3) departure from the recorded pose: metres to the left, radians to the left, factor on
            the speed.
        challenges: one a clip; empty where the traffic is the log's.
        drawn_with: what else decided the draw, JSON values.
    """

    kind: str
    seed: int
    scenes: tuple[tuple[str, str], ...]
    scene: Int[np.ndarray, " clip"]
    frame: Int[np.ndarray, " clip"]
    perturbation: Float[np.ndarray, "clip 3"]
    challenges: tuple[Challenge, ...] = ()
    drawn_with: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def clips(self) -> Clips:
        """The starts, for ``evaluate``."""
        return Clips(
            start_frames=jnp.asarray(self.frame, jnp.int32),
            perturbation=Perturbation(*jnp.asarray(self.perturbation, jnp.float32).T),
            scenes=jnp.asarray(self.scene, jnp.int32),
            cases=jnp.arange(len(self.challenges), dtype=jnp.int32) if self.challenges else None,
        )

    @property
    def content_hash(self) -> str:
        """SHA-256 of everything in it."""
        return _digest(_content(self))

    def check_scenes(self, scenes: Sequence[tuple[str, str]]) -> None:
        """Refuse scenes that the set was not drawn in.

        Args:
            scenes: name and hash of every scene of the world, in its order.

        Raises:
            EvaluationSetError: naming the first that differs.
        """
        if len(scenes) != len(self.scenes):
            raise EvaluationSetError(
                f"evaluation set {self.kind} (seed {self.seed}) is of {len(self.scenes)} scenes, the world has "
                f"{len(scenes)}; build the world from the set's scenes, or freeze a set for this one"
            )
        for number, (ours, theirs) in enumerate(zip(self.scenes, scenes, strict=True)):
            if tuple(ours) != tuple(theirs):
                raise EvaluationSetError(
                    f"evaluation set {self.kind} (seed {self.seed}): scene {number} is {ours[0]} with hash "
                    f"{ours[1][:12]}, the world's is {theirs[0]} with hash {theirs[1][:12]}; restore that scene, or "
                    "freeze another set"
                )


def scene_hash(log: DrivingLog) -> str:
    """SHA-256 of what a log says of its drive and its traffic, to a tenth of a millimetre; images do not count."""
    digest = hashlib.sha256()

    def add(values: Any) -> None:
        # Adding zero makes zero of minus zero.
        digest.update((np.round(np.asarray(values, np.float64), DIGITS) + 0.0).astype("<f8").tobytes())

    add(log.timestamps)
    add(log.world_from_ego)
    add(list(dataclasses.asdict(log.ego).values()))
    for track in log.tracks:
        digest.update(track.category.encode())
        add(track.size)
        add(track.valid)
        add(track.world_from_box[track.valid])
    return digest.hexdigest()


def save_set(chosen: EvaluationSet, path: str | os.PathLike[str]) -> str:
    """Write a set as JSON; the file appears whole or not at all. Returns its content hash.

    Raises:
        EvaluationSetError: if the set contradicts itself, or the file exists: sets do not change.
    """
    path = pathlib.Path(path)
    _validate(chosen, str(path))
    if path.exists():
        raise EvaluationSetError(f"{path} exists; a frozen set is not overwritten: choose another name")
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {**_content(chosen), "content_hash": chosen.content_hash}
    text = json.dumps(content, sort_keys=True, separators=(",", ":")) + "\n"
    write_file(path, lambda stream: stream.write(text.encode()), overwrite=False)
    return chosen.content_hash


def load_set(path: str | os.PathLike[str], scenes: Sequence[tuple[str, str]] | None = None) -> EvaluationSet:
    """Read a set, check that it is whole and, where they are given, that the scenes are its own.

    Args:
        path: of the file.
        scenes: name and hash of every scene of the world, in its order.

    Raises:
        EvaluationSetError: if the file is missing, damaged or of another kind, or the scenes are others.
    """
    try:
        stored = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
        claimed = stored.pop("content_hash")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise EvaluationSetError(f"{path} holds no evaluation set ({error!r}); restore it from a copy") from error
    if (stored.get("format"), stored.get("version")) != (KIND, VERSION):
        raise EvaluationSetError(
            f"{path} is {stored.get('format')!r} version {stored.get('version')!r}; expected {KIND!r} version {VERSION}"
        )
    if _digest(stored) != claimed:
        raise EvaluationSetError(
            f"{path}: its content has the hash {_digest(stored)[:12]}, it says {str(claimed)[:12]}: it was changed "
            "since it was frozen; restore it from a copy"
        )
    challenges = tuple(Challenge(**entry) for entry in stored["challenges"])
    clips = stored["clips"]
    chosen = EvaluationSet(
        kind=stored["kind"],
        seed=stored["seed"],
        scenes=tuple((name, found) for name, found in stored["scenes"]),
        scene=np.asarray(clips["scene"], int),
        frame=np.asarray(clips["frame"], int),
        perturbation=np.asarray(clips["perturbation"], np.float64).reshape(-1, 3),
        challenges=challenges,
        drawn_with=stored["drawn_with"],
    )
    _validate(chosen, str(path))
    if scenes is not None:
        chosen.check_scenes(scenes)
    return chosen


def _content(chosen: EvaluationSet) -> dict[str, Any]:
    return {
        "format": KIND,
        "version": VERSION,
        "kind": chosen.kind,
        "seed": chosen.seed,
        "scenes": [list(scene) for scene in chosen.scenes],
        "clips": {
            "scene": np.asarray(chosen.scene).tolist(),
            "frame": np.asarray(chosen.frame).tolist(),
            "perturbation": np.asarray(chosen.perturbation).tolist(),
        },
        "challenges": [dataclasses.asdict(challenge) for challenge in chosen.challenges],
        "drawn_with": dict(chosen.drawn_with),
    }


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _validate(chosen: EvaluationSet, where: str) -> None:
    clips = len(chosen.scene)
    problem = None
    if chosen.kind not in KINDS:
        problem = f"has the kind {chosen.kind!r}, expected one of {KINDS}"
    elif not clips:
        problem = "has no clips; expected at least one"
    elif not (len(chosen.frame) == len(chosen.perturbation) == clips):
        problem = (
            f"has {clips} scenes, {len(chosen.frame)} frames and {len(chosen.perturbation)} perturbations of clips"
        )
    elif chosen.scene.min() < 0 or chosen.scene.max() >= len(chosen.scenes):
        problem = f"has clips in scenes {chosen.scene.min()} to {chosen.scene.max()} of {len(chosen.scenes)}"
    elif np.min(chosen.frame) < 0:
        problem = f"has a clip that starts at frame {np.min(chosen.frame)}; expected 0 or more"
    elif not np.isfinite(chosen.perturbation).all():
        problem = "has perturbations that are not finite"
    elif not all(math.isfinite(number) for one in chosen.challenges for number in one.parameters.values()):
        problem = "has challenges with parameters that are not finite"
    elif len(chosen.challenges) != (0 if chosen.kind == "log_replay" else clips):
        expected = "none" if chosen.kind == "log_replay" else f"one for each of its {clips} clips"
        problem = f"has {len(chosen.challenges)} challenges; a set of kind {chosen.kind} has {expected}"
    if problem is not None:
        raise EvaluationSetError(f"{where}: the set {problem}")
