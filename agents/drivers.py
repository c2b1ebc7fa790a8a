"""Reference drivers: those who do not look, those who see the true boxes, and policies made into drivers.

All but the policies steer along the expert's path by pure pursuit, so that they differ in how they choose their speed.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import flax.struct
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray, Shaped

from jaxrecon.agents import histories
from jaxrecon.agents.driving import Unseeing
from jaxrecon.agents.outputs import Output
from jaxrecon.simulator import Observation, Simulator, State, World
from jaxrecon.simulator.escapes import pursue
from jaxrecon.simulator.history import FrameHistory
from jaxrecon.traffic.cast import actors_at
from jaxrecon.traffic.idm import IDM, IdmParams, PathAhead, Places, idm_acceleration, path_leader, places_along
from jaxrecon.traffic.replay import Actors

LOOK_AHEAD, NEAREST_LOOK, FARTHEST_LOOK = 0.8, 4.0, 20.0  # seconds, and metres, to the point that is steered for
SIGHT, SAMPLE = 80, 1.0  # samples of the path ahead, and metres between them
BEND = 4  # samples over which the path's curvature is taken
LATERAL_ACCELERATION, BEND_BRAKING = 2.5, 1.5  # m/s2 that drivers accept in bends, and on the way to them
SIDE_MARGIN = 0.2  # metres to each side of the car that its way is wider


@flax.struct.dataclass
class Stop(Unseeing):
    """Brakes evenly until it stands.

    Attributes:
        braking: m/s2, positive.
    """

    braking: Float[Array, ""] | float = 3.0

    def act(
        self, simulator: Simulator, state: State, observation: Observation, memory: Any, key: PRNGKeyArray
    ) -> tuple[Float[Array, "env 2"], Any]:
        """Brake."""
        return _along_path(simulator, state, jnp.full(state.route.shape, -self.braking)), memory


@flax.struct.dataclass
class ConstantSpeed(Unseeing):
    """Keeps the speed that it started with, whatever happens."""

    def act(
        self, simulator: Simulator, state: State, observation: Observation, memory: Any, key: PRNGKeyArray
    ) -> tuple[Float[Array, "env 2"], Any]:
        """Roll on."""
        return _along_path(simulator, state, jnp.zeros(state.route.shape)), memory


@flax.struct.dataclass
class IdmDriver(Unseeing):
    """Follows the nearest true box on its way by the Intelligent Driver Model, and slows down for bends.

    Attributes:
        desired: (scene,) speed on a free and straight road, m/s, see ``cruise_speeds``.
        params: how it follows.
    """

    desired: Float[Array, " scene"]
    params: IdmParams = IDM

    def act(
        self, simulator: Simulator, state: State, observation: Observation, memory: Any, key: PRNGKeyArray
    ) -> tuple[Float[Array, "env 2"], Any]:
        """Follow whoever is ahead."""
        world, speed = simulator.world, state.vehicle.speed
        path, places, actors = surroundings_on_path(world, state)
        shape = world.vehicle.at(state.scene)
        front = shape.centre_ahead + 0.5 * shape.length
        gap, closing = path_leader(places, actors.valid, front, speed, 0.5 * shape.width + SIDE_MARGIN)
        desired = jnp.minimum(self.desired[state.scene], bend_speed(path))
        chosen = idm_acceleration(speed, desired, gap, closing, self.params)
        return _along_path(simulator, state, chosen), memory


@flax.struct.dataclass
class CameraDriver:
    """A policy as a driver, see ``camera_driver``. It remembers as many frames as the policy's history has.

    Attributes:
        policy: a pytree that maps a batch of observations to an ``Output``.
        deterministic: take each head's most probable action; otherwise sample.
        action: the kind of its actions.
        draws: whether it sees the frames; black ones otherwise, and none are drawn for it.
    """

    policy: Callable[[Any], Output]
    deterministic: bool = flax.struct.field(pytree_node=False, default=True)
    action: str = flax.struct.field(pytree_node=False, default="anchors")
    draws: bool = flax.struct.field(pytree_node=False, default=True)

    def begin(self, simulator: Simulator, state: State, observation: Observation) -> FrameHistory | None:
        """The first frame, as often as the policy looks back."""
        return histories.begin(self.policy, self._seen(simulator, state, observation))

    def act(
        self, simulator: Simulator, state: State, observation: Observation, memory: Any, key: PRNGKeyArray
    ) -> tuple[Shaped[Array, "env 2"], FrameHistory | None]:
        """Look and act."""
        observation = self._seen(simulator, state, observation)
        # At the start the memory holds the first frame alone, and once more changes nothing.
        memory = histories.extend(memory, observation, jnp.zeros(state.route.shape, bool))
        output = self.policy(histories.seen(observation, memory))
        return output.mode() if self.deterministic else output.sample(key), memory

    def _seen(self, simulator: Simulator, state: State, observation: Observation) -> Observation:
        if self.draws:
            return observation
        rig = simulator.world.rig
        shape = (*state.route.shape, rig.count, rig.height, rig.width, 3)
        return dataclasses.replace(observation, frames=jnp.zeros(shape, jnp.uint8))


def camera_driver(policy: Callable[[Any], Output], deterministic: bool = True, draws: bool = True) -> CameraDriver:
    """A policy as a driver of the kind of actions that it was built for.

    Args:
        policy: a pytree that maps a batch of observations to an ``Output``.
        deterministic: take each head's most probable action; otherwise sample.
        draws: whether it sees the frames; black ones otherwise.
    """
    inner = getattr(policy, "policy", policy)
    action = getattr(getattr(inner, "config", None), "action", "anchors")
    return CameraDriver(policy, deterministic, action, draws)


@flax.struct.dataclass
class Blind:
    """A policy whose cameras are black: what can be done by ego motion and navigation alone.

    Train with it too: it maps observations to an ``Output`` like the policy that it holds, and its parameters are that
    policy's.

    Attributes:
        policy: a pytree that maps a batch of observations to an ``Output``.
    """

    policy: Callable[[Any], Output]

    def __call__(self, observation: Observation) -> Output:
        """What the policy says in the dark."""
        return self.policy(black(observation))


def cruise_speeds(world: World) -> Float[Array, " scene"]:
    """The highest speed that each scene's recorded driver reached, m/s: what passes for the road's limit."""
    return jnp.max(world.reference.motion.speed, axis=1)


def surroundings_on_path(world: World, state: State) -> tuple[PathAhead, Places, Actors]:
    """The expert's path ahead of every ego (arc 0 at its nearest point), the actors, and where they are on it."""
    path = path_ahead(world, state.scene, state.route)
    frame = jnp.minimum(state.start_frame + state.elapsed, world.frames[state.scene] - 1)
    actors = actors_at(world.traffic, state.scene, frame, state.cast)
    return path, places_along(path, actors.boxes, actors.velocity), actors


def path_ahead(world: World, scene: Int[Array, " env"], route: Float[Array, " env"]) -> PathAhead:
    """The expert's path from an arc length (metres) on; its own arc starts at zero there."""
    arc = SAMPLE * jnp.arange(SIGHT)
    where = route[:, None] + arc
    point, _ = world.reference.at_route(jnp.broadcast_to(scene[:, None], where.shape), where)
    # The path's direction, not the car's: they differ where it slides sideways in its records.
    step = jnp.diff(point, axis=1, append=2 * point[:, -1:] - point[:, -2:-1])
    heading = jnp.unwrap(jnp.arctan2(step[..., 1], step[..., 0]), axis=-1)
    return PathAhead(point, heading, jnp.broadcast_to(arc, where.shape))


def bend_speed(path: PathAhead) -> Float[Array, " env"]:
    """Highest speed (m/s) from which all bends ahead can be reached at a speed at which they can be taken."""
    turn = jnp.abs(path.heading[:, BEND:] - path.heading[:, :-BEND]) / (path.arc[:, BEND:] - path.arc[:, :-BEND])
    allowed = LATERAL_ACCELERATION / jnp.maximum(turn, 1e-4) + 2 * BEND_BRAKING * path.arc[:, :-BEND]
    return jnp.sqrt(jnp.min(allowed, axis=-1))


def steer_for(simulator: Simulator, state: State, lateral: Float[Array, " env"] | float = 0.0) -> Float[Array, " env"]:
    """Steering (radians) to a point ahead on the expert's path, so many metres to its left: pure pursuit."""
    look = jnp.clip(LOOK_AHEAD * state.vehicle.speed, NEAREST_LOOK, FARTHEST_LOOK)
    left = jnp.broadcast_to(jnp.asarray(lateral), look.shape)
    return pursue(simulator.world, state, look, left, simulator.config.limits)


def _along_path(simulator: Simulator, state: State, acceleration: Array) -> Float[Array, "env 2"]:
    return jnp.stack([acceleration, steer_for(simulator, state)], axis=-1)


def as_driver(driver: Any, deterministic: bool = True) -> Any:
    """Drivers as they are; whatever maps observations to an ``Output`` as a ``CameraDriver``."""
    return driver if hasattr(driver, "act") else camera_driver(driver, deterministic)


def black(observation: Observation) -> Observation:
    """What a blind policy sees (host or device): everything but the frames, which are black."""
    frames = observation.frames
    dark = np.zeros_like(frames) if isinstance(frames, np.ndarray) else jnp.zeros_like(frames)
    return dataclasses.replace(observation, frames=dark)
