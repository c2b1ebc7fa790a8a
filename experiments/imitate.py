"""Imitate the recorded drivers of the training streets, as a policy sees them in its splat worlds.

    python experiments/imitate.py
    python experiments/imitate.py --streets outputs/streets --out outputs/il
    python experiments/imitate.py --streets outputs/streets --out outputs/il-blind --blind
    python experiments/imitate.py --streets outputs/streets --out outputs/il-wide --cousins outputs/cousins/cousin-NAME

Without streets it makes the training streets first, as `fit_streets.py` does, in `outputs/streets`. Writes into the
folder: `policy`, the one that drove best on streets kept for validation; `metrics.json`; `curves.png`. The same command
goes on where it was stopped.
"""

import dataclasses
import json
import pathlib
import shutil
import sys
from typing import Any, Literal

import jax
import numpy as np
import tyro
from runs import Run, write_text
from shown_cousins import CousinLabels, show_cousins
from training_presets import (
    ERRORS,
    PresetName,
    changed,
    for_training,
    imitation_config,
    key_of,
    network,
    preset_of,
    training_params,
    validation_params,
)
from training_records import draw_panels
from training_worlds import driving_of, show_all, training_worlds, validation_clips

from jaxrecon import agents
from jaxrecon.agents.flops import flops_per_frame
from jaxrecon.agents.shown import joined


@dataclasses.dataclass(frozen=True)
class Imitate:
    """Clone the recorded drivers.

    Attributes:
        out: folder of the run.
        streets: folder of the streets that `fit_streets.py` made.
        cousins: data sets of `cousins.py`, folders `cousin-<log>`, to learn from beside the recorded drives.
        labels: what is learned from these: what the `cousin` does, the `recovery` to the recorded path, or both.
        preset: how much of everything; `auto` takes `full` where JAX finds an accelerator, else `cpu`.
        size: of the policy (demo, shipped, resnet or vit); the preset says by default.
        history: frames of each camera that it sees at once.
        action: `anchors`, or `continuous` for acceleration and steering.
        normalise: ego state and navigation by running moments, and critics in units of the returns'.
        blind: show it black frames.
        imitation_epochs: the preset says by default.
        copies: of every recorded moment, seen from beside the path; the preset says by default.
        clips: that choose among the policies; the preset says by default.
        seed: of every random choice.
    """

    out: pathlib.Path = pathlib.Path("outputs/il")
    streets: pathlib.Path | None = None
    cousins: tuple[pathlib.Path, ...] = ()
    labels: CousinLabels = "cousin"
    preset: PresetName = "auto"
    size: str | None = None
    history: int = 1
    action: Literal["anchors", "continuous"] = "anchors"
    normalise: bool = False
    blind: bool = False
    imitation_epochs: int | None = None
    copies: int | None = None
    clips: int | None = None
    seed: int = 0


def main(config: Imitate) -> dict[str, Any]:
    """Train unless it is done; returns the metrics."""
    numbers = {name: getattr(config, name) for name in ("imitation_epochs", "copies", "clips")}
    preset = changed(preset_of(config.preset), **numbers)
    shape = network(
        config.size or preset.policy, preset.image, history=config.history, action=config.action,
        normalise_state=config.normalise, normalise_values=config.normalise,
    )  # fmt: skip
    schedule, params = imitation_config(preset, shape), training_params()
    worlds = training_worlds(config.streets, preset.image)
    wider = show_cousins(config.cousins, worlds, preset.image, config.history, config.labels, config.blind)
    identity = {
        "scenes": worlds.content, "held_out": worlds.held_out, "blind": config.blind, "copies": preset.copies,
        "clips": preset.clips, "cousins": wider.content, "labels": config.labels if wider.content else None,
    }  # fmt: skip
    run = Run(config.out, {**identity, "imitation": dataclasses.asdict(schedule), "seed": config.seed})
    finished = run.folder / "metrics.json"
    if finished.exists():
        print(f"{run.folder} holds the finished results of this configuration; nothing to do.")
        return json.loads(finished.read_text(encoding="utf-8"))
    train = for_training(worlds.train, config.action, config.blind)
    validation = for_training(worlds.validation, config.action, config.blind)
    shown = show_all(train, params, preset.copies, config.history, key_of(config.seed, 1), config.blind)
    shown = joined([shown, *wider.shown])
    clips = validation_clips(validation, key_of(config.seed, 2), preset.clips)
    cost = agents.DrivingCost(validation, clips, validation_params(), preset.clips, config.blind)
    print(
        f"{shown.count} rows, {wider.count} of them of cousins, the others of {train.world.scenes} streets; "
        f"{flops_per_frame(shape) / 1e6:.1f} MFLOP a frame"
    )
    checkpoints = run.folder / "checkpoints"
    policy, curves = agents.imitate.fit(
        shown, schedule, key_of(config.seed, 0), validate=cost, folder=checkpoints,
        identity={name: str(value) for name, value in identity.items()},
    )  # fmt: skip
    agents.save_policy(run.folder / "policy", policy, {"trained": "imitation", "seed": config.seed}, overwrite=True)
    draw_panels(
        {
            "loss (nats)": {"training": curves["loss"], "held out": curves["validation_loss"]},
            "cost of driving": {"validation streets": curves["driving_cost"]},
        },
        run.folder / "curves.png",
        {"loss (nats)": "epoch", "cost of driving": "epoch"},
    )
    metrics = {
        "rows": shown.count,
        "rows_of_cousins": wider.count,
        "parameters": agents.parameter_count(policy),
        "mflop_a_frame": flops_per_frame(shape) / 1e6,
        "validation_loss": float(np.nanmin(curves["validation_loss"])),
        "driving_cost": float(curves["driving_cost"].min()),
        "driving": driving_of(cost, policy),
        "validation_streets": validation.world.scenes if validation is not train else 0,
        "device": jax.devices()[0].device_kind,
    }
    write_text(finished, json.dumps(metrics, indent=1) + "\n")
    shutil.rmtree(checkpoints, ignore_errors=True)
    print(f"cost of driving {metrics['driving_cost']:.3f}: {metrics['driving']}; policy: {run.folder / 'policy'}")
    return metrics


if __name__ == "__main__":
    try:
        main(tyro.cli(Imitate, description=__doc__))
    except KeyboardInterrupt:
        print("\nstopped; the same command goes on from the last checkpoint", file=sys.stderr)
        sys.exit(130)
    except ERRORS as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
