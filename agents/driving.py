"""Clips driven by anything that can drive: policies that look through cameras, planners that see the true boxes."""

import dataclasses
from typing import Any, Protocol, runtime_checkable

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, PRNGKeyArray, Shaped, UInt8

from jaxrecon.simulator import Observation, Perturbation, Rollout, Simulator, SimulatorParams, State
from jaxrecon.traffic.cast import actors_at
from jaxrecon.traffic.replay import Actors


@flax.struct.dataclass
class Clips:
    """Where evaluation clips start.

    Attributes:
        start_frames: (clip,) int32 log frames.
        perturbation: departure of each from the recorded pose.
        scenes: (clip,) int32, of the world.
        cases: (clip,) int32, of the simulator's challenges; None: nothing happens in them.
    """

    start_frames: Any
    perturbation: Perturbation
    scenes: Any
    cases: Any = None

    @property
    def count(self) -> int:
        """How many clips there are."""
        return self.start_frames.shape[0]

    def take(self, rows: Int[Any, " n"]) -> "Clips":
        """Some of them."""
        return jax.tree.map(lambda leaf: leaf[rows], self)


@runtime_checkable
class Driver(Protocol):
    """What drives a batch of environments: a pytree whose methods are pure.

    Attributes:
        action: the kind of its actions, one of ``SimulatorConfig.action``'s.
        draws: whether it looks at camera frames; where it does not, none are drawn for it.
    """

    action: str
    draws: bool

    def begin(self, simulator: Simulator, state: State, observation: Observation) -> Any:
        """What it remembers at the start of clips, a pytree."""
        ...

    def act(
        self, simulator: Simulator, state: State, observation: Observation, memory: Any, key: PRNGKeyArray
    ) -> tuple[Shaped[Array, "env 2"], Any]:
        """An action for every environment, and what it remembers from now on."""
        ...


class Unseeing:
    """Base of drivers that look at no frames, remember nothing and choose acceleration and steering."""

    action = "continuous"
    draws = False

    def begin(self, simulator: Simulator, state: State, observation: Observation) -> Any:
        """Nothing to remember."""
        return None


@flax.struct.dataclass
class Driven:
    """What became of some clips.

    Attributes:
        rollout: what happened, (step, clip, ...).
        overflow: (step, clip) bool, driven steps whose observation lacked content.
        frames: (moment, filmed, camera, height, width, 3) uint8, before the first step and after every step; None
            where nothing was filmed.
        actors: who was where at the same moments, adversaries included; fields (moment, filmed, actor, ...); likewise.
    """

    rollout: Rollout
    overflow: Bool[Array, "step clip"]
    frames: UInt8[Array, "moment filmed camera height width 3"] | None
    actors: Actors | None


@jax.jit
def drive(
    simulator: Simulator,
    driver: Driver,
    clips: Clips,
    key: PRNGKeyArray,
    params: SimulatorParams,
    filmed: Int[Array, " filmed"],
) -> Driven:
    """Drive clips side by side to their end; compiled once for each kind of driver and number of clips.

    Args:
        simulator: world and rules.
        driver: who drives.
        clips: where they start.
        key: of whatever the driver draws at random.
        params: thresholds.
        filmed: numbers of clips whose frames to keep. Frames that the driver does not look at are drawn for these clips
            alone.
    """
    simulator = dataclasses.replace(simulator, config=dataclasses.replace(simulator.config, action=driver.action))
    filming = filmed.shape[0] > 0
    draw, drawn = driver.draws or filming, None if driver.draws else filmed
    key_reset, key_act = jax.random.split(key)
    state, _ = simulator.reset_at(
        key_reset, clips.start_frames, clips.perturbation, params, draw=False, scenes=clips.scenes, cases=clips.cases
    )
    nothing_seen = jax.eval_shape(lambda: simulator.observe(state, draw, drawn)[0])
    nothing_kept = jax.eval_shape(driver.begin, simulator, state, nothing_seen)

    def shown(state: State, observation: Observation) -> tuple[Array, Actors] | tuple[None, None]:
        if not filming:
            return None, None
        moment = simulator.moment(jax.tree.map(lambda leaf: leaf[filmed], state))
        actors = actors_at(simulator.world.traffic, moment.scene, moment.frame, moment.cast)
        return observation.frames[filmed] if drawn is None else observation.frames, actors

    def step(carry: Any, now: Any) -> tuple[Any, Any]:
        (before, observation, memory), (key, first) = carry, now
        action, memory = driver.act(simulator, before, observation, memory, key)
        after, result = simulator.step(
            dataclasses.replace(before, done=before.done | first), action, params, draw, auto_reset=False, drawn=drawn
        )
        begun = (before, driver.begin(simulator, before, result.observation))
        state, memory = jax.tree.map(lambda *pair: jnp.where(first, *pair), begun, (after, memory))
        kept = (result.outcome, result.overflow & result.valid, shown(state, result.observation))
        return (state, result.observation, memory), kept

    # No clip outlasts its log. The first pass looks and does nothing: what draws is compiled once.
    steps = max(1, min(simulator.clip_steps, simulator.world.start_allowed.shape[1] - 1))
    start = (state, *jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), (nothing_seen, nothing_kept)))
    keys = jax.random.split(key_act, steps)
    passes = (jnp.concatenate([keys[:1], keys]), jnp.arange(1 + steps) == 0)
    _, (outcome, overflow, (frames, actors)) = jax.lax.scan(step, start, passes)
    return Driven(jax.tree.map(lambda leaf: leaf[1:], outcome), overflow[1:], frames, actors)
