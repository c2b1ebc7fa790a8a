"""What a person sees of a run: curves, the reconstruction sheet, a film of drives, and the page that holds them."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from drive_films import PAUSE, drive_shots, ground_in
from training_records import smoothed

from jaxrecon import agents, viz
from jaxrecon.logs import DrivingLog
from jaxrecon.metrics.closed_loop import METRICS
from jaxrecon.reconstruct import Score
from jaxrecon.simulator import Simulator, SimulatorParams

SHOWN_FRAMES = 4
NEAR_FAR = (2.0, 80.0)  # metres, ends of the scale of depths
VIEW_WIDTH = 512  # pixels of the policy's cameras in the film


def draw_curves(imitation: Mapping[str, np.ndarray], ppo: Mapping[str, np.ndarray], path: pathlib.Path) -> None:
    """Imitation losses by epoch; reward and events by update of PPO, averaged over a few updates."""
    losses = {"training": imitation["loss"], "held out": imitation["validation_loss"]}
    panels = {
        "imitation: loss (nats)": losses,
        "PPO: reward per step": {"reward": smoothed(ppo["reward"])},
        "PPO: share of steps that end in an event": {"event rate": smoothed(ppo["event_rate"])},
    }
    viz.plot_learning_curves(panels, path, {"imitation: loss (nats)": "epoch"})


def shown_views(heldout: Score) -> np.ndarray:
    """Which of the held-out views are shown: a few, evenly spread."""
    return np.unique(np.linspace(0, len(heldout.view) - 1, SHOWN_FRAMES).round().astype(int))


def shown_labels(heldout: Score) -> list[str]:
    """What stands below each of ``shown_views``."""
    return [
        f"held-out view {heldout.view[i]}: PSNR {heldout.psnr[i]:.2f} dB, outside boxes {heldout.psnr_static[i]:.2f} dB"
        for i in shown_views(heldout)
    ]


def draw_sheet(heldout: Score, path: pathlib.Path, further: Mapping[str, np.ndarray] | None = None) -> None:
    """Recorded, rendered and error for some held-out views, and further columns of ``shown_views`` by their titles."""
    chosen = shown_views(heldout)
    recorded, rendered = heldout.recorded[chosen], heldout.rendered[chosen]
    viz.write_image(viz.reconstruction_sheet(recorded, rendered, shown_labels(heldout), further=further), path)


def depth_column(depth: np.ndarray) -> dict[str, np.ndarray]:
    """Depths [view, height, width] in metres, infinite where there is only sky, as a column of a sheet."""
    near, far = NEAR_FAR
    place = np.where(np.isfinite(depth), 1 - np.log(np.maximum(depth, near) / near) / np.log(far / near), np.nan)
    return {f"depth, {near:g} m (red) to {far:g} m (blue)": viz.false_colours(place)}


def confidence_column(confidence: np.ndarray) -> dict[str, np.ndarray]:
    """Confidences [view, height, width] as a column of a sheet."""
    return {"confidence, 0 (dark) to 1 (light)": viz.false_colours(confidence, "viridis")}


def film(
    log: DrivingLog,
    simulator: Simulator,
    policies: Mapping[str, agents.Policy],
    clips: agents.Clips,
    chosen: Sequence[int],
    params: SimulatorParams,
    path: pathlib.Path,
) -> None:
    """Video of some clips, driven by each policy in turn from the same starts: its camera, and the view from above."""
    world = simulator.world
    cameras_height = round(VIEW_WIDTH * world.rig.height / world.rig.width) * world.rig.count
    view = viz.BirdsEyeConfig(width=320, height=max(320, cameras_height))
    ground = ground_in(log, world, 0)
    frames: list[np.ndarray] = []
    for clip in chosen:
        alone = jax.tree.map(lambda x, rows=slice(clip, clip + 1): x[rows], clips)
        for name, policy in policies.items():
            report = agents.evaluate.evaluate(
                simulator, policy, alone, params, jax.random.key(0), batch=1, film=0, progress=False
            )
            assert report.film is not None
            shots = drive_shots(
                f"{name}, clip {clip}", ground, world, report.clips, report.rollout, report.film, VIEW_WIDTH, view
            )
            frames += viz.freeze(list(shots), PAUSE)
    viz.write_video(frames, path, frames_per_second=round(1 / world.dt))


def write_page(summary: Mapping[str, Any], folder: pathlib.Path) -> None:
    """The report of a finished run, from its summary and the pictures in its folder."""
    heldout, static = summary["heldout_psnr"], summary["heldout_psnr_static"]
    figures = {
        "held-out PSNR": _decibels(heldout),
        "outside boxes": _decibels(static),
        "training env-steps/s": f"{summary['env_steps_per_second']:,.0f}",
        "whole run": f"{summary['seconds']['total']:.0f} s",
    }
    difference = summary["difference"]["CR+DR"]
    seconds = [[name, f"{value:.1f}"] for name, value in summary["seconds"].items()]
    described = [[name, str(value)] for name, value in _flat(summary["config"])]
    paired = viz.Table(
        headings=["PPO minus imitation, same starts", "mean", "95 % interval"],
        rows=[
            [name, number(value["mean"], "+"), f"{number(value['low'], '+')} to {number(value['high'], '+')}"]
            for name, value in summary["difference"].items()
        ],
    )
    verdict = "lower" if difference["high"] < 0 else "higher" if difference["low"] > 0 else "not clearly different"
    sections: Sequence[viz.Section] = [
        viz.Section(
            "Driving",
            f"{summary['clips']} clips of at most 8 s, the same starts for every policy; means with 95 % intervals "
            "over clips. CR and DR are the shares of clips that end in a collision or off the expert's path, ADD is "
            "metres, jerks are m/s3, progress is the share of the expert's way.",
            viz.metrics_table(summary["metrics"], summary["intervals"]),
        ),
        viz.Section("Did PPO help?", f"Collisions and departures together are {verdict}.", paired),
        viz.Section(
            "Drives",
            media=[viz.Media(folder / "rollout.mp4", "What the policy saw, and the same moment from above")],
        ),
        viz.Section(
            "Reconstruction",
            media=[viz.Media(folder / "reconstruction.png", "Views that the reconstruction never saw")],
        ),
        viz.Section("Learning", media=[viz.Media(folder / "learning_curve.png", "PPO averaged over a few updates")]),
        viz.Section("Seconds", table=viz.Table(["stage", "seconds"], seconds)),
        viz.Section("Configuration", table=viz.Table(["field", "value"], described)),
    ]
    lead = f"{summary['log']['name']}, {summary['log']['frames']} frames; {summary['device']}; JAX {summary['jax']}"
    viz.write_report(viz.Report("jaxrecon quickstart", lead, figures, sections), folder / "report.html")


def _decibels(value: float | None) -> str:
    return "none held out" if value is None else f"{value:.2f} dB"


def _flat(value: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for name, entry in value.items():
        rows += _flat(entry, f"{prefix}{name}.") if isinstance(entry, Mapping) else [(f"{prefix}{name}", entry)]
    return rows


def metric_lines(metrics: Mapping[str, Mapping[str, float | None]]) -> str:
    """The metrics as a table for a terminal."""
    short = [name.replace("longitudinal", "lon").replace("lateral", "lat") for name in METRICS]
    head = f"{'policy':<11}" + "".join(f"{name:>9}" for name in short)
    rows = [f"{name:<11}" + "".join(f"{number(values[key]):>9}" for key in METRICS) for name, values in metrics.items()]
    return "\n".join([head, *rows])


def number(value: float | None, sign: str = "") -> str:
    """Three decimals; a dash for what could not be measured."""
    return "-" if value is None else f"{value:{sign}.3f}"
