"""How much room the cameras of a simulator need for (splat, tile) pairs."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from runs import RunError

from jaxrecon.render import RasterConfig
from jaxrecon.simulator import Simulator, SimulatorParams, SplatCameras, State, World
from jaxrecon.simulator.moments import moment_at
from jaxrecon.simulator.observation import actors_of_cameras, ego_cameras

HEADROOM, GROWTHS = 1.3, 8
FEWEST_CLUSTERS, PAIRS_PER_CLUSTER = 512, 4  # of the backends that set room aside for clusters


def with_room(world: World, pairs_per_camera: int) -> World:
    """The same world, whose cameras have room for so many (splat, tile) pairs each, on average."""
    source = splats_of(world)
    clusters = 0 if jax.default_backend() == "gpu" else max(FEWEST_CLUSTERS, pairs_per_camera // PAIRS_PER_CLUSTER)
    raster = RasterConfig(pairs_per_camera=pairs_per_camera, clusters_per_camera=clusters)
    return dataclasses.replace(
        world, source=dataclasses.replace(source, config=dataclasses.replace(source.config, raster=raster))
    )


def roomy(simulator: Simulator, state: State, headroom: float = HEADROOM) -> tuple[Simulator, float]:
    """A simulator with some times the room that these environments' cameras need, and the pairs that a camera needs.

    Raises:
        RunError: images lack splats however much room there is, or the world is not drawn from splats.
    """
    pairs = 1024
    for _ in range(GROWTHS):
        simulator = dataclasses.replace(simulator, world=with_room(simulator.world, pairs))
        needed, short = _needed(simulator.world, state)
        wanted = int(np.ceil(headroom * float(needed) / 64) * 64)
        if not bool(short) and pairs >= wanted:
            return dataclasses.replace(simulator, world=with_room(simulator.world, wanted)), float(needed)
        pairs = max(wanted, 2 * pairs if bool(short) else 0)
    raise RunError(f"images still lack splats with room for {pairs} pairs a camera after {GROWTHS} growths")


@jax.jit
def _needed(world: World, state: State) -> tuple[jax.Array, jax.Array]:
    drawn = splats_of(world).render(*views_of(world, state))
    return jnp.mean(drawn.pairs), jnp.any(drawn.overflow)


def views_of(world: World, state: State) -> tuple[Any, jax.Array, jax.Array, jax.Array]:
    """Cameras of all environments, the scene of each, and poses and presence of its actors."""
    moment = moment_at(world, state.scene, state.start_frame + state.elapsed, state.vehicle, state.route)
    return ego_cameras(world, moment), *actors_of_cameras(world, moment)


def splats_of(world: World) -> SplatCameras:
    """What draws a world.

    Raises:
        RunError: it is drawn by something else.
    """
    if not isinstance(world.source, SplatCameras):
        raise RunError(f"the world is drawn by {type(world.source).__name__}; expected SplatCameras")
    return world.source


def start_at_random(simulator: Simulator, params: SimulatorParams, environments: int, seed: int = 0) -> State:
    """States of environments at their clips' starts, nothing drawn."""
    return _start(simulator, params, jax.random.key(seed), environments)


def _begin(simulator: Simulator, params: SimulatorParams, key: jax.Array, environments: int) -> State:
    return simulator.reset(key, environments, params, draw=False)[0]


_start = jax.jit(_begin, static_argnums=3)
