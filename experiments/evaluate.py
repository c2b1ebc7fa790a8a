"""The scoreboard: reference drivers and policies over frozen clips, in splat worlds and in reality, with intervals.

    python experiments/evaluate.py
    python experiments/evaluate.py --streets outputs/streets --out outputs/scoreboard
    python experiments/evaluate.py --streets outputs/streets --out outputs/scoreboard \\
        --policy IL=outputs/il/policy RL=outputs/rl/policy --blind blind=outputs/blind/policy

Without any world it makes test streets first, as `fit_streets.py` does, in `outputs/streets`.

Writes into the folder: `scoreboard.html`, which holds everything but the videos; `scoreboard.md` with its pictures;
`scoreboard.json`; `videos`, one failure of each kind for every driver; and `sets`, the frozen clips, unless --sets says
where they are. What is scored is not scored again: the same command goes on where it was stopped, and further policies
add their rows.
"""

import dataclasses
import datetime
import json
import pathlib
import shutil
import sys
from collections.abc import Mapping
from typing import Any, Literal

import fit_streets
import jax
import tyro
from runs import Run, RunError, write_text
from scoreboard_page import interval_text, write_pages
from scoreboard_stages import REFERENCES, Entrant, Stored, compared, load_entrants, reference_drivers, score
from scoreboard_transfer import transfer
from scoreboard_worlds import Group, drive_group, scenario_group, slug, street_groups, with_enough_room

import jaxrecon
from jaxrecon import agents
from jaxrecon.agents.challengers import AdversaryChallenger, challenges_of
from jaxrecon.agents.evaluation_draws import draw_challenged, draw_log_replay
from jaxrecon.agents.evaluation_sets import EvaluationSet, EvaluationSetError, load_set, save_set
from jaxrecon.agents.scoreboard import FULL_CLIPS, Label, Row, Scores, as_json, load_scores, make_row, pool
from jaxrecon.logs import LogError
from jaxrecon.reconstruct import ReconstructionError
from jaxrecon.scene import SceneError, SpzError
from jaxrecon.simulator import SimulatorParams, Start, default_params
from jaxrecon.simulator.casting import casting_of
from jaxrecon.simulator.challenges import Challenges
from jaxrecon.storage import StorageError
from jaxrecon.viz.atomic import replacing

SIZE = (96, 64)  # pixels of a policy's image, where no policy says otherwise
STREETS = pathlib.Path("outputs/streets")
Kind = Literal["log_replay", "corner_cases", "unseen_behaviours"]
ERRORS = (RunError, LogError, StorageError, SceneError, SpzError, EvaluationSetError, ReconstructionError)


@dataclasses.dataclass(frozen=True)
class Amount:
    """How much is driven.

    Attributes:
        clips: of each set.
        streets: made where no world was given; None: as many as `fit_streets.py` makes.
        resamples: of the bootstrap.
        moments: held-out moments in which actions on true and rendered images are compared.
    """

    clips: int
    streets: int | None
    resamples: int
    moments: int


AMOUNTS = {"small": Amount(32, 2, 1000, 64), "full": Amount(FULL_CLIPS, None, 4000, 512)}


@dataclasses.dataclass(frozen=True)
class Evaluate:
    """Score drivers.

    Attributes:
        out: folder of the scoreboard.
        preset: how much is driven; `auto` takes `full` where JAX finds an accelerator, else `small`.
        streets: folder of the streets that `fit_streets.py` made.
        scenarios: folder of Waymo motion scenarios with their split; its test scenarios are assembled.
        scenario_splats: most splats of an assembled scenario.
        most_scenarios: take only so many of them.
        drive: recorded drives, each `RECORDING:REBUILT`, the second being what `reconstruct.py` wrote.
        policy: stored policies, each `NAME=FOLDER`. The first is the one that others are compared with. Those of one
            name are training seeds of the same thing, and share a row.
        blind: policies that were trained on black frames, likewise.
        sets: folder of the frozen evaluation sets; one that is not there yet is drawn and written.
        kind: of the sets: the recorded traffic, corner cases with parameters that training leaves out, or behaviours
            that it never plays. Each kind has a scoreboard of its own.
        clips: of each set, when it is drawn; the preset says by default.
        seed: of the sets and of the intervals.
        resamples: of the bootstrap; the preset says by default.
        batch: clips driven side by side where cameras are drawn; by default 64 on CPU and 512 elsewhere.
        moments: held-out moments in which actions are compared; the preset says by default.
        films: names of the policies whose failures are filmed; all by default. Of a name's seeds it is the first.
    """

    out: pathlib.Path = pathlib.Path("outputs/scoreboard")
    preset: Literal["auto", "small", "full"] = "auto"
    streets: pathlib.Path | None = None
    scenarios: pathlib.Path | None = None
    scenario_splats: int = 120_000
    most_scenarios: int | None = None
    drive: tuple[str, ...] = ()
    policy: tuple[str, ...] = ()
    blind: tuple[str, ...] = ()
    sets: pathlib.Path | None = None
    kind: Kind = "log_replay"
    clips: int | None = None
    seed: int = 0
    resamples: int | None = None
    batch: int | None = None
    moments: int | None = None
    films: tuple[str, ...] | None = None

    @property
    def amount(self) -> Amount:
        """How much is driven, with what the flags change."""
        automatic = "small" if jax.default_backend() == "cpu" else "full"
        chosen = AMOUNTS[automatic if self.preset == "auto" else self.preset]
        given = {name: getattr(self, name) for name in ("clips", "resamples", "moments")}
        return dataclasses.replace(chosen, **{name: value for name, value in given.items() if value is not None})

    @property
    def side_by_side(self) -> int:
        """Clips driven side by side where cameras are drawn."""
        if self.batch is not None:
            return self.batch
        return 64 if jax.default_backend() == "cpu" else 512


def main(config: Evaluate) -> dict[str, Any]:
    """Score whoever is not scored yet, and write the scoreboard; returns what its JSON holds."""
    stored = [_stored(text, False) for text in config.policy] + [_stored(text, True) for text in config.blind]
    policies, size = load_entrants(stored)
    _check_films(config, policies)
    groups, params = _groups(config, size or SIZE), default_params()
    sets = {group.name: _frozen(config, group, params) for group in groups if group.first}
    banks = {group.name: _bank(group, sets[group.name]) for group in groups if group.first}
    groups = [with_enough_room(_playing(group, banks), sets[group.name].clips, params) for group in groups]
    run = Run(config.out, _identity(groups, sets, size or SIZE))
    for name, chosen in sets.items():
        _freeze(_set_path(config, name), chosen)
    alone: dict[tuple[str, str], Scores] = {}
    rows, pooled, videos, scored = [], {}, run.folder / "videos", []
    firsts = {group.name: group.world_name for group in groups if group.first}
    for group in groups:
        entrants = [*reference_drivers(group), *policies]
        scored += [f"{_stage_name(group, entrant)}-" for entrant in entrants]
        for entrant in entrants:
            # Who does not look drives alike however the scenes are drawn.
            seen_before = None if group.first or entrant.looks else alone[firsts[group.name], entrant.label]
            found = seen_before or _scored(config, run, group, entrant, sets, params)
            alone[group.world_name, entrant.label] = found
        played = [one.behaviour for one in sets[group.name].challenges]
        for name in dict.fromkeys(entrant.name for entrant in entrants):
            runs = [alone[group.world_name, entrant.label] for entrant in entrants if entrant.name == name]
            pooled[group.world_name, name] = found = pool(runs)
            label = Label(name, group.world_name, config.kind, group.in_scene)
            rows.append(make_row(label, found, _key(config, 0), config.amount.resamples, played))
            print(_line(rows[-1]), flush=True)
    names, resamples = list(dict.fromkeys(one.name for one in policies)), config.amount.resamples
    told = {
        "rows": rows,
        "comparisons": compared(pooled, [(names[0], other) for other in names[1:]], _key(config, 1), resamples),
        "transfer": transfer(alone, groups, policies, config.amount.moments, _key(config, 2), resamples),
        **_provenance(sets),
    }
    board = as_json(told)
    write_text(run.folder / "scoreboard.json", json.dumps(board, indent=1, allow_nan=False) + "\n")
    # A folder may hold pictures of policies that an earlier call scored too.
    pictures = [path for path in sorted(videos.glob("*.png")) if path.name.startswith(tuple(scored))]
    write_pages(board, rows, pictures, run.folder)
    print(f"scoreboard: {run.folder / 'scoreboard.html'}")
    return board


def _scored(
    config: Evaluate, run: Run, group: Group, entrant: Entrant, sets: dict[str, EvaluationSet], params: SimulatorParams
) -> Scores:
    """Scores of one entrant in one group, from its stage."""
    name, clips = _stage_name(group, entrant), sets[group.name].clips
    filmed = entrant.seed == 0 and (config.films is None or entrant.name in (*config.films, *REFERENCES))
    stage = run.stage(name, lambda folder: score(group, entrant, clips, params, config.side_by_side, filmed, folder))
    _publish(stage.folder, run.folder / "videos", name)
    return load_scores(stage.folder / "scores.npz")


def _check_films(config: Evaluate, policies: list[Entrant]) -> None:
    """Raise for names that no policy has.

    Raises:
        RunError: naming one.
    """
    unknown = sorted(set(config.films or ()) - {one.name for one in policies})
    if unknown:
        raise RunError(
            f"--films {unknown[0]}: no policy has that name; expected some of {sorted({one.name for one in policies})}"
        )


def _stage_name(group: Group, entrant: Entrant) -> str:
    return slug("-".join([group.name, group.drawn, entrant.name, entrant.identity[:8]])).strip("-")


def _stored(text: str, blind: bool) -> Stored:
    """A policy given as `NAME=FOLDER`.

    Raises:
        RunError: it is not of that form.
    """
    name, equals, folder = text.partition("=")
    if not (name and equals and folder):
        raise RunError(f"--policy or --blind {text!r}: expected NAME=FOLDER")
    return Stored(name, pathlib.Path(folder), blind)


def _groups(config: Evaluate, size: tuple[int, int]) -> list[Group]:
    groups: list[Group] = []
    streets = config.streets
    if streets is None and config.scenarios is None and not config.drive:
        streets = STREETS
        fit_streets.main(fit_streets.FitStreets(out=streets, train=0, test=config.amount.streets))
    if streets is not None:
        groups += street_groups(streets, size)
    if config.scenarios is not None:
        groups.append(scenario_group(config.scenarios, size, config.scenario_splats, config.most_scenarios))
    for text in config.drive:
        recording, colon, rebuilt = text.partition(":")
        if not (recording and colon and rebuilt):
            raise RunError(f"--drive {text!r}: expected RECORDING:REBUILT, two folders")
        groups.append(drive_group(pathlib.Path(recording), pathlib.Path(rebuilt), size))
    names = [group.world_name for group in groups]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise RunError(f"{twice[0]} is given twice; score one of them in a scoreboard of its own")
    return groups


def _set_path(config: Evaluate, group: str) -> pathlib.Path:
    return (config.sets or config.out / "sets") / f"{slug(group)}-{config.kind}.json"


def _frozen(config: Evaluate, group: Group, params: SimulatorParams) -> EvaluationSet:
    """The group's set from its file, checked against its scenes; drawn where there is none."""
    path, scenes = _set_path(config, group.name), group.scenes
    if path.exists():
        found = load_set(path, scenes)
        if found.kind != config.kind:
            raise RunError(f"{path} is a set of kind {found.kind}; expected {config.kind}: choose another folder")
        return found
    clips = max(config.amount.clips, len(scenes))
    if config.kind == "log_replay":
        return draw_log_replay(group.simulator, scenes, config.seed, clips, params)
    challenger = AdversaryChallenger(casting_of(group.simulator), params, config.kind)
    return draw_challenged(config.kind, group.simulator, scenes, config.seed, clips, params, challenger)


def _bank(group: Group, chosen: EvaluationSet) -> Challenges | None:
    """What befalls the clips of a set; None where nothing does."""
    if not chosen.challenges:
        return None
    clips = chosen.clips
    starts = Start(clips.scenes, clips.start_frames, clips.perturbation)
    return challenges_of(casting_of(group.simulator), starts, chosen.challenges)


def _playing(group: Group, banks: Mapping[str, Challenges | None]) -> Group:
    """The group with what befalls its clips, however they are drawn."""
    return dataclasses.replace(group, simulator=dataclasses.replace(group.simulator, challenges=banks[group.name]))


def _freeze(path: pathlib.Path, chosen: EvaluationSet) -> None:
    """Write a set that was drawn just now."""
    if not path.exists():
        save_set(chosen, path)
        print(f"froze {len(chosen.scene)} clips in {len(chosen.scenes)} scenes: {path}", flush=True)


def _identity(groups: list[Group], sets: dict[str, EvaluationSet], size: tuple[int, int]) -> dict[str, Any]:
    """What decides every row: the images' size, the clips and what is drawn. Policies are told by their stages."""
    return {
        "size": list(size),
        "sets": {name: chosen.content_hash for name, chosen in sets.items()},
        "scenes": {group.world_name: list(group.content) for group in groups},
    }


def _publish(stage: pathlib.Path, videos: pathlib.Path, name: str) -> None:
    """Put a stage's films where people look."""
    for film in sorted([*stage.glob("*.mp4"), *stage.glob("*.png")]):
        videos.mkdir(exist_ok=True)
        target = videos / f"{name}-{film.name}"
        if not target.exists():
            with replacing(target) as temporary:
                shutil.copyfile(film, temporary)


def _key(config: Evaluate, number: int) -> jax.Array:
    return jax.random.fold_in(jax.random.key(config.seed), number)


def _provenance(sets: dict[str, EvaluationSet]) -> dict[str, Any]:
    """Over what, with what and when."""
    told = [
        {
            "world": name, "kind": chosen.kind, "seed": chosen.seed, "scenes": len(chosen.scenes),
            "clips": len(chosen.scene), "hash": chosen.content_hash,
        }
        for name, chosen in sets.items()
    ]  # fmt: skip
    return {
        "sets": told,
        "device": jax.devices()[0].device_kind,
        "jax": jax.__version__,
        "jaxrecon": jaxrecon.__version__,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }


def _line(row: Row) -> str:
    names = ("CR", "DR", "at_fault_collision", "progress", "PDMS")
    told = "  ".join(f"{name} {interval_text(row.metrics[name])}" for name in names)
    return f"{row.driver:<16} {row.world}, {row.clips} clips in {row.scenes} scenes: {told}"


if __name__ == "__main__":
    try:
        main(tyro.cli(Evaluate, description=__doc__))
    except KeyboardInterrupt:
        print("\nstopped; the same command goes on with the driver that was interrupted", file=sys.stderr)
        sys.exit(130)
    except (*ERRORS, agents.CheckpointError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
