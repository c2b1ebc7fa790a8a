"""Rebuild a recorded drive as Gaussians, and measure how well: held-out views, views beside the path, confidence.

    python experiments/reconstruct.py --log path/to/kitti/drive --out outputs/drive
    python experiments/reconstruct.py --log street:3 --out outputs/street --seconds 30 --export ply spz

Writes into the folder: `scene` (opens with `jaxrecon.scene.load_scene`; its form for a policy's small images, which is
distilled through the renderer, with `load_levels`), `support` (what recorded views say of each of its Gaussians),
`fitted.npz` (corrected poses, exposure), `sheet.png` (recorded, rendered, error, depth, confidence), `certificate.html`
(how far from the path it can be trusted), `metrics.json`, and what --export asks for. Ctrl-C keeps what was reached;
the same command then goes on.
"""

import dataclasses
import json
import math
import pathlib
import shutil
import sys
from typing import Any, Literal

import jax
import numpy as np
import tyro
from fitted_drawing import FittedDrawing
from image_quality import perceptual_weights
from policy_form import DISTIL, judge_policy_form, make_policy_form
from reconstruct_presets import PRESETS, Preset, fit_config
from reconstruction_measures import Trust, certify_fit, measure, truths_of
from runs import Run, RunError, write_text
from showing import confidence_column, depth_column, draw_sheet, shown_labels, shown_views
from stages import fingerprint, first_camera, open_log, street_seed

import jaxrecon
from jaxrecon import reconstruct, street, viz
from jaxrecon.logs import CameraStream, DrivingLog, LogError, read_log, write_log
from jaxrecon.reconstruct.distil import DistilConfig
from jaxrecon.scene import Levels, SceneError, load_scene, save_scene, write_parts, write_spz
from jaxrecon.scene.levels import DEFAULT_LEVELS
from jaxrecon.storage import StorageError

MOST_JUDGED = 16  # frames in which the policy-resolution form is judged
UNLIMITED = 1_000_000_000  # steps, where only seconds count
ALL = "all"
EXPORTED = {"ply": "parts", "spz": "scene.spz"}


@dataclasses.dataclass(frozen=True)
class Reconstruct:
    """Rebuild a drive.

    Attributes:
        log: `street`, `street:SEED`, or the folder of a recording (KITTI raw or native).
        out: folder of the results.
        preset: how much of everything; `auto` takes `gpu` where JAX finds an accelerator, else `cpu`. `tiny` shows in
            seconds that everything works.
        camera: the one camera to learn from, the first by default; `all` learns from all of them.
        width: of the images while fitting, pixels; the preset says by default.
        seconds: of fitting, compilation not counted. This and `steps` replace the preset's budget.
        steps: of fitting.
        distil: fit the policy-resolution form through the renderer too, or keep it as it is merged; `auto` does where
            the preset is not `cpu`, where it takes minutes.
        distil_seconds: most seconds of its gradient steps, compilation not counted; the preset says by default.
        seed: of every random choice.
        export: `ply` writes the background and each actor for other tools, `spz` the first moment for viewers.
    """

    log: str = "street"
    out: pathlib.Path = pathlib.Path("outputs/reconstruction")
    preset: Literal["auto", "tiny", "cpu", "gpu"] = "auto"
    camera: str | None = None
    width: int | None = None
    seconds: float | None = None
    steps: int | None = None
    distil: Literal["auto", "on", "off"] = "auto"
    distil_seconds: float | None = None
    seed: int = 0
    export: tuple[Literal["ply", "spz"], ...] = ()

    @property
    def machine(self) -> str:
        """Name of the preset."""
        automatic = "cpu" if jax.default_backend() == "cpu" else "gpu"
        return automatic if self.preset == "auto" else self.preset

    @property
    def distilling(self) -> DistilConfig | None:
        """How the policy-resolution form is distilled; None: it is not.

        Raises:
            RunError: a flag's value is out of range.
        """
        if self.distil == "off" or (self.distil == "auto" and self.machine == "cpu"):
            return None
        changes = {} if self.distil_seconds is None else {"seconds": self.distil_seconds}
        try:
            return dataclasses.replace(DISTIL[self.machine], **changes)
        except ValueError as error:
            raise RunError(f"--distil-seconds: {error}") from error

    @property
    def chosen(self) -> Preset:
        """The preset with what the flags change.

        Raises:
            RunError: a flag's value is out of range.
        """
        preset = PRESETS[self.machine]
        changes: dict[str, Any] = {} if self.width is None else {"width": self.width}
        if self.seconds is not None or self.steps is not None:
            changes |= {"seconds": self.seconds, "steps": UNLIMITED if self.steps is None else self.steps}
        try:
            return dataclasses.replace(preset, fit=dataclasses.replace(preset.fit, **changes))
        except ValueError as error:
            raise RunError(f"--width, --seconds or --steps: {error}") from error


def main(config: Reconstruct) -> dict[str, Any]:
    """Rebuild the drive unless that is done, and return the metrics."""
    preset, seed = config.chosen, street_seed(config.log)
    identity = {"log": config.log, "camera": config.camera, "seed": config.seed, **dataclasses.asdict(preset)}
    identity["distil"] = None if config.distilling is None else dataclasses.asdict(config.distilling)
    run = Run(config.out, identity)
    finished = run.folder / "metrics.json"
    metrics = json.loads(finished.read_text(encoding="utf-8")) if finished.exists() else None
    if metrics is not None and not metrics["interrupted"]:
        print(f"{run.folder} holds the finished results of this configuration; nothing is fitted again.")
        _export(config, run.folder)
        return _announce(metrics, run.folder)
    stage = run.stage("log", lambda folder: _record(config.log, preset, folder))
    log = open_log(config.log, stage)
    camera = _camera(log, config.camera)
    fitting = fit_config(preset, log, len(log.cameras) if config.camera == ALL else 1, recorded=seed is None)
    checkpoint = run.folder / "checkpoint"
    if checkpoint.exists():
        print(f"{checkpoint} is there: going on from it", flush=True)
    result = reconstruct.fit(
        log,
        fitting,
        jax.random.key(config.seed),
        camera=None if config.camera == ALL else camera.name,
        checkpoint=checkpoint,
    )
    if result.report.interrupted:
        print(f"stopped after {result.report.steps} steps; keeping what was reached ...", flush=True)
    metrics = _write(result, log, camera, config, fitting, run.folder)
    _export(config, run.folder)
    if not result.report.interrupted:
        shutil.rmtree(checkpoint, ignore_errors=True)
    write_text(finished, json.dumps(metrics, indent=2, allow_nan=False) + "\n")
    return _announce(metrics, run.folder)


def _record(source: str, preset: Preset, folder: pathlib.Path) -> dict[str, Any]:
    """Record the street into the folder, or take note of the recording that is there."""
    seed = street_seed(source)
    if seed is None:
        log = read_log(source)
    else:
        log = street.record(preset.street, seed)
        write_log(log, folder / "recording")
    return {"name": log.name, "frames": log.frames, "fingerprint": fingerprint(log)}


def _camera(log: DrivingLog, name: str | None) -> CameraStream:
    """The camera of that name, or the first."""
    first = first_camera(log)
    if name is None or name == ALL:
        return first
    names = [stream.name for stream in log.cameras]
    if name not in names:
        raise RunError(f"--camera {name}: log {log.name} has {names}; name one of them, or `{ALL}`")
    return log.camera(name)


def _write(
    result: reconstruct.FitResult,
    log: DrivingLog,
    camera: CameraStream,
    config: Reconstruct,
    fitting: reconstruct.FitConfig,
    folder: pathlib.Path,
) -> dict[str, Any]:
    """The scene and the pictures of it; the metrics, which are written when everything else is."""
    seed, views = street_seed(config.log), result.views
    world = None if seed is None else street.generate(config.chosen.street, seed)
    # A camera that was learned from is no truth to judge by.
    unseen = dataclasses.replace(log, cameras=(camera,)) if config.camera == ALL else log
    truths = truths_of(unseen, camera, world, views)
    metrics = measure(result, log, camera, fitting.render, truths, perceptual_weights())
    note = {"log": log.name, "camera": config.camera or camera.name, **dataclasses.asdict(result.report)}
    # Who interrupts a fit does not wait for its form to be fitted.
    form = (DEFAULT_LEVELS, None) if result.report.interrupted else _policy_form(result, log, camera, config)
    levels, metrics["policy_form"] = form
    metrics["scene_hash"] = save_scene(result.scene, folder / "scene", note, overwrite=True, levels=levels)
    arrays = {name: getattr(views, name) for name in ("world_from_camera", "intrinsics", "frame", "world_from_actor")}
    arrays |= {"actor_valid": views.actor_valid, **vars(result.exposure)}
    np.savez(folder / "fitted.npz", **{name: np.asarray(leaf) for name, leaf in arrays.items()})
    trust = certify_fit(result, log, fitting.render, config.chosen.certificate)
    if trust is not None:
        reconstruct.save_support(trust.support, folder / "support", {"scene": metrics["scene_hash"]}, overwrite=True)
        told = dataclasses.asdict(trust.certificate)
        metrics["certificate"] = {name: told[name] for name in ("trusted_offset", "trusted_yaw_deg", "bins")}
        _draw(result, FittedDrawing(result, log, camera, fitting.render), trust, folder)
    metrics |= {"log": {"name": log.name, "frames": log.frames, "source": config.log}, "camera": note["camera"]}
    metrics |= {"device": jax.devices()[0].device_kind, "jax": jax.__version__, "jaxrecon": jaxrecon.__version__}
    return _without_nan({**metrics, "config": dataclasses.asdict(fitting)})


def _policy_form(
    result: reconstruct.FitResult, log: DrivingLog, camera: CameraStream, config: Reconstruct
) -> tuple[Levels, dict[str, Any]]:
    """The form that policies see, and how close it is to the scene."""
    form = make_policy_form(result, log, camera.name, config.distilling, jax.random.key(config.seed))
    heldout = np.flatnonzero(reconstruct.heldout_frames(log.frames))
    judged = heldout if len(heldout) else np.arange(log.frames)
    some = judged[np.linspace(0, len(judged) - 1, min(len(judged), MOST_JUDGED)).round().astype(int)]
    return form.distilled, judge_policy_form(form, result, log, camera.name, some)


def _draw(result: reconstruct.FitResult, drawing: FittedDrawing, trust: Trust, folder: pathlib.Path) -> None:
    """The contact sheet, and the certificate with the same held-out views."""
    heldout = result.heldout
    assert heldout is not None
    shown = shown_views(heldout)
    depth = np.stack([drawing.of_view(int(view)).depth for view in heldout.view[shown]])
    confidence = trust.confidence[shown]
    draw_sheet(heldout, folder / "sheet.png", {**depth_column(depth), **confidence_column(confidence)})
    examples = viz.Examples(heldout.recorded[shown], heldout.rendered[shown], confidence, shown_labels(heldout))
    viz.write_certificate(trust.certificate, folder / "certificate.html", examples)


def _export(config: Reconstruct, folder: pathlib.Path) -> None:
    """What was asked for, from the scene as it was saved."""
    if not config.export:
        return
    scene, _ = load_scene(folder / "scene")
    with np.load(folder / "fitted.npz") as fitted:
        poses, valid = fitted["world_from_actor"][0], fitted["actor_valid"][0]
    for form in config.export:
        path = folder / EXPORTED[form]
        if form == "ply":
            write_parts(scene, path, overwrite=True)
        else:
            write_spz(scene, path, poses, valid, overwrite=True)
        print(f"exported {path}")


def _without_nan(value: Any) -> Any:
    """JSON has no number for what could not be measured; null stands for it."""
    if isinstance(value, dict):
        return {name: _without_nan(entry) for name, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _announce_form(form: dict[str, Any]) -> None:
    before = "" if form["distil_seconds"] is None else f", {form['psnr_undistilled']:.2f} dB before it was distilled"
    print(f"policy form at {form['size']}: {form['psnr']:.2f} dB from the exact scene{before}")


def _announce(metrics: dict[str, Any], folder: pathlib.Path) -> dict[str, Any]:
    for name, figures in {"held out": metrics["heldout"], **metrics["lateral"]}.items():
        told = [f"{key} {value:.3f}" for key, value in figures.items() if isinstance(value, float)]
        print(f"{name}: {'  '.join(told) or 'nothing'}")
    print(
        f"{metrics['gaussians']} Gaussians, {metrics['steps']} steps in {metrics['seconds']:.1f} s, beside "
        f"{metrics['seconds_compile']:.1f} s of compilation, on {metrics['device']}"
    )
    if (form := metrics["policy_form"]) is not None:
        _announce_form(form)
    print(f"results: {folder / 'metrics.json'}, certificate.html, sheet.png")
    if metrics["interrupted"]:
        print("that is what was reached; the same command goes on from there")
    return metrics


if __name__ == "__main__":
    try:
        reached = main(tyro.cli(Reconstruct, description=__doc__))
    except KeyboardInterrupt:
        print("\nstopped; the same command goes on from the last checkpoint", file=sys.stderr)
        sys.exit(130)
    except (
        RunError,
        LogError,
        StorageError,
        SceneError,
        reconstruct.CheckpointError,
        reconstruct.ReconstructionError,
    ) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    sys.exit(130 if reached["interrupted"] else 0)
