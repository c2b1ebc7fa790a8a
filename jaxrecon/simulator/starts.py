"""Where clips start: scenes and log frames drawn at random, and poses a little off the recorded one."""

from typing import TypeVar

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from jaxrecon.dynamics import VehicleLimits, VehicleState
from jaxrecon.geometry.transforms import wrap_angle
from jaxrecon.simulator.state import Perturbation, SimulatorParams, Start
from jaxrecon.simulator.world import World

Tree = TypeVar("Tree")


@flax.struct.dataclass
class StartTable:
    """Log frames at which clips start, in each scene.

    Attributes:
        frame: (scene, frame) int32, those at which clips start first, in order.
        count: (scene,) int32, how many they are, at least 1.
    """

    frame: Int[Array, "scene frame"]
    count: Int[Array, " scene"]


def start_mask(world: World, clip_steps: int) -> Bool[Array, "scene frame"]:
    """Log frames at which clips start.

    Those whose recorded pose collides with nothing and that leave room for a whole clip (in a shorter log only the
    first); where a scene has none, all but its last that collide with nothing.
    """
    frames, last = jnp.arange(world.start_allowed.shape[1]), world.frames[:, None] - 1
    allowed = world.start_allowed & (frames < last)
    roomy = allowed & (frames <= jnp.maximum(last - clip_steps, 0))
    return jnp.where(jnp.any(roomy, axis=1, keepdims=True), roomy, allowed)


def start_table(world: World, clip_steps: int) -> StartTable:
    """The same as a table to draw from."""
    mask = start_mask(world, clip_steps)
    return StartTable(
        frame=jnp.argsort(~mask, axis=1, stable=True).astype(jnp.int32), count=jnp.sum(mask, axis=1, dtype=jnp.int32)
    )


def draw_start(table: StartTable, keys: Key[Array, " env"], params: SimulatorParams) -> Start:
    """A scene, a start frame in it (uniform over the table's) and a normal perturbation for each key."""
    scenes = table.count.shape[0]
    uniform = jax.vmap(lambda key: jax.random.uniform(key, (5,)))(keys)
    if params.scene_weights is None:
        scene = _among(uniform[:, 0], scenes)
    else:
        share = jnp.cumsum(params.scene_weights)
        scene = jnp.searchsorted(share, uniform[:, 0] * share[-1], side="right")
    scene = jnp.minimum(scene, scenes - 1).astype(jnp.int32)
    # The normal distribution's quantile function, away from its infinite ends.
    noise = jnp.sqrt(2.0) * jax.scipy.special.erfinv(jnp.clip(2 * uniform[:, 2:] - 1, -1 + 1e-6, 1 - 1e-6))
    perturbation = Perturbation(
        lateral=params.start_lateral * noise[:, 0],
        heading=params.start_heading * noise[:, 1],
        speed=1.0 + params.start_speed * noise[:, 2],
    )
    return Start(scene, table.frame[scene, _among(uniform[:, 1], table.count[scene])], perturbation)


def _among(uniform: Array, count: Array | int) -> Array:
    """A number below ``count`` from one in [0, 1)."""
    return jnp.minimum((uniform * count).astype(jnp.int32), count - 1)


def perturbed(world: World, start: Start, limits: VehicleLimits) -> VehicleState:
    """The ego beside its recorded pose, whatever it may meet there."""
    recorded, perturbation = world.reference.motion_at(start.scene, start.frame), start.perturbation
    left = jnp.stack([-jnp.sin(recorded.yaw), jnp.cos(recorded.yaw)], axis=-1)
    return VehicleState(
        position=recorded.position + perturbation.lateral[:, None] * left,
        yaw=wrap_angle(recorded.yaw + perturbation.heading),
        speed=jnp.clip(recorded.speed * perturbation.speed, 0.0, limits.speed),
        acceleration=recorded.acceleration,
        steering=recorded.steering,
    )


def known(*leaves: Array) -> bool:
    """Whether the host can look at values: outside of jit."""
    return not any(isinstance(leaf, jax.core.Tracer) for leaf in leaves)


def check_starts(world: World, scene: Int[np.ndarray, " env"], frame: Int[np.ndarray, " env"]) -> None:
    """Refuse starts that are not in the world, or at which the recorded car collides; on the host.

    Raises:
        ValueError: naming the first such start.
    """
    frames, allowed = np.asarray(world.frames), np.asarray(world.start_allowed)
    if not len(frame):
        raise ValueError("no starts were given; expected at least one")
    for number, (place, at) in enumerate(zip(scene.tolist(), frame.tolist(), strict=True)):
        if not 0 <= place < world.scenes:
            raise ValueError(f"start {number} is in scene {place}; the world has scenes 0 to {world.scenes - 1}")
        name = world.names[place]
        if not 0 <= at < frames[place]:
            raise ValueError(f"start {number} is at frame {at}; log {name} has frames 0 to {frames[place] - 1}")
        if not allowed[place, at]:
            raise ValueError(
                f"start {number} is at frame {at} of log {name}, where the recorded car overlaps an actor or an "
                "obstacle; choose among Simulator.start_frames"
            )


def select(mask: Bool[Array, " env"], chosen: Tree, otherwise: Tree) -> Tree:
    """Leaves of ``chosen`` where the mask is set, of ``otherwise`` elsewhere, environment by environment."""

    def pick(first: Array, second: Array) -> Array:
        return jnp.where(mask.reshape(mask.shape + (1,) * (first.ndim - 1)), first, second)

    return jax.tree.map(pick, chosen, otherwise)


def on_route(world: World, start: Start) -> Float[Array, " env"]:
    """Arc length of the path where starts were recorded, metres."""
    return world.reference.route[start.scene, start.frame]
