"""The row that says how much more varied cousins are than the drives that they are cousins of."""

import dataclasses
import pathlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import numpy as np
from benchmark_rows import BenchmarkError, make_row
from cousins_report import figures_of, motions_of, recorded_motions
from cousins_worlds import open_world
from reconstruction_specs import data_folder

from jaxrecon.logs.splits import read_split
from jaxrecon.street import StreetConfig
from jaxrecon.trajectories import CousinConfig, generate

ROW = "cousin_entropy_gain"
UNSEEN = (96, 64)  # pixels of cameras that nothing draws for


@dataclasses.dataclass(frozen=True)
class CousinScale:
    """How much of everything.

    Attributes:
        name: of the scale; it stands in the row where it is not the full one.
        streets: seeds of procedural streets.
        street: how they are made.
        scenarios: recorded ones, the first of those to train in, where the data are there.
        splats: most of a scene, which is assembled for what stands beside the road.
        cousins: how many, and which.
    """

    name: str
    streets: tuple[int, ...]
    street: StreetConfig
    scenarios: int
    splats: int
    cousins: CousinConfig


SCALES = {
    "full": CousinScale("full", (0, 1, 2, 3), StreetConfig(), 4, 120_000, CousinConfig()),
    "tiny": CousinScale(
        "tiny",
        (5,),
        StreetConfig(layout="curve", length=120.0, seconds=5.0, moving=3, parked=2, pedestrians=1),
        0,
        60_000,
        CousinConfig(seconds=3.5, per_family=2, candidates=8, rounds=1),
    ),
}


def measurements(scale: CousinScale) -> dict[str, Callable[[], dict[str, Any]]]:
    """What measures each row of the cousins, by name, for a suite of the benchmark."""
    return {ROW: partial(measure_entropy_gain, scale)}


def measure_entropy_gain(scale: CousinScale) -> dict[str, Any]:
    """Cousins of streets and of recorded scenarios; their frames are not drawn, since motion alone is measured."""
    reports = []
    for source in [*(f"street:{seed}" for seed in scale.streets), *map(str, _scenarios(scale.scenarios))]:
        world = open_world(source, UNSEEN, scale.splats, street=scale.street, seen=False)
        made = generate(world.log, world.simulator.world, jax.random.key(0), scale.cousins)
        report = figures_of(made, recorded_motions(world, made.path), motions_of(world, made))
        reports.append({**report, "log": world.log.name})
        print(f"    {world.log.name}: {made.cousins.count} cousins, gain {report['gain']['value']:.2f}", flush=True)
    row = entropy_row(reports)
    if scale.name != "full":
        row["quality"]["scale"] = scale.name
    return row


def entropy_row(reports: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The row of what ``figures_of`` says of some logs, named by ``log``: the least gain of them all.

    The value compares the effective number of manoeuvres in all of a log's cousins with that in the log. Part of it
    comes from there being more windows of cousins than of the log: ``equal_windows`` beside it compares equal numbers,
    where a log of few windows bounds what its cousins can reach.

    Raises:
        BenchmarkError: if there are none.
    """
    if not reports:
        raise BenchmarkError(f"{ROW}: no log to make cousins of")
    logs = {
        report["log"]: {
            "gain": report["gain"]["all_cousins"] / report["gain"]["log"],
            "gain_equal_windows": report["gain"]["value"],
            "gain_equal_windows_low": report["gain"]["low"],
            "gain_equal_windows_high": report["gain"]["high"],
            "kinds_log": report["gain"]["log"],
            "kinds_cousins": report["gain"]["all_cousins"],
            "windows_log": report["gain"]["windows"],
            "cousins": report["cousins"],
        }
        for report in reports
    }
    gains, equal = ([one[key] for one in logs.values()] for key in ("gain", "gain_equal_windows"))
    quality = {
        "of": "the least",
        "median": float(np.median(gains)),
        "equal_windows": min(equal),
        "equal_windows_median": float(np.median(equal)),
        "logs": logs,
    }
    return make_row(ROW, min(gains), "x", quality)


def _scenarios(count: int) -> tuple[pathlib.Path, ...]:
    """The first recorded scenarios to train in; none, with a printed line, where the data are not there."""
    folder = data_folder() / "womd-scenarios"
    if not count:
        return ()
    if not folder.exists():
        print(f"[{ROW}] streets alone: there is no {folder} (set JAXRECON_DATA)", flush=True)
        return ()
    return read_split(folder).train[:count]
