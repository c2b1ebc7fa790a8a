"""The report on cousins: how much more varied they are than their log, what was rejected and why."""

import dataclasses
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from cousins_worlds import CousinWorld
from jaxtyping import Float

from jaxrecon import viz
from jaxrecon.dynamics import VehicleState, yaw_rate
from jaxrecon.geometry.polylines import polyline, project
from jaxrecon.simulator import World
from jaxrecon.trajectories import (
    CHECKS,
    Generated,
    Motions,
    confidence_of,
    coverage,
    effective_number,
    entropy,
    gain,
    histograms,
)


def recorded_motions(world: CousinWorld, path: Float[np.ndarray, "n 2"]) -> Motions:
    """The log's own drive; ``path`` is its and what comes after it, from which offsets are measured."""
    reference = world.simulator.world.reference
    turning = np.asarray(reference.yaw_rate)
    return _motions(jax.tree.map(np.asarray, reference.motion), turning, path, world.simulator.world.dt)


def motions_of(world: CousinWorld, made: Generated) -> Motions:
    """The cousins' drives."""
    place, vehicle = world.simulator.world, jax.tree.map(jnp.asarray, made.cousins.vehicle)
    turning = np.asarray(yaw_rate(vehicle, place.vehicle.wheelbase[0]))
    return _motions(jax.tree.map(np.asarray, vehicle), turning, made.path, place.dt)


def _motions(vehicle: VehicleState, turning: np.ndarray, path: np.ndarray, dt: float) -> Motions:
    line = polyline(jnp.asarray(path, jnp.float32))
    offset = project(line, jnp.asarray(vehicle.position).reshape(-1, 2)).lateral
    return Motions(
        yaw=np.asarray(vehicle.yaw, float), speed=vehicle.speed, acceleration=vehicle.acceleration, yaw_rate=turning,
        offset=np.asarray(offset).reshape(vehicle.speed.shape), dt=dt,
    )  # fmt: skip


def recorded_unsupported(world: World) -> float | None:
    """Share of pixels that nothing supports at the worst place of the recorded drive; None where nothing is known."""
    confidence, frames = confidence_of(world), int(world.frames[0])
    if confidence is None:
        return None
    motion = jax.tree.map(lambda leaf: leaf[:, :frames], world.reference.motion)
    return float(confidence(motion, jnp.arange(frames)[None])[0])


def figures_of(made: Generated, recorded: Motions, driven: Motions) -> dict[str, Any]:
    """Everything that is measured, as JSON can hold it but for arrays."""
    before, after = histograms(recorded), histograms(driven)
    entropies = {
        name: {"log": entropy(before[name]), "cousins": entropy(after[name]),
               "bins_log": effective_number(before[name]), "bins_cousins": effective_number(after[name])}
        for name in before
    }  # fmt: skip
    return {
        "cousins": made.cousins.count,
        "adapted": int(made.cousins.adapted.sum()),
        "acceptance": made.acceptance,
        "drawn": made.drawn,
        "passed": made.passed,
        "failed": made.failed,
        "known": made.known,
        "gain": dataclasses.asdict(gain(recorded, driven)),
        "entropy": entropies,
        "coverage": coverage(recorded, driven),
        "histograms": {"log": before, "cousins": after},
    }


def write_page(report: dict[str, Any], folder: pathlib.Path) -> None:
    """``report.html`` in a folder that holds the pictures."""
    found = report["gain"]
    support = report["unsupported"]
    unknown = [name for name, known in report["known"].items() if not known]
    spread = viz.Table(
        ["quantity", "entropy of the log", "of the cousins", "effective bins of the log", "of the cousins"],
        [
            [name, f"{e['log']:.2f}", f"{e['cousins']:.2f}", f"{e['bins_log']:.1f}", f"{e['bins_cousins']:.1f}"]
            for name, e in report["entropy"].items()
        ],
    )
    covered = viz.Table(
        ["class", "log", "cousins"],
        [
            [f"{group}: {name}", f"{before:.1%}", f"{after:.1%}"]
            for group, classes in report["coverage"].items()
            for name, (before, after) in classes.items()
        ],
    )
    shown = [check for check in CHECKS if any(failed[check] for failed in report["failed"].values())]
    rejected = viz.Table(
        ["family", "drawn", "accepted", *(check.replace("_", " ") for check in shown)],
        [
            [name, str(report["drawn"][name]), f"{report['acceptance'][name]:.0%}",
             *(str(report["failed"][name][check]) for check in shown)]
            for name in report["drawn"]
        ],
    )  # fmt: skip
    page = viz.Report(
        title=f"Cousins of {report['log']}",
        lead=f"{report['kind']}; scene {report['scene'][:12]}, data set {report['content'][:12]}",
        figures={
            "cousins": str(report["cousins"]),
            "rows": str(report["rows"]),
            "entropy gain": f"{found['value']:.2f}x",
            "kinds of manoeuvres, log": f"{found['log']:.1f}",
            "of as many cousins' windows": f"{found['cousins']:.1f}",
            "of all cousins' windows": f"{found['all_cousins']:.1f}",
            "others had to brake": str(report["adapted"]),
        },
        sections=[
            viz.Section(
                "Ways from above",
                f"Nothing in this world could tell: {', '.join(unknown)}." if unknown else "",
                media=[viz.Media(folder / "paths.png", "accepted by family; rejected by the first check failed")],
            ),
            viz.Section(
                "What the cameras show",
                ""
                if support is None
                else f"At the worst place of the recorded drive no recorded view supports {support:.0%} of the pixels.",
                media=[viz.Media(folder / "strip.png", "one cousin of each family")],
            ),
            viz.Section("Drawn and rejected", "A candidate may fail several checks.", rejected),
            viz.Section(
                "Spread of the motion",
                "Entropies in nats of steps over fixed bins.",
                spread,
                [
                    viz.Media(
                        folder / "histograms.png", "shares of steps; the vertical scale is logarithmic above 0.001"
                    )
                ],
            ),
            viz.Section(
                "Manoeuvres",
                f"Share of windows of one second. The gain compares {found['windows']} windows of the log with as many "
                "of cousins, drawn 200 times: more windows alone would find more kinds.",
                covered,
            ),
        ],
    )
    viz.write_report(page, folder / "report.html")
