"""The host's side of a descent: compiled calls one after the other, within a budget of steps and seconds."""

import contextlib
import dataclasses
import functools
import pathlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import tqdm
from jaxtyping import Array

from jaxrecon.reconstruct.checkpoint import Progress, load_state, save_state
from jaxrecon.reconstruct.descent import (
    DescentState,
    DescentStructure,
    Material,
    Schedule,
    control_density,
    take_steps,
)
from jaxrecon.reconstruct.fit_config import FitConfig
from jaxrecon.reconstruct.score import Score, enlarge
from jaxrecon.reconstruct.views import Views
from jaxrecon.render import RenderConfig

_DENSITY_FROM, _DENSITY_UNTIL = 0.02, 0.85  # shares of the fit between which Gaussians are relocated
_KEEP_EVERY = 60.0  # seconds
_ROOM = 1.5  # of pairs over what a call needed, when it had too little


class Clock:
    """Seconds of a fit, without what is paused; and those of compilation."""

    def __init__(self) -> None:
        self._started, self._out = time.perf_counter(), 0.0
        self._paused_at: float | None = None
        self.compiling = 0.0

    @property
    def seconds(self) -> float:
        """Since the start, pauses left out; during one it stands still."""
        now = time.perf_counter() if self._paused_at is None else self._paused_at
        return now - self._started - self._out

    def go_on(self, seconds: float, compiling: float) -> None:
        """Continue an earlier clock: what was spent since this one started is not counted."""
        self._started, self._out = time.perf_counter() - seconds, 0.0
        self.compiling += compiling

    @contextlib.contextmanager
    def paused(self, compiling: bool = False) -> Iterator[None]:
        """Leave out what is done within; a pause within a pause changes nothing but what counts as compilation."""
        begin, outer = time.perf_counter(), self._paused_at
        self._paused_at = begin if outer is None else outer
        try:
            yield
        finally:
            spent = time.perf_counter() - begin
            self._out += spent if outer is None else 0.0
            self._paused_at = outer
            self.compiling += spent if compiling else 0.0


@dataclasses.dataclass(frozen=True)
class CurvePoint:
    """Held-out quality on the way.

    Attributes:
        seconds: since the start of the fit.
        step: taken by then.
        psnr: mean over the held-out views, decibels.
        ssim: likewise.
    """

    seconds: float
    step: int
    psnr: float
    ssim: float


class Descent:
    """Runs the compiled steps until the steps or the seconds are used up.

    Attributes:
        clock: of the fit.
        render: the renderer, with as much room as was needed.
        curve: held-out quality on the way.
        interrupted: whether the user stopped it.
    """

    def __init__(
        self,
        config: FitConfig,
        key: Array,
        material: Material,
        clock: Clock,
        judge: Callable[[DescentState, RenderConfig], Score | None],
        checkpoint: tuple[pathlib.Path, str] | None,
        progress: bool,
    ):
        """Prepare a descent.

        Args:
            config: how.
            key: of every random choice.
            material: what to learn from.
            clock: of the fit.
            judge: scores the held-out views.
            checkpoint: folder that keeps the state, and the fit's ``fingerprint``.
            progress: show a progress bar.
        """
        self.clock, self.render, self.interrupted = clock, config.render, False
        self.curve: list[CurvePoint] = []
        self._config, self._key, self._judge, self._progress = config, key, judge, progress
        self._structure = DescentStructure(config.steps_per_call, config.density == "relocate", config.fixed)
        self._materials = {1: material}
        if config.coarse:
            self._materials[2] = dataclasses.replace(material, views=halved(material.views))
        self._compiled: dict[int, Any] = {}
        self._controls = False
        self._first_step: tuple[int, float] | None = None
        self._checkpoint, self._kept = checkpoint, clock.seconds

    def run(self, state: DescentState) -> DescentState:
        """The state after the descent; a kept state is gone on from."""
        config = self._config
        state = self._resumed(state)
        bar = tqdm.tqdm(
            total=config.steps, initial=int(state.step), desc="reconstruct", unit="step", disable=not self._progress
        )
        with bar:
            try:
                while (step := int(state.step)) < config.steps:
                    if config.seconds is not None and self.clock.seconds >= config.seconds:
                        break
                    after, figures = self._call(state, step)
                    if after is None:
                        continue
                    state = self._between(state, after, step)
                    bar.update(int(state.step) - step)
                    loss, quality, splats = jax.device_get([figures[name] for name in ("loss", "psnr", "splats")])
                    bar.set_postfix(loss=f"{loss:.4f}", psnr=f"{quality:.2f} dB", splats=int(splats))
                    if self.clock.seconds > self._kept + _KEEP_EVERY:
                        self._keep(state)
            except KeyboardInterrupt:
                self.interrupted = True
        self._keep(state)
        return state

    def _resumed(self, state: DescentState) -> DescentState:
        if self._checkpoint is None or not self._checkpoint[0].exists():
            return state
        with self.clock.paused():
            state, progress = load_state(self._checkpoint[0], state, self._checkpoint[1])
        self.clock.go_on(progress.seconds, progress.compiling)
        self.render = enlarge(self.render, progress.pairs_per_camera / self.render.raster.pairs_per_camera)
        self.curve = [CurvePoint(point[0], int(point[1]), *point[2:]) for point in progress.curve]
        self._kept = self.clock.seconds
        return state

    def _keep(self, state: DescentState) -> None:
        if self._checkpoint is None:
            return
        with self.clock.paused():
            curve = [list(dataclasses.astuple(point)) for point in self.curve]
            room = self.render.raster.pairs_per_camera
            progress = Progress(self.clock.seconds, self.clock.compiling, room, curve)
            save_state(self._checkpoint[0], state, progress, self._checkpoint[1])
        self._kept = self.clock.seconds

    def _arguments(self, state: DescentState, material: Material, schedule: Schedule) -> tuple:
        config = self._config
        as_arrays = jax.tree.map(jnp.float32, (config.rates, config.weights, schedule))
        return state, material, self._key, *as_arrays

    def _compiled_steps(self, state: DescentState, material: Material) -> Any:
        arguments = self._arguments(state, material, Schedule(0.0, 0.0))
        leaves, structure = jax.tree.flatten(
            jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), arguments)
        )
        return _compiled_steps(structure, tuple(leaves), self._structure, self.render)

    def _call(self, state: DescentState, step: int) -> tuple[DescentState | None, dict[str, Array]]:
        """One call; None where its views lacked room for splats, which it then has the next time."""
        schedule = self._schedule(step)
        size = 2 if schedule.done < self._config.coarse else 1
        if size not in self._compiled:
            with self.clock.paused(compiling=True):
                self._compiled[size] = self._compiled_steps(state, self._materials[size])
        after, figures = self._compiled[size](*self._arguments(state, self._materials[size], schedule))
        if bool(figures["overflow"]):
            # Those steps saw images that lacked splats: take them again with room.
            factor = _ROOM * float(figures["pairs"]) / self.render.raster.pairs_per_camera
            self.render = enlarge(self.render, max(_ROOM, factor))
            self._compiled = {}
            return None, figures
        if self._first_step is None:
            self._first_step = (int(after.step), self.clock.seconds)
        return after, figures

    def _between(self, before: DescentState, after: DescentState, step: int) -> DescentState:
        """What happens between two calls."""
        config, now = self._config, int(after.step)
        done = self._schedule(now).done
        due = now // config.relocate_every > step // config.relocate_every
        if config.density == "relocate" and due and _DENSITY_FROM < done < _DENSITY_UNTIL:
            after = self._controlled(after)
        if len(self.curve) < len(config.curve) and self.clock.seconds >= config.curve[len(self.curve)]:
            jax.block_until_ready(after)
            seconds = self.clock.seconds
            with self.clock.paused():
                score = self._judge(after, self.render)
            if score is not None:
                quality = score.summary()
                self.curve.append(CurvePoint(seconds, now, quality["psnr"], quality["ssim"]))
        return after

    def _controlled(self, state: DescentState) -> DescentState:
        arguments = (state, self._materials[1], self._key, jnp.float32(self._config.growth))
        if not self._controls:
            # Run once for its compilation; its outcome is not used.
            with self.clock.paused(compiling=True):
                jax.block_until_ready(control_density(*arguments))
            self._controls = True
        return control_density(*arguments)

    def _schedule(self, step: int) -> Schedule:
        """Share of the fit that is done, and what a step adds: by steps or by seconds, whichever ends first."""
        config = self._config
        by_steps = Schedule(step / config.steps, 1 / config.steps)
        if config.seconds is None or self._first_step is None or step <= self._first_step[0]:
            return by_steps
        since = self.clock.seconds - self._first_step[1]
        rate = (step - self._first_step[0]) / max(since, 1e-6)
        expected = step + rate * (config.seconds - self.clock.seconds)
        by_seconds = Schedule(step / max(expected, step, 1), 1 / max(expected, step, 1))
        return max(by_steps, by_seconds, key=lambda schedule: schedule.done)


@functools.lru_cache(maxsize=16)
def _compiled_steps(
    tree: Any, leaves: tuple[jax.ShapeDtypeStruct, ...], structure: DescentStructure, render: RenderConfig
) -> Any:
    """The steps for arguments of those shapes, compiled ahead so that the clock can leave it out."""
    arguments = jax.tree.unflatten(tree, leaves)
    return take_steps.lower(*arguments, structure=structure, render_config=render).compile()


def halved(views: Views) -> Views:
    """Views at half the size along each side; a last odd row or column is left out."""
    width, height = views.size[0] // 2, views.size[1] // 2
    cut = jnp.asarray(views.images)[:, : 2 * height, : 2 * width].astype(jnp.float32)
    mean = jnp.mean(cut.reshape(-1, height, 2, width, 2, 3), axis=(2, 4))
    row, column = views.lidar_pixel // views.size[0] // 2, views.lidar_pixel % views.size[0] // 2
    inside = (row < height) & (column < width)
    return dataclasses.replace(
        views,
        images=jnp.round(mean).astype(jnp.uint8),
        intrinsics=views.intrinsics / 2,
        lidar_pixel=jnp.where(inside, row * width + column, 0),
        lidar_valid=views.lidar_valid & inside,
    )
