"""The front door: Gaussians, cameras and poses in, images out."""

import dataclasses
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from jaxrecon.kernels.arena import CLUSTER, Arena, Views, check_structure
from jaxrecon.kernels.gpu import launch
from jaxrecon.kernels.gpu.composite import rasterize_gpu
from jaxrecon.kernels.gpu.plan import cameras_in_a_pass
from jaxrecon.kernels.projection import project
from jaxrecon.kernels.raster import DEFAULT_RASTER, Raster, RasterConfig
from jaxrecon.kernels.reference import composite_reference
from jaxrecon.kernels.selection import drawn_gaussians, gather_drawn
from jaxrecon.kernels.tiled import composite_tiled
from jaxrecon.kernels.tpu import composite_tpu

BACKENDS = ("auto", "reference", "xla", "gpu", "tpu")
HEADROOM = 1.25  # of a capacity over what was seen to be needed
ROUND = 64  # capacities are multiples of this


class Composite(NamedTuple):
    """What a backend answers: sums over splats, before depth is divided by alpha."""

    rgb: Float[Array, "camera height width 3"]
    depth_sum: Float[Array, "camera height width"]
    alpha: Float[Array, "camera height width"]
    overflow: Bool[Array, " camera"]
    pairs: Int[Array, " camera"]


def rasterize(
    arena: Arena,
    views: Views,
    *,
    antialiased: bool = False,
    detail: Float[Array, ""] | float = 1.0,
    backend: str = "auto",
    config: RasterConfig = DEFAULT_RASTER,
) -> Raster:
    """Draw Gaussians, each posed by its rigid group, into a batch of cameras.

    Differentiable in every Gaussian parameter, in poses and in intrinsics. Called outside of ``jit`` it grows a
    capacity that does not suffice and draws again; under ``jit`` it flags the cameras whose images lack splats.

    Args:
        arena: the Gaussians of one or many scenes, with or without level of detail.
        views: the cameras.
        antialiased: scale opacities so that the blur leaves a splat's integral unchanged.
        detail: with level of detail, how many pixels a cell that was merged into one Gaussian may cover.
        backend: ``reference`` (the definition), ``xla`` (tiled, any device), ``gpu`` (NVIDIA), ``tpu``, or ``auto``.
        config: capacities and tile sizes.

    Raises:
        ValueError: for an unknown backend or shapes that do not fit together.
        RuntimeError: if the backend asked for cannot run here.
    """
    if backend not in BACKENDS:
        raise ValueError(f"backend {backend!r} is unknown; expected one of {BACKENDS}")
    check_structure(arena, views)
    backend = pick_backend() if backend == "auto" else backend
    if backend == "gpu" and launch.why_no_gpu():
        raise RuntimeError(f"backend 'gpu' cannot run here: {launch.why_no_gpu()}; take 'auto' or 'xla'")
    draw = partial(_rasterize, antialiased=antialiased, backend=backend)
    raster = draw(arena, views, jnp.asarray(detail, jnp.float32), config=config)
    if isinstance(raster.overflow, jax.core.Tracer):
        return raster
    while bool(jnp.any(raster.overflow)):
        config = grow(config, raster)
        raster = draw(arena, views, jnp.asarray(detail, jnp.float32), config=config)
    return raster


def pick_backend() -> str:
    """The fastest backend that runs on JAX's default device."""
    if not launch.why_no_gpu():
        return "gpu"
    return "tpu" if jax.default_backend() == "tpu" else "xla"


def grow(config: RasterConfig, raster: Raster) -> RasterConfig:
    """Capacities that hold what a drawing needed, with headroom; never less than before."""
    pairs = _room(HEADROOM * float(np.mean(raster.pairs)))
    clusters = config.clusters_per_camera
    if clusters:
        clusters = max(clusters, int(np.ceil(HEADROOM * int(np.max(raster.clusters)))))
    return dataclasses.replace(
        config, pairs_per_camera=max(config.pairs_per_camera, pairs), clusters_per_camera=clusters
    )


def calibrate(
    arena: Arena,
    views: Views,
    *,
    antialiased: bool = False,
    detail: float = 1.0,
    backend: str = "auto",
    config: RasterConfig = DEFAULT_RASTER,
    cameras: int = 64,
    batch: int = 0,
    headroom: float = HEADROOM,
) -> RasterConfig:
    """Capacities that suffice for every batch of cameras drawn from a sweep of poses, with headroom.

    Cameras of a call share their room for pairs, so the mean of the busier half of the sweep counts, or less for a
    large batch whose cameras are independent draws from the sweep.

    Args:
        arena: the Gaussians.
        views: a sweep over the poses that will be drawn, any number of them.
        antialiased: as for ``rasterize``.
        detail: as for ``rasterize``.
        backend: as for ``rasterize``; its tiles are counted.
        config: what else the result holds.
        cameras: poses drawn at once.
        batch: cameras of a later call (or of a pass of it), if they will be independent draws from the sweep; 0: they
            may all stand at the busier poses.
        headroom: of the capacities over what was needed.

    Raises:
        ValueError: as for ``rasterize``.
    """
    check_structure(arena, views)
    pairs, clusters = [], []
    for first in range(0, views.count, cameras):
        index = np.minimum(first + np.arange(cameras), views.count - 1)
        some = jax.tree.map(lambda leaf, index=index: leaf[index], views)
        raster = rasterize(arena, some, antialiased=antialiased, detail=detail, backend=backend, config=config)
        pairs.append(np.asarray(raster.pairs)[: views.count - first])
        clusters.append(int(raster.clusters.max()))
    needed = np.sort(np.concatenate(pairs))
    # A batch of `batch` random cameras needs the mean, give or take its standard error.
    busier = float(needed[len(needed) // 2 :].mean())
    if batch:
        busier = min(busier, float(needed.mean() + 4 * needed.std() / np.sqrt(batch)))
    return dataclasses.replace(
        config,
        pairs_per_camera=_room(headroom * busier),
        clusters_per_camera=int(np.ceil(headroom * max(clusters))),
    )


def _room(pairs: float) -> int:
    return max(ROUND, int(np.ceil(pairs / ROUND)) * ROUND)


@partial(jax.jit, static_argnames=("antialiased", "backend", "config"))
def _rasterize(
    arena: Arena, views: Views, detail: Float[Array, ""], *, antialiased: bool, backend: str, config: RasterConfig
) -> Raster:
    draw = partial(_draw, arena, detail=detail, antialiased=antialiased, backend=backend, config=config)
    cameras = views.count
    together = cameras_in_a_pass(views, config) if backend == "gpu" else config.cameras_per_pass or cameras
    if cameras <= together:
        return draw(views)
    passes = -(-cameras // together)
    # The last pass is filled up with the last camera.
    index = jnp.minimum(jnp.arange(passes * together), cameras - 1).reshape(passes, together)
    raster = lax.map(draw, jax.tree.map(lambda leaf: leaf[index], views))
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:])[:cameras], raster)


def _draw(
    arena: Arena, views: Views, *, detail: Array, antialiased: bool, backend: str, config: RasterConfig
) -> Raster:
    """One pass."""
    clusters = jnp.zeros(views.count, jnp.int32)
    if backend == "gpu":
        composite = Composite(*rasterize_gpu(arena, views, detail, antialiased, config))
    else:
        composite, clusters = _draw_projected(arena, views, detail, antialiased, backend, config)
    return Raster(
        rgb=composite.rgb,
        depth=composite.depth_sum / jnp.maximum(composite.alpha, 1e-10),
        alpha=composite.alpha,
        overflow=composite.overflow,
        pairs=composite.pairs,
        clusters=clusters,
    )


def _draw_projected(
    arena: Arena, views: Views, detail: Array, antialiased: bool, backend: str, config: RasterConfig
) -> tuple[Composite, Array]:
    """The backends that take splats projected by XLA, and how many clusters each camera needed room for."""
    clusters, short = jnp.zeros(views.count, jnp.int32), jnp.zeros(views.count, bool)
    drawn: Array | None
    with jax.named_scope("select"):
        if arena.clusters is not None and backend != "reference":
            room = config.clusters_per_camera or arena.count // CLUSTER
            arena, drawn, clusters = gather_drawn(arena, views, detail, room)
            short = clusters > room
        else:
            drawn = drawn_gaussians(arena, views, detail)
    with jax.named_scope("project"):
        splats = project(arena, views, drawn, antialiased)
    # Without this XLA repeats the projection inside everything that reads it.
    splats = lax.optimization_barrier(splats)
    with jax.named_scope("composite"):
        if backend == "reference":
            sums = composite_reference(splats, views.width, views.height)
            return Composite(*sums, short, jnp.sum(splats.visible, axis=1, dtype=jnp.int32)), clusters
        if backend == "tpu":
            # Off a TPU the same kernel is interpreted: slow, for its tests.
            interpret = jax.default_backend() != "tpu"
            composite = Composite(*composite_tpu(splats, views.width, views.height, config, interpret))
        else:
            composite = Composite(*composite_tiled(splats, views.width, views.height, config))
    return composite._replace(overflow=composite.overflow | short), clusters
