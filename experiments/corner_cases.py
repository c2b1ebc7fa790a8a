"""Corner cases on demand: every behaviour in given scenes, checked, filmed and counted.

    python experiments/corner_cases.py --out outputs/corner_cases
    python experiments/corner_cases.py --scenes street:0 street:3 scenario.json --each 100 --out outputs/corner_cases

Writes into the folder: `scenarios.json` with every sound case, its checks and the rates of each behaviour; for each
behaviour a video, first driven as was recorded and then by the manoeuvre that gets out; and `contact_sheet.png`.
"""

import dataclasses
import json
import pathlib
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from corner_cases_drawing import film, sheet
from corner_worlds import corner_world
from runs import RunError, write_text

from jaxrecon import viz
from jaxrecon.agents.drivers import IdmDriver, cruise_speeds
from jaxrecon.agents.driving import Clips, drive
from jaxrecon.logs import LogError
from jaxrecon.simulator import Simulator, SimulatorConfig, SimulatorParams, default_params
from jaxrecon.simulator.casting import Casting, casting_of
from jaxrecon.simulator.escapes import MANOEUVRES, nothing_done
from jaxrecon.simulator.judging import Judged, Tally, generate, ride
from jaxrecon.simulator.verifying import avoided
from jaxrecon.traffic.behaviours import BEHAVIOURS, NAMES
from jaxrecon.traffic.checks import CHECKS

STREETS = tuple(f"street:{seed}" for seed in range(8))


@dataclasses.dataclass(frozen=True)
class CornerCases:
    """Make corner cases.

    Attributes:
        scenes: each `street:SEED` or the path of a log of motion.
        out: folder to write to.
        behaviours: by name.
        each: sound cases of every behaviour.
        batch: cases drawn together.
        rounds: batches of a behaviour at most.
        films: cases of every behaviour that its video shows.
        size: of the images, pixels.
        splats: most of a scene.
        second: share of the cases that have a second adversary, of any behaviour that training knows.
        reacting: whether the other traffic brakes for whoever is new on its way; otherwise it repeats the recording.
        seed: of everything.
    """

    scenes: tuple[str, ...] = STREETS
    out: pathlib.Path = pathlib.Path("outputs/corner_cases")
    behaviours: tuple[str, ...] = NAMES
    each: int = 40
    batch: int = 256
    rounds: int = 12
    films: int = 2
    size: tuple[int, int] = (96, 64)
    splats: int = 60_000
    second: float = 0.0
    reacting: bool = False
    seed: int = 0


def main(config: CornerCases) -> dict[str, Any]:
    """Make them, write everything, and return what `scenarios.json` holds."""
    unknown = sorted(set(config.behaviours) - set(NAMES))
    if unknown:
        raise RunError(f"--behaviours {unknown} are unknown; expected some of {list(NAMES)}")
    world, logs = corner_world(config.scenes, config.size, config.splats)
    simulator, params = Simulator(world, SimulatorConfig(action="continuous")), default_params()
    casting = casting_of(simulator, config.reacting)
    config.out.mkdir(parents=True, exist_ok=True)
    behaviours, scenarios, rows = {}, [], []
    for name in config.behaviours:
        number = NAMES.index(name)
        weights = jnp.zeros(len(NAMES)).at[number].set(1.0)
        key = jax.random.fold_in(jax.random.key(config.seed), number)
        cases, counted = generate(
            casting, key, weights, params, config.each, batch=config.batch, rounds=config.rounds, fewer=True,
            second_share=config.second,
        )  # fmt: skip
        behaviours[name] = rates_of(casting, cases, counted, number, params)
        print(_line(name, behaviours[name]), flush=True)
        scenarios += _told(cases, world.names)
        if config.films and cases.reaction.shape[0]:
            filmed = film(simulator, casting, cases, logs, params, config.films)
            viz.write_video(
                [shot for clip in filmed for shot in clip],
                config.out / f"{name}.mp4",
                frames_per_second=round(1 / world.dt),
            )
            rows.append(sheet(name, filmed))
    if rows:
        viz.write_image(np.concatenate(rows), config.out / "contact_sheet.png")
    kept = [(one["avoidable_share"], one["kept"]) for one in behaviours.values() if one["kept"]]
    told = {
        "scenes": list(world.names),
        "avoidable_share": sum(share * count for share, count in kept) / len(scenarios) if kept else None,
        "behaviours": behaviours,
        "scenarios": scenarios,
    }
    write_text(config.out / "scenarios.json", json.dumps(told, indent=1, allow_nan=False) + "\n")
    return told


def rates_of(casting: Casting, cases: Judged, counted: Tally, number: int, params: SimulatorParams) -> dict[str, Any]:
    """Of a behaviour: how many were drawn, what became of them, and who is hit."""
    drawn, there = int(counted.drawn[number]), int(counted.cast[number])
    passed = {name: int(count) / max(there, 1) for name, count in zip(CHECKS, counted.passed[number], strict=True)}
    sound = int(counted.sound[number])
    rates: dict[str, Any] = {
        "tests_only": BEHAVIOURS[number].tests_only,
        "drawn": drawn,
        "somebody_in_place": there / max(drawn, 1),
        "passed": passed,
        "sound": sound,
        "acceptance": sound / max(drawn, 1),
    }
    rates["kept"] = kept = cases.reaction.shape[0]
    if kept:
        bank = casting.challenges(cases.start, cases.plan, cases.detour)
        simulator = dataclasses.replace(casting.simulator, challenges=bank)
        idm = IdmDriver(cruise_speeds(simulator.world))
        alone = dataclasses.replace(cases.plan, valid=jnp.zeros_like(cases.plan.valid))
        undisturbed = ride(
            casting, cases.start, alone, jnp.zeros_like(cases.detour), nothing_done(kept), params, quick=True
        )
        none = jnp.zeros(0, jnp.int32)
        clips = Clips(cases.start.frame, cases.start.perturbation, cases.start.scene, jnp.arange(kept))
        ridden = drive(simulator, idm, clips, jax.random.key(0), params, none)
        rates["non_reacting_collision_rate"] = float(np.mean(np.asarray(cases.hits)))
        rates["collision_rate_without_adversaries"] = float(np.mean(np.asarray(undisturbed.hits)))
        rates["idm_collision_rate"] = float(np.asarray(ridden.rollout.events)[..., 0].any(axis=0).mean())
        rates["avoidable_share"] = float(np.asarray(avoided(casting, cases, params)).mean())
        rates["reactive_share"] = float(np.asarray(cases.plan.reactive)[:, 0].mean())
    return rates


def _told(cases: Judged, names: tuple[str, ...]) -> list[dict[str, Any]]:
    """Every case as JSON holds it."""
    told = jax.device_get(cases)
    listed = []
    for case in range(told.reaction.shape[0]):
        adversaries = []
        for slot in np.flatnonzero(told.plan.valid[case]):
            behaviour = BEHAVIOURS[int(told.plan.behaviour[case, slot])]
            numbers = told.plan.parameters[case, slot]
            adversaries.append({
                "behaviour": behaviour.name,
                "actor": int(told.plan.slot[case, slot]),
                "begins_after_steps": int(told.plan.begin[case, slot]),
                "parameters": {one.name: round(float(numbers[i]), 4) for i, one in enumerate(behaviour.parameters)},
                "mode": "reactive" if told.plan.reactive[case, slot] else "perturb",
                "staged": bool(told.plan.staged[case, slot]),
            })  # fmt: skip
        share, rate, left = MANOEUVRES[int(told.manoeuvre[case])]
        listed.append({
            "scene": names[int(told.start.scene[case])],
            "frame": int(told.start.frame[case]),
            "adversaries": adversaries,
            "checks": {name: bool(value) for name, value in zip(CHECKS, told.checks[case], strict=True)},
            "recorded_drive_collides": bool(told.hits[case]),
            "may_react_after_steps": int(told.reaction[case]),
            "way_out": {"share_of_speed": share, "rate": rate, "left": left},
            "reference_leaves_corridor": bool(told.detour[case, 2] != 0),
        })  # fmt: skip
    return listed


def _line(name: str, rates: dict[str, Any]) -> str:
    hits, idm = rates.get("non_reacting_collision_rate"), rates.get("idm_collision_rate")
    alone = rates.get("collision_rate_without_adversaries")
    told = "" if hits is None else f"  recorded drive collides {hits:.2f} ({alone:.2f} without them), IDM {idm:.2f}"
    return f"{name:<20} {rates['sound']} of {rates['drawn']} sound ({rates['acceptance']:.3f}){told}"


if __name__ == "__main__":
    try:
        main(tyro.cli(CornerCases, description=__doc__))
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        sys.exit(130)
    except (RunError, LogError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
