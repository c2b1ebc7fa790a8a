"""From a recorded drive to a policy trained inside its reconstruction: every stage of jaxrecon, thin but real.

    python experiments/quickstart.py                          # the procedural street
    python experiments/quickstart.py --log street:7 --out outputs/seven
    python experiments/quickstart.py --log path/to/kitti/drive --out outputs/kitti

Stages that are done are not done again: the same command goes on where it was stopped.
"""

import dataclasses
import json
import math
import pathlib
import shutil
import sys
from collections.abc import Mapping
from typing import Any, Literal

import jax
import tyro
from runs import Run, RunError, Stage, write_text
from showing import metric_lines, number, write_page
from stages import (
    SCALES,
    Scale,
    build_simulator,
    clone,
    demonstrate,
    improve,
    judge,
    open_log,
    rebuild,
    record,
    show,
    street_seed,
)

import jaxrecon
from jaxrecon import agents, reconstruct
from jaxrecon.logs import DrivingLog, LogError
from jaxrecon.scene.files import load_scene
from jaxrecon.simulator import default_params
from jaxrecon.storage import StorageError

# Clips start beside the recorded path, where small errors of its own would take a policy.
START = {"start_lateral": 0.5, "start_heading": 0.05}


@dataclasses.dataclass(frozen=True)
class Quickstart:
    """Record or read a drive, rebuild it, train a policy in it, and report.

    Attributes:
        log: `street`, `street:SEED`, or the folder of a recording (KITTI raw or native).
        out: folder of the run.
        preset: how much of everything; `auto` takes `accelerator` where JAX finds one, else `cpu`.
        seed: of every random choice.
        clips: of the evaluation; the preset says by default.
        updates: of PPO; the preset says by default.
        fit_steps: of the reconstruction; the preset says by default.
        gaussians: slots of the scene; the preset says by default.
        environments: driven side by side while training; the preset says by default.
    """

    log: str = "street"
    out: pathlib.Path = pathlib.Path("outputs/demo")
    preset: Literal["auto", "tiny", "cpu", "accelerator"] = "auto"
    seed: int = 0
    clips: int | None = None
    updates: int | None = None
    fit_steps: int | None = None
    gaussians: int | None = None
    environments: int | None = None

    @property
    def scale(self) -> Scale:
        """The preset with what the flags change."""
        automatic = "cpu" if jax.default_backend() == "cpu" else "accelerator"
        scale = SCALES[automatic if self.preset == "auto" else self.preset]
        names = {field.name for field in dataclasses.fields(Scale)}
        changes = {name: value for name, value in vars(self).items() if name in names and value is not None}
        for name, value in changes.items():
            if value < 1:
                raise RunError(f"--{name.replace('_', '-')} is {value}; expected at least 1")
        return dataclasses.replace(scale, **changes)


def main(config: Quickstart) -> dict[str, Any]:
    """Run the stages that are not done yet, and return the summary."""
    scale = config.scale
    run = Run(config.out, {"log": config.log, "seed": config.seed, "scale": dataclasses.asdict(scale)})
    finished = run.folder / "summary.json"
    if finished.exists():
        print(f"{run.folder} holds the finished results of this configuration; nothing to do.")
        return _announce(run, json.loads(finished.read_text(encoding="utf-8")))
    stages: dict[str, Stage] = {}
    keys = dict(
        zip(("fit", "imitation", "ppo", "clips"), jax.random.split(jax.random.key(config.seed), 4), strict=True)
    )
    stages["log"] = run.stage("log", lambda folder: record(config.log, scale, folder))
    log = open_log(config.log, stages["log"])
    recorded = street_seed(config.log) is None
    stages["reconstruction"] = run.stage(
        "reconstruction", lambda folder: rebuild(log, scale, recorded, keys["fit"], folder)
    )
    scene, _ = load_scene(stages["reconstruction"].folder / "scene")
    simulator, params = build_simulator(log, scene, scale), default_params(**START)
    shown = demonstrate(simulator, params)
    stages["imitation"] = run.stage("imitation", lambda folder: clone(shown, scale, keys["imitation"], folder))
    imitation, _ = agents.load_policy(stages["imitation"].folder / "policy")
    checkpoints = run.folder / "ppo-checkpoints"
    identity = {"scene": stages["reconstruction"].figures["scene_hash"]}
    stages["ppo"] = run.stage(
        "ppo",
        lambda folder: improve(simulator, imitation, shown, params, scale, keys["ppo"], folder, checkpoints, identity),
    )
    shutil.rmtree(checkpoints, ignore_errors=True)
    policies = {"imitation": imitation, "ppo": agents.load_policy(stages["ppo"].folder / "policy")[0]}
    clips = agents.draw_clips(simulator, keys["clips"], scale.clips, params)
    stages["evaluation"] = run.stage(
        "evaluation", lambda folder: judge(simulator, policies, clips, params, keys["clips"], folder)
    )
    stages["pictures"] = run.stage(
        "pictures", lambda folder: show(log, simulator, policies, clips, params, stages, folder)
    )
    for picture in sorted((run.folder / "pictures").iterdir()):
        if picture.suffix in (".png", ".mp4", ".ply"):
            _publish(picture, run.folder)
    summary = summarise(config, scale, log, stages)
    write_page(summary, run.folder)
    write_text(finished, json.dumps(summary, indent=2) + "\n")
    return _announce(run, summary)


def _publish(picture: pathlib.Path, folder: pathlib.Path) -> None:
    """Put a picture into the run's folder, whole or not at all."""
    partial = folder / f".{picture.name}.partial"
    shutil.copyfile(picture, partial)
    partial.replace(folder / picture.name)


def summarise(config: Quickstart, scale: Scale, log: DrivingLog, stages: Mapping[str, Stage]) -> dict[str, Any]:
    """What the run measured, as JSON can hold it."""
    fitted, driven = stages["reconstruction"].figures, stages["evaluation"].figures
    seconds = {name: stage.seconds for name, stage in stages.items()}
    summary = {
        "log": {"name": log.name, "frames": log.frames, "source": config.log},
        "heldout_psnr": fitted["heldout_psnr"],
        "heldout_psnr_static": fitted["heldout_psnr_static"],
        "heldout_ssim": fitted["heldout_ssim"],
        "gaussians": fitted["gaussians"],
        "scene_hash": fitted["scene_hash"],
        # Throughput of training: policy, physics, rendering and gradient steps.
        "env_steps_per_second": stages["ppo"].figures["env_steps_per_second"],
        "overflow_share": max(stages["ppo"].figures["overflow_share"], driven["overflow_share"]),
        "seconds": {**seconds, "total": sum(seconds.values())},
        **{name: driven[name] for name in ("clips", "metrics", "intervals", "difference")},
        "filmed_clips": stages["pictures"].figures["filmed_clips"],
        "device": jax.devices()[0].device_kind,
        "jax": jax.__version__,
        "jaxrecon": jaxrecon.__version__,
        "config": {"seed": config.seed, **dataclasses.asdict(scale)},
    }
    return _without_nan(summary)


def _without_nan(value: Any) -> Any:
    """JSON has no number for what could not be measured; null stands for it."""
    if isinstance(value, dict):
        return {name: _without_nan(entry) for name, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _announce(run: Run, summary: dict[str, Any]) -> dict[str, Any]:
    print(metric_lines(summary["metrics"]))
    for name in ("CR+DR", "progress"):
        entry = summary["difference"][name]
        low, high = number(entry["low"], "+"), number(entry["high"], "+")
        print(
            f"PPO minus imitation, {name}: {number(entry['mean'], '+')}, 95 % interval {low} to {high}, "
            f"over {summary['clips']} paired clips"
        )
    print(f"{summary['env_steps_per_second']:.0f} environment steps per second while training")
    if summary["overflow_share"]:
        print(f"warning: {summary['overflow_share']:.2%} of the frames lacked splats, for want of room for pairs")
    print(f"report: {run.folder / 'report.html'}")
    return summary


if __name__ == "__main__":
    try:
        main(tyro.cli(Quickstart, description=__doc__))
    except KeyboardInterrupt:
        print("\nstopped; the same command goes on with the stage that was interrupted", file=sys.stderr)
        sys.exit(130)
    except (
        RunError,
        LogError,
        StorageError,
        agents.CheckpointError,
        agents.NonFiniteError,
        reconstruct.ReconstructionError,
    ) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
