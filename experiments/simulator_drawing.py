"""The suite's cameras: how much room they need, and how near their images are to the truth."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from benchmark_rows import BenchmarkError
from rasterizer_drawing import FINER
from rasterizer_quality import box_filtered, psnr

from jaxrecon.geometry.cameras import rescale_intrinsics
from jaxrecon.render import Cameras, RasterConfig
from jaxrecon.simulator import Simulator, SimulatorParams, SplatCameras, State, World
from jaxrecon.simulator.moments import moment_at
from jaxrecon.simulator.observation import actors_of_cameras, ego_cameras

HEADROOM, GROWTHS = 1.3, 8
FEWEST_CLUSTERS, PAIRS_PER_CLUSTER = 512, 4  # of the backends that set room aside for clusters


def with_room(world: World, pairs_per_camera: int) -> World:
    """The same world, whose cameras have room for so many (splat, tile) pairs each, on average."""
    source = _splats(world)
    clusters = 0 if jax.default_backend() == "gpu" else max(FEWEST_CLUSTERS, pairs_per_camera // PAIRS_PER_CLUSTER)
    raster = RasterConfig(pairs_per_camera=pairs_per_camera, clusters_per_camera=clusters)
    return dataclasses.replace(
        world, source=dataclasses.replace(source, config=dataclasses.replace(source.config, raster=raster))
    )


def roomy(simulator: Simulator, state: State) -> tuple[Simulator, float]:
    """A simulator with room for what these environments' cameras need and some more, and what they need."""
    pairs = 1024
    for _ in range(GROWTHS):
        simulator = dataclasses.replace(simulator, world=with_room(simulator.world, pairs))
        needed, short = _needed(simulator.world, state)
        wanted = int(np.ceil(HEADROOM * float(needed) / 64) * 64)
        if not bool(short) and pairs >= wanted:
            return dataclasses.replace(simulator, world=with_room(simulator.world, wanted)), float(needed)
        pairs = max(wanted, 2 * pairs if bool(short) else 0)
    raise BenchmarkError(f"images still lack splats with room for {pairs} pairs a camera after {GROWTHS} growths")


@jax.jit
def _needed(world: World, state: State) -> tuple[jax.Array, jax.Array]:
    drawn = _splats(world).render(*_views(world, state))
    return jnp.mean(drawn.pairs), jnp.any(drawn.overflow)


def judge(policy: World, exact: World, state: State) -> dict[str, float]:
    """Distance of the policy-resolution form, and of exact images, from exact ones of 4x4 the pixels, box-filtered.

    Args:
        policy: world drawn in its policy-resolution form.
        exact: the same with every splat drawn.
        state: of the environments that are looked at.

    Returns:
        psnr of the form and ``psnr_exact``, decibels from the mean error over all images.
    """
    truth = box_filtered(_images(exact, state, FINER), FINER)
    ours, plain = (_images(world, state, 1) for world in (policy, exact))
    figures = {"psnr": psnr(ours, truth), "psnr_exact": psnr(plain, truth)}
    return figures | {"psnr_gain": figures["psnr"] - figures["psnr_exact"], "judged_images": len(truth)}


def _images(world: World, state: State, finer: int) -> np.ndarray:
    """Colours in [0, 1], camera by camera, with whatever room each needs."""
    cameras, scene, poses, valid = _views(world, state)
    size, large = (cameras.width, cameras.height), (finer * cameras.width, finer * cameras.height)
    intrinsics = rescale_intrinsics(cameras.intrinsics, size, large)
    images, pairs = [], 1 << 16
    for number in range(len(scene)):
        one = slice(number, number + 1)
        view = Cameras(cameras.world_from_camera[one], intrinsics[one], *large)
        for _ in range(GROWTHS):
            drawn = _draw(_splats(with_room(world, pairs)), view, scene[one], poses[one], valid[one])
            if not bool(drawn.overflow.any()):
                break
            pairs *= 2
        else:
            raise BenchmarkError(f"an image still lacks splats with room for {pairs} pairs")
        images.append(np.clip(np.asarray(drawn.rgb), 0.0, 1.0))
    return np.concatenate(images)


_draw = jax.jit(SplatCameras.render)


def _views(world: World, state: State) -> tuple[Any, jax.Array, jax.Array, jax.Array]:
    moment = moment_at(world, state.scene, state.start_frame + state.elapsed, state.vehicle, state.route)
    return ego_cameras(world, moment), *actors_of_cameras(world, moment)


def _splats(world: World) -> SplatCameras:
    if not isinstance(world.source, SplatCameras):
        raise BenchmarkError(f"the world is drawn by {type(world.source).__name__}; expected SplatCameras")
    return world.source


def start_at_random(simulator: Simulator, params: SimulatorParams, environments: int, seed: int = 0) -> State:
    """States of environments at their clips' starts, nothing drawn."""
    return _start(simulator, params, jax.random.key(seed), environments)


def _begin(simulator: Simulator, params: SimulatorParams, key: jax.Array, environments: int) -> State:
    return simulator.reset(key, environments, params, draw=False)[0]


_start = jax.jit(_begin, static_argnums=3)
