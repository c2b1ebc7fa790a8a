"""Fit a scene to a log by gradient descent through the renderer, one random training view a step."""

import dataclasses
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jaxrecon.logs.driving_log import DrivingLog
from jaxrecon.reconstruct.checkpoint import fingerprint
from jaxrecon.reconstruct.checks import check_log, heed
from jaxrecon.reconstruct.corrections import Corrections, correct_views, no_corrections
from jaxrecon.reconstruct.descent import DescentState, Material, fill_in, start
from jaxrecon.reconstruct.exposure import Exposure, neutral
from jaxrecon.reconstruct.fit_config import FitConfig
from jaxrecon.reconstruct.initialise import InitialiseConfig, initialise
from jaxrecon.reconstruct.loop import Clock, CurvePoint, Descent
from jaxrecon.reconstruct.score import Score, score
from jaxrecon.reconstruct.timeline import lies_between, time_weights
from jaxrecon.reconstruct.views import Views, collect_views
from jaxrecon.render import RenderConfig
from jaxrecon.scene import ground
from jaxrecon.scene.gaussians import empty
from jaxrecon.scene.scene import Scene

_BETWEEN = 2  # frames between the neighbours of one that is not learned from
_MOST_TRAINING_SCORED = 8
_GROUND_ROOM = 512  # cells; the ground's map has a multiple of it along each side, so that like drives compile once


@dataclasses.dataclass(frozen=True)
class FitReport:
    """What a fit reached.

    Attributes:
        heldout_psnr: mean over held-out views, decibels; None where there are none.
        heldout_psnr_static: the same outside all projected boxes.
        heldout_psnr_actors: the same inside them; None where there are none.
        heldout_ssim: structural similarity of the same views.
        train_psnr: mean over some training views, decibels.
        seconds: of the whole fit, without compilation and scoring.
        seconds_initial: of them, for images, LiDAR and the first scene.
        seconds_compile: of compilation, beside the others.
        steps: taken.
        gaussians: slots in use.
        interrupted: whether the user stopped it.
    """

    heldout_psnr: float | None
    heldout_psnr_static: float | None
    heldout_psnr_actors: float | None
    heldout_ssim: float | None
    train_psnr: float
    seconds: float
    seconds_initial: float
    seconds_compile: float
    steps: int
    gaussians: int
    interrupted: bool


@dataclasses.dataclass(frozen=True)
class FitResult:
    """A fitted scene.

    Attributes:
        scene: as fitted.
        exposure: of every frame of the log; held-out frames take theirs from their neighbours.
        corrections: of the recorded poses, likewise.
        report: figures.
        heldout: quality and images of the held-out views; None where there are none.
        views: what was fitted, at the working size, with corrected poses.
        curve: held-out quality on the way, where it was asked for.
    """

    scene: Scene
    exposure: Exposure
    corrections: Corrections
    report: FitReport
    heldout: Score | None
    views: Views
    curve: tuple[CurvePoint, ...] = ()


def fit(
    log: DrivingLog,
    config: FitConfig,
    key: Array,
    *,
    camera: str | None = None,
    initial: Scene | None = None,
    checkpoint: pathlib.Path | None = None,
    progress: bool = True,
) -> FitResult:
    """Reconstruct a log: first scene from LiDAR, then gradient descent, then the score of the held-out frames.

    Frames i % 4 == 2 are held out: neither their images nor their LiDAR is learned from, only their poses are used.
    An interrupt (Ctrl-C) ends the descent early and returns what was reached.

    Args:
        log: with images and LiDAR.
        config: how.
        key: of every random choice.
        camera: the one camera to learn from; None takes all.
        initial: start from this scene instead (its capacity and degree hold).
        checkpoint: folder that keeps the descent's state; one that exists is gone on from, with the same outcome as
            without the interruption where the budget is one of steps. None: nothing is kept.
        progress: show a progress bar.

    Warns:
        UserWarning: of what will degrade the scene, see ``check_log``.

    Raises:
        ReconstructionError: if the log lacks what a reconstruction needs.
        CheckpointError: if the checkpoint belongs to another fit.
    """
    clock = Clock()
    seed = int(jax.random.randint(jax.random.fold_in(key, 0), (), 0, 2**31 - 1))
    views = collect_views(log, camera, config.width, config.lidar_points, seed)
    with clock.paused():
        heed(check_log(log, views, config.exposure))
    if initial is not None:
        scene = initial
    elif checkpoint is not None and checkpoint.exists():
        scene = _blank(config.initial, len(log.tracks))
    else:
        scene = initialise(log, views, config.initial, seed)
    seconds_initial = clock.seconds
    material = _material(log, views)
    frames, actors = views.actor_valid.shape
    with clock.paused(compiling=True):
        state = jax.block_until_ready(start(scene, neutral(frames), no_corrections(frames, actors), material))

    def judge(state: DescentState, render: RenderConfig) -> Score | None:
        return _score_heldout(state, material, log, views, render)

    kept = None if checkpoint is None else (checkpoint, fingerprint(config, views, key))
    descent = Descent(config, jax.random.fold_in(key, 1), material, clock, judge, kept, progress)
    state = descent.run(state)
    with clock.paused():
        return _result(state, material, log, views, descent, seconds_initial)


def _blank(config: InitialiseConfig, actors: int) -> Scene:
    """A scene of the same structure as the first one, whose content a checkpoint replaces."""
    sky = jnp.zeros((config.sky_rows, config.sky_columns, 3))
    return Scene(
        empty(config.capacity, config.sh_degree), jnp.zeros(config.capacity, jnp.int32), sky, jnp.zeros((actors, 3))
    )


def _material(log: DrivingLog, views: Views) -> Material:
    fitted = np.zeros(views.actor_valid.shape[0], bool)
    fitted[views.frame[~views.heldout]] = True
    seen = views.actor_valid & fitted[:, None]
    actor_weights = [time_weights(seen[:, actor]) for actor in range(seen.shape[1])]
    between = [lies_between(seen[:, actor], _BETWEEN) for actor in range(seen.shape[1])]
    frames = len(fitted)
    seen_ground = any(len(cloud) for cloud, learned in zip(log.lidar, fitted, strict=False) if learned)
    return Material(
        views=jax.tree.map(jnp.asarray, views),
        training=jnp.asarray(np.flatnonzero(~views.heldout), jnp.int32),
        rig_weights=jnp.asarray(time_weights(fitted)),
        actor_weights=jnp.asarray(
            np.stack(actor_weights) if actor_weights else np.zeros((0, frames, frames)), jnp.float32
        ),
        actor_between=jnp.asarray(np.stack(between) if between else np.zeros((0, frames)), bool),
        ground=_roomy(ground.from_lidar(log, fitted)) if seen_ground else None,
    )


def _roomy(field: ground.HeightField) -> ground.HeightField:
    """The same ground on a larger map, on the rest of which nothing is known."""
    room = [(0, -size % _GROUND_ROOM) for size in field.height.shape]
    return dataclasses.replace(field, height=jnp.pad(field.height, room, constant_values=ground.UNKNOWN))


def _score_heldout(
    state: DescentState, material: Material, log: DrivingLog, views: Views, render: RenderConfig
) -> Score | None:
    chosen = np.flatnonzero(views.heldout)
    if not len(chosen):
        return None
    filled = fill_in(state.fitted, material)
    return score(filled.scene, log, correct_views(views, filled.corrections), chosen, filled.exposure, render)


def _result(
    state: DescentState, material: Material, log: DrivingLog, views: Views, descent: Descent, seconds_initial: float
) -> FitResult:
    filled = fill_in(state.fitted, material)
    corrected = correct_views(views, filled.corrections)
    heldout = _score_heldout(state, material, log, views, descent.render)
    training = np.flatnonzero(~views.heldout)
    few = np.linspace(0, len(training) - 1, min(len(training), _MOST_TRAINING_SCORED)).round().astype(int)
    train = score(filled.scene, log, corrected, training[few], filled.exposure, descent.render)
    quality = heldout.summary() if heldout is not None else {}
    report = FitReport(
        heldout_psnr=quality.get("psnr"),
        heldout_psnr_static=quality.get("psnr_static"),
        heldout_psnr_actors=quality.get("psnr_actors"),
        heldout_ssim=quality.get("ssim"),
        train_psnr=train.summary()["psnr"],
        seconds=descent.clock.seconds,
        seconds_initial=seconds_initial,
        seconds_compile=descent.clock.compiling,
        steps=int(state.step),
        gaussians=int(jnp.sum(filled.scene.gaussians.valid)),
        interrupted=descent.interrupted,
    )
    return FitResult(
        filled.scene, filled.exposure, filled.corrections, report, heldout, corrected, tuple(descent.curve)
    )
