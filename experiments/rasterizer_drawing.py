"""This project's rasterizer, drawn and timed: capacities, times, memory, stages, gradients."""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from benchmark_rows import BenchmarkError
from benchmark_timing import Timing, measure
from rasterizer_quality import box_filtered

from jaxrecon.kernels import CLUSTER, Arena, Clusters, Raster, RasterConfig, Views, calibrate, grow, rasterize
from jaxrecon.kernels.selection import chosen_clusters, clusters_in_view
from jaxrecon.scene.gaussians import SH_C0

FINER = 4  # along each side: what images of a policy's resolution are judged against
_SWEEP = 512  # cameras by which capacities are found
_SWEPT_TOGETHER = 64
_SMALL = 128 * 128  # pixels of an image of which that many are drawn at once
_GROWTHS = 4
_HEADROOM = 1.05


@dataclasses.dataclass(frozen=True)
class Look:
    """How a drawing is to look.

    Attributes:
        detail: as ``kernels.rasterize`` takes it.
        antialiased: likewise.
    """

    detail: float = 1.0
    antialiased: bool = False


EXACT = Look()


@dataclasses.dataclass(frozen=True)
class Drawn:
    """A drawing that was timed.

    Attributes:
        timing: of a call.
        config: capacities it ran with.
        overflow: cameras of all timed calls whose images lacked splats: none, or there would be an error.
        pairs: (splat, tile) pairs of a camera, mean.
        images: rgb, depth and alpha of the first cameras of the first set.
        gradients: by parameter, for the first set; empty for a forward drawing.
    """

    timing: Timing
    config: RasterConfig
    overflow: int
    pairs: float
    images: dict[str, np.ndarray]
    gradients: dict[str, np.ndarray]


def time_drawing(
    arena: Arena, sets: list[Views], look: Look, backend: str, config: RasterConfig, repeats: int, shown: int
) -> Drawn:
    """Draw sets of cameras in turn.

    Raises:
        BenchmarkError: if an image of a timed call lacks splats.
    """
    config = calibrated(arena, sets, look, backend, config)
    detail = jnp.float32(look.detail)

    def compile_(config: RasterConfig) -> Callable[[Views], tuple[Raster, dict]]:
        draw = jax.jit(partial(rasterize, antialiased=look.antialiased, backend=backend, config=config))
        return lambda views: (draw(arena, views, detail=detail), {})

    return _time(compile_, sets, config, repeats, shown)


def time_gradient(
    arena: Arena, sets: list[Views], weights: np.ndarray, backend: str, config: RasterConfig, repeats: int, shown: int
) -> Drawn:
    """Draw, and the gradient of a weighted sum of colour, expected depth and alpha in all splat parameters.

    Args:
        arena: Gaussians of spherical-harmonic degree 0.
        sets: cameras, in turn.
        weights: [camera, height, width, 5] of colour, depth and alpha.
        backend: as ``rasterize`` takes it.
        config: to begin with.
        repeats: timed samples.
        shown: cameras whose images are kept.

    Raises:
        BenchmarkError: if an image of a timed call lacks splats.
    """
    config = calibrated(arena, sets, EXACT, backend, config)
    parameters = {name: getattr(arena, name) for name in ("means", "quaternions", "scales", "opacities")}
    parameters["colours"] = 0.5 + SH_C0 * arena.sh[:, 0]
    weigh = jnp.asarray(weights)

    def loss(parameters: dict, arena: Arena, views: Views, weigh: jax.Array, config: RasterConfig) -> tuple:
        shapes = {name: leaf for name, leaf in parameters.items() if name != "colours"}
        moved = dataclasses.replace(arena, **shapes, sh=(parameters["colours"][:, None] - 0.5) / SH_C0)
        raster = rasterize(moved, views, backend=backend, config=config)
        images = jnp.concatenate([raster.rgb, raster.depth[..., None], raster.alpha[..., None]], axis=-1)
        return jnp.sum(images * weigh), raster

    def compile_(config: RasterConfig) -> Callable[[Views], tuple[Raster, dict]]:
        gradient = jax.jit(jax.grad(partial(loss, config=config), has_aux=True))
        return lambda views: gradient(parameters, arena, views, weigh)[::-1]

    return _time(compile_, sets, config, repeats, shown)


def _time(
    compile_: Callable[[RasterConfig], Callable[[Views], tuple[Raster, dict]]],
    sets: list[Views],
    config: RasterConfig,
    repeats: int,
    shown: int,
) -> Drawn:
    call, config = _roomy(compile_, sets, config)
    flags: list[jax.Array] = []

    def numbered(number: int) -> tuple[Raster, dict]:
        raster, gradients = call(sets[number % len(sets)])
        flags.append(raster.overflow)
        return raster, gradients

    timing = measure(numbered, jax.block_until_ready, repeats, len(sets))
    overflow = int(sum(int(flag.sum()) for flag in flags))
    if overflow:
        raise BenchmarkError(
            f"{overflow} images of the timed calls lack splats: pairs_per_camera {config.pairs_per_camera} and "
            f"clusters_per_camera {config.clusters_per_camera} are too few"
        )
    raster, gradients = call(sets[0])
    images = {name: np.asarray(getattr(raster, name)[:shown]) for name in ("rgb", "depth", "alpha")}
    kept = {name: np.asarray(leaf) for name, leaf in gradients.items()}
    return Drawn(timing, config, overflow, float(np.mean(raster.pairs)), images, kept)


def _roomy(
    compile_: Callable[[RasterConfig], Any], sets: list[Views], config: RasterConfig
) -> tuple[Any, RasterConfig]:
    """The compiled call at capacities that hold every set: a gradient may need more than a drawing."""
    for _ in range(_GROWTHS):
        call = compile_(config)
        short = None
        for views in sets:
            raster, _gradients = call(views)
            if bool(raster.overflow.any()):
                short = raster
                break
        if short is None:
            return call, config
        config = grow(config, short)
    raise BenchmarkError(
        f"images still lack splats after {_GROWTHS} growths: pairs_per_camera {config.pairs_per_camera} and "
        f"clusters_per_camera {config.clusters_per_camera} are too few"
    )


def calibrated(arena: Arena, sets: list[Views], look: Look, backend: str, config: RasterConfig) -> RasterConfig:
    """Capacities for the sets of cameras, from a sample of all of them."""
    poses = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *sets)
    together = _SWEPT_TOGETHER if poses.width * poses.height <= _SMALL else 1
    together = min(together, poses.count)
    some = np.unique(np.linspace(0, poses.count - 1, _SWEEP).astype(int))
    sweep = partial(
        calibrate, arena, antialiased=look.antialiased, detail=look.detail, backend=backend, cameras=together
    )
    # A first look at few cameras gives room for the rest, which then compile once.
    generous = sweep(jax.tree.map(lambda leaf: leaf[:together], poses), config=config, headroom=2.0)
    cameras = sets[0].count
    batch = min(cameras, config.cameras_per_pass or 2 * _SWEPT_TOGETHER) if cameras >= _SWEPT_TOGETHER else 0
    return sweep(jax.tree.map(lambda leaf: leaf[some], poses), config=generous, batch=batch, headroom=_HEADROOM)


def peak_memory(arena: Arena, views: Views, look: Look, backend: str, config: RasterConfig) -> dict[str, float]:
    """GiB: the greater of what the compiled call says it takes and this process's peak so far, and both."""
    draw = jax.jit(partial(rasterize, antialiased=look.antialiased, backend=backend, config=config))
    analysis = draw.lower(arena, views, detail=jnp.float32(look.detail)).compile().memory_analysis()
    names = ("temp_size_in_bytes", "argument_size_in_bytes", "output_size_in_bytes")
    compiled = sum(getattr(analysis, name, 0) for name in names) / 2**30
    process = (jax.local_devices()[0].memory_stats() or {}).get("peak_bytes_in_use", 0) / 2**30
    return {"peak_gib": max(compiled, process), "peak_gib_compiled": compiled, "peak_gib_process": process}


def stage_times(arena: Arena, views: Views, look: Look, config: RasterConfig, repeats: int) -> dict[str, Any]:
    """Milliseconds of the GPU rasterizer's stages, of as many cameras as it draws at once."""
    from jaxrecon.kernels.gpu.plan import cameras_in_a_pass
    from jaxrecon.kernels.gpu.stages import time_stages

    together = min(views.count, cameras_in_a_pass(views, config))
    first = jax.tree.map(lambda leaf: leaf[:together], views)
    return {
        "stages_ms": time_stages(arena, first, look.detail, look.antialiased, config, repeats),
        "stages_cameras": together,
    }


def images_of(arena: Arena, views: Views, backend: str, config: RasterConfig) -> dict[str, np.ndarray]:
    """Images of a few cameras, whatever room they need."""
    raster = rasterize(arena, views, backend=backend, config=config)
    return {name: np.asarray(getattr(raster, name)) for name in ("rgb", "depth", "alpha")}


def supersampled(arena: Arena, finer: Views, backend: str) -> np.ndarray:
    """Colours of exact images of ``FINER`` times the pixels along each side, box-filtered; camera by camera."""
    images = []
    config = RasterConfig()
    for index in range(finer.count):
        one = jax.tree.map(lambda leaf, index=index: leaf[index : index + 1], finer)
        if index == 0:
            config = calibrate(arena, one, backend=backend, headroom=2.0)
        images.append(np.asarray(rasterize(arena, one, backend=backend, config=config).rgb))
    return box_filtered(np.concatenate(images), FINER)


def drawn_slots(arena: Arena, views: Views, look: Look) -> np.ndarray:
    """Each camera's own Gaussians [camera, most], -1 where it has no more: of the level it draws, in view, opaque."""
    if arena.clusters is None:
        raise BenchmarkError("only an arena with levels of detail chooses what each camera draws")

    @jax.jit
    def choose(clusters: Clusters, views: Views) -> jax.Array:
        return chosen_clusters(clusters, views, jnp.float32(look.detail)) & clusters_in_view(clusters, views)

    chosen = np.asarray(choose(arena.clusters, views))
    opaque = np.asarray(arena.opacities) >= 1 / 255
    of_camera = []
    for row in chosen:
        slots = (np.flatnonzero(row)[:, None] * CLUSTER + np.arange(CLUSTER)).ravel()
        of_camera.append(slots[opaque[slots]])
    table = np.full((len(chosen), max(len(slots) for slots in of_camera)), -1, np.int32)
    for row, slots in zip(table, of_camera, strict=True):
        row[: len(slots)] = slots
    return table
