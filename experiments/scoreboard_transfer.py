"""How well splats tell what policies do in reality: the same order of policies, the same actions at the same poses."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Int, PRNGKeyArray, UInt8
from scoreboard_stages import Entrant
from scoreboard_worlds import Group

from jaxrecon.agents.drivers import CameraDriver
from jaxrecon.agents.histories import history_of
from jaxrecon.agents.scoreboard import Scores, as_numbers
from jaxrecon.agents.transfer import action_disagreement, rank_correlation
from jaxrecon.reconstruct import heldout_frames
from jaxrecon.simulator import Observation, Simulator, policy_rig, recorded_frames
from jaxrecon.simulator.moments import recorded_moment
from jaxrecon.simulator.observation import observe

RANKED = ("CR", "DR", "progress", "PDMS")
TOGETHER = 32  # moments looked at side by side
Moments = tuple[Int[np.ndarray, " moment"], Int[np.ndarray, " moment"]]  # scenes and frames


def transfer(
    scores: Mapping[tuple[str, str], Scores], groups: Sequence[Group], entrants: Sequence[Entrant], moments: int,
    key: PRNGKeyArray, resamples: int,
) -> dict[str, Any] | None:  # fmt: skip
    """The whole figure; None without policies that look.

    Args:
        scores: by world and label of the entrant, each seed by itself.
        groups: the worlds; those of one name are the same scenes.
        entrants: policies.
        moments: held-out moments at which actions are compared.
        key: of the bootstrap.
        resamples: bootstrap samples.
    """
    looking = [entrant for entrant in entrants if entrant.looks]
    if not looking:
        return None
    found: dict[str, Any] = {"policies": len(looking), "rank_correlation": {}, "means": {}, "disagreement": []}
    for splats in (group for group in groups if group.first):
        for reality in (group for group in groups if group.name == splats.name and not group.first):
            worlds = (splats.world_name, reality.world_name)
            found |= ranked(scores, worlds, [entrant.label for entrant in looking], key, resamples)
            chosen = held_out(splats, moments)
            seen = [_observer(group, chosen) for group in (splats, reality)]
            found["disagreement"] += disagreements(splats.world_name, *seen, looking)
        if splats.in_scene and splats.logs[0].cameras:
            chosen = held_out(splats, moments)
            seen = [_observer(splats, chosen), _recorded_observer(splats, chosen)]
            found["disagreement"] += disagreements(splats.world_name, *seen, looking)
    return found


def ranked(
    scores: Mapping[tuple[str, str], Scores], worlds: tuple[str, str], policies: Sequence[str], key: PRNGKeyArray,
    resamples: int,
) -> dict[str, Any]:  # fmt: skip
    """Rank correlations of the policies' means between two worlds, and those means.

    Args:
        scores: by world and driver.
        worlds: splats and reality.
        policies: those that look; three at least are needed for a correlation.
        key: of the bootstrap.
        resamples: bootstrap samples.
    """
    told: dict[str, Any] = {"worlds": list(worlds), "rank_correlation": {}, "means": {}}
    if len(policies) < 3:
        return told
    scene = scores[worlds[0], policies[0]].scene
    for name in RANKED:
        sides = [[scores[world, policy].measures[name] for policy in policies] for world in worlds]
        told["rank_correlation"][name] = as_numbers(rank_correlation(*sides, scene, key, resamples))
        means = [[_mean(one) for one in side] for side in sides]
        told["means"][name] = dict(zip(policies, zip(*means, strict=True), strict=True))
    return told


def _mean(measure: Any) -> float:
    valid = np.asarray(measure.valid)
    return float(np.asarray(measure.value)[valid].mean()) if valid.any() else float("nan")


def held_out(group: Group, moments: int) -> Moments:
    """Scenes and frames of held-out moments, evenly spread over all of the group's."""
    places = [
        (scene, frame) for scene, log in enumerate(group.logs) for frame in np.flatnonzero(heldout_frames(log.frames))
    ]
    chosen = np.linspace(0, len(places) - 1, min(moments, len(places))).round().astype(int)
    scene, frame = np.array(places)[np.unique(chosen)].T
    return scene, frame


Observer = Callable[[int], Observation]  # observations of given moments, with histories of so many frames


def _observer(group: Group, chosen: Moments) -> Observer:
    """What a policy sees from recorded poses of a world."""
    scene, frame = chosen
    known: dict[int, Observation] = {}

    def at(before: int) -> Observation:
        if before not in known:
            known[before] = _observations(group, scene, np.maximum(frame - before, 0))
        return known[before]

    return lambda history: _with_history(at(0), [at(before).frames for before in range(history)])


def _recorded_observer(group: Group, chosen: Moments) -> Observer:
    """The same moments as a drive's own camera recorded them."""
    (log,), rig, (scene, frame) = group.logs, group.simulator.world.rig, chosen
    images = recorded_frames(log, policy_rig(log, rig.width, rig.height, rig.names))
    rest = _observations(group, scene, frame)
    return lambda history: _with_history(rest, [images[np.maximum(frame - before, 0)] for before in range(history)])


def _with_history(seen: Observation, frames: Sequence[UInt8[np.ndarray, "..."]]) -> Observation:
    stacked = frames[0] if len(frames) == 1 else np.stack(frames, axis=1)
    return dataclasses.replace(seen, frames=stacked)


@jax.jit
def _seen(simulator: Simulator, scene: jax.Array, frame: jax.Array) -> Observation:
    world = simulator.world
    return observe(world, recorded_moment(world, scene, frame), simulator.config.look_ahead)[0]


def _observations(group: Group, scene: np.ndarray, frame: np.ndarray) -> Observation:
    """On the host."""
    count = len(scene)
    chunks = [np.minimum(np.arange(first, first + TOGETHER), count - 1) for first in range(0, count, TOGETHER)]
    seen = [jax.device_get(_seen(group.simulator, scene[rows], frame[rows])) for rows in chunks]
    # The last chunk repeats the last moment, so that all have one shape and compile once.
    return jax.tree.map(lambda *leaves: np.concatenate(leaves)[:count], *seen)


def disagreements(world: str, rendered: Observer, true: Observer, entrants: Sequence[Entrant]) -> list[dict[str, Any]]:
    """How differently each policy with anchors acts on rendered and on true images of the same moments."""
    told = []
    for entrant in entrants:
        assert isinstance(entrant.driver, CameraDriver)
        if entrant.driver.action != "anchors":
            continue
        history = history_of(entrant.driver.policy)
        one, two = rendered(history), true(history)
        found = jax.device_get(action_disagreement(entrant.driver.policy, one, two))
        means = {name: float(np.mean(values)) for name, values in vars(found).items()}
        told.append({"policy": entrant.label, "world": world, "moments": len(one.ego), **means})
    return told
