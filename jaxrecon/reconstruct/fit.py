"""Fit a scene to a log by gradient descent through the renderer, one random training view a step."""

import dataclasses
import time

import jax
import jax.numpy as jnp
import numpy as np
import tqdm
from jaxtyping import Array

from jaxrecon.logs.driving_log import DrivingLog
from jaxrecon.reconstruct.descent import DescentState, DescentStructure, LearningRates, start, take_steps
from jaxrecon.reconstruct.exposure import Exposure, interpolate, neutral
from jaxrecon.reconstruct.initialise import InitialiseConfig, initialise
from jaxrecon.reconstruct.losses import LossWeights
from jaxrecon.reconstruct.score import Score, enlarge, score
from jaxrecon.reconstruct.views import ReconstructionError, Views, collect_views
from jaxrecon.render import RenderConfig
from jaxrecon.scene.scene import Scene

DENSITY_CONTROLS = ("none", "relocate")
_MOST_TRAINING_SCORED = 8


@dataclasses.dataclass(frozen=True)
class FitConfig:
    """How to fit.

    Attributes:
        steps: gradient steps, one training view each; rounded up to whole calls.
        seconds: stop earlier when this much time has passed, compilation included; schedules adapt. None: no limit.
        width: working width of the images, pixels; None keeps the recorded one.
        initial: how the first scene is built.
        rates: step sizes.
        weights: loss terms.
        density: ``none`` or ``relocate`` (3DGS-MCMC at fixed capacity).
        relocate_every: steps between relocations.
        growth: share of the slots in use by which a relocation may grow them, within capacity.
        exposure: fit one affine colour change a frame.
        lidar_points: most LiDAR depths of a view.
        steps_per_call: steps in one compiled call; the host looks in between.
        render: the renderer.
    """

    steps: int = 1500
    seconds: float | None = None
    width: int | None = None
    initial: InitialiseConfig = dataclasses.field(default_factory=InitialiseConfig)
    rates: LearningRates = dataclasses.field(default_factory=LearningRates)
    weights: LossWeights = dataclasses.field(default_factory=LossWeights)
    density: str = "none"
    relocate_every: int = 100
    growth: float = 0.05
    exposure: bool = False
    lidar_points: int = 4096
    steps_per_call: int = 25
    render: RenderConfig = dataclasses.field(default_factory=RenderConfig)

    def __post_init__(self) -> None:
        for field in ("steps", "relocate_every", "lidar_points", "steps_per_call"):
            value = getattr(self, field)
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"FitConfig.{field} is {value!r}; expected a positive integer")
        if self.density not in DENSITY_CONTROLS:
            raise ValueError(f"FitConfig.density is {self.density!r}; expected one of {DENSITY_CONTROLS}")
        if self.seconds is not None and not self.seconds > 0:
            raise ValueError(f"FitConfig.seconds is {self.seconds!r}; expected a positive number or None")
        if self.width is not None and self.width < 16:
            raise ValueError(f"FitConfig.width is {self.width!r}; expected at least 16 pixels or None")
        if self.growth < 0:
            raise ValueError(f"FitConfig.growth is {self.growth!r}; expected a share of at least 0")


@dataclasses.dataclass(frozen=True)
class FitReport:
    """What a fit reached.

    Attributes:
        heldout_psnr: mean over held-out views, decibels; None where there are none.
        heldout_psnr_static: the same outside all projected boxes.
        heldout_ssim: structural similarity of the same views.
        train_psnr: mean over some training views, decibels.
        seconds: of the whole fit, compilation and first scene included, scoring not.
        seconds_initial: of them, for images, LiDAR and the first scene.
        steps: taken.
        gaussians: slots in use.
        interrupted: whether the user stopped it.
    """

    heldout_psnr: float | None
    heldout_psnr_static: float | None
    heldout_ssim: float | None
    train_psnr: float
    seconds: float
    seconds_initial: float
    steps: int
    gaussians: int
    interrupted: bool


@dataclasses.dataclass(frozen=True)
class FitResult:
    """A fitted scene.

    Attributes:
        scene: as fitted.
        exposure: of every frame of the log; held-out frames take theirs from their neighbours.
        report: figures.
        heldout: quality and images of the held-out views; None where there are none.
        views: what was fitted, at the working size.
    """

    scene: Scene
    exposure: Exposure
    report: FitReport
    heldout: Score | None
    views: Views


def fit(
    log: DrivingLog,
    config: FitConfig,
    key: Array,
    *,
    camera: str | None = None,
    initial: Scene | None = None,
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
        progress: show a progress bar.

    Raises:
        ReconstructionError: if the log lacks what a reconstruction needs.
    """
    started = time.perf_counter()
    seed = int(jax.random.randint(jax.random.fold_in(key, 0), (), 0, 2**31 - 1))
    views = collect_views(log, camera, config.width, config.lidar_points, seed)
    if views.heldout.all():
        raise ReconstructionError(
            f"log {log.name} has no training frame; it needs at least one frame beside i % 4 == 2"
        )
    scene = initialise(log, views, config.initial, seed) if initial is None else initial
    seconds_initial = time.perf_counter() - started
    state, render_config, interrupted = _descend(scene, views, config, jax.random.fold_in(key, 1), started, progress)
    seconds = time.perf_counter() - started
    fitted = np.zeros(log.frames, bool)
    fitted[views.frame[~views.heldout]] = True
    exposure = interpolate(state.exposure, jnp.asarray(fitted))
    heldout = _score_some(state.scene, log, views, np.flatnonzero(views.heldout), exposure, render_config)
    training = np.flatnonzero(~views.heldout)
    training = training[
        np.linspace(0, len(training) - 1, min(len(training), _MOST_TRAINING_SCORED)).round().astype(int)
    ]
    train = score(state.scene, log, views, training, exposure, render_config)
    quality = heldout.summary() if heldout is not None else {}
    report = FitReport(
        heldout_psnr=quality.get("psnr"),
        heldout_psnr_static=quality.get("psnr_static"),
        heldout_ssim=quality.get("ssim"),
        train_psnr=train.summary()["psnr"],
        seconds=seconds,
        seconds_initial=seconds_initial,
        steps=int(state.step),
        gaussians=int(jnp.sum(state.scene.gaussians.valid)),
        interrupted=interrupted,
    )
    return FitResult(state.scene, exposure, report, heldout, views)


def _score_some(
    scene: Scene, log: DrivingLog, views: Views, chosen: np.ndarray, exposure: Exposure, config: RenderConfig
) -> Score | None:
    return score(scene, log, views, chosen, exposure, config) if len(chosen) else None


def _descend(
    scene: Scene, views: Views, config: FitConfig, key: Array, started: float, progress: bool
) -> tuple[DescentState, RenderConfig, bool]:
    """Run the compiled steps until the steps or the seconds are used up."""
    on_device = jax.tree.map(jnp.asarray, views)
    training = jnp.asarray(np.flatnonzero(~views.heldout), jnp.int32)
    state = start(scene, neutral(views.world_from_actor.shape[0]))
    structure = DescentStructure(config.steps_per_call, config.density, config.relocate_every, config.exposure)
    render_config, interrupted = config.render, False
    first_call = started
    with tqdm.tqdm(total=config.steps, desc="reconstruct", unit="step", disable=not progress) as bar:
        try:
            while (done := int(state.step)) < config.steps:
                elapsed = time.perf_counter() - started
                if config.seconds is not None and elapsed >= config.seconds:
                    break
                pace = _pace(config, done, elapsed, time.perf_counter() - first_call)
                after, figures = take_steps(
                    state, on_device, training, key, config.rates, config.weights, pace, config.growth,
                    structure=structure, render_config=render_config,
                )  # fmt: skip
                if bool(figures["overflow"]):
                    # Those steps saw images that lacked splats: take them again with room.
                    render_config = enlarge(
                        render_config, max(1.5, 1.3 * float(figures["pairs"]) / render_config.raster.pairs_per_camera)
                    )
                    continue
                if done == 0:
                    first_call = time.perf_counter()
                state = after
                bar.update(int(state.step) - done)
                bar.set_postfix(loss=f"{float(figures['loss']):.4f}", psnr=f"{float(figures['psnr']):.2f} dB")
        except KeyboardInterrupt:
            interrupted = True
    return state, render_config, interrupted


def _pace(config: FitConfig, done: int, elapsed: float, since_compiled: float) -> tuple[float, float]:
    """Share of the fit that is done, and what a step adds to it: by steps or by seconds, whichever ends first."""
    by_steps = (done / config.steps, 1 / config.steps)
    if config.seconds is None or done == 0:
        return by_steps
    rate = done / max(since_compiled, 1e-6)
    expected = done + rate * (config.seconds - elapsed)
    return min(by_steps, (done / expected, 1 / expected), key=lambda pair: -pair[0])
