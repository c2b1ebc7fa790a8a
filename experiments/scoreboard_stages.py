"""The stages of a scoreboard: who is scored, driving every clip, filming failures, comparing."""

import dataclasses
import hashlib
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from drive_films import drive_shots, ground_in, write_film
from jaxtyping import PRNGKeyArray
from runs import RunError, fingerprint_of
from scoreboard_worlds import Group

from jaxrecon import agents, viz
from jaxrecon.agents.drivers import ConstantSpeed, IdmDriver, Stop, camera_driver, cruise_speeds
from jaxrecon.agents.driving import Clips, Driver
from jaxrecon.agents.evaluate import evaluate, evaluate_recorded, film_clips
from jaxrecon.agents.planner import Oracle
from jaxrecon.agents.scoreboard import Scores, compare_scores, failures, save_scores, scores_of
from jaxrecon.simulator import SimulatorParams

REFERENCES = ("stop", "constant speed", "IDM", "oracle", "recorded driver")
UNSEEING_BATCH = 512  # clips driven side by side where nothing is drawn
VIEW_WIDTH = 384  # pixels of the cameras in a film
ABOVE = viz.BirdsEyeConfig(width=256, height=256)


@dataclasses.dataclass(frozen=True)
class Stored:
    """A policy in a folder.

    Attributes:
        name: on the scoreboard; policies of one name differ in their training seed.
        folder: that holds it.
        blind: whether it is shown black frames.
    """

    name: str
    folder: pathlib.Path
    blind: bool

    @property
    def identity(self) -> str:
        """Tells policies apart, and whether they see: one may be scored both ways, under its name now or later."""
        found = fingerprint_of(self.folder)
        return hashlib.sha256(f"{found} blind".encode()).hexdigest() if self.blind else found


@dataclasses.dataclass(frozen=True)
class Entrant:
    """Who is scored.

    Attributes:
        name: on the scoreboard.
        driver: who drives; None: the recorded driver.
        identity: what tells it from others of that name.
        seed: its number among those of that name, which differ in their training seed.
    """

    name: str
    driver: Driver | None
    identity: str = ""
    seed: int = 0

    @property
    def label(self) -> str:
        """Its name, and which seed it is of those after the first."""
        return self.name if self.seed == 0 else f"{self.name} ({self.seed + 1})"

    @property
    def looks(self) -> bool:
        """Whether it sees camera frames."""
        return self.driver is not None and self.driver.draws


def reference_drivers(group: Group) -> list[Entrant]:
    """Those that every scoreboard holds, made for a group's scenes."""
    desired = cruise_speeds(group.simulator.world)
    drivers = (Stop(), ConstantSpeed(), IdmDriver(desired), Oracle(desired), None)
    return [Entrant(name, driver) for name, driver in zip(REFERENCES, drivers, strict=True)]


def score(
    group: Group, entrant: Entrant, clips: Clips, params: SimulatorParams, batch: int, filmed: bool,
    folder: pathlib.Path,
) -> dict[str, Any]:  # fmt: skip
    """Drive every clip and keep scores, and if wanted films of one failure of each kind."""
    key, driver = jax.random.key(0), entrant.driver
    if driver is None:
        report = evaluate_recorded(group.simulator, clips, params, key)
    else:
        many = batch if driver.draws else max(batch, UNSEEING_BATCH)
        report = evaluate(group.simulator, driver, clips, params, key, batch=many, name=entrant.label)
    scores = scores_of(report)
    save_scores(scores, folder / "scores.npz")
    chosen = {event: ended[0] for event, ended in failures(scores).items() if ended and filmed}
    if driver is not None:
        _film(group, entrant, clips, chosen, params, folder)
    told = {name: report.summary[name] for name in ("CR", "DR", "progress")}
    return {**told, "overflow_share": report.overflow_share, "filmed": chosen}


def _film(
    group: Group, entrant: Entrant, clips: Clips, chosen: Mapping[str, int], params: SimulatorParams,
    folder: pathlib.Path,
) -> None:  # fmt: skip
    assert entrant.driver is not None
    simulator = group.simulator
    for event, clip in chosen.items():
        # One at a time, so that a driver's films compile once and nothing is drawn twice.
        rollout, (film,) = film_clips(simulator, entrant.driver, clips, (clip,), params, jax.random.key(0))
        driven = clips.take(np.array([clip]))
        scene = int(np.asarray(driven.scenes)[0])
        log = group.logs[scene]
        title = f"{entrant.label} in {group.drawn}: {event}, clip {clip}"
        ground = ground_in(log, simulator.world, scene)
        frames = list(drive_shots(title, ground, simulator.world, driven, rollout, film, VIEW_WIDTH, ABOVE))
        write_film(frames, folder / f"{event}.mp4", round(1 / simulator.world.dt))


def compared(
    scores: Mapping[tuple[str, str], Scores], pairs: Sequence[tuple[str, str]], key: PRNGKeyArray, resamples: int
) -> list[dict[str, Any]]:
    """Pairs of drivers, in every world in which both were scored.

    Args:
        scores: by world and driver.
        pairs: names of drivers.
        key: of the bootstrap.
        resamples: bootstrap samples.
    """
    worlds = list(dict.fromkeys(world for world, _ in scores))
    found = []
    for world in worlds:
        for first, second in pairs:
            if (world, first) in scores and (world, second) in scores:
                metrics = compare_scores(scores[world, first], scores[world, second], key, resamples)
                found.append({"world": world, "first": first, "second": second, "metrics": metrics})
    return found


def load_entrants(stored: Sequence[Stored]) -> tuple[list[Entrant], tuple[int, int] | None]:
    """Stored policies, and the size of image that they all see; None where there are none.

    Raises:
        RunError: if they see images of different sizes, or through several cameras; if a name is a reference driver's,
            or stands for one policy twice, or for some that are blind and some that are not.
    """
    entrants: list[Entrant] = []
    sizes, blinds = {}, {}
    for one in stored:
        policy, _ = agents.load_policy(one.folder)
        seen = (policy.config.cameras, policy.config.width, policy.config.height)
        seed = sum(entrant.name == one.name for entrant in entrants)
        entrant = Entrant(one.name, camera_driver(policy, draws=not one.blind), one.identity, seed)
        if one.name in REFERENCES or any(entrant.identity == e.identity for e in entrants if e.name == one.name):
            raise RunError(f"{one.name}={one.folder}: that name is a reference driver's, or has this policy already")
        if blinds.setdefault(one.name, one.blind) != one.blind:
            raise RunError(f"{one.name} is given with --policy and with --blind; expected either for all its seeds")
        sizes[entrant.label] = seen
        entrants.append(entrant)
    if len(set(sizes.values())) > 1 or any(cameras != 1 for cameras, _, _ in sizes.values()):
        raise RunError(
            f"the policies see (cameras, width, height) {sizes}; expected one camera and one size of all of them: "
            "score others in a scoreboard of their own"
        )
    return entrants, next((size[1:] for size in sizes.values()), None)
